import AIPOFlows
import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

/// The path in the prior's noise level.
@Suite struct SmoothTests {
  static let shape = ImageShape(height: 3, width: 4, channels: 1)

  /// A flow that is the Gaussian N(μ, C) at every noise level, and that Gaussian.
  private func gaussian() throws -> (
    prior: FlowPrior<Double>, gaussian: GaussianPrior, c: Matrix, mean: [Double]
  ) {
    let d = Self.shape.count
    let c = try randomCovariance(d, seed: 61)
    let statistics = ImageStatistics(
      mean: randomVector(d, seed: 62).map { Float(0.5 + 0.1 * $0) },
      covariance: .full(lowerTriangle: (0..<d).flatMap { i in (0...i).map { Float(c[i, $0]) } }))
    let flow = try Flow<Double>(
      spec: FlowSpec(layers: []).conditioned(Condition(least: 0.01, greatest: 2), whitening: .dense),
      imageShape: Self.shape, pool: ThreadPool(threads: 1))
    try flow.whiten(statistics)
    return (
      FlowPrior(flow), try GaussianPrior(imageShape: Self.shape, statistics: statistics),
      try #require(try statistics.matrix()), statistics.mean.map { Double($0) }
    )
  }

  /// The solution of `(w·AᵀA + diag)x = b` with a full matrix in place of `diag`.
  private func solve(_ h: Matrix, _ b: [Double]) throws -> [Double] {
    let factor = try Cholesky(h)
    var x = b
    x.withUnsafeMutableBufferPointer { factor.solve(Vector($0)) }
    return x
  }

  /// A reconstruction and the states on its way.
  private func follow(
    _ problem: InverseProblem, _ prior: any Prior, _ gaussian: GaussianPrior, _ options: ReconstructionOptions
  ) throws -> (result: ReconstructionResult, states: [Place]) {
    var states: [Place] = []
    let results = try reconstruct(
      problem, prior, gaussian, options,
      ReconstructionObserver(onState: {
        if $1.event != .finished { states.append(Place(state: $1, image: $2.elements)) }
      }))
    return (results[0], states)
  }

  private func identity(_ scale: Double) throws -> Matrix {
    try Matrix(rows: Self.shape.count, columns: Self.shape.count) { $0 == $1 ? scale : 0 }
  }

  /// Under a Gaussian every state has a closed form: D_s is a ridge towards the mean, the proximal step another.
  @Test(
    arguments: ["identity", "mask", "wide", "blur, reflect", "user's own", "downsampling, bicubic"], [0, 0.6])
  func statesOfAGaussianAreClosedForms(_ name: String, momentum: Double) throws {
    let (prior, gaussian, c, mean) = try gaussian()
    let map = try #require(try linearMaps(Self.shape).first { $0.name == name }).value
    let a = try map.matrix()
    let sigma = 0.1
    let y = randomVector(map.output.count, seed: 63).map { 0.5 + 0.3 * $0 }
    var options = ReconstructionOptions()
    options.path = .smooth
    options.smooth = SmoothPath(states: 5, end: 0.5, lambda: 0.7, finish: 0, momentum: momentum)
    let (result, states) = try follow(
      InverseProblem(map, GaussianNoise(sigma: sigma), [y]), prior, gaussian, options)
    #expect(
      states.count == 5 && result.evaluations == 6 && result.path == "smooth" && result.reason == .levels)
    #expect(result.converged && result.lambda == 0.7)

