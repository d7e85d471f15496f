import AIPOKernels
import AIPOProblems

/// Guesses the next solution from those before. The machine starts from the last solution instead where the
/// guess is the worse of the two.
public protocol Predictor: Sendable {
  /// `history` holds the last solved places, oldest first, one at least.
  /// `guess` is the last solution until it is changed.
  func predict(_ history: [PathPoint], at s: Double, _ guess: Vector, _ pool: ThreadPool)

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
  public func predict(_ history: [PathPoint], at s: Double, _ guess: Vector, _ pool: ThreadPool) {}
}

/// The secant `x_k + (Δ_k/Δ_{k−1})(x_k − x_{k−1})`, which costs no evaluation of its own.
public struct SecantPredictor: Predictor {
  public init() {}
  public func predict(_ history: [PathPoint], at s: Double, _ guess: Vector, _ pool: ThreadPool) {
    guard history.count > 1 else { return }
    let (before, last) = (history[history.count - 2], history[history.count - 1])
    let ratio = (s - last.s) / (last.s - before.s)
    guess.add(last.sample.point, times: ratio, pool)
    guess.add(before.sample.point, times: -ratio, pool)
  }
}

/// The tangent: `x_k + v` with `∇²L v = −Σ Δw ∇R`, Δw the change of the weights of the terms R, which for a path in
/// λ is `dx/dλ = −H⁻¹∇R`. By preconditioned conjugate gradients, whose products are central differences of
/// gradients and cost two evaluations each; they end where the residual is below a tenth of the right-hand side,
/// or the curvature is negative.
public struct TangentPredictor: Predictor {
  public let tangentProducts: Int

  public init(products: Int = 8) { tangentProducts = products }

  public func predict(_ history: [PathPoint], at s: Double, _ guess: Vector, _ pool: ThreadPool) {}
}

/// The tangent of the path: `∇²L v = −slope` by conjugate gradients.
enum Tangent {
  /// They end where the residual is below this share of the right-hand side.
  static let tolerance = 0.1

  /// v, as far as the products and a density beside the point allow; nil where nothing came out.
  static func step(
    _ evaluator: Evaluator, at sample: ObjectiveSample, weights: ObjectiveWeights, slope: Vector,
    products: Int,
    metric: Metric?
  ) throws -> Tensor<Double>? {
    let scratch = evaluator.scratch
    return try scratch.scope {
      var search = try SteihaugSearch(gradient: slope, scratch)
      let product = try scratch.take(slope.count)
      try search.begin(metric)
      for _ in 0..<products where search.residualSquare > 0 {
        let isFinite = try CentralDifference.product(
          search.direction, at: sample.point, into: product, weights: weights,
          resolution: evaluator.objective.resolution, scratch
        ) { set in try evaluator.evaluate(weights, at: set) }
        guard isFinite else { break }
        if try search.advance(product: product, radius: .infinity, tolerance: tolerance) { break }
      }
      return search.stepSquare > 0 ? try search.step.tensor(shape: [slope.count]) : nil
    }
  }
}
