import AIPOProblems

/// Why a state was reported.
public enum PathEvent: String, Sendable, Codable {
  /// The start point, as evaluated.
  case start
  /// The guess for the next place, as evaluated there; left out where the last solution is the better start.
  case predicted
  /// A solve on the way met the stop rule.
  case solved
  /// A solve on the way used up its iterations, still descending.
  case unfinished
  /// A solve on the way couldn't descend; the step is undone and halved.
  case failed
  /// An accepted step of the solve at the target.
  case iterate
  /// A λ was tried in search of the best.
  case lambda
  /// The end.
  case finished
}

/// Why a run ended.
public enum PathStop: String, Sendable, Codable {
  case gradient = "gradient below tolerance"
  case objective = "objective changed by less than epsilon"
  case resolution = "no further decrease at the resolution of the objective"
  case lineSearch = "line search found no decrease"
  case budget = "evaluation budget used up"
  case smallestStep = "smallest step along the path reached"
  case noFiniteStart = "the prior is not finite at the start"
  case closedForm = "closed form"
  case iterations = "iteration limit reached"
  case levels = "the noise level of the data reached"
  case cancelled = "cancelled"
  case notConvex = "the objective is not strongly convex along the path, as the theorem needs"
  case theoremBound = "the theorem asks for more evaluations than the budget"

  /// Whether the solution meets the stop rule.
  public var isConverged: Bool {
    switch self {
    case .gradient, .objective, .resolution, .closedForm, .levels: true
    case .lineSearch, .budget, .iterations, .smallestStep, .noFiniteStart, .cancelled, .notConvex,
      .theoremBound:
      false
    }
  }
}

/// A state of the continuation of one image.
public struct PathState: Sendable, Codable {
  public let event: PathEvent
  /// Place on the path, 0…1.
  public let s: Double
  public let weights: ObjectiveWeights
  /// s, the noise level of the prior; 0 where it is the sharp one.
  public var noiseLevel = 0.0
  /// L at the weights, nats.
  public let objective: Double
  public let recon: Double
  /// R_flow and R_gauss where they were evaluated.
  public let flow: Double?
  public let gaussian: Double?
  /// Evaluations of the flow so far, and accepted steps of all solves.
  public internal(set) var evaluations: Int
  public let iterations: Int
  /// The step in s that led here.
  public let step: Double
  public let gradientNorm: Double
  /// ‖∇L‖ over its value at the start of the run, at the target's weights; nil while that isn't known.
  public var relativeGradient: Double?
  /// Accepted steps of this solve.
  public var solveIterations = 0
  /// Mean second derivative of the flow's term that the minimizer supposes, once it was probed.
  public var curvature: Double?
  /// Of a solved place: whether `Σ Δw·ΔR ≤ 0` since the last one, w the weights of R_flow and R_gauss. It holds
  /// between minimisers, so along λ from 0 that R_flow never rises; nil where a term isn't known.
  public var isMonotone: Bool?
  /// Why it ended, at the end.
  public internal(set) var stop: PathStop?
  /// The theorem's constants, in the first state of a path that follows it.
  public internal(set) var theorem: TheoremPlan?
}

/// The end of one image's run. Where nothing finite was found, `sample` is nil.
public struct PathOutcome: Sendable {
  /// Where it ended; nil where nothing finite was found.
  public var sample: ObjectiveSample?
  public var weights: ObjectiveWeights
  public var evaluations: Int
  public var iterations: Int
  public var stop: PathStop
}

/// The exchangeable parts of a run.
public struct PathSettings: Sendable {
  public var predictor: any Predictor
  public var stepControl: any StepControl
  public var stopRule: any StopRule
  /// Chooses λ after the path; nil keeps the path's own.
  public var lambdaRule: (any LambdaRule)?
  /// Evaluations of the flow.
  public var maximumEvaluations: Int
  /// Share of the evaluations after which the path jumps to its end.
  public var pathShare: Double
  /// When and how often the curvature is probed.
  public var probes: CurvatureProbes
  /// Where coordinates can be expected to lie: the guess for the first solution under the flow is brought
  /// within. A Gaussian's solution rings beyond black and white, where a flow's density is next to nothing.
  public var domain: ClosedRange<Double>?
  public var seed: UInt64
  /// The image's index in its source, which keys random probes.
  public var source: UInt64

  public init(
    predictor: any Predictor = SecantPredictor(), stepControl: any StepControl = AdaptiveStep(),
    stopRule: any StopRule = ToleranceRule(), lambdaRule: (any LambdaRule)? = nil,
    maximumEvaluations: Int = 200,
    pathShare: Double = 0.5, probes: CurvatureProbes = CurvatureProbes(), domain: ClosedRange<Double>? = nil,
    seed: UInt64 = 0, source: UInt64 = 0
  ) {
    self.predictor = predictor
    self.stepControl = stepControl
    self.stopRule = stopRule
    self.lambdaRule = lambdaRule
    self.maximumEvaluations = maximumEvaluations
    self.pathShare = pathShare
    self.probes = probes
    self.domain = domain
    self.seed = seed
    self.source = source
  }
}
