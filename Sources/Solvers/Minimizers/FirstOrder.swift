import AIPOKernels
import AIPOProblems

/// Gradient descent with backtracking: the step grows by half after every success and is halved until the
/// objective falls by `10⁻⁴·α‖∇L‖²`. The first step is `firstStep / ‖∇L‖`.
public final class GradientDescent: Minimizer {
  public let firstStep: Double
  /// α, from solve to solve.
  private var step: Double?

  public init(firstStep: Double = 0.1) { self.firstStep = firstStep }

  public func minimize(_ solve: Solve) throws -> SolveEnd {
    try solve.scratch.scope {
      let gradient = try solve.scratch.take(solve.dimension)
      var halvings = 0
      while true {
        let start = solve.current
        start.gradient(solve.weights, into: gradient, solve.pool)
        let square = gradient.dot(gradient, solve.pool)
        guard square > 0 else { return .resolution }
        let length = step ?? firstStep / square.squareRoot()
        step = length
        let (value, least) = (solve.value, 0.25 * solve.rounding)
        if length * square < least, halvings == 0 { return .resolution }
        let trial = try solve.trial { point in
          point.set(start.point, solve.pool)
          point.add(gradient, times: -length, solve.pool)
        }
        if let trial, trial.value(solve.weights) <= value - 1e-4 * length * square {
          step = 1.5 * length
          halvings = 0
          if let verdict = try solve.accept(trial).stop { return .verdict(verdict) }
          continue
        }
        halvings += 1
        step = length / 2
        if length * square < least { return .resolution }
        guard halvings < 60 else { return .lineSearch }
      }
    }
  }
}

/// Adam (Kingma and Ba, 2015), rate 0.01 by default. A point that isn't finite is not taken: the rate is
/// halved and the moments start anew. The objective may rise from step to step; the solve keeps the lowest point.
public final class AdamDescent: Minimizer {
  public let rate: Double
  public let decay: (first: Double, second: Double)

  /// The moments, one behind the other, from solve to solve, and `decayⁿ` after n steps.
  private var moments: Storage<Double>?
  private var powers = (first: 1.0, second: 1.0)
  private var scale = 1.0

  public init(rate: Double = 0.01, decay: (first: Double, second: Double) = (0.9, 0.999)) {
    self.rate = rate
    self.decay = decay
  }

  public func minimize(_ solve: Solve) throws -> SolveEnd {
    let (d, pool) = (solve.dimension, solve.pool)
    let storage = try moments ?? Storage(count: 2 * d)
    moments = storage
    let (first, second) = (storage.memory[0..<d], storage.memory[d..<2 * d])
    return try solve.scratch.scope {
      let gradient = try solve.scratch.take(d)
      let way = try solve.scratch.take(d)
      while true {
        let start = solve.current
        start.gradient(solve.weights, into: gradient, pool)
        guard gradient.dot(gradient, pool) > 0 else { return .resolution }
        powers.first *= decay.first
        powers.second *= decay.second
        let (decay, rate) = (decay, scale * rate)
        let bias = (first: 1 - powers.first, second: 1 - powers.second)
        first.setEach(pool, first, gradient) { decay.first * $0 + (1 - decay.first) * $1 }
        second.setEach(pool, second, gradient) { decay.second * $0 + (1 - decay.second) * $1 * $1 }
        way.setEach(pool, first, second) {
          rate * ($0 / bias.first) / (($1 / bias.second).squareRoot() + 1e-12)
        }
        guard let trial = try solve.trial({ $0.setDifference(start.point, way, pool) }) else {
          scale /= 2
          storage.memory.set(0, pool)
          powers = (1, 1)
          guard scale > 1e-9 else { return .lineSearch }
          continue
        }
        if let verdict = try solve.accept(trial).stop { return .verdict(verdict) }
      }
    }
  }
}
