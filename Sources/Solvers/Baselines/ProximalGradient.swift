import AIPOKernels
import AIPOPriors
import AIPOProblems

/// A convex penalty with its proximal map. It may keep what it found to start the next search, so it serves one solve.
protocol Penalty: Energy, AnyObject {
  /// `x ← argmin_u ½‖u − x‖² + weight·E(u)`; gives E there.
  func proximal(_ x: Vector, weight: Double, _ scratch: Scratch) throws -> Double
}

/// Minimises `‖y − Ax‖²/(2v) + weight·penalty(x)` by FISTA, begun anew where the objective rises.
///
/// Sources: A. Beck, M. Teboulle, *A fast iterative shrinkage-thresholding algorithm*, SIAM J. Imaging Sciences 2
/// (2009); B. O'Donoghue, E. Candès, *Adaptive restart for accelerated gradient schemes* (2015).
struct ProximalGradient {
  let map: any LinearMap
  /// v, the variance of the noise.
  let variance: Double
  /// An upper bound of the largest eigenvalue of AᵀA/v.
  private let lipschitz: Double

  struct Outcome {
    var iterations: Int
    /// Whether further steps no longer changed the objective.
    var converged: Bool
  }

  static let mostIterations = 3000
  /// The objective has settled when it changed by less than so many nats over so many steps.
  static let epsilon = 1e-3
  static let window = 10

  init(_ map: any LinearMap, variance: Double, _ scratch: Scratch) throws {
    self.map = map
    self.variance = variance
    // A little more, for what the estimate leaves.
    lipschitz = max(1.001 * (try map.squaredNorm(scratch)), .leastNormalMagnitude) / variance
  }

  /// From x to the solution. Throws `Interruption.cancelled` where it is told so, with the lowest x so far.
  func minimize(
    _ y: Vector, penalty: any Penalty, weight: Double, from x: Vector, epsilon: Double = Self.epsilon,
    _ scratch: Scratch, isCancelled: () -> Bool = { false }
  ) throws -> Outcome {
    let pool = scratch.pool
    return try scratch.scope {
      let (next, ahead, gradient) = (
        try scratch.take(x.count), try scratch.take(x.count), try scratch.take(x.count)
      )
      // A of x, of next and of ahead, which is a sum of both.
      let (seen, nextSeen, aheadSeen) = (
        try scratch.take(y.count), try scratch.take(y.count), try scratch.take(y.count)
      )
      func data(_ seen: Vector) -> Double {
        let miss = seen.distance(to: y, pool)
        return miss * miss / (2 * variance)
      }
      try map.apply(x, into: seen, scratch)
      var value = data(seen) + weight * (try penalty.evaluate(x, gradient: nil, scratch))
      var values = [value]
      ahead.set(x, pool)
      aheadSeen.set(seen, pool)
      var momentum = 1.0
      for iteration in 1...Self.mostIterations {
        if isCancelled() { throw Interruption.cancelled }
        aheadSeen.add(y, times: -1, pool)
        try map.adjoint(aheadSeen, into: gradient, scratch)
        next.set(ahead, pool)
        next.add(gradient, times: -1 / (variance * lipschitz), pool)
        let cost = try penalty.proximal(next, weight: weight / lipschitz, scratch)
        try map.apply(next, into: nextSeen, scratch)
        let found = data(nextSeen) + weight * cost
        if found > value, momentum > 1 {
          // The momentum overshot: on without it.
          ahead.set(x, pool)
          aheadSeen.set(seen, pool)
          momentum = 1
          continue
        }
        let grown = (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
        let push = (momentum - 1) / grown
        for (ahead, next, last) in [(ahead, next, x), (aheadSeen, nextSeen, seen)] {
          ahead.set(1 + push, next, plus: 0, pool)
          ahead.add(last, times: -push, pool)
          last.set(next, pool)
        }
        momentum = grown
        value = found
        values.append(value)
        if values.count > Self.window, values[values.count - 1 - Self.window] - value < epsilon {
          return Outcome(iterations: iteration, converged: true)
        }
      }
      return Outcome(iterations: Self.mostIterations, converged: false)
    }
  }
}
