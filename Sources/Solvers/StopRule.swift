/// What a stop rule sees after every accepted step of a corrector.
public struct SolveProgress: Sendable {
  /// Accepted steps of this solve.
  public var iterations = 0
  /// ‖∇L‖ now, at the start of this solve, and at the target weights at the start of the run.
  public var gradientNorm = 0.0
  public var startGradientNorm = 0.0
  public var referenceGradientNorm = 0.0
  /// L after each accepted step of this solve, the start first (the last 64).
  public var objectives: [Double] = []
  /// d, and what rounding can do to L at the present point: what nats are measured by.
  public var dimension = 1
  public var rounding = 0.0
  /// Whether this is the solve at the end of the path.
  public var isFinal = false
  /// Whether the flow has no weight, so that iterations cost nothing.
  public var isFree = false

  /// Nats of a change that is small at this rate a root of the image's values: the density of an image of d values is
  /// known to about √d. What rounding can do is always small, but for a rate of 0.
  func threshold(_ rate: Double) -> Double {
    rate > 0 ? max(rate * Double(dimension).squareRoot(), rounding) : 0
  }

  /// The most that L differed by over the last steps; nil before there were as many.
  func change(over steps: Int) -> Double? {
    guard objectives.count > steps else { return nil }
    let recent = objectives.suffix(steps + 1)
    return recent.max()! - recent.min()!
  }
}

public enum StopVerdict: Sendable, Equatable {
  /// ‖∇L‖ fell below the tolerance relative to the start.
  case gradient
  /// L changed by less than ε over the last steps.
  case objective
  /// The iterations meant for a solve on the way are used up.
  case iterations
}

/// Decides when a solve is done; nil means to go on.
public protocol StopRule: Sendable {
  func verdict(_ progress: SolveProgress) -> StopVerdict?
}

/// The solve at the end of the path stops when ‖∇L‖ ≤ tolerance × its value at the start of the run, or
/// when L changed by less than `epsilon`·√d nats over `window` accepted steps, d the values of an image. Solves on the
/// way need only follow the path: they stop at a looser gradient, a small decrease in one step, or after a few
/// iterations.
public struct ToleranceRule: StopRule {
  public var tolerance: Double
  public var epsilon: Double
  public var window: Int
  public var intermediateTolerance: Double
  public var intermediateEpsilon: Double
  public var intermediateIterations: Int

  public init(
    tolerance: Double = 1e-4, epsilon: Double = 0.0018, window: Int = 5, intermediateTolerance: Double = 0.1,
    intermediateEpsilon: Double = 0.018, intermediateIterations: Int = 10
  ) {
    self.tolerance = tolerance
    self.epsilon = epsilon
    self.window = window
    self.intermediateTolerance = intermediateTolerance
    self.intermediateEpsilon = intermediateEpsilon
    self.intermediateIterations = intermediateIterations
  }

  /// `epsilon` where an objective's last digits don't matter.
  static let coarseEpsilon = 0.107

  /// Every solve to the same tolerance: what theorems about the path speak of.
  public static func exact(tolerance: Double = 1e-9) -> ToleranceRule {
    ToleranceRule(
      tolerance: tolerance, epsilon: 0, intermediateTolerance: tolerance, intermediateEpsilon: 0,
      intermediateIterations: .max)
  }

  public func verdict(_ progress: SolveProgress) -> StopVerdict? {
    if progress.gradientNorm == 0 { return .gradient }
    if progress.isFree {
      if progress.gradientNorm <= 1e-6 * progress.startGradientNorm { return .gradient }
      return progress.iterations >= 200 ? .iterations : nil
    }
    guard progress.isFinal else {
      let reference = max(progress.startGradientNorm, progress.referenceGradientNorm)
      if progress.gradientNorm <= intermediateTolerance * progress.startGradientNorm
        || progress.gradientNorm <= tolerance * reference
      {
        return .gradient
      }
      if let change = progress.change(over: 1), change < progress.threshold(intermediateEpsilon) {
        return .objective
      }
      return progress.iterations >= intermediateIterations ? .iterations : nil
    }
    if progress.gradientNorm <= tolerance * progress.referenceGradientNorm { return .gradient }
    if let change = progress.change(over: window), change < progress.threshold(epsilon) { return .objective }
    return nil
  }
}
