import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOTestCases
import Testing

@testable import AIPOProblems

@Suite struct GaussianTests {
  /// A dense one, and a stationary one with the same covariances at lags; with C.
  private func priors(_ shape: ImageShape) throws -> [(
    name: String, value: GaussianPrior, covariance: Matrix
  )] {
    let d = shape.count
    let c = try randomCovariance(d, seed: 4)
    let mean = randomVector(d, seed: 21)
    let stationary = try stationaryPrior(shape)
    guard case .stationary(let covariance) = stationary.covariance else { fatalError("not stationary") }
    var columns: [Double] = []
    for j in 0..<d {
      columns += try (0..<d).map { $0 == j ? 1 : 0 }.asVector { basis in
        try written(d) { try covariance.apply({ $0 }, basis, into: $0, $1) }
      }
    }
    return [
      ("dense", try GaussianPrior(imageShape: shape, mean: mean, covariance: c), c),
      ("stationary", stationary, try Matrix(rows: d, columns: d, rowMajor: columns)),
    ]
  }

  @Test func densityAgainstLU() throws {
    for shape in testShapes {
      for (name, prior, covariance) in try priors(shape) {
        let d = shape.count
        let (precision, logDet) = try covariance.inverted()
        let x = randomVector(d, seed: 30)
        let offset = adding(x, prior.mean.elements, scaledBy: -1)
        let slope = precision.times(offset)
        let expected = 0.5 * (dot(offset, slope) + logDet + Double(d) * 1.8378770664093453)
        let (value, gradient) = try prior.evaluate(x)
        #expect((value - expected).magnitude < 1e-10 * expected.magnitude)
        #expect(distance(gradient, slope) < 1e-9 * norm(slope))
        #expect(try x.asVector { try prior.evaluate($0, gradient: nil, Scratch()) } == value)
        let peak = try prior.evaluate(prior.mean.elements)
        #expect(peak.value == prior.negativeLogPeak && peak.gradient.allSatisfy { $0 == 0 })
        // Of a stationary one it is the channels' mean.
        let mean = (0..<d).reduce(0) { $0 + precision[$1, $1] } / Double(d)
        for i in 0..<d {
          let expected = name == "dense" ? precision[i, i] : mean
          #expect((prior.precisionDiagonal[flat: i] - expected).magnitude < 1e-9 * expected)
        }
      }
    }
  }

