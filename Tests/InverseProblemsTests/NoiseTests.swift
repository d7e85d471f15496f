import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import Testing

@testable import AIPOInverseProblems

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Every noise model, for six measurements: a new one is tested by a line here.
func allNoises() throws -> [(name: String, value: any NoiseModel)] {
  let shape = ImageShape(height: 2, width: 3, channels: 1)
  let covariance = try randomCovariance(6, seed: 70)
  let offset = randomVector(6, seed: 71)
  let flow = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.6, seed: 72)
  return [
    ("gaussian", try GaussianNoise(sigma: 0.2)),
    ("gaussian, a deviation a pixel", try GaussianNoise(sigmas: (0..<6).map { 0.1 + 0.1 * Double($0) })),
    ("gaussian, covariance", try GaussianNoise(covariance: covariance)),
    ("gaussian, covariance and mean", try GaussianNoise(covariance: covariance, mean: offset)),
    ("laplace", try LaplaceNoise(sigma: 0.3)),
    ("laplace, sharp", try LaplaceNoise(sigma: 0.3, tip: 0.01)),
    ("student", try StudentNoise(sigma: 0.2, degreesOfFreedom: 5)),
    ("student, heavy tails", try StudentNoise(sigma: 0.2, degreesOfFreedom: 1)),
    ("poisson", try PoissonNoise(peak: 30)),
    ("poisson, dark", try PoissonNoise(peak: 0.5)),
    ("poisson, read noise", try PoissonNoise(peak: 30, sigma: 0.05)),
    ("poisson, bright, read noise", try PoissonNoise(peak: 4000, sigma: 0.002)),
    ("outliers", try OutlierNoise(sigma: 0.1, share: 0.2)),
    ("flow", FlowNoise(flow: flow, gaussian: try GaussianNoise(covariance: covariance, mean: flow.mean))),
  ]
}

@Suite struct NoiseTests {
  private let prediction = [0.3, 0.9, 0.04, 0.5, 0.7, 0.15]

  private func draw(_ noise: any NoiseModel, index: UInt64 = 0) throws -> [Double] {
    var random = Philox(seed: 80, index: index, purpose: .noise)
    return try noise.sample(prediction: prediction, random: &random)
  }

  // MARK: Over all models

  @Test func gradientsByTaylorRemainder() throws {
    for (name, noise) in try allNoises() {
      let y = try draw(noise)
      let v = randomVector(6, seed: 81).map { 0.1 * $0 }
      // Also at rates where the image is black or below, of which one lies near the floor's joint.
      for point in [prediction, [0.01, 0.0019, -0.02, -1.5, 0.9, 0.001]] {
        let (value, gradient) = try noise.negativeLogLikelihood(y, prediction: point)
        try #require(value.isFinite && allFinite(gradient), "\(name)")
        let scale = point == prediction ? 1e-2 : 1e-4
        let remainders = try [1.0, 0.25].map { factor in
          let h = factor * scale
          let moved = try noise.negativeLogLikelihood(y, prediction: adding(point, v, scaledBy: h)).value
          return (moved - value - h * dot(gradient, v)).magnitude
        }
        let slope = log2(remainders[0] / remainders[1]) / 2
        let isExact = remainders[0] <= 1e-12 * max(1, value.magnitude)
        #expect(slope >= 1.9 || isExact, "\(name): \(slope), remainders \(remainders)")
      }
    }
  }

  /// The expectation of the score is 0 under the model's own draws: sampler and density belong together, and
  /// the constants don't depend on the prediction. (Outliers are drawn as salt and pepper, not as assumed.)
  @Test func scoresHaveMeanZero() throws {
    for (name, noise) in try allNoises() where name != "outliers" {
      let draws = 4000
      var sums = [Double](repeating: 0, count: 6)
      var squares = sums
      for k in 0..<draws {
        let y = try draw(noise, index: UInt64(k))
        let gradient = try noise.negativeLogLikelihood(y, prediction: prediction).gradient
        for i in 0..<6 {
          sums[i] += gradient[i]
          squares[i] += gradient[i] * gradient[i]
        }
      }
      for i in 0..<6 {
        let error = (squares[i]).squareRoot()
        #expect(sums[i].magnitude < 4.5 * error, "\(name) \(i): \(sums[i]) ± \(error)")
      }
    }
  }

