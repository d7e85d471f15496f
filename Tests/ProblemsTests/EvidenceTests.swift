import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The noise's deviation by the evidence of a Gaussian prior.
@Suite struct EvidenceTests {
  private let shapes = [
    ImageShape(height: 4, width: 6, channels: 1), ImageShape(height: 1, width: 7, channels: 3),
  ]

  /// A few strong directions on little of all.
  private func prior(_ shape: ImageShape) throws -> GaussianPrior {
    let d = shape.count
    let factor = try Matrix(rows: d, columns: 5, rowMajor: randomVector(5 * d, seed: 1).map { 0.3 * $0 })
    var covariance = try factor.timesTransposed(factor)
    for (i, value) in randomVector(d, seed: 2).enumerated() {
      covariance[i, i] += 0.0004 * (1 + value * value)
    }
    return try GaussianPrior(imageShape: shape, mean: randomVector(d, seed: 3), covariance: covariance)
  }

  private func sigma(_ prior: GaussianPrior, _ y: [Double], _ map: any LinearMap) throws -> Double {
    try y.asVector { try prior.evidenceSigma($0, map: map, Scratch()) }
  }

  private func maps(_ shape: ImageShape) throws -> [any LinearMap] {
    [
      IdentityMap(shape), try MaskMap(shape, mask: (0..<shape.count).map { $0 % 3 != 0 }),
      try Gains(input: shape), try DenseMap.gaussian(measurements: 40, input: shape, seed: 4),
    ]
  }

  @Test func findsTheNoiseOfImagesOfItsOwn() throws {
    for shape in shapes {
      let prior = try prior(shape)
      for (kind, a) in try maps(shape).enumerated() {
        for sigma in [0.1, 0.4] {
          let found = try (0..<60).map { k -> Double in
            let x = try written(shape.count) { try prior.sample(seed: 5, index: k, into: $0, $1) }
            let noise = randomVector(a.output.count, seed: 100 + UInt64(k))
            return try self.sigma(prior, adding(a.apply(x), noise, scaledBy: sigma), a)
          }
          let mean = found.reduce(0, +) / 60
          #expect((mean / sigma - 1).magnitude < 0.06, "\(shape) \(kind) \(sigma) \(mean)")
        }
      }
    }
  }

  /// `log det S + rᵀS⁻¹r` with S = ACAᵀ + σ²I is least there.
  @Test func isTheMostProbable() throws {
    let shape = shapes[1]
    let prior = try prior(shape)
    for (kind, a) in try maps(shape).enumerated() where kind != 2 {
      let y = adding(try a.apply(prior.mean.elements), randomVector(a.output.count, seed: 8), scaledBy: 0.3)
      let found = try sigma(prior, y, a)
      let matrix = try a.matrix()
      let residual = adding(y, try a.apply(prior.mean.elements), scaledBy: -1)
      func cost(_ sigma: Double) throws -> Double {
        var s = try matrix.times(prior.covariance.matrix).timesTransposed(matrix)
        s.addToDiagonal(sigma * sigma)
        let (inverse, logDet) = try s.inverted()
        return logDet + dot(residual, inverse.times(residual))
      }
      let least = try cost(found)
      for factor in [0.2, 0.7, 0.99, 1.01, 1.4, 3] {
        #expect(try cost(factor * found) > least, "\(kind) \(factor)")
      }
    }
  }

  /// Where the measurements are the mean's own, no noise is the most probable; it stays above the floor.
  @Test func staysInItsRange() throws {
    for shape in shapes {
      let prior = try prior(shape)
      let exact = try sigma(prior, prior.mean.elements, IdentityMap(shape))
      #expect(exact >= NoiseEstimate.floor * 0.999 && exact < 1.1 * NoiseEstimate.floor)
      let nothing = try MaskMap(shape, mask: [Bool](repeating: false, count: shape.count))
      #expect(try sigma(prior, [], nothing) >= NoiseEstimate.floor * 0.999)
    }
  }

  /// A smooth stationary prior, and maps that are known by products or by a spectrum: the mean of three draws, with
  /// the error that one vector of signs leaves, 1/√(2(m − df)).
  @Test func byProducts() throws {
    let shape = ImageShape(height: 24, width: 21, channels: 1)
    var lags: [Float] = []
    for y in -6...6 {
      for x in -6...6 {
        let square = Float(y * y + x * x)
        let window: Float = (1 - Float(abs(y)) / 7) * (1 - Float(abs(x)) / 7)
        lags.append(0.06 * window * exp(-square / 6))
      }
    }
    let scratch = Scratch()
    let prior = try GaussianPrior(
      channelMeans: [0.4],
      covariance: StationaryCovariance(
        shape, lags: LagCovariance(channels: 1, lagY: 6, lagX: 6, values: lags), scratch))
    let maps: [any LinearMap] = [
      try MaskMap(shape, mask: (0..<shape.count).map { $0 % 3 != 0 }),
      try ConvolutionMap(shape, kernel: .gaussian(deviation: 1), boundary: .circular),
      try ConvolutionMap(shape, kernel: .motion(length: 5, angle: 30), boundary: .reflect),
      CyclicDifference(input: shape),
    ]
    for (kind, map) in maps.enumerated() {
      for sigma in [0.05, 0.3] {
        let found = try (0..<3).map { k -> Double in
          let x = try written(shape.count) { try prior.sample(seed: 5, index: k, into: $0, $1) }
          let noise = randomVector(map.output.count, seed: 100 + UInt64(k))
          return try self.sigma(prior, adding(map.apply(x), noise, scaledBy: sigma), map)
        }
        let mean = found.reduce(0, +) / 3
        #expect((mean / sigma - 1).magnitude < 0.15, "\(kind) \(sigma) \(found)")
      }
    }
  }
}
