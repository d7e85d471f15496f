import AIPOProblems

/// How the solve after a step along the path went.
public enum StepOutcome: Sendable, Equatable {
  /// The corrector met the stop rule after this many accepted steps. `deviation` is how far the solution was
  /// from the predicted point, over how far it was from the last solution: 0 for a perfect guess, 1 for one as
  /// good as none; nil where nothing was predicted.
  case converged(iterations: Int, deviation: Double?)
  /// It used up its iterations while still descending.
  case unfinished
  /// It couldn't descend at all; the step is undone.
  case failed
}

/// Chooses the steps in s. s runs from 0 to 1.
public protocol StepControl: Sendable {
  /// nil: the path's own.
  var firstStep: Double? { get }
  /// The next step, or nil where it would be below the smallest.
  func next(after step: Double, _ outcome: StepOutcome) -> Double?
}

/// Halves on failure, and where the prediction was worse than none and the corrector had to work; doubles where
/// the corrector had little to do or the prediction was close; keeps the step otherwise.
public struct AdaptiveStep: StepControl {
  public let firstStep: Double?
  public let smallest: Double
  public let largest: Double
  /// A solve of at most this many iterations was easy.
  public let easy: Int
  /// A prediction of at most this deviation was close.
  public let close: Double

  public init(
    firstStep: Double? = nil, smallest: Double = 1e-4, largest: Double = 0.5, easy: Int = 3,
    close: Double = 0.1
  ) {
    self.firstStep = firstStep
    self.smallest = smallest
    self.largest = largest
    self.easy = easy
    self.close = close
  }

  public func next(after step: Double, _ outcome: StepOutcome) -> Double? {
    switch outcome {
    case .converged(let iterations, let deviation):
      if iterations <= easy || (deviation ?? 1) <= close { return min(2 * step, largest) }
      return (deviation ?? 0) > 1 ? max(step / 2, smallest) : step
    case .unfinished: return step
    case .failed: return step / 2 < smallest ? nil : step / 2
    }
  }
}

/// A solved place on the path.
public struct PathPoint: Sendable {
  public let s: Double
  public let sample: ObjectiveSample
}
