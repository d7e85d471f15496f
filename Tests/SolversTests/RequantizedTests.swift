import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

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
  private var density: GaussianPrior {
    get throws {
      try GaussianPrior(
        imageShape: shape, mean: [Double](repeating: 0.5, count: 12),
        covariance: try Matrix(rows: 12, columns: 12) { $0 == $1 ? deviation * deviation : 0 })
    }
  }

  @Test func denoisingFindsAMinimumInEveryPixel() throws {
    let sigma = 0.05
    let y = (0..<12).map { Double($0) / 11 }
    let problem = try InverseProblem(IdentityMap(shape), GaussianNoise(sigma: sigma), [y])
    var options = ReconstructionOptions()
    options.lambda = .value(1)
    options.stopRule = ToleranceRule(tolerance: 1e-9, epsilon: 1e-9)
    for space in [SolutionSpace.x, .z] {
      options.space = space
      options.path = space == .z ? .lambda : .auto
      let result = try reconstruct(problem, prior(h), try density, options)[0]
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
    for a in try [
      DenseMap.gaussian(measurements: 5, input: shape, seed: 3),
      MaskMap(shape, mask: (0..<12).map { $0 % 3 != 0 }),
    ] as [any LinearMap] {
      let data = DataTerm(
        map: a, noise: try GaussianNoise(sigma: 0.2),
        observation: try Tensor(randomVector(a.output.count, seed: 4)),
        encoding: h)
      // Inside of half bins, so that no joint is near.
      let x: [Double] = (0..<12).map { (i: Int) in (Double(i % 8) + 0.3) / 8 }
      let weights = ObjectiveWeights(lambda: 0.7)
      let pixel = PixelObjective(data: data, prior: prior(h), gaussian: nil)
      let latent = LatentObjective(data: data, prior: prior(h), gaussian: nil)
      let cases: [(any Objective, [Double])] = [(pixel, x), (latent, try prior(h).encode(x))]
      for (objective, point) in cases {
        let sample = try #require(try objective.sample(point, weights))
        #expect(distance(sample.pixels.elements, h.pixels(x)) < 1e-12)
        let v = randomVector(12, seed: 6)
        let step = 1e-6
        let values = try [step, -step].map { step in
          try #require(try objective.sample(adding(point, v, scaledBy: step), weights)).value(weights)
        }
        let slope = dot(sample.gradient(weights), v)
        #expect(abs((values[0] - values[1]) / (2 * step) - slope) < 1e-5 * max(1, abs(slope)))
      }
    }
  }

  /// The Gaussian's own solution is one of pixels, and is given as it is.
  @Test func closedFormsAndPenaltiesStayPixels() throws {
    let y = randomVector(12, seed: 8).map { 0.5 + 0.2 * $0 }
    let problem = try InverseProblem(IdentityMap(shape), GaussianNoise(sigma: 0.1), [y])
    var options = ReconstructionOptions()
    for method in [ReconstructionMethod.gaussian, .tv] {
      options.method = method
      let images = try [prior(nil), prior(h)].map {
        try reconstruct(problem, $0, try density, options)[0].image.elements
      }
      #expect(distance(images[0], images[1]) < 1e-12, "\(method)")
    }
  }

  /// A point is a value of the prior whatever its weight: under the Gaussian alone, a density of pixels, the closed form v
  /// is the point h⁻¹(v), and there no direction leads down.
  @Test func aPointMeansTheSameUnderTheGaussianAlone() throws {
    let y = (0..<12).map { 0.1 + 0.8 * Double($0) / 11 }
    let data = DataTerm(
      map: IdentityMap(shape), noise: try GaussianNoise(sigma: 0.2), observation: try Tensor(y),
      encoding: h)
    let objective = PixelObjective(data: data, prior: prior(h), gaussian: try density)
    let weights = ObjectiveWeights(lambda: 1, t: 0)
    let share = 1 / (0.2 * 0.2)
    let own = 1 / (deviation * deviation)
    let pixels = y.map { (share * $0 + own * 0.5) / (share + own) }
    let sample = try #require(try objective.sample(h.values(pixels), weights))
    #expect(distance(sample.pixels.elements, pixels) < 1e-12)
    #expect(norm(sample.gradient(weights)) < 1e-9)
    // In between the blend is of the same point, and its gradient that of its value.
    let blend = ObjectiveWeights(lambda: 0.7, t: 0.4)
    let x: [Double] = (0..<12).map { (i: Int) in (Double(i % 8) + 0.3) / 8 }
    let v = randomVector(12, seed: 6)
    let values = try [1e-6, -1e-6].map { step in
      try #require(try objective.sample(adding(x, v, scaledBy: step), blend)).value(blend)
    }
    let slope = dot(try #require(try objective.sample(x, blend)).gradient(blend), v)
    #expect(abs((values[0] - values[1]) / 2e-6 - slope) < 1e-5 * max(1, abs(slope)))
  }

  private var logTwoPi: Double { 1.8378770664093453 }

  /// `x = ½ + 0.3 ε`, of values that stand for h(x).
  private func prior(_ h: Requantization?) -> EncodedPrior {
    EncodedPrior(
      base: WarpedGaussian(
        imageShape: shape, mean: [Double](repeating: 0.5, count: 12),
        factor: (0..<144).map { $0 % 13 == 0 ? deviation : 0 }, warp: 0),
      encoding: h)
  }
}
