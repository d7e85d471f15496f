import AIPOKernels
import AIPOProblems

/// `x ← argmin L_recon(x) + c/2·‖x − z‖²` of a data term over pixels.
///
/// Where the map is linear and the noise Gaussian one step of Newton's is the solution. Else by L-BFGS,
/// preconditioned by the curvature that is typical of the noise, and of the map's derivative at z.
struct ProximalStep {
  let data: DataTerm
  /// Typical of the noise.
  private let noise: GaussianNoise
  /// The map behind noise that is white; nil where the map isn't linear.
  private let white: (any LinearMap)?
  /// Its AᵀA where that is a diagonal.
  private let diagonal: Tensor<Double>?

  init(_ data: DataTerm, _ scratch: Scratch) throws {
    self.data = data
    noise = try data.noise.curvature(data.observation.view)
    white = try (data.map as? any LinearMap).map { [noise] in try noise.whitened($0, scratch) }
    if data.noise is GaussianNoise, case .pixelwise(let diagonal) = white?.normal {
      self.diagonal = diagonal
    } else {
      diagonal = nil
    }
  }

  /// - Parameter c: above 0.
  func solve(from z: Vector, weight c: Double, into x: Vector, _ scratch: Scratch) throws {
    if let diagonal { return try solvePixelwise(diagonal, z, c, x, scratch) }
    x.set(z, scratch.pool)
    var metric: Metric?
    if let map = try white ?? data.map.derivative(at: z, scratch).map({ try noise.whitened($0, scratch) }) {
      var damping = try Tensor<Double>(count: z.count)
      damping.withMemory { $0.set(c) }
      metric = try Metric(of: map, weight: 1 / noise.whiteVariance, damping: damping, scratch.pool)
    }
    guard white != nil, data.noise is GaussianNoise, let metric else {
      return try descend(z, c, x, metric, scratch)
    }
    try scratch.scope {
      let (gradient, step) = (try scratch.take(z.count), try scratch.take(z.count))
      _ = try data.evaluate(pixels: z, gradient: gradient, scratch)
      try metric.solve(gradient, into: step, scratch)
      x.add(step, times: -1, scratch.pool)
    }
  }

  /// Newton's step in place: of a large image nothing is kept beside the gradient.
  private func solvePixelwise(
    _ diagonal: Tensor<Double>, _ z: Vector, _ c: Double, _ x: Vector, _ scratch: Scratch
  ) throws {
    let weight = 1 / noise.whiteVariance
    _ = try data.evaluate(pixels: z, gradient: x, scratch)
    x.setEach(scratch.pool, x, diagonal.view) { $0 / (c + weight * $1) }
    x.set(1, z, plus: -1, scratch.pool)
  }

  private func evaluate(_ x: Vector, _ z: Vector, _ c: Double, _ gradient: Vector, _ scratch: Scratch) throws
    -> Double
  {
    let recon = try data.evaluate(pixels: x, gradient: gradient, scratch)
    gradient.add(x, times: c, scratch.pool)
    gradient.add(z, times: -c, scratch.pool)
    let distance = x.distance(to: z, scratch.pool)
    return recon + 0.5 * c * distance * distance
  }

  /// By the general minimizer: no evaluation of a prior is counted here.
  private func descend(_ z: Vector, _ c: Double, _ x: Vector, _ metric: Metric?, _ scratch: Scratch) throws {
    let objective = Near(step: self, z: z, weight: c, metric: metric)
    let evaluator = Evaluator(objective, scratch)
    let weights = ObjectiveWeights(lambda: 1, t: 0)
    let outcome = try Continuation(
      evaluator, path: FixedWeights(weights),
      settings: PathSettings(stopRule: ToleranceRule(epsilon: 1e-4), maximumEvaluations: 200)
    ).run { $0.set(z, scratch.pool) }
    if let sample = outcome.sample { x.set(sample.point, scratch.pool) }
  }

  /// The step's own objective.
  private struct Near: Objective, @unchecked Sendable {
    let step: ProximalStep
    let z: Vector
    let weight: Double
    let metric: Metric?
    var dimension: Int { z.count }
    var latentCoordinates: Bool { false }
    var resolution: Double { .ulpOfOne }

    func round(_ point: Vector, _ scratch: Scratch) {}

    func evaluate(_ sample: ObjectiveSample, weights: ObjectiveWeights, _ scratch: Scratch) throws -> Bool {
      sample.pixels.set(sample.point, scratch.pool)
      (sample.flow, sample.combinedAt) = (nil, weights)
      sample.recon = try step.evaluate(sample.point, z, weight, sample.reconGradient, scratch)
      sample.gaussian = 0
      return sample.recon.isFinite && sample.reconGradient.isFinite(scratch.pool)
    }

    func metric(
      at sample: ObjectiveSample, weights: ObjectiveWeights, probed: Tensor<Double>?, _ scratch: Scratch
    ) throws -> Metric? { metric }

    func probeCurvature(_ point: Vector, key: UInt64, probes: CurvatureProbes, _ scratch: Scratch) throws
      -> Tensor<Double>?
    { nil }
  }
}
