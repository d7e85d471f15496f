import AIPOInverseProblems
import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A convex penalty with its proximal map.
protocol Penalty: Sendable {
  func value(_ x: [Double]) -> Double
  /// `argmin_u ½‖u − v‖² + weight·value(u)`; what was found last may be kept to start the next search.
  mutating func proximal(_ v: [Double], weight: Double) -> [Double]
}

/// Minimises `‖y − Ax‖²/(2v) + weight·penalty(x)` by FISTA, begun anew where the objective rises.
///
/// Sources: A. Beck, M. Teboulle, *A fast iterative shrinkage-thresholding algorithm*, SIAM J. Imaging Sciences 2
/// (2009); B. O'Donoghue, E. Candès, *Adaptive restart for accelerated gradient schemes* (2015).
struct ProximalGradient: Sendable {
  let linearOperator: any LinearOperator
  /// v, the variance of the noise.
  let variance: Double
  /// An upper bound of the largest eigenvalue of AᵀA/v.
  private let lipschitz: Double

  struct Solution: Sendable {
    var point: [Double]
    var iterations: Int
    /// Whether further steps no longer changed the objective.
    var converged: Bool
  }

  static let mostIterations = 3000
  /// The objective has settled when it changed by less than so many nats over so many steps.
  static let epsilon = 1e-3
  static let window = 10

  init(_ linearOperator: any LinearOperator, variance: Double) {
    self.linearOperator = linearOperator
    self.variance = variance
    let square: Double
    if case .selection(_, let scale) = linearOperator.form {
      square = scale.reduce(0) { max($0, $1 * $1) }
    } else {
      square = Self.largestEigenvalue(linearOperator)
    }
    lipschitz = max(square, .leastNormalMagnitude) / variance
  }

  /// Of AᵀA, by power iteration from a fixed start, and a little more.
  private static func largestEigenvalue(_ a: any LinearOperator) -> Double {
    var random = Philox(seed: 0, purpose: .start)
    var v = (0..<a.inputCount).map { _ in random.normal() }
    var value = 0.0
    for _ in 0..<60 {
      let length = norm(v)
      guard length > 0 else { return 0 }
      v = a.adjoint(a.apply(v.map { $0 / length }))
      value = norm(v)
    }
    return 1.05 * value
  }

  func minimize(_ y: [Double], penalty: inout some Penalty, weight: Double, from start: [Double]) -> Solution
  {
    /// The data term and its gradient.
    func data(_ x: [Double]) -> (value: Double, gradient: [Double]) {
      let residual = adding(linearOperator.apply(x), y, scaledBy: -1)
      return (
        dot(residual, residual) / (2 * variance), linearOperator.adjoint(residual).map { $0 / variance }
      )
    }
    func objective(_ x: [Double]) -> Double { data(x).value + weight * penalty.value(x) }
    var x = start
    var value = objective(x)
    var values = [value]
    var ahead = x
    var momentum = 1.0
    for iteration in 1...Self.mostIterations {
      let step = adding(ahead, data(ahead).gradient, scaledBy: -1 / lipschitz)
      let next = penalty.proximal(step, weight: weight / lipschitz)
      let found = objective(next)
      let grown = (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
      if found > value, momentum > 1 {
        // The momentum overshot: on without it.
        ahead = x
        momentum = 1
        continue
      }
      ahead = adding(next, adding(next, x, scaledBy: -1), scaledBy: (momentum - 1) / grown)
      momentum = grown
      (x, value) = (next, found)
      values.append(value)
      if values.count > Self.window, values[values.count - 1 - Self.window] - value < Self.epsilon {
        return Solution(point: x, iterations: iteration, converged: true)
      }
    }
    return Solution(point: x, iterations: Self.mostIterations, converged: false)
  }
}
