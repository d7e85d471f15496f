import AIPOInverseProblems

/// λ from 0 to Λ in proportion to s.
struct UniformLambdaPath: SolutionPath {
  let target: Double
  var name: String { "theorem" }

  func weights(at s: Double) -> ObjectiveWeights {
    ObjectiveWeights(lambda: s >= 1 ? target : target * max(s, 0))
  }
}

/// Steps of one length.
struct EqualSteps: StepControl {
  let length: Double
  var firstStep: Double? { length }
  func next(after step: Double, _ outcome: StepOutcome) -> Double? { length }
}

/// A number of steps at every place; the last solve goes on by a rule of its own.
struct CountedSteps: StopRule {
  let count: Int
  let final: any StopRule

  func verdict(_ progress: SolveProgress) -> StopVerdict? {
    // The path begins at the minimiser of λ = 0.
    if progress.isFree { return .gradient }
    if progress.iterations < count { return progress.gradientNorm == 0 ? .gradient : nil }
    return progress.isFinal ? final.verdict(progress) : .iterations
  }
}

/// Gradient descent with steps of one length and no search.
struct PlainDescent: Corrector {
  let length: Double
  private var point: [Double] = []
  private var gradient: [Double] = []
  private var weights = ObjectiveWeights(lambda: 0)

  init(length: Double) { self.length = length }

  mutating func begin(
    _ point: [Double], _ sample: ObjectiveSample, weights: ObjectiveWeights,
    curvature: (any CurvatureSolver)?, resolution: Double
  ) {
    self.point = point
    self.weights = weights
    gradient = sample.gradient(weights)
  }

  mutating func propose() -> Result<[Double], CorrectorFailure> {
    let next = adding(point, gradient, scaledBy: -length)
    return next == point ? .failure(CorrectorFailure(.resolution)) : .success(next)
  }

  mutating func receive(_ trial: [Double], _ outcome: ObjectiveSample?) -> CorrectorOutcome {
    guard let outcome else { return .stuck(.lineSearch) }
    point = trial
    gradient = outcome.gradient(weights)
    return .accepted(point: trial, sample: outcome)
  }
}
