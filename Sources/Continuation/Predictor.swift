import AIPOInverseProblems

/// Guesses the next solution from those before. The machine starts from the last solution instead where the
/// guess is the worse of the two.
public protocol Predictor: Sendable {
  /// `history` holds the last solved places, oldest first, one at least.
  func predict(_ history: [PathPoint], at s: Double) -> [Double]

  /// Most Hessian-vector products that the tangent of the path may take, which the machine adds to the guess;
  /// 0: no tangent.
  var tangentProducts: Int { get }
}

extension Predictor {
  public var tangentProducts: Int { 0 }
}

/// The last solution.
public struct NoPredictor: Predictor {
  public init() {}
  public func predict(_ history: [PathPoint], at s: Double) -> [Double] { history[history.count - 1].point }
}

/// The secant `x_k + (Δ_k/Δ_{k−1})(x_k − x_{k−1})`, which costs no evaluation of its own.
public struct SecantPredictor: Predictor {
  public init() {}
  public func predict(_ history: [PathPoint], at s: Double) -> [Double] {
    let last = history[history.count - 1]
    guard history.count > 1 else { return last.point }
    let before = history[history.count - 2]
    let ratio = (s - last.s) / (last.s - before.s)
    return adding(last.point, adding(last.point, before.point, scaledBy: -1), scaledBy: ratio)
  }
}

/// The tangent: `x_k + v` with `∇²L v = −Σ Δw ∇R`, Δw the change of the weights of the terms R, which for a path in
/// λ is `dx/dλ = −H⁻¹∇R`. By preconditioned conjugate gradients, whose products are central differences of
/// gradients and cost two evaluations each; they end where the residual is below a tenth of the right-hand side,
/// or the curvature is negative.
public struct TangentPredictor: Predictor {
  public let tangentProducts: Int

  public init(products: Int = 8) { tangentProducts = products }

  public func predict(_ history: [PathPoint], at s: Double) -> [Double] { history[history.count - 1].point }
}

/// The conjugate gradients of one tangent.
struct TangentSearch: Sendable {
  static let tolerance = 0.1

  /// Where on the path it is to lead.
  let next: Double
  /// Left of them.
  private var products: Int
  private var search: SteihaugSearch
  private let curvature: (any CurvatureSolver)?
  private var ahead: (point: [Double], gradient: [Double])?

  /// `slope`: `Σ Δw ∇R`, the change of the gradient at the present point.
  init(next: Double, slope: [Double], products: Int, curvature: (any CurvatureSolver)?) {
    self.next = next
    self.products = products
    self.curvature = curvature
    search = SteihaugSearch(gradient: slope, preconditioned: curvature?.solve(slope) ?? slope)
  }

  /// v so far.
  var step: [Double] { search.step }
  var isOver: Bool { products == 0 || !(search.residualSquare > 0) }

  /// The point where the next gradient is needed.
  func point(beside x: [Double], resolution: Double) -> [Double] {
    let difference = CentralDifference(at: x, along: search.direction, resolution: resolution)
    return ahead == nil ? difference.ahead : difference.behind
  }

  /// Takes the gradient at a point as it was evaluated, nil where it isn't finite.
  mutating func receive(_ point: [Double], _ gradient: [Double]?, beside x: [Double], resolution: Double) {
    guard let gradient else {
      products = 0
      return
    }
    guard let ahead else {
      self.ahead = (point, gradient)
      return
    }
    self.ahead = nil
    products -= 1
    let difference = CentralDifference(at: x, along: search.direction, resolution: resolution)
    let isDone = search.advance(
      product: difference.product(ahead: ahead, behind: (point, gradient)), radius: .infinity,
      tolerance: Self.tolerance, curvature: curvature)
    if isDone { products = 0 }
  }
}
