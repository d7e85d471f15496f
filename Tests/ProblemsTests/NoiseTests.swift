import AIPOFlowTesting
import AIPOFlows
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

@Suite struct NoiseTests {
  /// Six noiseless measurements, from dark to bright, over and over.
  private func prediction(_ m: Int) -> [Double] {
    (0..<m).map { [0.3, 0.9, 0.04, 0.5, 0.7, 0.15][$0 % 6] }
  }

  private func draw(_ noise: any NoiseModel, _ m: Int, index: UInt64 = 0) throws -> [Double] {
    var random = Philox(seed: 80, index: index, purpose: .noise)
    return try noise.sample(prediction: prediction(m), random: &random)
  }

  // MARK: Over all models

  /// Also at rates where the image is black or below, of which one lies near the floor's joint.
  @Test func gradientsByTaylorRemainder() throws {
    for m in testShapes.map(\.count) {
      let dark = (0..<m).map { [0.01, 0.0019, -0.02, -1.5, 0.9, 0.001][$0 % 6] }
      for (name, noise) in try allNoises(m) {
        let y = try draw(noise, m)
        for point in [prediction(m), dark] {
          let (value, gradient) = try noise.negativeLogLikelihood(y, prediction: point)
          try #require(value.isFinite && gradient.allSatisfy(\.isFinite), "\(name)")
          let order = try taylorOrder(
            at: point, along: randomVector(m, seed: 81).map { 0.1 * $0 }, step: 1e-4, value: value,
            gradient: gradient
          ) { try noise.negativeLogLikelihood(y, prediction: $0).value }
          #expect(order >= 1.9, "\(m) \(name)")
        }
      }
    }
  }

  /// The expectation of the score is 0 under the model's own draws: sampler and density belong together, and
  /// the constants don't depend on the prediction. (Outliers are drawn as salt and pepper, not as assumed.)
  @Test func scoresHaveMeanZero() throws {
    for m in testShapes.map(\.count) {
      let draws = 24_000 / m
      for (name, noise) in try allNoises(m) where name != "outliers" {
        // Of all measurements of the same prediction.
        var sums = [Double](repeating: 0, count: 6)
        var squares = sums
        for k in 0..<draws {
          let y = try draw(noise, m, index: UInt64(k))
          let gradient = try noise.negativeLogLikelihood(y, prediction: prediction(m)).gradient
          for i in 0..<6 {
            let sum = stride(from: i, to: m, by: 6).reduce(0.0) { $0 + gradient[$1] }
            sums[i] += sum
            squares[i] += sum * sum
          }
        }
        for i in 0..<6 {
          let error = squares[i].squareRoot()
          #expect(sums[i].magnitude < 4.5 * error, "\(m) \(name) \(i): \(sums[i]) ± \(error)")
        }
      }
    }
  }

