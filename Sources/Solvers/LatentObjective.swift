import AIPOKernels
import AIPOPriors
import AIPOProblems

/// What weighs latents.
public enum LatentRegularizer: Sendable {
  /// −log p(G(ε)), the image's density.
  case density
  /// −log p_base(ε) alone, without the log-determinant: another objective, with other minimisers.
  case base
}

/// The same objective over latents ε, x = G(ε), with the log-determinant in full:
///
///     −log p(G(ε)) = −log p_base(ε) + log|det ∂x/∂ε|
///
/// so that its minimisers are those over x; only the conditioning differs.
public final class LatentObjective: Objective {
  public let data: DataTerm
  public let prior: any LatentPrior
  public let gaussian: GaussianPrior?
  public let regularizer: LatentRegularizer

  public var dimension: Int { data.count }
  public var latentCoordinates: Bool { true }
  public var resolution: Double { prior.resolution }

  public init(
    data: DataTerm, prior: any LatentPrior, gaussian: GaussianPrior?,
    regularizer: LatentRegularizer = .density
  ) {
    self.data = data
    self.prior = prior
    self.gaussian = gaussian
    self.regularizer = regularizer
  }

  public func round(_ point: Vector, _ scratch: Scratch) { prior.round(point, scratch) }

  public func evaluate(_ sample: ObjectiveSample, weights: ObjectiveWeights, _ scratch: Scratch) throws
    -> Bool
  {
    let pool = scratch.pool
    (sample.flow, sample.gaussian) = (nil, nil)
    let isFull = regularizer == .density
    // The base's own gradient costs no pass.
    let isApart = !isFull && weights.gaussian == 0
    sample.combinedAt = isApart ? nil : weights
    guard sample.point.isFinite(pool) else { return false }
    let gradient = sample.reconGradient
    return try scratch.scope {
      let x = try scratch.take(dimension)
      let base = try scratch.take(dimension)
      let baseEnergy = try prior.baseEnergy(sample.point, gradient: base, scratch)
      var isUsable = false
      try prior.decode(sample.point, into: x, gradient: gradient, scratch) { logDet, xbar in
        xbar.set(0, pool)
        // An image that overflowed is done with; nothing goes back from it.
        guard x.isFinite(pool), logDet.isFinite else { return 0 }
        data.encoding.decode(x, into: sample.pixels, pool)
        sample.recon = try data.evaluate(pixels: sample.pixels, gradient: xbar, scratch)
        if let gaussian, weights.gaussian != 0 {
          try scratch.scope {
            let slope = try scratch.take(dimension)
            sample.gaussian = try gaussian.evaluate(sample.pixels, gradient: slope, scratch)
            xbar.add(slope, times: weights.gaussian, pool)
          }
        }
        data.encoding?.pullBack(xbar, at: x, pool)
        sample.flow = (isFull ? logDet : 0) + baseEnergy
        isUsable = true
        return isFull ? weights.flow : 0
      }
      guard isUsable else { return false }
      if isApart {
        sample.flowGradient.set(base, pool)
      } else {
        gradient.add(base, times: weights.flow, pool)
      }
      return sample.serves(weights) && sample.value(weights).isFinite && sample.recon.isFinite
        && gradient.isFinite(pool)
    }
  }

  /// `½‖ε‖²` gives λ; the data's part is as probed.
  public func metric(
    at sample: ObjectiveSample, weights: ObjectiveWeights, probed: Tensor<Double>?, _ scratch: Scratch
  ) throws -> Metric? {
    guard var diagonal = probed else { return nil }
    diagonal.withMemory { $0.setEach { weights.lambda + $0 } }
    return Metric(diagonal: diagonal)
  }

  /// The diagonal of `JᵀJ / σ²`, J = J_f(h(x)) diag(h′(x)) J_G: the Gauss–Newton part of the data term's curvature over
  /// latents.
  public func probeCurvature(_ point: Vector, key: UInt64, probes: CurvatureProbes, _ scratch: Scratch) throws
    -> Tensor<Double>?
  {
    try withScores(at: point, scratch) { pullBack in
      try probes.meanSquares(
        dimension: dimension, probeLength: data.observation.count, key: key, scratch, pullBack)
    } ?? nil
  }

  /// Gives `body` what makes `g = Jᵀs` of a v, whose score s = Σ⁻¹Σ^½v has covariance Σ⁻¹ where v is white; nil where the
  /// image isn't finite. v is overwritten.
  func withScores<R>(
    at point: Vector, _ scratch: Scratch, _ body: ((_ v: Vector, _ g: Vector) throws -> Void) throws -> R
  ) throws -> R? {
    try scratch.scope {
      let x = try scratch.take(dimension)
      let pixels = try scratch.take(dimension)
      let slope = try scratch.take(dimension)
      _ = try prior.decode(point, into: x, scratch)
      guard x.isFinite(scratch.pool) else { return nil }
      data.encoding.decode(x, into: pixels, scratch.pool)
      let noise = try data.noise.curvature(data.observation.view)
      return try body { v, g in
        noise.drawScore(v, scratch.pool)
        try data.map.pullback(v, at: pixels, into: slope, scratch)
        data.encoding?.pullBack(slope, at: x, scratch.pool)
        try prior.decodePullback(slope, at: x, into: g, scratch)
      }
    }
  }
}
