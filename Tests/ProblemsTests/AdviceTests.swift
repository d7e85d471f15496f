import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

/// What is said about observations that are probably not what the user believes, and that right use is left alone.
@Suite struct ObservationAdviceTests {

  private static let shapes = [
    ImageShape(height: 20, width: 20, channels: 1), ImageShape(height: 19, width: 7, channels: 3),
  ]

  private struct Picture {
    let shape: ImageShape

    /// A picture with much black, as the shipped test images have.
    var truth: [Double] {
      (0..<shape.count).map { i in
        let level = Double((i * 7) % 40) / 39
        return i % 20 < 9 ? 0.002 : 0.1 + 0.85 * level
      }
    }

    /// Every law that serves any number of measurements.
    func noises() throws -> [(name: String, value: any NoiseModel)] {
      [
        ("gaussian", try GaussianNoise(sigma: 0.01)), ("gaussian, strong", try GaussianNoise(sigma: 0.9)),
        ("gaussian, rows", try GaussianNoise(sigmas: (0..<shape.count).map { 0.02 + 0.001 * Double($0) })),
        ("laplace", try LaplaceNoise(sigma: 0.1)),
        ("laplace, sharp", try LaplaceNoise(sigma: 0.1, tip: 0.01)),
        ("student", try StudentNoise(sigma: 0.1, degreesOfFreedom: 3)),
        ("cauchy", try StudentNoise(sigma: 0.05, degreesOfFreedom: 1)),
        ("student, heavier", try StudentNoise(sigma: 0.05, degreesOfFreedom: 0.4)),
        ("poisson", try PoissonNoise(peak: 30)), ("poisson, dark", try PoissonNoise(peak: 1)),
        ("poisson, read noise", try PoissonNoise(peak: 30, sigma: 0.05)),
        ("outliers", try OutlierNoise(sigma: 0.05, share: 0.1)),
        ("many outliers", try OutlierNoise(sigma: 0.05, share: 0.7)),
      ]
    }

    func problem(_ noise: any NoiseModel, _ y: [Double], mask: [Bool]? = nil) throws -> InverseProblem {
      let map: any Map = if let mask { try MaskMap(shape, mask: mask) } else { IdentityMap(shape) }
      return try InverseProblem(
        maps: [map], noises: [noise], observations: [try Tensor(y)], imageShape: shape)
    }

    func drawn(_ noise: any NoiseModel, _ index: UInt64 = 0) throws -> [Double] {
      var random = Philox(seed: 31, index: index, purpose: .noise)
      return try noise.sample(prediction: truth, random: &random)
    }
  }