  /// Mean and covariance of draws are those of the matched Gaussian.
  @Test func drawsHaveTheMatchedMoments() throws {
    for (name, noise) in try allNoises() {
      // Moments that don't exist; those of a WarpedGaussian aren't its factor's.
      if ["student, heavy tails", "flow"].contains(name) { continue }
      let draws = 20000
      var sums = [Double](repeating: 0, count: 6)
      var squares = sums
      for k in 0..<draws {
        let y = try draw(noise, index: UInt64(k))
        for i in 0..<6 {
          let off = y[i] - prediction[i]
          sums[i] += off / Double(draws)
          squares[i] += off * off / Double(draws)
        }
      }
      let gaussian = noise.matched(prediction)
      for i in 0..<6 {
        let mean = gaussian.mean.isEmpty ? 0 : gaussian.mean[i]
        var variance: Double =
          switch gaussian.covariance {
          case .isotropic(let variance): variance
          case .diagonal(let variances): variances[i]
          case .dense(let matrix, _): matrix[i, i]
          }
        if let poisson = noise as? PoissonNoise { variance -= 1 / (poisson.peak * poisson.peak) }
        if let outliers = noise as? OutlierNoise {
          // Of salt and pepper around this pixel, not around any.
          let f = prediction[i]
          #expect((variance - (0.8 * 0.01 + 0.2 / 3)).magnitude < 1e-12)
          variance = (1 - outliers.share) * 0.01 + outliers.share * (f * f + (1 - f) * (1 - f)) / 2
          #expect((sums[i] - outliers.share * (0.5 - f)).magnitude < 0.02)
        } else {
          #expect((sums[i] - mean).magnitude < 5 * (variance / Double(draws)).squareRoot(), "\(name) \(i)")
        }
        #expect((squares[i] / (variance + mean * mean) - 1).magnitude < 0.1, "\(name) \(i)")
      }
    }
  }

  @Test func curvaturesArePositive() throws {
    for (name, noise) in try allNoises() {
      let gaussian = noise.curvature(try draw(noise))
      let white = gaussian.whiten(randomVector(6, seed: 83))
      #expect(gaussian.whiteVariance > 0 && allFinite(white), "\(name)")
    }
  }

  // MARK: Densities

  /// ∫ p(y | f) dy by the trapezoidal rule.
  @Test func densitiesIntegrateToOne() throws {
    let cases: [(any IndependentNoise, ClosedRange<Double>, Int)] = [
      (try LaplaceNoise(sigma: 0.3), -12...12, 400_000),
      (try LaplaceNoise(sigma: 0.3, tip: 0.01), -12...12, 2_400_000),
      (try StudentNoise(sigma: 0.2, degreesOfFreedom: 4), -400...400, 1_600_000),
      (try PoissonNoise(peak: 7, sigma: 0.05), -1...9, 40_000),
      (try PoissonNoise(peak: 900, sigma: 0.0007), -0.2...1.6, 400_000),
      (try OutlierNoise(sigma: 0.1, share: 0.3, range: -0.25...1.25), -2...3, 200_000),
    ]
    for (noise, range, count) in cases {
      for f in [-0.01, 0.003, 0.6] {
        let step = (range.upperBound - range.lowerBound) / Double(count)
        var sum = 0.0
        for k in 0...count {
          let y = range.lowerBound + step * Double(k)
          sum += step * exp(-noise.negativeLogLikelihood(y, prediction: f).value)
        }
        #expect((sum - 1).magnitude < 1e-5, "\(noise) \(f): \(sum)")
      }
    }
  }

  @Test func poissonCountsSumToOne() throws {
    for (peak, f) in [(0.3, 0.5), (7, -0.004), (7, 1.2), (900, 0.6)] {
      let noise = try PoissonNoise(peak: peak)
      var sum = 0.0
      for k in 0..<3000 {
        sum += exp(-noise.negativeLogLikelihood(Double(k) / peak, prediction: f).value)
      }
      #expect((sum - 1).magnitude < 1e-10, "\(peak) \(f)")
    }
    // A mean of 12 at a count of 3.
    let value = try PoissonNoise(peak: 24).negativeLogLikelihood(3.0 / 24, prediction: 0.5).value
    #expect((value - (12 - 3 * log(12) + log(6))).magnitude < 1e-12)
  }

  /// Much read noise and little leave the Gaussian and the counts.
  @Test func poissonGaussianBetweenItsLimits() throws {
    let counts = try PoissonNoise(peak: 20)
    let sharp = try PoissonNoise(peak: 20, sigma: 1e-4)
    for k in [0.0, 3, 9] {
      let expected = counts.negativeLogLikelihood(k / 20, prediction: 0.3)
      let found = sharp.negativeLogLikelihood(k / 20, prediction: 0.3)
      #expect((found.value - expected.value - log(1e-4 * (2 * Double.pi).squareRoot())).magnitude < 1e-9)
      #expect((found.derivative - expected.derivative).magnitude < 1e-9)
    }
    let blurred = try PoissonNoise(peak: 1e5, sigma: 0.2)
    let gaussian = try GaussianNoise(sigma: (0.04 + 0.5e-5).squareRoot())
    for y in [-0.3, 0.4, 1.1] {
      let expected = gaussian.negativeLogLikelihood([y], prediction: [0.5]).value
      #expect((blurred.negativeLogLikelihood(y, prediction: 0.5).value - expected).magnitude < 1e-3)
    }
  }

