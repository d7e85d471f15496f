import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@Suite struct PriorTests {
  private func image(_ count: Int) -> [Double] { randomVector(count, seed: 53).map { 0.5 + 0.2 * $0 } }

  @Test func gradientsByTaylorRemainder() throws {
    for shape in testShapes {
      for (name, prior) in try allPriors(shape) {
        let x = image(prior.count)
        let (value, gradient) = try prior.evaluate(x)
        try #require(value.isFinite && gradient.allSatisfy(\.isFinite), "\(shape) \(name)")
        let order = try taylorOrder(
          at: x, along: randomVector(prior.count, seed: 54), step: 1e-3, value: value, gradient: gradient
        ) { try prior.evaluate($0).value }
        #expect(order >= 1.9, "\(shape) \(name)")
        let alone = try x.asVector { try prior.evaluate($0, gradient: nil, Scratch()) }
        #expect((alone - value).magnitude <= 1e-12 * max(1, value.magnitude), "\(shape) \(name)")
      }
    }
  }

  /// The inverse both ways, and `−log p(G(ε)) = −log p(ε) + log|det ∂x/∂ε|`.
  @Test func latentsAreTheImages() throws {
    for shape in testShapes {
      for (name, prior) in try latentPriors(shape) {
        let x = image(prior.count)
        var (there, back, base) = (0.0, 0.0, 0.0)
        let latents = try x.asVector { x in
          try written(prior.count) { there = try prior.encode(x, into: $0, $1) }
        }
        let again = try latents.asVector { e in
          try written(prior.count) { back = try prior.decode(e, into: $0, $1) }
        }
        let slope = try latents.asVector { e in
          try written(prior.count) { base = try prior.baseEnergy(e, gradient: $0, $1) }
        }
        #expect(distance(again, x) <= 1e-12 * norm(x), "\(shape) \(name)")
        #expect((there + back).magnitude <= 1e-10 * max(1, back.magnitude), "\(shape) \(name)")
        let value = try prior.evaluate(x).value
        #expect((base + back - value).magnitude <= 1e-10 * max(1, value.magnitude), "\(shape) \(name)")
        // Of a standard normal base.
        #expect(slope == latents)
        #expect(
          (base - 0.5 * dot(latents, latents) - 0.9189385332046727 * Double(prior.count)).magnitude < 1e-10)
      }
    }
  }

  /// `c·x + a·log|det|` over latents, and the part of x alone by `decodePullback`.
  @Test func gradientsThroughDecode() throws {
    for shape in testShapes {
      for (name, prior) in try latentPriors(shape) {
        let d = prior.count
        let (latents, c) = (randomVector(d, seed: 5), randomVector(d, seed: 6))
        for a in [0, 0.7] {
          var x: [Double] = []
          var value = 0.0
          let gradient = try latents.asVector { e in
            try written(d) { gradient, scratch in
              x = try written(d) { image, scratch in
                try prior.decode(e, into: image, gradient: gradient, scratch) { logDet, xbar in
                  value = dot(c, image.elements) + a * logDet
                  xbar.copy(from: c)
                  return a
                }
              }
            }
          }
          let order = try taylorOrder(
            at: latents, along: randomVector(d, seed: 7), step: 1e-3, value: value, gradient: gradient
          ) { moved in
            var logDet = 0.0
            let image = try moved.asVector { e in
              try written(d) { logDet = try prior.decode(e, into: $0, $1) }
            }
            return dot(c, image) + a * logDet
          }
          #expect(order >= 1.9, "\(shape) \(name)")
          guard a == 0 else { continue }
          let pulled = try c.asVector { c in
            try x.asVector { x in try written(d) { try prior.decodePullback(c, at: x, into: $0, $1) } }
          }
          #expect(distance(pulled, gradient) <= 1e-9 * norm(gradient), "\(shape) \(name)")
        }
      }
    }
  }

  private func probe(_ prior: any Prior, _ v: [Double], at x: [Double]) throws -> [Double] {
    try v.asVector { v in
      try x.asVector { x in try written(x.count) { try prior.probe(v, at: x, into: $0, $1) } }
    }
  }

  /// `Jᵀv` with J = ∂ε/∂x against central differences of `encode`.
  @Test func probesAreTheJacobian() throws {
    for shape in testShapes {
      for (name, prior) in try latentPriors(shape) {
        let d = prior.count
        #expect(prior.probeLength == d)
        let (x, v, w) = (image(d), randomVector(d, seed: 6), randomVector(d, seed: 7))
        func latents(_ h: Double) throws -> [Double] {
          try adding(x, w, scaledBy: h).asVector { x in
            try written(d) { _ = try prior.encode(x, into: $0, $1) }
          }
        }
        let moved = adding(try latents(1e-5), try latents(-1e-5), scaledBy: -1).map { $0 / 2e-5 }
        let found = try probe(prior, v, at: x)
        #expect((dot(found, w) - dot(v, moved)).magnitude <= 1e-7 * norm(found) * norm(w), "\(shape) \(name)")
      }
    }
  }

  /// In single precision the same to its roundoff, of a point that is rounded to it.
  @Test func singlePrecision() throws {
    let shape = ImageShape(height: 4, width: 2, channels: 3)
    let flow: Flow<Double> = try smoothFlow(shape)
    let single: Flow<Float> = try self.single(of: flow)
    let (precise, prior) = (FlowPrior(flow), FlowPrior(single))
    #expect(prior.resolution == Double(Float.ulpOfOne) && precise.resolution == .ulpOfOne)
    var x = image(24)
    x.withUnsafeMutableBufferPointer { prior.round(Vector($0), Scratch()) }
    #expect(x == image(24).map { Double(Float($0)) })
    let (expected, slope) = try precise.evaluate(x)
    let (value, gradient) = try prior.evaluate(x)
    #expect((value - expected).magnitude < 1e-5 * expected.magnitude)
    #expect(distance(gradient, slope) < 1e-4 * norm(slope))
  }

  private func single(of flow: Flow<Double>) throws -> Flow<Float> {
    let single = try Flow<Float>(
      spec: flow.spec!, imageShape: flow.imageShape, seed: 1, pool: ThreadPool(threads: 1))
    try single.setParameters(flow.parameters.map { Float($0) })
    return single
  }

  /// `d/d′ · R′` of the image continued by its reflection; nothing changes at an accepted size.
  @Test func reflectedMargins() throws {
    let shape = ImageShape(height: 2, width: 3, channels: 2)
    let outer = ImageShape(height: 5, width: 4, channels: 2)
    let base = WarpedGaussian.random(imageShape: outer, warp: 0.5, seed: 4)
    let prior = ReflectedPrior(base, imageShape: shape)
    let x = image(12)
    // Rows 0, 1, 1, 0, 0 and columns 0, 1, 2, 2.
    var continued: [Double] = []
    for row in [0, 1, 1, 0, 0] {
      for column in [0, 1, 2, 2] { continued += x[(row * 3 + column) * 2..<(row * 3 + column) * 2 + 2] }
    }
    let expected = 12.0 / 40 * (try base.evaluate(continued).value)
    #expect((try prior.evaluate(x).value - expected).magnitude <= 1e-12 * expected.magnitude)
    let same = ReflectedPrior(base, imageShape: outer)
    #expect(try same.evaluate(continued).gradient == base.evaluate(continued).gradient)
    // MᵀM of a Gaussian is the whole curvature: the change of the gradient.
    let gaussian = WarpedGaussian.random(imageShape: outer, warp: 0, seed: 4)
    let flat = ReflectedPrior(gaussian, imageShape: shape)
    let w = randomVector(12, seed: 9)
    let change = adding(try flat.evaluate(adding(x, w)).gradient, try flat.evaluate(x).gradient, scaledBy: -1)
    // wᵀMᵀMw = Σ (wᵀMᵀe_i)²
    let square = try (0..<40).reduce(0.0) { sum, i in
      var unit = [Double](repeating: 0, count: 40)
      unit[i] = 1
      let product = dot(w, try probe(flat, unit, at: x))
      return sum + product * product
    }
    #expect((square - dot(w, change)).magnitude <= 1e-9 * square)
  }

  /// Under a Gaussian of independent values D_s takes each towards its mean by the share of noise in its variance, at an
  /// image's borders as in its middle.
  @Test(arguments: [
    ImageShape(height: 4, width: 6, channels: 2), ImageShape(height: 3, width: 5, channels: 2),
  ])
  func denoisesGaussianImages(_ shape: ImageShape) throws {
    let outer = ImageShape(height: 4, width: 6, channels: 2)
    let flow = try Flow<Double>(
      spec: FlowSpec(layers: []).conditioned(Condition(least: 0.01, greatest: 2)), imageShape: outer)
    let moments = [(mean: 0.25, variance: 0.09), (mean: 0.5, variance: 0.01)]
    try flow.whiten(
      ImageStatistics(
        mean: moments.map { Float($0.mean) },
        covariance: .stationary(
          LagCovariance(channels: 2, lagY: 0, lagX: 0, values: [0.09, 0, 0.01].map { Float($0) }))))
    let prior: any Prior =
      shape == outer ? FlowPrior(flow) : ReflectedPrior(FlowPrior(flow), imageShape: shape)
    #expect(prior.noiseLevels == Condition(least: 0.01, greatest: 2))
    let v = image(prior.count)
    for s in [0.05, 0.3, 1] {
      let (value, z) = try v.asVector { v in
        var z = try Tensor<Double>(count: prior.count)
        let value = try z.withMemory { try prior.denoise(v, noise: s, turn: 0, into: $0, Scratch()) }
        return (value, z.elements)
      }
      for (k, (mean, variance)) in moments.enumerated() {
        for i in stride(from: k, to: v.count, by: 2) {
          #expect((z[i] - mean - variance / (variance + s * s) * (v[i] - mean)).magnitude < 1e-7)
        }
      }
      #expect(
        (value - (try prior.smoothed(by: s, turn: 0).evaluate(v).value)).magnitude <= 1e-12 * value.magnitude)
    }
  }
}