  /// Each law's misfit is about 1 at the truth, and grows as the residual does.
  @Test(arguments: shapes) func misfits(_ shape: ImageShape) throws {
    let p = Picture(shape: shape)
    for (name, noise) in try p.noises() {
      var mean = 0.0
      for index in 0..<20 as Range<UInt64> {
        let misfit = try noise.misfit(p.drawn(noise, index), prediction: p.truth)
        #expect(misfit < 1.6, "\(name) \(misfit)")
        mean += misfit / 20
      }
      // Where counts are below one, or most measurements are left out, it is smaller.
      let isCoarse = name == "poisson, dark" || name == "many outliers"
      #expect((isCoarse ? 0.05...1.25 : 0.6...1.25).contains(mean), "\(name) \(mean)")
      let y = try p.drawn(noise)
      #expect(try noise.misfit(y, prediction: y) < 1e-6, "\(name)")
    }
    let y = (0..<100).map { Double($0 % 7) }
    let zero = [Double](repeating: 0, count: 100)
    // Closed forms: the root mean square and the mean magnitude of the residuals, over what is expected of them.
    let square = (y.reduce(0) { $0 + $1 * $1 } / 100).squareRoot()
    #expect(abs(try GaussianNoise(sigma: 0.5).misfit(y, prediction: zero) - square / 0.5) < 1e-12)
    let magnitude = y.reduce(0, +) / 100
    let laplace = try LaplaceNoise(sigma: 0.5).misfit(y, prediction: zero)
    #expect(abs(laplace - magnitude / (0.5 / 2.0.squareRoot())) < 1e-12)
    // All residuals alike: (ν + 1) r²/(νs² + r²) = 1 at s = r.
    let alike = try StudentNoise(sigma: 0.1, degreesOfFreedom: 3).misfit(
      [Double](repeating: 4, count: 50), prediction: [Double](repeating: 0, count: 50))
    #expect(abs(alike - 40) < 1e-6)
    // (y − f)²/(f/P + 1/P²) of 0.5, 0.25 and P = 16.
    let poisson = try PoissonNoise(peak: 16).misfit([0.5], prediction: [0.25])
    #expect(abs(poisson - (0.0625 / (0.25 / 16 + 1 / 256)).squareRoot()) < 1e-12)
    // Of ten residuals at a share of 0.1 the largest four may be outliers.
    let outliers = try OutlierNoise(sigma: 0.1, share: 0.1).misfit(
      [9, 8, 7, 6, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], prediction: [Double](repeating: 0, count: 10))
    #expect(abs(outliers - 1) < 1e-12)
    #expect(try GaussianNoise(sigma: 0.1).misfit([], prediction: []) == 0)
    let covariance = try randomCovariance(6, seed: 70)
    let residual = randomVector(6, seed: 3)
    let offset = randomVector(6, seed: 4)
    let nats = try GaussianNoise(covariance: covariance, mean: offset)
    // −log p is half the squared misfit times m, and what it is without a residual.
    let excess =
      try nats.negativeLogLikelihood(residual, prediction: [Double](repeating: 0, count: 6)).value
      - nats.negativeLogLikelihood(offset, prediction: [Double](repeating: 0, count: 6)).value
    let misfit = try nats.misfit(residual, prediction: [Double](repeating: 0, count: 6))
    #expect(abs(3 * misfit * misfit - excess) < 1e-9 * excess)
  }

  @Test(arguments: shapes) func rightUseIsLeftAlone(_ shape: ImageShape) throws {
    let p = Picture(shape: shape)
    let mask = (0..<shape.count).map { $0 % 3 != 0 }
    for (name, noise) in try p.noises() {
      for index in 0..<20 as Range<UInt64> {
        let y = try p.drawn(noise, index)
        let whole = try p.problem(noise, y)
        #expect(try whole.advices(ofObservation: 0, name: "y", truth: p.truth) == [], "\(name)")
        #expect(try whole.advice(ofSolution: p.truth, image: 0, name: "y") == nil, "\(name)")
        if name == "gaussian, rows" { continue }
        let seen = try p.problem(noise, try MaskMap(shape, mask: mask).apply(y), mask: mask)
        #expect(try seen.advices(ofObservation: 0, name: "y", truth: p.truth) == [], "\(name)")
      }
    }
    // What may be anything isn't looked at: vectors, and an image of which nothing is seen.
    let vector = try InverseProblem(
      maps: [IdentityMap(.vector(3))], noises: [try GaussianNoise(sigma: 2)],
      observations: [try Tensor([-7, 30, 4])], imageShape: .vector(3))
    #expect(try vector.advices(ofObservation: 0, name: "v") == [])
    #expect(try vector.advice(ofSolution: [-7, 30, 4], image: 0, name: "v") == nil)
    let none = try p.problem(
      GaussianNoise(sigma: 0.1), [], mask: [Bool](repeating: false, count: shape.count))
    #expect(try none.advices(ofObservation: 0, name: "y", truth: p.truth) == [])
    #expect(try none.advice(ofSolution: p.truth, image: 0, name: "y") == nil)
  }

