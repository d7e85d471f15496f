import AIPOKernels
import AIPOProblems

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
final class PlainDescent: Minimizer {
  let length: Double

  init(length: Double) { self.length = length }

  func minimize(_ solve: Solve) throws -> SolveEnd {
    try solve.scratch.scope {
      let next = try solve.scratch.take(solve.dimension)
      while true {
        let start = solve.current
        start.gradient(solve.weights, into: next, solve.pool)
        next.set(1, start.point, plus: -length, solve.pool)
        guard !next.equals(start.point) else { return .resolution }
        guard let trial = try solve.trial({ $0.set(next, solve.pool) }) else { return .lineSearch }
        if let verdict = try solve.accept(trial).stop { return .verdict(verdict) }
      }
    }
  }
}
