import AIPOInverseProblems

/// How the solve after a step along the path went.
public enum StepOutcome: Sendable, Equatable {
  /// The corrector met the stop rule after this many accepted steps.
  case converged(iterations: Int)
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

/// Halves on failure, doubles on ease, keeps the step otherwise.
public struct AdaptiveStep: StepControl {
  public let firstStep: Double?
  public let smallest: Double
  public let largest: Double
  /// A solve of at most this many iterations was easy.
  public let easy: Int

  public init(firstStep: Double? = nil, smallest: Double = 1e-4, largest: Double = 0.5, easy: Int = 3) {
    self.firstStep = firstStep
    self.smallest = smallest
    self.largest = largest
    self.easy = easy
  }

  public func next(after step: Double, _ outcome: StepOutcome) -> Double? {
    switch outcome {
    case .converged(let iterations): return iterations <= easy ? min(2 * step, largest) : step
    case .unfinished: return step
    case .failed: return step / 2 < smallest ? nil : step / 2
    }
  }
}

/// A solved place on the path.
public struct PathPoint: Sendable {
  public let s: Double
  public let point: [Double]
}

/// Guesses the next solution from those before.
public protocol Predictor: Sendable {
  /// `history` holds the last solved places, oldest first, one at least.
  func predict(_ history: [PathPoint], at s: Double) -> [Double]
}

/// The last solution.
public struct NoPredictor: Predictor {
  public init() {}
  public func predict(_ history: [PathPoint], at s: Double) -> [Double] { history[history.count - 1].point }
}

/// The secant `x_k + (Δ_k/Δ_{k−1})(x_k − x_{k−1})`, which costs no evaluation of its own. The machine
/// starts from the last solution instead where the guess is the worse of the two.
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
