import AIPOKernels
import AIPOProblems

/// Minimises the objective of one image, solve by solve. It may keep between solves what it has learned.
public protocol Minimizer: AnyObject {
  /// Descends from `solve.current` by `solve.trial` and `solve.accept` until that says to stop.
  func minimize(_ solve: Solve) throws -> SolveEnd
}

/// How a solve ended.
public enum SolveEnd: Sendable, Equatable {
  /// The stop rule's word.
  case verdict(StopVerdict)
  /// The evaluations meant for it are used up.
  case budget
  /// The decrease still to be had is below what the objective's arithmetic can show.
  case resolution
  /// No acceptable step was found although the gradient promises one.
  case lineSearch
}

/// One solve: the objective at fixed weights, from an evaluated point down.
public final class Solve {
  public let evaluator: Evaluator
  public let weights: ObjectiveWeights
  /// The lowest evaluated point that was accepted last.
  public private(set) var current: ObjectiveSample
  /// The curvature to suppose; nil where none is known. It changes where `accept` says so.
  public fileprivate(set) var metric: Metric?
  public private(set) var progress: SolveProgress
  /// The lowest of all accepted points.
  private(set) var best: ObjectiveSample
  /// Evaluations at which it ends.
  private let limit: Int
  private let accepted: (Solve) throws -> Step
  private let modify: ((ObjectiveSample) throws -> Void)?

  /// What follows an accepted point.
  enum Step {
    case goOn
    case stop(StopVerdict)
    /// The metric is another one.
    case metric(Metric?)
  }

  /// - Parameters:
  ///   - limit: evaluations of the evaluator at which it ends.
  ///   - modify: changes a sample after its evaluation.
  ///   - accepted: called with each accepted point.
  init(
    _ evaluator: Evaluator, from sample: ObjectiveSample, weights: ObjectiveWeights, metric: Metric?,
    progress: SolveProgress, limit: Int, modify: ((ObjectiveSample) throws -> Void)? = nil,
    accepted: @escaping (Solve) throws -> Step
  ) {
    self.evaluator = evaluator
    self.weights = weights
    self.metric = metric
    self.progress = progress
    self.limit = limit
    self.modify = modify
    self.accepted = accepted
    current = sample
    best = sample
  }

  public var dimension: Int { evaluator.dimension }
  public var pool: ThreadPool { evaluator.pool }
  public var scratch: Scratch { evaluator.scratch }

  /// L at the current point.
  public var value: Double { current.value(weights) }
  /// What rounding can do to it.
  public var rounding: Double { current.rounding(weights, resolution: evaluator.objective.resolution) }

  /// Evaluates the point that `set` writes, rounded; nil where it isn't finite. Throws where the solve is to end.
  public func trial(_ set: (_ point: Vector) throws -> Void) throws -> ObjectiveSample? {
    if weights.flow != 0, evaluator.evaluations >= limit { throw Interruption.budget }
    guard let sample = try evaluator.evaluate(weights, at: set) else { return nil }
    try modify?(sample)
    return sample
  }

  /// Makes an evaluated point the current one.
  ///
  /// - Returns: the verdict where the solve is to stop, and whether the metric has changed.
  public func accept(_ sample: ObjectiveSample) throws -> (stop: StopVerdict?, metricChanged: Bool) {
    current = sample
    let value = sample.value(weights)
    progress.iterations += 1
    progress.gradientNorm = try sample.gradientNorm(weights, scratch)
    progress.rounding = rounding
    progress.objectives.append(value)
    if progress.objectives.count > 64 { progress.objectives.removeFirst() }
    if value < best.value(weights) { best = sample }
    switch try accepted(self) {
    case .goOn: return (nil, false)
    case .stop(let verdict): return (verdict, false)
    case .metric(let metric):
      self.metric = metric
      return (nil, true)
    }
  }

  /// `result ← H⁻¹v` by the metric, v itself without one.
  public func precondition(_ v: Vector, into result: Vector) throws {
    if let metric { try metric.solve(v, into: result, scratch) } else { result.set(v, pool) }
  }

  /// Where it ended: back at the lowest point, where a minimizer has risen above it by more than rounding.
  var end: ObjectiveSample { best.value(weights) < value - rounding ? best : current }
}
