import AIPOContinuation
import AIPOFlowTesting
import AIPOFlows
import AIPOInverseProblems
import AIPOKernels
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Problems whose prior is of dequantised values: what is observed, and what is given, is h(x).
@Suite struct RequantizedTests {
  let shape = ImageShape(height: 3, width: 4, channels: 1)
  let h = Requantization(means: [0.03, 0.4, 0.7, 0.97], slopes: [0.1, 1, 0.8, 0.2])!
  let deviation = 0.3

  /// Independent pixels N(½, 0.3²).
  private var density: GaussianDensity {
    get throws {
      var covariance = try Matrix(rows: 12, columns: 12)
      covariance.addToDiagonal(deviation * deviation)
      return try GaussianDensity(
        imageShape: shape, mean: [Double](repeating: 0.5, count: 12), covariance: .dense(covariance))
    }
  }

  @Test func denoisingFindsAMinimumInEveryPixel() throws {
    let sigma = 0.05
    let y = (0..<12).map { Double($0) / 11 }
    var problem = try InverseProblem(
      operators: [IdentityOperator(count: 12)], noise: try GaussianNoise(sigma: sigma), observations: [y],
      imageShape: shape)
    problem.requantization = h
    var options = ReconstructionOptions()
    options.lambda = .value(1)
    options.stopRule = ToleranceRule(tolerance: 1e-9, epsilon: 1e-9)
    for space in [SolutionSpace.x, .z] {
      options.space = space
      options.path = space == .z ? .lambda : .auto
      let result = try Reconstructor(
        problem: problem, prior: prior, gaussian: try density, options: options
      ).run()[0]
      var total = 12 * (0.5 * logTwoPi + log(sigma)) + 12 * (0.5 * logTwoPi + log(deviation))
      for i in 0..<12 {
        func cost(_ x: Double) -> Double {
          let (r, e) = ((y[i] - h.pixel(x)) / sigma, (x - 0.5) / deviation)
          return 0.5 * (r * r + e * e)
        }
        // A minimum, if not always the lowest: h makes some pixels' costs have two.
        let x = h.value(result.image.elements[i])
        #expect(cost(x) < min(cost(x - 1e-3), cost(x + 1e-3)), "\(space) \(i)")
        total += cost(x)
      }
      #expect(abs(try #require(result.objective) - total) < 1e-6)
    }
  }

  /// The gradient of every term, by the Taylor remainder, in both spaces.
  @Test func gradientsPassThroughH() throws {
    for a in [
      try DenseOperator.gaussian(measurements: 5, inputCount: 12, seed: 3) as any LinearOperator,
      MaskOperator(mask: (0..<12).map { $0 % 3 != 0 }),
    ] {
      var problem = try InverseProblem(
        operators: [a], noise: try GaussianNoise(sigma: 0.2),
        observations: [randomVector(a.outputCount, seed: 4)], imageShape: shape)
      problem.requantization = h
      // Inside of half bins, so that no joint is near.
      let x: [Double] = (0..<12).map { (i: Int) in (Double(i % 8) + 0.3) / 8 }
      let weights = ObjectiveWeights(lambda: 0.7)
      let pixel = try PixelObjective(problem: problem, prior: prior, gaussian: nil)
      let latent = try LatentObjective(problem: problem, prior: prior, gaussian: nil)
      let latents = try #require(try latent.latents([x])[0])
      let cases: [(any Objective, [Double])] = [(pixel, x), (latent, latents)]
      for (objective, point) in cases {
        let sample = try #require(try objective.evaluate([point], images: [0], weights: [weights])[0])
        #expect(distance(try #require(sample.pixels), h.pixels(x)) < 1e-12)
        let v = randomVector(12, seed: 6)
        let step = 1e-6
        let values = try [step, -step].map { (step: Double) -> Double in
          let beside = adding(point, v, scaledBy: step)
          return try #require(try objective.evaluate([beside], images: [0], weights: [weights])[0])
            .value(weights)
        }
        let slope = dot(sample.gradient(weights), v)
        #expect(abs((values[0] - values[1]) / (2 * step) - slope) < 1e-5 * max(1, abs(slope)))
      }
    }
  }

  /// The Gaussian's own solution is one of pixels, and is given as it is.
  @Test func closedFormsAndPenaltiesStayPixels() throws {
    let y = randomVector(12, seed: 8).map { 0.5 + 0.2 * $0 }
    let plain = try InverseProblem(
      operators: [IdentityOperator(count: 12)], noise: try GaussianNoise(sigma: 0.1), observations: [y],
      imageShape: shape)
    var requantized = plain
    requantized.requantization = h
    var options = ReconstructionOptions()
    for method in [ReconstructionMethod.gaussian, .tv] {
      options.method = method
      let images = try [plain, requantized].map {
        try Reconstructor(problem: $0, prior: prior, gaussian: try density, options: options)
          .run()[0].image.elements
      }
      #expect(distance(images[0], images[1]) < 1e-12, "\(method)")
    }
  }

  /// A point is a value of the prior whatever its weight: under the Gaussian alone, a density of pixels, the closed form v
  /// is the point h⁻¹(v), and there no direction leads down.
  @Test func aPointMeansTheSameUnderTheGaussianAlone() throws {
    let y = (0..<12).map { 0.1 + 0.8 * Double($0) / 11 }
    let problem = try InverseProblem(
      operators: [IdentityOperator(count: 12)], noises: [try GaussianNoise(sigma: 0.2)], observations: [y],
      imageShape: shape, requantization: h)
    let objective = try PixelObjective(problem: problem, prior: prior, gaussian: try density)
    let weights = ObjectiveWeights(lambda: 1, t: 0)
    let share = 1 / (0.2 * 0.2)
    let own = 1 / (deviation * deviation)
    let pixels = y.map { (share * $0 + own * 0.5) / (share + own) }
    let point = h.values(pixels)
    let sample = try #require(try objective.evaluate([point], images: [0], weights: [weights])[0])
    #expect(distance(try #require(sample.pixels), pixels) < 1e-12)
    #expect(norm(sample.gradient(weights)) < 1e-9)
    // In between the blend is of the same point, and its gradient that of its value.
    let blend = ObjectiveWeights(lambda: 0.7, t: 0.4)
    let x: [Double] = (0..<12).map { (i: Int) in (Double(i % 8) + 0.3) / 8 }
    let v = randomVector(12, seed: 6)
    let values = try [1e-6, -1e-6].map { (step: Double) -> Double in
      try #require(
        try objective.evaluate([adding(x, v, scaledBy: step)], images: [0], weights: [blend])[0]
      ).value(blend)
    }
    let slope = dot(
      try #require(try objective.evaluate([x], images: [0], weights: [blend])[0]).gradient(blend), v)
    #expect(abs((values[0] - values[1]) / 2e-6 - slope) < 1e-5 * max(1, abs(slope)))
  }

  private var logTwoPi: Double { 1.8378770664093453 }

  /// `x = ½ + 0.3 ε`
  private var prior: WarpedGaussian<Double> {
    WarpedGaussian(
      imageShape: shape, mean: [Double](repeating: 0.5, count: 12),
      factor: (0..<144).map { $0 % 13 == 0 ? deviation : 0 }, warp: 0)
  }
}
