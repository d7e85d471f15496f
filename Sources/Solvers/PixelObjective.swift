import AIPOKernels
import AIPOPriors
import AIPOProblems

/// The objective over x, the values that the prior is a density of.
public final class PixelObjective: Objective {
  public let data: DataTerm
  public let prior: any Prior
  public let gaussian: GaussianPrior?
  /// Taken for the second derivative of R_flow before it is probed, per squared value.
  public let isotropicCurvature: Double
  private let cache: MetricCache?

  public var dimension: Int { data.count }
  public var latentCoordinates: Bool { false }
  public var resolution: Double { prior.resolution }
  /// By Gauss and Newton's JᵀΣ⁻¹J.
  public var metricVaries: Bool { !(data.map is any LinearMap) }

  /// `cache`: of metrics under the Gaussian, where images share them.
  public init(
    data: DataTerm, prior: any Prior, gaussian: GaussianPrior?, isotropicCurvature: Double = 1e4,
    cache: MetricCache? = nil
  ) {
    self.data = data
    self.prior = prior
    self.gaussian = gaussian
    self.isotropicCurvature = isotropicCurvature
    self.cache = cache
  }

  public func round(_ point: Vector, _ scratch: Scratch) { prior.round(point, scratch) }

  public func evaluate(_ sample: ObjectiveSample, weights: ObjectiveWeights, _ scratch: Scratch) throws
    -> Bool
  {
    let pool = scratch.pool
    let x = sample.point
    (sample.flow, sample.gaussian, sample.combinedAt) = (nil, nil, nil)
    guard x.isFinite(pool) else { return false }
    data.encoding.decode(x, into: sample.pixels, pool)
    sample.recon = try data.evaluate(pixels: sample.pixels, gradient: sample.reconGradient, scratch)
    data.encoding?.pullBack(sample.reconGradient, at: x, pool)
    guard sample.recon.isFinite, sample.reconGradient.isFinite(pool) else { return false }
    if weights.flow != 0 {
      let flow = try prior.evaluate(x, gradient: sample.flowGradient, scratch)
      guard flow.isFinite, sample.flowGradient.isFinite(pool) else { return false }
      sample.flow = flow
    }
    if let gaussian, weights.t < 1 {
      // It is a density of pixels, so that its solution is a closed form.
      let value = try gaussian.evaluate(sample.pixels, gradient: sample.gaussianGradient, scratch)
      data.encoding?.pullBack(sample.gaussianGradient, at: x, pool)
      guard value.isFinite, sample.gaussianGradient.isFinite(pool) else { return false }
      sample.gaussian = value
    }
    return sample.serves(weights) && sample.value(weights).isFinite
  }

  /// The data term's curvature exactly, of a map that isn't linear that of its derivative at the point; the flow's as probed, or isotropic before. At t = 0 the Gaussian's
  /// is exact, too; in between, its diagonal is mixed with the flow's.
  public func metric(
    at sample: ObjectiveSample, weights: ObjectiveWeights, probed: Tensor<Double>?, _ scratch: Scratch
  ) throws -> Metric? {
    guard weights.lambda > 0, let linear = try data.map.derivative(at: sample.pixels, scratch) else {
      return nil
    }
    let noise = try data.noise.curvature(data.observation.view)
    let white = try noise.whitened(linear, scratch)
    if weights.t == 0, let gaussian {
      func make() throws -> Metric {
        try gaussian.metric(for: white, variance: noise.whiteVariance, lambda: weights.lambda, scratch)
      }
      return metricVaries ? try make() : try cache?.metric(at: weights.lambda, make) ?? make()
    }
    var damping = try probed ?? Tensor(count: dimension)
    damping.withMemory { damping in
      if probed == nil { damping.set(isotropicCurvature) }
      if let gaussian, weights.t < 1 {
        let diagonal = gaussian.precisionDiagonal
        for i in 0..<damping.count {
          let slope = data.encoding?.slope(sample.point[i]) ?? 1
          damping[i] = weights.t * damping[i] + (1 - weights.t) * diagonal[flat: i] * slope * slope
        }
      }
      damping.scale(by: weights.lambda, scratch.pool)
    }
    var slopes: Tensor<Double>?
    if let h = data.encoding {
      var values = try Tensor<Double>(count: dimension)
      values.withMemory { $0.setEach(scratch.pool, sample.point) { h.slope($0) } }
      slopes = values
    }
    return try Metric(
      of: white, weight: 1 / noise.whiteVariance, slopes: slopes, damping: damping, scratch.pool)
  }

  /// The diagonal of JᵀJ, J = ∂ε/∂x: the Gauss–Newton part of ∇²R_flow.
  public func probeCurvature(_ point: Vector, key: UInt64, probes: CurvatureProbes, _ scratch: Scratch) throws
    -> Tensor<Double>?
  {
    guard let length = prior.probeLength else { return nil }
    let squares = try probes.meanSquares(
      dimension: dimension, probeLength: length, key: key, scratch
    ) { v, g in try prior.probe(v, at: point, into: g, scratch) }
    guard var squares else { return nil }
    try squares.withMemory { squares in
      try CurvatureProbes.smooth(squares, prior.imageShape, scratch)
    }
    return CurvatureProbes.usable(squares)
  }
}

/// Metrics under the Gaussian by λ, of a map and noise that many images share.
public final class MetricCache: @unchecked Sendable {
  private let lock = Lock()
  private var known: [(lambda: Double, metric: Metric)] = []

  public init() {}

  func metric(at lambda: Double, _ make: () throws -> Metric) rethrows -> Metric {
    try lock.withLock {
      if let metric = known.first(where: { $0.lambda == lambda })?.metric { return metric }
      let made = try make()
      if known.count == 4 { known.removeFirst() }
      known.append((lambda, made))
      return made
    }
  }
}
