import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@Suite struct GaussianTests {
  private func prior(_ shape: ImageShape) throws -> GaussianPrior {
    try GaussianPrior(
      imageShape: shape, mean: randomVector(shape.count, seed: 21),
      covariance: try randomCovariance(shape.count, seed: 4))
  }

  @Test func densityAgainstLU() throws {
    for shape in testShapes {
      let d = shape.count
      let prior = try prior(shape)
      let (precision, logDet) = try prior.covariance.inverted()
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
      for i in 0..<d {
        #expect((prior.precisionDiagonal[flat: i] - precision[i, i]).magnitude < 1e-9 * precision[i, i])
      }
    }
  }

  /// Of whitened draws: mean 0 and variance 1 in every direction, so that ‖·‖² is d on average.
  @Test func drawsHaveTheirCovariance() throws {
    for shape in testShapes {
      let d = shape.count
      let prior = try prior(shape)
      let draws = 24_000 / d
      var square = 0.0
      var projections = 0.0
      let direction = randomVector(d, seed: 22)
      for k in 0..<draws {
        let x = try written(d) { x, _ in prior.sample(seed: 5, index: k, into: x) }
        let offset = adding(x, prior.mean.elements, scaledBy: -1)
        square += 2 * (try prior.evaluate(x).value - prior.negativeLogPeak)
        projections += dot(direction, offset) * dot(direction, offset)
      }
      // Sums of squares of normal numbers, of which the sum over n has a relative deviation of √(2/n).
      let expected = dot(direction, prior.covariance.times(direction))
      #expect(
        (square / Double(d * draws) - 1).magnitude < 5 * (2 / Double(d * draws)).squareRoot(), "\(shape)")
      #expect(
        (projections / expected / Double(draws) - 1).magnitude < 5 * (2 / Double(draws)).squareRoot(),
        "\(shape)")
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
      let prior = try prior(shape)
      let precision = try prior.covariance.inverted().inverse
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
            #expect(distance(x, expected) < 1e-8 * norm(expected), "\(shape) \(name), \(law), λ = \(lambda)")
          }
        }
      }
    }
  }

  /// `AᵀA/v + λC⁻¹`, the whole Hessian under the Gaussian alone.
  @Test func metricsInvertTheHessian() throws {
    for shape in testShapes {
      let prior = try prior(shape)
      let precision = try prior.covariance.inverted().inverse
      for (name, a) in try linearMaps(shape) {
        let y = randomVector(a.output.count, seed: 93)
        for (law, noise, c) in try gaussianNoises(a.output.count) {
          var (h, _) = try normalEquations(a, noise, c, y)
          h.add(precision, scaledBy: 0.7)
          let white = try noise.whitened(a, Scratch())
          let metric = try prior.metric(for: white, variance: noise.whiteVariance, lambda: 0.7, Scratch())
          let v = randomVector(shape.count, seed: 94)
          let tolerance = if case .unknown = white.normal { 1e-4 } else { 1e-8 }
          #expect(try distance(h.times(metric.solve(v)), v) < tolerance * norm(v), "\(shape) \(name), \(law)")
        }
      }
    }
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
    for i in 0..<15 {
      for j in 0..<15 { #expect(prior.covariance[i, j] == Double(Float(c[max(i, j), min(i, j)]))) }
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