  /// Of whitened draws: mean 0 and variance 1 in every direction, so that ‖·‖² is d on average.
  @Test func drawsHaveTheirCovariance() throws {
    for shape in testShapes {
      for (name, prior, covariance) in try priors(shape) {
        let d = shape.count
        let draws = 24_000 / d
        var square = 0.0
        var projections = 0.0
        let direction = randomVector(d, seed: 22)
        for k in 0..<draws {
          let x = try written(d) { try prior.sample(seed: 5, index: k, into: $0, $1) }
          let offset = adding(x, prior.mean.elements, scaledBy: -1)
          square += 2 * (try prior.evaluate(x).value - prior.negativeLogPeak)
          projections += dot(direction, offset) * dot(direction, offset)
        }
        // Sums of squares of normal numbers, of which the sum over n has a relative deviation of √(2/n).
        let expected = dot(direction, covariance.times(direction))
        #expect(
          (square / Double(d * draws) - 1).magnitude < 5 * (2 / Double(d * draws)).squareRoot(),
          "\(shape) \(name)")
        #expect(
          (projections / expected / Double(draws) - 1).magnitude < 5 * (2 / Double(draws)).squareRoot(),
          "\(shape) \(name)")
      }
    }
  }

  /// `AᵀΣ⁻¹A` and `AᵀΣ⁻¹(y − μ)`, by LU.
  private func normalEquations(_ a: any LinearMap, _ noise: GaussianNoise, _ c: Matrix, _ y: [Double]) throws
    -> (Matrix, [Double])
  {
    let d = a.input.count
    guard a.output.count > 0 else {
      return (try Matrix(rows: d, columns: d), [Double](repeating: 0, count: d))
    }
    let matrix = try a.matrix()
    let inverse = try c.inverted().inverse
    let centred = noise.mean.map { adding(y, $0.elements, scaledBy: -1) } ?? y
    return (
      try matrix.transposedTimes(try inverse.times(matrix)),
      try matrix.transposedTimes(inverse.times(centred))
    )
  }

  /// `(AᵀΣ⁻¹A + λC⁻¹) x* = AᵀΣ⁻¹(y − μ_e) + λC⁻¹μ`
  @Test func posteriorsAgainstTheNormalEquations() throws {
    for shape in testShapes {
      for (kind, prior, covariance) in try priors(shape) {
        let precision = try covariance.inverted().inverse
        for (name, a) in try linearMaps(shape) {
          let y = randomVector(a.output.count, seed: 92)
          for (law, noise, c) in try gaussianNoises(a.output.count) {
            let (normal, seen) = try normalEquations(a, noise, c, y)
            for lambda in [0.7, 20] {
              var h = normal
              h.add(precision, scaledBy: lambda)
              let right = adding(seen, precision.times(prior.mean.elements), scaledBy: lambda)
              let expected = try h.inverted().inverse.times(right)
              let x = try y.asVector { y in
                try written(shape.count) {
                  try GaussianPosterior(prior, map: a, noise: noise, lambda: lambda, $1).mean(y, into: $0, $1)
                }
              }
              #expect(
                distance(x, expected) < 1e-8 * norm(expected),
                "\(shape) \(kind) \(name), \(law), λ = \(lambda)")
            }
          }
        }
      }
    }
  }

  /// `AᵀA/v + λC⁻¹`, the whole Hessian under the Gaussian alone.
  @Test func metricsInvertTheHessian() throws {
    for shape in testShapes {
      for (kind, prior, covariance) in try priors(shape) {
        let precision = try covariance.inverted().inverse
        for (name, a) in try linearMaps(shape) {
          let y = randomVector(a.output.count, seed: 93)
          for (law, noise, c) in try gaussianNoises(a.output.count) {
            var (h, _) = try normalEquations(a, noise, c, y)
            h.add(precision, scaledBy: 0.7)
            let white = try noise.whitened(a, Scratch())
            let metric = try prior.metric(for: white, variance: noise.whiteVariance, lambda: 0.7, Scratch())
            let v = randomVector(shape.count, seed: 94)
            let isExact = kind == "dense" && white.normal.isFactored
            let error = try distance(h.times(metric.solve(v)), v)
            #expect(error < (isExact ? 1e-8 : 1e-4) * norm(v), "\(shape) \(kind) \(name), \(law)")
          }
        }
      }
    }
  }

  /// Images of a model's shape have its dense Gaussian, others the stationary one, whose log-density of the model's own
  /// images lies below on average.
  @Test func otherSizesHaveAStationaryPrior() throws {
    let shape = ImageShape(height: 6, width: 5, channels: 3)
    let d = shape.count
    let c = try randomCovariance(d, seed: 4)
    var model = FlowModel(
      spec: FlowSpec(layers: []), imageShape: shape, dequantization: Dequantization(bits: 8), tensors: [],
      statistics: ImageStatistics(
        mean: [Float](repeating: 0.5, count: d),
        covariance: .full(lowerTriangle: (0..<d).flatMap { i in (0...i).map { Float(c[i, $0]) } })))
    let dense = try #require(try GaussianPrior.ofTrainingImages(model))
    let same = try #require(
      try GaussianPrior(imageShape: shape, statistics: #require(model.statistics?.stationary(shape))))
    let images = try (0..<200).map { k in
      try written(d) { try dense.sample(seed: 3, index: k, into: $0, $1) }
    }
    let gaps = try images.map { try same.evaluate($0).value - dense.evaluate($0).value }
    #expect(gaps.reduce(0, +) > 0)
    for (height, width) in [(1, 1), (5, 6), (6, 10), (31, 7), (64, 48)] {
      let other = ImageShape(height: height, width: width, channels: 3)
      let prior = try #require(try GaussianPrior.ofTrainingImages(model, at: other))
      guard case .stationary(let covariance) = prior.covariance else { fatalError("not stationary") }
      #expect(prior.imageShape == other && covariance.shape == other)
      #expect(prior.mean.elements.allSatisfy { $0 == 0.5 })
      // Every pixel's variance, where nothing meets around the torus.
      if height >= 12 && width >= 10 {
        let trace = (0..<d).reduce(0) { $0 + c[$1, $1] }
        #expect(abs(covariance.trace { $0 } / Double(other.count) - trace / Double(d)) < 1e-6 * trace)
      }
    }
    #expect(
      try GaussianPrior.ofTrainingImages(model, at: ImageShape(height: 6, width: 6, channels: 1)) == nil)
    model.statistics = nil
    #expect(try GaussianPrior.ofTrainingImages(model) == nil)
  }

  /// Conjugate gradients take one step where every value is seen alike.
  @Test func denoisingTakesOneStep() throws {
    let shape = ImageShape(height: 7, width: 6, channels: 3)
    let prior = try priors(shape)[1].value
    let scratch = Scratch()
    let hessian = try GaussianHessian(prior, IdentityMap(shape), variance: 0.04, lambda: 0.7, scratch)
    let b = randomVector(shape.count, seed: 5)
    let steps = try b.asVector { b in
      try hessian.solve(b, into: scratch.take(shape.count), tolerance: 1e-10, scratch)
    }
    #expect(steps == 1)
  }

  /// The statistics of images are the prior's mean and covariance.
  @Test func statisticsBecomeAPrior() throws {
    let shape = ImageShape(height: 1, width: 5, channels: 3)
    let mean = randomVector(15, seed: 21).map { Float($0) }
    let c = try randomCovariance(15, seed: 4)
    let triangle = (0..<15).flatMap { i in (0...i).map { Float(c[i, $0]) } }
    let statistics = ImageStatistics(mean: mean, covariance: .full(lowerTriangle: triangle))
    let prior = try GaussianPrior(imageShape: shape, statistics: statistics)
    #expect(prior.mean.elements == mean.map { Double($0) })
    let found = prior.covariance.matrix
    for i in 0..<15 {
      for j in 0..<15 { #expect(found[i, j] == Double(Float(c[max(i, j), min(i, j)]))) }
    }
    #expect(throws: ProblemError.self) {
      try GaussianPrior(imageShape: ImageShape(height: 3, width: 3, channels: 1), statistics: statistics)
    }
  }

  @Test func whatIsNoGaussianIsAnError() throws {
    let shape = testShapes[0]
    var c = try randomCovariance(12, seed: 4)
    let mean = randomVector(12, seed: 1)
    #expect(throws: ProblemError.self) {
      try GaussianPrior(imageShape: shape, mean: Array(mean.dropLast()), covariance: c)
    }
    #expect(throws: ProblemError.self) {
      try GaussianPrior(imageShape: shape, mean: mean.map { _ in .nan }, covariance: c)
    }
    c[3, 3] = -1
    #expect(throws: ProblemError.self) { try GaussianPrior(imageShape: shape, mean: mean, covariance: c) }
  }
}
