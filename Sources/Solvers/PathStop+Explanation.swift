extension PathStop {
  /// Why a run ended, for a reader: a sentence without its capital and full stop.
  public var explanation: String {
    switch self {
    case .gradient: "the gradient fell below the tolerance"
    case .objective: "further steps no longer changed the objective"
    case .resolution: "no lower objective can be told apart at this precision"
    case .closedForm: "computed in closed form"
    case .iterations: "the limit of its iterations was reached"
    case .lineSearch: "the line search found no lower objective"
    case .budget: "the budget of evaluations was used up while it still descended"
    case .smallestStep: "the path could not go on at its smallest step"
    case .noFiniteStart: "the prior has no finite density at the start"
    case .levels: "the prior’s noise level came down to the data’s"
    case .cancelled: "it was interrupted"
    case .notConvex: "the objective isn’t strongly convex along the path, as the theorem needs"
    case .theoremBound: "the theorem asks for more evaluations than there may be"
    }
  }

  /// The reason for a table's cell, after whether it converged.
  public var words: String {
    switch self {
    case .gradient: "its gradient vanished"
    case .objective: "it no longer improved"
    case .resolution: "at the limit of precision"
    case .lineSearch: "found no way down"
    case .budget: "evaluations used up"
    case .smallestStep: "the path ended early"
    case .noFiniteStart: "no density at the start"
    case .closedForm: "closed form"
    case .iterations: "iterations used up"
    case .levels: "the path’s end"
    case .cancelled: "interrupted"
    case .notConvex: "not convex on the path"
    case .theoremBound: "the theorem needs more"
    }
  }
}
