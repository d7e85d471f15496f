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
  /// Whether this is the solve at the end of the path.
  public var isFinal = false
  /// Whether the flow has no weight, so that iterations cost nothing.
  public var isFree = false
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
/// when L changed by less than `epsilon` nats over `window` accepted steps. Solves on the way need only
/// follow the path: they stop at a looser gradient, a small decrease in one step, or after a few
/// iterations.
public struct ToleranceRule: StopRule {
  public var tolerance: Double
  public var epsilon: Double
  public var window: Int
  public var intermediateTolerance: Double
  public var intermediateEpsilon: Double
  public var intermediateIterations: Int

  public init(
    tolerance: Double = 1e-4, epsilon: Double = 0.05, window: Int = 5, intermediateTolerance: Double = 0.1,
    intermediateEpsilon: Double = 0.5, intermediateIterations: Int = 10
  ) {
    self.tolerance = tolerance
    self.epsilon = epsilon
    self.window = window
    self.intermediateTolerance = intermediateTolerance
    self.intermediateEpsilon = intermediateEpsilon
    self.intermediateIterations = intermediateIterations
  }

  /// Every solve to the same tolerance: what theorems about the path speak of.
  public static func exact(tolerance: Double = 1e-9) -> ToleranceRule {
    ToleranceRule(
      tolerance: tolerance, epsilon: 0, intermediateTolerance: tolerance, intermediateEpsilon: 0,
      intermediateIterations: .max)
  }

  public func verdict(_ progress: SolveProgress) -> StopVerdict? {
    let objectives = progress.objectives
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
      if objectives.count > 1 {
        let change = objectives[objectives.count - 2] - objectives[objectives.count - 1]
        if change.magnitude < intermediateEpsilon { return .objective }
      }
      return progress.iterations >= intermediateIterations ? .iterations : nil
    }
    if progress.gradientNorm <= tolerance * progress.referenceGradientNorm { return .gradient }
    if objectives.count > window {
      let recent = objectives.suffix(window + 1)
      if recent.max()! - recent.min()! < epsilon { return .objective }
    }
    return nil
  }
}