  @Test func closedForms() throws {
    // √2|r|/σ + log √2σ, but for the constant of the tip.
    let laplace = try LaplaceNoise(sigma: 0.5, tip: 0.03).negativeLogLikelihood(1, prediction: 0.2)
    #expect((laplace.value - (0.8 * 2.0.squareRoot() / 0.5 + log(0.5 * 2.0.squareRoot()))).magnitude < 1e-3)
    #expect(laplace.derivative == -2.0.squareRoot() / 0.5)
    // ν = 1 is Cauchy's: log π + log σ + log(1 + r²/σ²).
    let cauchy = try StudentNoise(sigma: 0.3, degreesOfFreedom: 1).negativeLogLikelihood(1, prediction: 0.1)
    #expect((cauchy.value - (log(Double.pi * 0.3) + log(1 + 9))).magnitude < 1e-12)
    // Without outliers the mixture is Gaussian.
    let none = try OutlierNoise(sigma: 0.1, share: 0).negativeLogLikelihood([0.3], prediction: [0.35])
    let gaussian = try GaussianNoise(sigma: 0.1).negativeLogLikelihood([0.3], prediction: [0.35])
    #expect((none.value - gaussian.value).magnitude < 1e-12)
    #expect((none.gradient[0] - gaussian.gradient[0]).magnitude < 1e-10)
  }

  @Test func covarianceAgainstLU() throws {
    let c = try randomCovariance(6, seed: 70)
    let mean = randomVector(6, seed: 71)
    let y = randomVector(6, seed: 84)
    let lu = try LU(c)
    let r = y.indices.map { y[$0] - prediction[$0] - mean[$0] }
    let expected = 0.5 * dot(r, lu.solve(r)) + 0.5 * lu.logAbsDeterminant + 3 * log(2 * Double.pi)
    let noise = try GaussianNoise(covariance: c, mean: mean)
    #expect((noise.negativeLogLikelihood(y, prediction: prediction).value - expected).magnitude < 1e-10)
    // The marginal at two places is Gaussian with their part of Σ.
    let part = try noise.restricted(to: [4, 1])
    let (a, b, ab) = (c[4, 4], c[1, 1], c[4, 1])
    let determinant = a * b - ab * ab
    let quadratic = (b * r[4] * r[4] - 2 * ab * r[4] * r[1] + a * r[1] * r[1]) / determinant
    let found = try part.negativeLogLikelihood([y[4], y[1]], prediction: [prediction[4], prediction[1]]).value
    #expect((found - (0.5 * quadratic + 0.5 * log(determinant) + log(2 * Double.pi))).magnitude < 1e-10)
  }

  /// −log p_Δ(y − f(x)), and no density for a part.
  @Test func flowNoiseIsTheFlowsDensity() throws {
    let flow = WarpedGaussian<Double>.random(
      imageShape: ImageShape(height: 2, width: 3, channels: 1), warp: 0.6, seed: 72)
    let noise = FlowNoise(flow: flow, gaussian: try GaussianNoise(sigma: 1))
    let y = randomVector(6, seed: 85)
    let x: Tensor<Double> = try Tensor(
      shape: [1, 2, 3, 1], elements: y.indices.map { y[$0] - prediction[$0] })
    #expect(try noise.negativeLogLikelihood(y, prediction: prediction).value == -flow.evaluate(x)[0])
    #expect(throws: ProblemError.self) { try noise.restricted(to: [0, 1]) }
    #expect(throws: ProblemError.self) { try noise.check([1, 2]) }
  }

  // MARK: Gaussian stand-ins

  private func gaussians(_ m: Int) throws -> [(GaussianNoise, Matrix)] {
    let c = try randomCovariance(m, seed: 90)
    let sigmas = (0..<m).map { 0.1 + 0.03 * Double($0) }
    let mean = randomVector(m, seed: 91)
    return [
      (try GaussianNoise(sigma: 0.3), try Matrix(rows: m, columns: m) { $0 == $1 ? 0.09 : 0 }),
      (
        try GaussianNoise(sigmas: sigmas, mean: mean),
        try Matrix(rows: m, columns: m) { $0 == $1 ? sigmas[$0] * sigmas[$0] : 0 }
      ),
      (try GaussianNoise(covariance: c, mean: mean), c),
    ]
  }