  /// On 0 to 255, and on −1 to 1, under every law whose noise isn't as strong as the difference.
  @Test(arguments: shapes) func anotherScaleIsSaid(_ shape: ImageShape) throws {
    let p = Picture(shape: shape)
    // Outliers that are black on black are many, and say nothing.
    for (name, noise) in try p.noises() where name != "gaussian, strong" && name != "many outliers" {
      let y = try p.drawn(noise)
      let bytes = try p.problem(noise, y.map { 255 * $0 })
      let found = try bytes.advices(ofObservation: 0, name: "y.npy", truth: p.truth)
      #expect(found.map(\.kind) == ["range"], "\(name)")
      #expect(found.first?.description.contains("y.npy: the observation's values go from") == true)
      #expect(found.first?.text.contains(name.hasPrefix("poisson") ? "--counts" : "--range") == true)
      #expect(try bytes.advice(ofSolution: p.truth, image: 0, name: "y")?.kind == "residual", "\(name)")
      #expect(
        try bytes.advice(ofSolution: y.map { 255 * $0 }, image: 0, name: "y")?.kind == "residual", "\(name)")
      guard !name.hasPrefix("poisson") else { continue }
      let signed = try p.problem(noise, y.map { 2 * $0 - 1 })
      #expect(try signed.advices(ofObservation: 0, name: "y").map(\.kind) == ["range"], "\(name)")
    }
  }

  @Test(arguments: shapes) func aTruthOnAnotherScaleIsSaid(_ shape: ImageShape) throws {
    let p = Picture(shape: shape)
    for (name, noise) in try p.noises() where name != "gaussian, strong" {
      let own = try p.problem(noise, try p.drawn(noise))
      let found = try own.advices(ofObservation: 0, name: "y", truth: p.truth.map { 255 * $0 })
      #expect(found.map(\.kind) == ["truth"], "\(name)")
    }
  }

  @Test(arguments: shapes) func deviations(_ shape: ImageShape) throws {
    let p = Picture(shape: shape)
    func texts(_ sigma: Double, isEstimated: Bool = false) throws -> [String] {
      let noise = try GaussianNoise(sigma: sigma)
      return try p.problem(noise, p.truth).advices(ofObservation: 0, name: "y", isEstimated: isEstimated).map(
        \.text)
    }
    #expect(try texts(25) == ["σ = 25 on pixels in [0, 1]: did you mean 25/255 = 0.098?"])
    #expect(try texts(1) == ["σ = 1 on pixels in [0, 1]: did you mean 1/255 = 0.00392?"])
    #expect(try texts(300) == ["σ = 300 on pixels in [0, 1]: such noise leaves nothing of an image"])
    #expect(try texts(0.99) == [])
    #expect(try texts(25, isEstimated: true) == [])
    #expect(try p.problem(PoissonNoise(peak: 0.01), p.truth).advices(ofObservation: 0, name: "y") == [])
    // Measurements have the operator's scale: σ is compared with them.
    let sums = try DenseMap(
      try Matrix(rows: 2, columns: shape.count) { row, _ in row == 0 ? 100 : 50 }, input: shape)
    func sensed(_ sigma: Double) throws -> [Advice] {
      try InverseProblem(
        maps: [sums], noises: [GaussianNoise(sigma: sigma)], observations: [Tensor(sums.apply(p.truth))],
        imageShape: shape
      ).advices(ofObservation: 0, name: "y")
    }
    #expect(try sensed(5) == [])
    #expect(try sensed(1e5).map(\.kind) == ["sigma"])
    #expect(NoiseEstimate.advice(NoiseEstimate.floor, name: "y")?.kind == "noNoise")
    #expect(NoiseEstimate.advice(0.01, name: "y") == nil)
  }
}

extension InverseProblem {
  fileprivate func advices(
    ofObservation image: Int, name: String, isEstimated: Bool = false, truth: [Double]? = nil
  ) throws -> [Advice] {
    try advices(
      ofObservation: image, name: name, isEstimated: isEstimated, truth: try truth.map { try Tensor($0) },
      Scratch())
  }

  fileprivate func advice(ofSolution pixels: [Double], image: Int, name: String) throws -> Advice? {
    try advice(ofSolution: try Tensor(pixels), image: image, name: name, Scratch())
  }
}
