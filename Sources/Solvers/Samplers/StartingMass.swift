import AIPOKernels
import AIPOProblems

/// The diagonal curvature of −log π where a chain starts, in its two parts.
struct StartingCurvature {
  /// Of the prior with its weights; nil is 1 everywhere, a latent density's.
  let prior: Tensor<Double>?
  /// Of the data term at β = 1.
  let data: Tensor<Double>

  /// The curvature of the data as a whole matrix, where there is one.
  var whole: Matrix?

  init(prior: Tensor<Double>?, data: Tensor<Double>) { (self.prior, self.data) = (prior, data) }

  /// The mass of steps at β; nil where the curvature can't be used as one.
  func mass(beta: Double) -> Mass? {
    if let matrix = matrix(beta: beta), let mass = try? Mass(matrix) { return mass }
    var sum = data
    if let prior {
      sum.withMemory { $0.setEach(nil, prior.view, $0) { $0 + beta * $1 } }
    } else {
      sum.withMemory { $0.setEach { 1 + beta * $0 } }
    }
    return CurvatureProbes.usable(sum).map { Mass(diagonal: $0) }
  }

  /// `diag(prior) + β whole`
  func matrix(beta: Double) -> Matrix? {
    guard var matrix = whole else { return nil }
    matrix.scale(by: beta)
    for i in 0..<matrix.rows { matrix[i, i] += prior?[flat: i] ?? 1 }
    return matrix
  }
}

extension SampledDensity {
  /// By random probes where a chain starts: of the prior, and of the data term, `J_fᵀ Σ⁻¹ J_f`. Nil where it can't be told.
  /// Each probe costs an evaluation or two.
  func startingCurvature(at sample: ObjectiveSample, seed: UInt64, key: UInt64, _ scratch: Scratch) throws
    -> StartingCurvature?
  {
    let probes = CurvatureProbes(count: 8, after: [], seed: seed)
    if isLatent {
      return try objective.probeCurvature(sample.point, key: key, probes: probes, scratch).map {
        StartingCurvature(prior: nil, data: $0)
      }
    }
    guard let length = measurementCount,
      var own = try objective.probeCurvature(sample.point, key: key, probes: probes, scratch),
      let data = try withScores(
        at: sample, scratch,
        { pullBack in
          try probes.meanSquares(
            dimension: dimension, probeLength: length, key: key, scratch, pullBack)
        }) ?? nil
    else { return nil }
    own.withMemory { $0.setEach { weights.flow * $0 } }
    return StartingCurvature(prior: own, data: data)
  }

  /// The mass of the first steps of chains.
  func startingMass(at sample: ObjectiveSample, seed: UInt64, key: UInt64, _ scratch: Scratch) throws -> Mass?
  {
    try startingCurvature(at: sample, seed: seed, key: key, scratch)?.mass(beta: beta)
  }

  /// The β at which the data's force on a point is as large as the prior's, at most the density's own: from there on the way
  /// from a draw of the prior to the posterior is a gentle one. Forces are told in units of the prior's curvature.
  func gentleBeta(at sample: ObjectiveSample, _ curvature: StartingCurvature?, _ scratch: Scratch) throws
    -> Double
  {
    try scratch.scope {
      let mass = curvature?.mass(beta: 0) ?? .identity
      let g = try scratch.take(dimension)
      var prior = self
      prior.beta = 0
      prior.gradient(sample, into: g, scratch.pool)
      mass.pullBack(g, scratch.pool)
      let own = g.norm(scratch.pool)
      g.set(sample.reconGradient, scratch.pool)
      mass.pullBack(g, scratch.pool)
      let data = g.norm(scratch.pool)
      return data > 0 && own > 0 ? min(beta, own / data) : beta
    }
  }
}

extension SampledDensity {
  /// Gives `body` what makes `g = Jᵀs` of a v, J that of the data's prediction in the point, whose score s has covariance Σ⁻¹
  /// where v is white; nil where it can't be had. v is overwritten.
  private func withScores<R>(
    at sample: ObjectiveSample, _ scratch: Scratch,
    _ body: ((_ v: Vector, _ g: Vector) throws -> Void) throws -> R
  ) throws -> R? {
    if let latents = objective as? LatentObjective {
      return try latents.withScores(at: sample.point, scratch, body)
    }
    guard let data = (objective as? PixelObjective)?.data else { return nil }
    let noise = try data.noise.curvature(data.observation.view)
    return try body { v, g in
      noise.drawScore(v, scratch.pool)
      try data.map.pullback(v, at: sample.pixels, into: g, scratch)
      data.encoding?.pullBack(g, at: sample.point, scratch.pool)
    }
  }

  /// The columns of `Jᵀ Σ^−½` of some measurements, `[d, rows]`: their sum of squares over all of them, `JᵀΣ⁻¹J`, is the
  /// Gauss–Newton part of the data's curvature. Each costs a pullback. Nil where they aren't finite.
  func dataFactor(at sample: ObjectiveSample, rows: [Int], _ scratch: Scratch) throws -> Matrix? {
    var factor = try Matrix(rows: dimension, columns: rows.count)
    let isFinite = try withScores(at: sample, scratch) { pullBack in
      try scratch.scope {
        let v = try scratch.take(measurementCount!)
        let g = try scratch.take(dimension)
        for (column, row) in rows.enumerated() {
          v.set(0, scratch.pool)
          v[row] = 1
          try pullBack(v, g)
          guard g.isFinite(scratch.pool) else { return false }
          factor.withMutableColumns { columns in
            for i in 0..<dimension { columns[column * dimension + i] = g[i] }
          }
        }
        return true
      }
    }
    return isFinite == true ? factor : nil
  }

  /// How many measurements the data are; nil of another objective.
  var measurementCount: Int? {
    (objective as? LatentObjective)?.data.observation.count
      ?? (objective as? PixelObjective)?.data.observation.count
  }
}