  /// `AᵀΣ⁻¹A` and `AᵀΣ⁻¹(y − μ)` by LU.
  private func normalEquations(_ a: any LinearOperator, _ noise: GaussianNoise, _ c: Matrix, _ y: [Double])
    throws -> (Matrix, [Double])
  {
    let matrix = try a.matrix()
    guard matrix.rows > 0 else {
      return (try Matrix(rows: matrix.columns, columns: matrix.columns), a.adjoint([]))
    }
    let inverse = try LU(c).inverse()
    let centred = noise.mean.isEmpty ? y : adding(y, noise.mean, scaledBy: -1)
    return (
      try matrix.transposedTimes(try inverse.times(matrix)), matrix.transposedTimes(inverse.times(centred))
    )
  }

  @Test func conditionalMeansUnderAnyCovariance() throws {
    for density in try GaussianTests().densities() {
      let precision = try LU(try GaussianTests().covarianceMatrix(density)).inverse()
      for (name, a) in try allOperators() {
        let y = randomVector(a.outputCount, seed: 92)
        for (noise, c) in try gaussians(a.outputCount) {
          var (h, right) = try normalEquations(a, noise, c, y)
          h.add(precision, scaledBy: 0.7)
          right = adding(right, precision.times(density.mean), scaledBy: 0.7)
          let expected = try LU(h).solve(right)
          let x = try GaussianConditional(density, linearOperator: a, noise: noise, lambda: 0.7).mean(y)
          #expect(norm(adding(x, expected, scaledBy: -1)) < 1e-8 * norm(expected), "\(name) \(noise)")
        }
      }
    }
  }

  /// At t = 0 the preconditioner is the objective's whole Hessian.
  @Test func preconditionersUnderAnyCovariance() throws {
    let density = try GaussianTests().densities()[0]
    let precision = try LU(try GaussianTests().covarianceMatrix(density)).inverse()
    for (name, a) in try allOperators() {
      let y = randomVector(a.outputCount, seed: 93)
      for (noise, c) in try gaussians(a.outputCount) {
        let problem = try InverseProblem(
          operators: [a], noise: noise, observations: [y], imageShape: density.imageShape)
        let objective = try PixelObjective(
          problem: problem, prior: GaussianPrior<Double>(density), gaussian: density)
        let solver = try #require(
          try objective.curvature(
            at: [], image: 0, weights: ObjectiveWeights(lambda: 1, t: 0), probed: nil))
        var (h, _) = try normalEquations(a, noise, c, y)
        h.add(precision, scaledBy: 1)
        let v = randomVector(12, seed: 94)
        #expect(norm(adding(h.times(solver.solve(v)), v, scaledBy: -1)) < 1e-7 * norm(v), "\(name)")
      }
    }
  }

  // MARK: Errors

  @Test func parametersAreChecked() throws {
    #expect(throws: ProblemError.invalidSigma(0)) { try LaplaceNoise(sigma: 0) }
    #expect(throws: ProblemError.self) { try StudentNoise(sigma: 1, degreesOfFreedom: 0) }
    #expect(throws: ProblemError.self) { try StudentNoise(sigma: 1, degreesOfFreedom: .nan) }
    #expect(throws: ProblemError.self) { try PoissonNoise(peak: -1) }
    #expect(throws: ProblemError.self) { try PoissonNoise(peak: 10, sigma: -0.1) }
    #expect(throws: ProblemError.self) { try OutlierNoise(sigma: 0.1, share: 1) }
    #expect(throws: ProblemError.self) { try OutlierNoise(sigma: 0.1, share: 0.1, range: 1...1) }
    #expect(throws: ProblemError.self) { try GaussianNoise(sigmas: [0.1, 0]) }
    var c = try randomCovariance(3, seed: 1)
    c[1, 1] = -1
    #expect(throws: ProblemError.self) { try GaussianNoise(covariance: c) }
  }

  @Test func measurementsAreChecked() throws {
    let shape = ImageShape(height: 1, width: 2, channels: 1)
    func problem(_ noises: [any NoiseModel], _ y: [[Double]]) throws {
      _ = try InverseProblem(
        operators: [IdentityOperator(count: 2)], noises: noises, observations: y, imageShape: shape)
    }
    let counts = try PoissonNoise(peak: 10)
    #expect(throws: ProblemError.self) { try problem([counts], [[0.1, -0.1]]) }
    try problem([try PoissonNoise(peak: 10, sigma: 0.1)], [[0.1, -0.1]])
    #expect(throws: ProblemError.self) { try problem([try GaussianNoise(sigmas: [1, 2, 3])], [[0.1, 0.1]]) }
    #expect(throws: ProblemError.self) { try problem([counts, counts], [[0, 0], [0, 0], [0, 0]]) }
    try problem([counts, try GaussianNoise(sigma: 1)], [[0, 0], [0, -1]])
  }
}
