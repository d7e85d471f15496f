import AIPOKernels
import AIPOProblems

extension SampledDensity {
  /// A diagonal mass for the first steps of chains, by random probes of the curvature where one of them starts: of the prior,
  /// and of the data term `J_fᵀ Σ⁻¹ J_f`. Nil where it can't be told. Each probe costs an evaluation or two.
  func startingMass(at sample: ObjectiveSample, seed: UInt64, key: UInt64, _ scratch: Scratch) throws -> Mass?
  {
    let probes = CurvatureProbes(count: 8, after: [], seed: seed)
    if isLatent {
      // The base density's own is 1.
      guard let data = try objective.probeCurvature(sample.point, key: key, probes: probes, scratch) else {
        return nil
      }
      var mass = data
      mass.withMemory { $0.setEach { 1 + beta * $0 } }
      return Mass(diagonal: mass)
    }
    guard let pixels = objective as? PixelObjective,
      let own = try objective.probeCurvature(sample.point, key: key, probes: probes, scratch),
      let data = try probes.dataCurvature(pixels.data, at: sample, key: key, scratch)
    else { return nil }
    var mass = own
    mass.withMemory { $0.setEach(nil, $0, data.view) { weights.flow * $0 + beta * $1 } }
    return CurvatureProbes.usable(mass).map { Mass(diagonal: $0) }
  }
}

extension CurvatureProbes {
  /// The diagonal of the data term's curvature over x, `diag(h′)J_fᵀΣ⁻¹J_f diag(h′)`, by random scores.
  func dataCurvature(_ data: DataTerm, at sample: ObjectiveSample, key: UInt64, _ scratch: Scratch) throws
    -> Tensor<Double>?
  {
    let noise = try data.noise.curvature(data.observation.view)
    return try meanSquares(
      dimension: data.count, probeLength: data.observation.count, key: key, scratch
    ) { v, g in
      noise.drawScore(v, scratch.pool)
      try data.map.pullback(v, at: sample.pixels, into: g, scratch)
      data.encoding?.pullBack(g, at: sample.point, scratch.pool)
    }
  }
}