    var normal = try a.transposedTimes(a)
    normal.scale(by: 1 / (sigma * sigma))
    let pulled = try a.transposedTimes(y).map { $0 / (sigma * sigma) }
    let precision = try Cholesky(c).inverse()
    var x: [Double]
    if name == "identity" {
      x = y
      #expect((states[0].noiseLevel - sigma).magnitude < 1e-12)
    } else {
      var h = normal
      h.add(precision, scaledBy: 1)
      let prior = precision.times(mean)
      x = try solve(h, zip(pulled, prior).map { $0 + $1 })
    }
    var before = x
    for (k, state) in states.enumerated() {
      let s = state.noiseLevel
      let beta = min(momentum, Double(k) / Double(k + 3))
      let point = zip(x, before).map { $0 + beta * ($0 - $1) }
      before = x
      #expect(k == 0 || s < states[k - 1].noiseLevel)
      // μ + C(C + s²I)⁻¹(x − μ)
      var noisy = c
      noisy.add(try identity(s * s), scaledBy: 1)
      let z = zip(c.times(try solve(noisy, zip(point, mean).map { $0 - $1 })), mean).map { $0 + $1 }
      #expect(zip(state.image, z).allSatisfy { ($0 - $1).magnitude < 2e-5 }, "\(name), state \(k)")
      let expected = try prior.smoothed(by: s, turn: k).evaluate(point).value
      #expect((try #require(state.flow) - expected).magnitude < 1e-3 * max(1, expected.magnitude))
      #expect((state.objective - state.recon - 0.7 * (try #require(state.flow))).magnitude < 1e-9)
      if k == 4 { break }
      var h = normal
      h.add(try identity(0.7 / (s * s)), scaledBy: 1)
      x = try solve(h, zip(pulled, z).map { $0 + 0.7 / (s * s) * $1 })
    }
    let gain = map.nearNormal?.extent.upperBound ?? 1
    #expect((states[4].noiseLevel - 0.05 / max(gain, 1).squareRoot()).magnitude < 1e-12)
    #expect(result.image.elements == states[4].image)
  }

  /// Steps that follow the data: every s is what the last mean and the data's answer to it say, and the path ends at its end.
  @Test func stepsFollowTheData() throws {
    let (prior, gaussian, _, _) = try gaussian()
    let (sigma, lambda, factor, least) = (0.4, 0.8, 1.3, 0.4)
    let map = IdentityMap(Self.shape)
    let y = randomVector(Self.shape.count, seed: 64).map { 0.5 + $0 }
    var options = ReconstructionOptions()
    options.path = .smooth
    options.smooth = SmoothPath(
      states: 20, end: 0.1, lambda: lambda, finish: 0, steps: .following(factor: factor, least: least))
    let (result, states) = try follow(
      InverseProblem(map, GaussianNoise(sigma: sigma), [y]), prior, gaussian, options)
    #expect((3..<20).contains(states.count) && result.evaluations == states.count + 1)
    #expect(states[0].noiseLevel == sigma && (states.last!.noiseLevel - 0.1 * sigma).magnitude < 1e-12)
    var followed = 0
    for (state, next) in zip(states, states.dropFirst()) {
      let s = state.noiseLevel
      let share = 1 / (1 + lambda * sigma * sigma / (s * s))
      let squares = zip(y, state.image).map { (share * ($0 - $1)) * (share * ($0 - $1)) }
      let wanted = factor * (squares.reduce(0, +) / Double(y.count)).squareRoot()
      if wanted > least * s, wanted < SmoothPath.Steps.most * s { followed += 1 }
      let expected = max(min(max(wanted, least * s), SmoothPath.Steps.most * s), 0.1 * sigma)
      #expect((next.noiseLevel - expected).magnitude < 1e-5, "after \(s)")
    }
    #expect(followed > 1)
  }

  /// No point near the proximal step's is lower, of any map and law.
  @Test func proximalStepIsALeast() throws {
    let scratch = Scratch()
    for (name, map) in try allMaps(Self.shape) where map.output.count > 0 {
      for (law, noise) in try allNoises(map.output.count) {
        let truth = randomVector(Self.shape.count, seed: 64).map { 0.5 + 0.2 * $0 }
        var random = Philox(seed: 65, purpose: .test)
        let y = try noise.sample(prediction: try map.apply(truth), random: &random)
        let data = try DataTerm(map, noise, y)
        let z = truth.map { $0 + 0.1 }
        for c in [0.5, 400] {
          func value(_ x: [Double]) throws -> Double {
            try data.evaluate(x).value + 0.5 * c * zip(x, z).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
          }
          let x = try z.asVector { z in
            try written(z.count) { try ProximalStep(data, scratch).solve(from: z, weight: c, into: $0, $1) }
          }
          let least = try value(x)
          let start = try value(z)
          guard start.isFinite else { continue }
          #expect(least <= start, "\(name), \(law), \(c)")
          // Far from the truth some laws have other minima, and counts of negative light a kink.
          if law.hasPrefix("student") || law == "outliers" { continue }
          if law.hasPrefix("poisson"), try map.apply(truth).contains(where: { $0 < 0.05 }) { continue }
          for seed in 66..<70 {
            let near = zip(x, randomVector(x.count, seed: UInt64(seed))).map { $0 + 0.02 * $1 }
            #expect(try value(near) >= least - 1e-3 * max(1, start - least), "\(name), \(law), \(c)")
          }
        }
      }
    }
  }

  /// Where the data see sums alone the sharp density has the last word; the budget holds.
  @Test func endsUnderTheSharpDensity() throws {
    let (prior, gaussian, _, _) = try gaussian()
    let map = try DenseMap.gaussian(measurements: 6, input: Self.shape, seed: 4)
    let y = randomVector(6, seed: 67)
    let problem = try InverseProblem(map, GaussianNoise(sigma: 0.1), [y])
    var options = ReconstructionOptions()
    options.lambda = .value(1)
    let result = try reconstruct(problem, prior, gaussian, options)[0]
    #expect(result.path == "smooth" && result.converged)
    // The flow is nearly the Gaussian at its least level, so that the end is nearly that one's closed form.
    options.method = .gaussian
    let closed = try reconstruct(problem, prior, gaussian, options)[0]
    for (a, b) in zip(result.image.elements, closed.image.elements) { #expect((a - b).magnitude < 0.02) }
    for most in [1, 2, 3, 20, 30] as [Int] {
      options.method = .aipo
      options.maximumEvaluations = most
      #expect(try reconstruct(problem, prior, gaussian, options)[0].evaluations <= most)
    }
  }

  /// A small budget ends the path early instead of hurrying through its levels.
  @Test func aSmallBudgetIsThePathsBeginning() throws {
    let (prior, gaussian, _, _) = try gaussian()
    let problem = try InverseProblem(
      IdentityMap(Self.shape), GaussianNoise(sigma: 0.1), [randomVector(12, seed: 70)])
    func levels(_ most: Int) throws -> [Double] {
      var options = ReconstructionOptions()
      options.maximumEvaluations = most
      var found: [Double] = []
      _ = try reconstruct(
        problem, prior, gaussian, options,
        ReconstructionObserver(onState: { _, state, _ in
          if state.event != .finished { found.append(state.noiseLevel) }
        }))
      return found
    }
    let all = try levels(400)
    #expect(all.count == 9)
    for most in 2...9 { #expect(try levels(most) == Array(all.prefix(most - 1))) }
  }

  /// An outlier is no Gaussian noise: the path from the Gaussian's closed form to .3σ goes most of the way to what the other values
  /// tell of it. Of .6 .22 are left; from the observation .32, with an end at .07σ as under Gaussian noise .27 (all by
  /// a computation apart from this).
  @Test func anOutlierIsPassedBy() throws {
    let (shape, d, sigma, lost) = (Self.shape, Self.shape.count, 0.05, 5)
    let c = try Matrix(rows: d, columns: d) { i, j in
      let (down, across) = (Double(i / 4 - j / 4), Double(i % 4 - j % 4))
      return 0.04 * exp(-(down * down + across * across).squareRoot() / 3) + (i == j ? 1e-4 : 0)
    }
    let statistics = ImageStatistics(
      mean: [Float](repeating: 0.5, count: d),
      covariance: .full(lowerTriangle: (0..<d).flatMap { i in (0...i).map { Float(c[i, $0]) } }))
    let flow = try Flow<Double>(
      spec: FlowSpec(layers: []).conditioned(Condition(least: 0.001, greatest: 2), whitening: .dense),
      imageShape: shape, pool: ThreadPool(threads: 1))
    try flow.whiten(statistics)
    var y = randomVector(d, seed: 75).map { 0.5 + 0.05 * $0 }
    // A ridge towards the mean by the others: μ + C_oᵀ(C_oo + σ²I)⁻¹(y − μ).
    let seen = (0..<d).filter { $0 != lost }
    let weights = try solve(
      Matrix(rows: d - 1, columns: d - 1) { c[seen[$0], seen[$1]] + ($0 == $1 ? sigma * sigma : 0) },
      seen.map { y[$0] - 0.5 })
    let expected = 0.5 + zip(seen, weights).reduce(0) { $0 + c[lost, $1.0] * $1.1 }
    y[lost] = expected + 0.6
    var options = ReconstructionOptions()
    options.lambda = .value(1)
    let problem = try InverseProblem(
      IdentityMap(shape), try StudentNoise(sigma: sigma, degreesOfFreedom: 3), [y])
    let result = try reconstruct(
      problem, FlowPrior(flow), try GaussianPrior(imageShape: shape, statistics: statistics), options)[0]
    #expect(result.path == "smooth" && result.evaluations == 10)
    let left = result.image.elements[lost] - expected
    #expect(left > 0 && left < 0.245, "\(left)")
  }

  /// A start that isn't made of the measurements may be far from the truth, whatever they tell.
  @Test func startsFarAwayBeginAtTheGreatestLevel() throws {
    let (prior, gaussian, _, _) = try gaussian()
    let problem = try InverseProblem(
      IdentityMap(Self.shape), GaussianNoise(sigma: 0.1), [randomVector(12, seed: 73)])
    for (start, level) in [
      (StartChoice.random, 2.0), (.zero, 2), (.prior, 2), (.observed, 0.1), (.gaussian, 0.1),
    ] {
      var options = ReconstructionOptions()
      options.start = start
      var first: Double?
      _ = try reconstruct(
        problem, prior, gaussian, options,
        ReconstructionObserver(onState: { _, state, _ in first = first ?? state.noiseLevel }))
      #expect(try (#require(first) - level).magnitude < 1e-12, "\(start)")
    }
  }

  /// A circular blur has full rank, but what it leaves of a frequency may drown.
  @Test(arguments: [(0.1, 9), (0.25, 18)]) func aStrongBlurIsNoPicture(side: Double, states: Int) throws {
    let (prior, gaussian, _, _) = try gaussian()
    let map = try ConvolutionMap(
      Self.shape, kernel: BlurKernel([side, 1 - 2 * side, side], height: 1, width: 3), boundary: .circular)
    let problem = try InverseProblem(map, GaussianNoise(sigma: 0.1), [randomVector(12, seed: 74)])
    let found = try follow(problem, prior, gaussian, ReconstructionOptions()).states.count
    #expect(found == states)
  }

  /// Of noise alone σ is where the prior's density is greatest. Under a Gaussian that is the noise that was added, as exactly
  /// as many values tell it.
  @Test(arguments: [0.05, 0.2, 0.8]) func unknownNoiseIsThePriorsMostProbable(sigma: Double) throws {
    let shape = ImageShape(height: 20, width: 20, channels: 1)
    let d = shape.count
    let flow = try Flow<Double>(
      spec: FlowSpec(layers: []).conditioned(Condition(least: 0.01, greatest: 2), whitening: .dense),
      imageShape: shape, pool: ThreadPool(threads: 1))
    func covariance(_ a: Int, _ b: Int) -> Float {
      0.1 * exp(-0.5 * Float((a / 20 - b / 20).magnitude + (a % 20 - b % 20).magnitude))
    }
    let triangle = (0..<d).flatMap { i in (0...i).map { covariance(i, $0) } }
    try flow.whiten(
      ImageStatistics(
        mean: [Float](repeating: 0.5, count: d), covariance: .full(lowerTriangle: triangle)))
    let prior = FlowPrior(flow)
    let clean = try flow.sample(indices: 0..<1, temperature: 1, seed: 71).elements
    let y = zip(clean, randomVector(d, seed: 72)).map { $0 + sigma * $1 }
    let problem = try InverseProblem(IdentityMap(shape), GaussianNoise(sigma: 0.5), [y])
    let found = try JointSigma.estimate(
      problem, prior: prior, gaussian: nil, options: ReconstructionOptions())
    // Neighbours lie the image's own changes above the noise; the standard error of σ is σ/√(2d) where the noise rules.
    #expect((found[0].sigma / sigma - 1).magnitude < 0.25, "\(found[0].sigma)")
    #expect(found[0].evaluations < 40)
  }

  /// The Gaussian of two pixels that don't depend on each other.
  private func flowOfTwo(mean: [Float], variance: Float) throws -> Flow<Double> {
    let flow = try Flow<Double>(
      spec: FlowSpec(layers: []).conditioned(Condition(least: 0.01, greatest: 2), whitening: .dense),
      imageShape: ImageShape(height: 1, width: 2, channels: 1), pool: ThreadPool(threads: 1))
    try flow.whiten(ImageStatistics(mean: mean, covariance: .full(lowerTriangle: [variance, 0, variance])))
    return flow
  }

  @Test func oddTurnsSeeTheMirrorImage() throws {
    // A flow that takes its left half for brighter gives mirror images another mean; turns see both.
    let flow = try flowOfTwo(mean: [1, 0], variance: 0.25)
    let prior = FlowPrior(flow, seesMirrorImages: true)
    let evaluator = Evaluator(
      PixelObjective(
        data: try DataTerm(IdentityMap(flow.imageShape), GaussianNoise(sigma: 1), [0, 0]), prior: prior,
        gaussian: nil),
      Scratch())
    let means = try (0..<2).map { turn in
      try [0.5, 0.5].asVector { v in
        try written(2) { z, _ in _ = try evaluator.denoise(v, prior, noise: 0.5, turn: turn, into: z) }
      }
    }
    // Half way from 0.5 to the mean.
    for (a, b) in zip(means[0] + means[1], [0.75, 0.25, 0.25, 0.75]) { #expect((a - b).magnitude < 1e-6) }
    #expect(evaluator.evaluations == 2)
  }

  @Test func aMeanIsNoFartherThanTheNoise() throws {
    // Images that are all 1, of which 0 says nothing: the mean lies ten deviations away.
    let flow = try flowOfTwo(mean: [1, 1], variance: 1e-6)
    var options = ReconstructionOptions()
    options.path = .smooth
    for (value, expected) in [(0.0, 0.3), (0.8, 1.0)] {
      options.smooth = SmoothPath(states: 1, end: 1, lambda: 0.7, finish: 0)
      let problem = try InverseProblem(
        IdentityMap(flow.imageShape), GaussianNoise(sigma: 0.1), [[value, value]])
      let result = try reconstruct(problem, FlowPrior(flow), nil, options)[0]
      #expect(result.image.elements.allSatisfy { ($0 - expected).magnitude < 1e-3 })
    }
  }

  @Test func isThePathOfPriorsThatKnowTheirNoise() throws {
    let (prior, gaussian, _, _) = try gaussian()
    let problem = try InverseProblem(
      IdentityMap(Self.shape), GaussianNoise(sigma: 0.1), [randomVector(12, seed: 68)])
    var options = ReconstructionOptions()
    #expect(
      try Reconstructor(problem: problem, prior: prior, gaussian: gaussian, options: options).path == .smooth)
    #expect(
      try Reconstructor(problem: problem, prior: gaussian, gaussian: gaussian, options: options).path
        == .noise)
    options.path = .smooth
    #expect(throws: SolverError.self) { try reconstruct(problem, gaussian, gaussian, options) }
    options.path = .auto
    let twice = try InverseProblem(
      IdentityMap(Self.shape), GaussianNoise(sigma: 0.1),
      (0..<5).map { randomVector(12, seed: 69 + UInt64($0)) })
    let alone = try reconstruct(twice, prior, gaussian, options)
    let together = try reconstruct(twice, prior, gaussian, options, threads: 3)
    #expect(alone.map(\.image.elements) == together.map(\.image.elements))
    var stops = 0
    let cancelled = try reconstruct(
      problem, prior, gaussian, options,
      ReconstructionObserver(isCancelled: {
        stops += 1
        return stops > 3
      }))[0]
    #expect(
      cancelled.reason == .cancelled && !cancelled.converged
        && cancelled.image.elements.allSatisfy(\.isFinite))
  }
}
