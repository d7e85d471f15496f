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
    _ y: Vector, penalty: any Penalty, weight: Double, from x: Vector, _ scratch: Scratch,
    isCancelled: () -> Bool = { false }
  ) throws -> Outcome {
    let pool = scratch.pool
    return try scratch.scope {
      let next = try scratch.take(x.count)
      let ahead = try scratch.take(x.count)
      let gradient = try scratch.take(x.count)
      let residual = try scratch.take(y.count)
      /// `residual ← Au − y`; gives the data term.
      func data(_ u: Vector) throws -> Double {
        try map.apply(u, into: residual, scratch)
        residual.add(y, times: -1, pool)
        return residual.dot(residual, pool) / (2 * variance)
      }
      var value = try data(x) + weight * penalty.evaluate(x, gradient: nil, scratch)
      var values = [value]
      ahead.set(x, pool)
      var momentum = 1.0
      for iteration in 1...Self.mostIterations {
        if isCancelled() { throw Interruption.cancelled }
        _ = try data(ahead)
        try map.adjoint(residual, into: gradient, scratch)
        next.set(ahead, pool)
        next.add(gradient, times: -1 / (variance * lipschitz), pool)
        let cost = try penalty.proximal(next, weight: weight / lipschitz, scratch)
        let found = try data(next) + weight * cost
        let grown = (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
        if found > value, momentum > 1 {
          // The momentum overshot: on without it.
          ahead.set(x, pool)
          momentum = 1
          continue
        }
        let push = (momentum - 1) / grown
        ahead.set(1 + push, next, plus: 0, pool)
        ahead.add(x, times: -push, pool)
        momentum = grown
        x.set(next, pool)
        value = found
        values.append(value)
        if values.count > Self.window, values[values.count - 1 - Self.window] - value < Self.epsilon {
          return Outcome(iterations: iteration, converged: true)
        }
      }
      return Outcome(iterations: Self.mostIterations, converged: false)
    }
  }
}
