import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@Suite struct DataTermTests {
  private func dataTerm(_ map: any Map, _ noise: any NoiseModel, _ y: [Double], _ encoding: Requantization?)
    throws
    -> DataTerm
  {
    try InverseProblem(maps: [map], noises: [noise], observations: [try Tensor(y)], imageShape: map.input)
      .dataTerm(0, encoding: encoding)
  }

  private let h = Requantization(means: [0.03, 0.4, 0.7, 0.97], slopes: [0.2, 1, 0.5, 0.3])

  /// Of every map under every noise law, of an image and of what an image is dequantised to.
  @Test func gradientsByTaylorRemainder() throws {
    let h = try #require(h)
    for shape in testShapes {
      let image = (0..<shape.count).map { 0.1 + 0.8 * Double(($0 * 7) % 10) / 9 }
      let v = randomVector(shape.count, seed: 54).map { 0.1 * $0 }
      for (name, map) in try allMaps(shape) {
        for (law, noise) in try allNoises(map.output.count) {
          var random = Philox(seed: 80, purpose: .noise)
          let y = try noise.sample(prediction: map.apply(image), random: &random)
          for encoding: Requantization? in [nil, h] {
            let term = try dataTerm(map, noise, y, encoding)
            let x = image.map { encoding?.value($0) ?? $0 }
            let (value, gradient) = try term.evaluate(x)
            try #require(value.isFinite && gradient.allSatisfy(\.isFinite), "\(shape) \(name), \(law)")
            let order = try taylorOrder(at: x, along: v, step: 1e-4, value: value, gradient: gradient) {
              try term.evaluate($0).value
            }
            #expect(order >= 1.9, "\(shape) \(name), \(law), \(encoding == nil ? "x" : "h(x)")")
            #expect(try x.asVector { try term.evaluate($0, gradient: nil, Scratch()) } == value)
          }
        }
      }
    }
  }

  /// Of a Gaussian: `½‖y − A h(x)‖²/σ² + m log σ√2π`.
  @Test func closedForm() throws {
    let h = try #require(h)
    let shape = ImageShape(height: 1, width: 1, channels: 3)
    let map = try MaskMap(shape, mask: [true, false, true])
    let noise = try GaussianNoise(sigma: 0.5)
    let term = try dataTerm(map, noise, [1, 2], h)
    let x = [0.2, 0.5, 0.8]
    let residual = [h.pixel(x[0]) - 1, h.pixel(x[2]) - 2]
    let (value, gradient) = try term.evaluate(x)
    #expect(
      (value - (2 * dot(residual, residual) + 2 * (0.5 * 1.8378770664093453 - 0.6931471805599453))).magnitude
        < 1e-12)
    let expected = [4 * residual[0] * h.slope(x[0]), 0, 4 * residual[1] * h.slope(x[2])]
    #expect(distance(gradient, expected) < 1e-12)
    let misfit = try x.map(h.pixel).asVector { try term.misfit(pixels: $0, Scratch()) }
    #expect((misfit - (dot(residual, residual) / 2).squareRoot() / 0.5).magnitude < 1e-12)
  }
}

@Suite struct ProblemTests {
  let shape = ImageShape(height: 2, width: 3, channels: 1)

  @Test func gaussianNoiseHasItsConstants() throws {
    let noise = try GaussianNoise(sigma: 0.5)
    let (value, gradient) = try noise.negativeLogLikelihood([1, 2], prediction: [0, 2.5])
    // −log N(1; 0, ¼) − log N(2; 2.5, ¼)
    #expect((value - (2 + 0.5 + 2 * (0.5 * 1.8378770664093453 - 0.6931471805599453))).magnitude < 1e-12)
    #expect(gradient == [-4, 2])
    for sigma in [0, -1, Double.nan, .infinity, 1e-200] {
      #expect(throws: ProblemError.self) { try GaussianNoise(sigma: sigma) }
    }
  }

  @Test func observationsAreChecked() throws {
    let noise = try GaussianNoise(sigma: 0.1)
    let identity = IdentityMap(shape)
    func problem(_ maps: [any Map], _ observations: [[Double]]) throws {
      _ = try InverseProblem(
        maps: maps, noises: [noise], observations: observations.map { try Tensor($0) }, imageShape: shape)
    }
    #expect(throws: ProblemError.shapeMismatch(what: "observation 0", found: [5], expected: [6])) {
      try problem([identity], [[Double](repeating: 0, count: 5)])
    }
    #expect(throws: ProblemError.self) { try problem([identity], [[0, 0, .nan, 0, 0, 0]]) }
    #expect(throws: ProblemError.self) { try problem([identity, identity], []) }
    // As many values, but another shape.
    #expect(throws: ProblemError.self) {
      try problem([IdentityMap(ImageShape(height: 3, width: 2, channels: 1))], [])
    }
    #expect(throws: ProblemError.self) {
      try InverseProblem(
        maps: [identity], noises: [noise], observation: try Tensor<Float>(shape: [1, 3, 2, 1]),
        imageShape: shape)
    }
    try problem([identity], [[0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 0, 0]])
  }

  @Test func hiddenPixelsMayBeAnything() throws {
    let mask = try MaskMap(shape, mask: [true, false, true, true, false, true])
    func problem(_ elements: [Float]) throws -> InverseProblem {
      try InverseProblem(
        maps: [mask], noises: [try GaussianNoise(sigma: 0.1)],
        observation: try Tensor<Float>(shape: [elements.count / 6, 2, 3, 1], elements: elements),
        imageShape: shape)
    }
    let found = try problem([1, .nan, 2, 3, .infinity, 4, 5, 0, 6, 7, 0, 8])
    #expect(found.observations.map(\.elements) == [[1, 2, 3, 4], [5, 6, 7, 8]])
    #expect(throws: ProblemError.self) { try problem([.nan, 0, 2, 3, 0, 4]) }
  }
}
