import AIPOKernels
import AIPOPlatform
import AIPOProblems

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
struct PenaltySearch {
  let solver: ProximalGradient
  let measurements: Tensor<Double>
  let signs: Tensor<Double>

  static let ladder = (0...8).map { 256 / exp2(Double($0)) }
  /// How precise the ladder's solves are, in nats: risks differ by far more.
  static let ladderEpsilon = 0.1

  init(_ solver: ProximalGradient, measurements: Tensor<Double>, seed: UInt64, source: UInt64) throws {
    self.solver = solver
    self.measurements = measurements
    var random = Philox(seed: seed, index: source, purpose: .probe)
    var signs = measurements
    signs.withMemory { $0.setSigns(&random) }
    self.signs = signs
  }

  /// From x to the solution, with the iterations of all solves.
  func solve(
    _ penalty: () throws -> any Penalty, weight: PenaltyWeight, from x: Vector, _ scratch: Scratch,
    isCancelled: () -> Bool = { false }
  ) throws -> ProximalGradient.Outcome {
    let own = try penalty()
    var iterations = 0
    func run(
      _ y: Vector, _ penalty: any Penalty, _ weight: Double, _ x: Vector,
      epsilon: Double = ProximalGradient.epsilon
    ) throws -> ProximalGradient.Outcome {
      var outcome = try solver.minimize(
        y, penalty: penalty, weight: weight, from: x, epsilon: epsilon, scratch, isCancelled: isCancelled)
      iterations += outcome.iterations
      outcome.iterations = iterations
      return outcome
    }
    if case .value(let weight) = weight { return try run(measurements.view, own, weight, x) }
    let sigma = solver.variance.squareRoot()
    let movedPenalty = try penalty()
    return try scratch.scope {
      let shifted = try scratch.take(measurements.count)
      let moved = try scratch.take(x.count)
      let fit = try scratch.take(measurements.count)
      let movedFit = try scratch.take(measurements.count)
      shifted.set(measurements.view, scratch.pool)
      shifted.add(signs.view, times: sigma, scratch.pool)
      moved.set(x, scratch.pool)
      // Where the last solve begins.
      let lowest = try scratch.take(x.count)
      var risks: [Double] = []
      for weight in Self.ladder {
        _ = try run(measurements.view, own, weight, x, epsilon: Self.ladderEpsilon)
        _ = try run(shifted, movedPenalty, weight, moved, epsilon: Self.ladderEpsilon)
        try solver.map.apply(x, into: fit, scratch)
        try solver.map.apply(moved, into: movedFit, scratch)
        movedFit.add(fit, times: -1, scratch.pool)
        let miss = fit.distance(to: measurements.view, scratch.pool)
        risks.append(
          miss * miss / (2 * solver.variance) + signs.view.dot(movedFit, scratch.pool) / sigma)
        if risks.last == risks.min() { lowest.set(x, scratch.pool) }
        // Past the minimum the risk only rises on.
        if risks.count > 3, risks.suffix(3).allSatisfy({ $0 > risks.min()! + 2 }) { break }
      }
      x.set(lowest, scratch.pool)
      return try run(measurements.view, own, Self.best(risks), x)
    }
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