  /// Mean and variances of draws are those of the matched Gaussian.
  @Test func drawsHaveTheMatchedMoments() throws {
    for m in testShapes.map(\.count) {
      let draws = 120_000 / m
      let prediction = prediction(m)
      // What rounding does to a value isn't noise: `IntervalNoiseTests` has its draws.
      for (name, noise) in try allNoises(m) where !(noise is IntervalNoise) {
        // Moments that don't exist; those of a WarpedGaussian aren't its factor's.
        if ["student, heavy tails", "flow"].contains(name) { continue }
        var sums = [Double](repeating: 0, count: m)
        var squares = sums
        for k in 0..<draws {
          let y = try draw(noise, m, index: UInt64(k))
          for i in 0..<m {
            let off = y[i] - prediction[i]
            sums[i] += off / Double(draws)
            squares[i] += off * off / Double(draws)
          }
        }
        let gaussian = try noise.matched(prediction)
        var ratios: [Double] = []
        for i in 0..<m {
          let mean = gaussian.mean?[flat: i] ?? 0
          var variance: Double =
            switch gaussian.covariance {
            case .isotropic(let variance): variance
            case .diagonal(let variances): variances[flat: i]
            case .dense(let matrix, _): matrix[i, i]
            }
          if let poisson = noise as? PoissonNoise { variance -= 1 / (poisson.peak * poisson.peak) }
          if let outliers = noise as? OutlierNoise {
            // Of salt and pepper around this pixel, not around any.
            let f = prediction[i]
            #expect((variance - (0.8 * 0.01 + 0.2 / 3)).magnitude < 1e-12)
            variance = (1 - outliers.share) * 0.01 + outliers.share * (f * f + (1 - f) * (1 - f)) / 2
            let deviation = (variance / Double(draws)).squareRoot()
            #expect((sums[i] - outliers.share * (0.5 - f)).magnitude < 5 * deviation)
          } else {
            #expect(
              (sums[i] - mean).magnitude < 5 * (variance / Double(draws)).squareRoot(), "\(m) \(name) \(i)")
          }
          ratios.append(squares[i] / (variance + mean * mean))
        }
        // Of one measurement within chance, of all together closely.
        let spread = 0.1 * (20_000 / Double(draws)).squareRoot()
        #expect(ratios.allSatisfy { ($0 - 1).magnitude < spread }, "\(m) \(name)")
        #expect((ratios.reduce(0, +) / Double(m) - 1).magnitude < 0.05, "\(m) \(name)")
      }
    }
  }

  @Test func curvaturesArePositive() throws {
    for m in testShapes.map(\.count) {
      for (name, noise) in try allNoises(m) {
        let gaussian = try noise.curvature(try draw(noise, m))
        let white = try written(m) { w, _ in
          w.copy(from: randomVector(m, seed: 83))
          gaussian.whiten(w)
        }
        #expect(gaussian.whiteVariance > 0 && white.allSatisfy(\.isFinite), "\(name)")
      }
    }
  }

  /// `gradient` may be the prediction, and a draw may replace it.
  @Test func argumentsMayBeResults() throws {
    for m in testShapes.map(\.count) {
      for (name, noise) in try allNoises(m) {
        let y = try draw(noise, m)
        let apart = try noise.negativeLogLikelihood(y, prediction: prediction(m))
        var value = 0.0
        let inPlace = try written(m) { f, scratch in
          f.copy(from: prediction(m))
          value = try y.asVector { try noise.negativeLogLikelihood($0, prediction: f, gradient: f, scratch) }
        }
        #expect(value == apart.value, "\(name)")
        #expect(inPlace == apart.gradient, "\(name)")
        let drawn = try written(m) { f, scratch in
          f.copy(from: prediction(m))
          var random = Philox(seed: 80, index: 0, purpose: .noise)
          try noise.sample(prediction: f, into: f, random: &random, scratch)
        }
        #expect(drawn == y, "\(name)")
      }
    }
  }

  /// The same bits on any number of threads where measurements are more than a block of the vectors' verbs.
  @Test func manyMeasurementsOnSeveralThreads() throws {
    let m = 36_013
    let deviations = try GaussianNoise(sigmas: (0..<m).map { 0.1 + 0.1 * Double($0 % 6) })
    let laws: [(String, any NoiseModel)] =
      try independentNoises().map { ($0.name, $0.value) } + [
        ("gaussian", try GaussianNoise(sigma: 0.2)), ("gaussian, deviations", deviations),
      ]
    for (name, noise) in laws {
      let y = try draw(noise, m)
      let one = try noise.negativeLogLikelihood(y, prediction: prediction(m))
      for threads in [2, 5] {
        let other = try noise.negativeLogLikelihood(y, prediction: prediction(m), threads: threads)
        #expect(other.value == one.value && other.gradient == one.gradient, "\(name)")
      }
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
      let expected = try gaussian.negativeLogLikelihood([y], prediction: [0.5]).value
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

  @Test func gaussiansAgainstLU() throws {
    for m in testShapes.map(\.count) {
      let y = randomVector(m, seed: 84)
      for (name, noise, covariance) in try gaussianNoises(m) {
        let (inverse, logDet) = try covariance.inverted()
        let r = (0..<m).map { y[$0] - prediction(m)[$0] - (noise.mean?[flat: $0] ?? 0) }
        let square = dot(r, inverse.times(r))
        let expected = 0.5 * (square + logDet + Double(m) * log(2 * Double.pi))
        let (value, gradient) = try noise.negativeLogLikelihood(y, prediction: prediction(m))
        #expect((value - expected).magnitude < 1e-10 * expected.magnitude, "\(m) \(name)")
        let slope = inverse.times(r).map { -$0 }
        #expect(distance(gradient, slope) < 1e-9 * norm(slope), "\(m) \(name)")
        let misfit = (square / Double(m)).squareRoot()
        #expect(try (noise.misfit(y, prediction: prediction(m)) - misfit).magnitude < 1e-10 * misfit)
      }
    }
  }

  @Test func marginals() throws {
    let c = try randomCovariance(6, seed: 70)
    let mean = randomVector(6, seed: 71)
    let y = randomVector(6, seed: 84)
    let prediction = prediction(6)
    let r = y.indices.map { y[$0] - prediction[$0] - mean[$0] }
    let noise = try GaussianNoise(covariance: c, mean: mean)
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
    let shape = ImageShape(height: 4, width: 2, channels: 3)
    let flow = try Flow<Double>(
      spec: .glow(levels: 1, steps: 2, hidden: 4), imageShape: shape, seed: 1, pool: ThreadPool(threads: 1))
    try randomizeParameters(of: flow, seed: 2)
    let noise = FlowNoise(FlowPrior(flow), gaussian: try GaussianNoise(sigma: 1))
    let (y, f) = (randomVector(24, seed: 85), prediction(24))
    let found = try noise.negativeLogLikelihood(y, prediction: f)
    let expected = try flow.evaluateWithGradient(
      Tensor(shape: [1, 4, 2, 3], elements: adding(y, f, scaledBy: -1)))
    #expect(found.value == -expected.logProb[0])
    #expect(found.gradient == expected.gradient.elements)
    // A draw is the noise that a flow makes of normal numbers.
    var random = Philox(seed: 80, index: 3, purpose: .noise)
    let latents = (0..<24).map { _ in random.normal() }
    let drawn = try flow.decode(Tensor(shape: [1, 24], elements: latents)).images.elements
    #expect(try draw(noise, 24, index: 3) == adding(f, drawn))
    #expect(try noise.restricted(to: Array(0..<24)) is FlowNoise)
    #expect(throws: ProblemError.self) { try noise.restricted(to: [0, 1]) }
    #expect(throws: ProblemError.self) { try [1, 2].asVector { try noise.check($0) } }
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
        maps: [IdentityMap(shape)], noises: noises, observations: y.map { try Tensor($0) }, imageShape: shape)
    }
    let counts = try PoissonNoise(peak: 10)
    #expect(throws: ProblemError.self) { try problem([counts], [[0.1, -0.1]]) }
    try problem([try PoissonNoise(peak: 10, sigma: 0.1)], [[0.1, -0.1]])
    #expect(throws: ProblemError.self) { try problem([try GaussianNoise(sigmas: [1, 2, 3])], [[0.1, 0.1]]) }
    #expect(throws: ProblemError.self) { try problem([counts, counts], [[0, 0], [0, 0], [0, 0]]) }
    try problem([counts, try GaussianNoise(sigma: 1)], [[0, 0], [0, -1]])
  }
}
