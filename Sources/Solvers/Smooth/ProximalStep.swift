import AIPOKernels
import AIPOProblems

/// `x ← argmin L_recon(x) + c/2·‖x − z‖²` of a data term over pixels.
///
/// By Newton's method with the curvature of the noise: one step is the solution where the map is linear and the noise Gaussian.
/// Of a map that isn't linear, by L-BFGS.
struct ProximalStep {
  let data: DataTerm
  /// The map behind noise that is white, and its variance; nil where the map isn't linear.
  private let white: (map: any LinearMap, variance: Double)?
  private let isQuadratic: Bool

  /// Steps of Newton's method at most, and halvings of one.
  private static let steps = 50
  private static let halvings = 30

  init(_ data: DataTerm, _ scratch: Scratch) throws {
    self.data = data
    guard let map = data.map as? any LinearMap else {
      (white, isQuadratic) = (nil, false)
      return
    }
    let noise = try data.noise.curvature(data.observation.view)
    white = (try noise.whitened(map, scratch), noise.whiteVariance)
    isQuadratic = data.noise is GaussianNoise
  }

  /// - Parameter c: above 0.
  func solve(from z: Vector, weight c: Double, into x: Vector, _ scratch: Scratch) throws {
    x.set(z, scratch.pool)
    guard let white else { return try descend(z, c, x, scratch) }
    var damping = try Tensor<Double>(count: z.count)
    damping.withMemory { $0.set(c) }
    let metric = try Metric(of: white.map, weight: 1 / white.variance, damping: damping)
    try scratch.scope {
      let (gradient, step) = (try scratch.take(z.count), try scratch.take(z.count))
      let (before, slope) = (try scratch.take(z.count), try scratch.take(z.count))
      var value = try evaluate(x, z, c, gradient, scratch)
      for _ in 0..<(isQuadratic ? 1 : Self.steps) {
        try metric.solve(gradient, into: step, scratch)
        let decrease = gradient.dot(step, scratch.pool)
        if isQuadratic { return x.add(step, times: -1, scratch.pool) }
        guard decrease > 1e-6 * Double(z.count).squareRoot() else { return }
        before.set(x, scratch.pool)
        var length = 1.0
        var isLower = false
        for _ in 0..<Self.halvings {
          x.set(before, scratch.pool)
          x.add(step, times: -length, scratch.pool)
          let next = try evaluate(x, z, c, slope, scratch)
          if next.isFinite, next <= value - 1e-4 * length * decrease {
            (value, isLower) = (next, true)
            gradient.set(slope, scratch.pool)
            break
          }
          length /= 2
        }
        guard isLower else { return x.set(before, scratch.pool) }
      }
    }
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

  /// Of any map, by the general minimizer, which counts no evaluation of a prior here.
  private func descend(_ z: Vector, _ c: Double, _ x: Vector, _ scratch: Scratch) throws {
    let objective = Near(step: self, z: z, weight: c)
    let evaluator = Evaluator(objective, scratch)
    let weights = ObjectiveWeights(lambda: 1, t: 0)
    let outcome = try Continuation(
      evaluator, path: FixedWeights(weights), settings: PathSettings(maximumEvaluations: 200)
    ).run { $0.set(z, scratch.pool) }
    if let sample = outcome.sample { x.set(sample.point, scratch.pool) }
  }

  /// The step's own objective.
  private struct Near: Objective, @unchecked Sendable {
    let step: ProximalStep
    let z: Vector
    let weight: Double
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
    ) throws -> Metric? { nil }

    func probeCurvature(_ point: Vector, key: UInt64, probes: CurvatureProbes, _ scratch: Scratch) throws
      -> Tensor<Double>?
    { nil }
  }
}
