import AIPOInverseProblems
import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The weight of the penalty of `tv` and `lasso`, in nats a unit of the penalty.
public enum PenaltyWeight: Sendable, Hashable {
  case value(Double)
  /// Chosen image by image without the truth, where Stein's unbiased estimate of the error of the fitted
  /// measurements is least.
  case auto
}

/// Solves for one image with the weight given or chosen. The degrees of freedom are estimated by one random
/// probe of signs b, the same for every weight: `df ≈ bᵀ(Ax(y + σb) − Ax(y))/σ`, and the risk is
/// `‖y − Ax‖²/(2σ²) + df`.
struct PenaltySearch: Sendable {
  let solver: ProximalGradient
  let measurements: [Double]
  let signs: [Double]

  static let ladder = (0...8).map { 256 / exp2(Double($0)) }

  init(_ solver: ProximalGradient, measurements: [Double], seed: UInt64, source: UInt64) {
    self.solver = solver
    self.measurements = measurements
    var random = Philox(seed: seed, index: source, purpose: .probe)
    signs = measurements.map { _ in random.next() & 1 == 0 ? 1 : -1 }
  }

  func solve(_ penalty: some Penalty, weight: PenaltyWeight, from start: [Double])
    -> ProximalGradient.Solution
  {
    var iterations = 0
    var (penalty, moved) = (penalty, penalty)
    var x = start
    func run(_ weight: Double) -> ProximalGradient.Solution {
      var solution = solver.minimize(measurements, penalty: &penalty, weight: weight, from: x)
      x = solution.point
      iterations += solution.iterations
      solution.iterations = iterations
      return solution
    }
    guard case .auto = weight else {
      if case .value(let weight) = weight { return run(weight) }
      return run(1)
    }
    let sigma = solver.variance.squareRoot()
    let shifted = adding(measurements, signs, scaledBy: sigma)
    var other = start
    var risks: [Double] = []
    for weight in Self.ladder {
      _ = run(weight)
      let probe = solver.minimize(shifted, penalty: &moved, weight: weight, from: other)
      other = probe.point
      iterations += probe.iterations
      let fit = solver.linearOperator.apply(x)
      let residual = adding(measurements, fit, scaledBy: -1)
      let change = adding(solver.linearOperator.apply(other), fit, scaledBy: -1)
      risks.append(dot(residual, residual) / (2 * solver.variance) + dot(signs, change) / sigma)
      // Past the minimum the risk only rises on.
      if risks.count > 3, risks.suffix(3).allSatisfy({ $0 > risks.min()! + 2 }) { break }
    }
    return run(Self.best(risks))
  }

  /// The weight of the least risk, by a parabola in its logarithm between the rungs.
  private static func best(_ risks: [Double]) -> Double {
    let k = risks.indices.min { risks[$0] < risks[$1] }!
    guard k > 0, k + 1 < risks.count else { return ladder[k] }
    let (before, after) = (risks[k - 1] - risks[k], risks[k + 1] - risks[k])
    guard before + after > 0 else { return ladder[k] }
    // Rungs fall by halves.
    return ladder[k] * exp2(-0.5 * (before - after) / (before + after))
  }
}
