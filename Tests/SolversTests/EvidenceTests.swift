import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

@Suite struct EvidenceTests {
  /// The setting on a grid under whose Gaussian of mean 0 an offset is the most probable.
  private func mostProbable(
    _ offset: [Double], from first: Double, to last: Double, covariance: (Double) throws -> Matrix
  ) throws -> Double {
    let grid = (0...400).map { first * exp(Double($0) / 400 * log(last / first)) }
    let costs = try grid.map { setting in
      let factor = try Cholesky(covariance(setting))
      var white = try Tensor(offset)
      white.withMemory { factor.whiten($0) }
      return factor.logDeterminant + white.view.dot(white.view)
    }
    return grid[costs.indices.min { costs[$0] < costs[$1] }!]
  }

  /// Under a Gaussian prior p(y | σ) is known: its greatest by a search, against draws.
  @Test func sigmaOfTheGreatestEvidence() throws {
    let shape = ImageShape(height: 3, width: 4, channels: 1)
    let map = try DenseMap.gaussian(measurements: 8 * shape.count, input: shape, seed: 5)
    let one = try GaussianCase("many", map, sigma: 0.2, seed: 35)
    let spread = try map.matrix.times(one.prior.covariance()).timesTransposed(map.matrix)
    let offset = adding(one.data.observation.elements, map.matrix.times(one.prior.mean), scaledBy: -1)
    let expected = try mostProbable(offset, from: 0.05, to: 1) { sigma in
      var sum = spread
      sum.addToDiagonal(sigma * sigma)
      return sum
    }
    let found = try EvidenceSigma.estimate(
      DataTerm(map: map, noise: GaussianNoise(sigma: 0.6), observation: one.data.observation),
      prior: one.prior, gaussian: nil,
      seed: 1, source: 0, pool: ThreadPool(threads: 2))
    #expect(abs(found.sigma / expected - 1) < 0.03, "\(found) for \(expected)")
    #expect(found.error > 0 && found.error < 0.3 * found.sigma)
    let again = try EvidenceSigma.estimate(
      DataTerm(map: map, noise: GaussianNoise(sigma: 0.6), observation: one.data.observation),
      prior: one.prior, gaussian: nil,
      seed: 1, source: 0, pool: ThreadPool(threads: 1))
    #expect(again.sigma == found.sigma)
  }

  /// Under a Gaussian prior `p^λ/Z(λ)` is N(μ, C/λ), so that p(y | λ) is known: its greatest by a search, against draws.
  @Test func lambdaOfTheGreatestEvidence() throws {
    let shape = ImageShape(height: 4, width: 6, channels: 1)
    let (d, sigma) = (shape.count, 0.05)
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0, seed: 36)
    let (c, map) = try (prior.covariance(), IdentityMap(shape))
    for scale in [0.6, 1.7] {
      // A truth whose deviations are so many times the prior's.
      var random = Philox(seed: 8, purpose: .test)
      var truth = (0..<d).map { _ in scale * random.normal() }
      let root = try Cholesky(c)
      truth.withUnsafeMutableBufferPointer { root.multiplyFactor(Vector($0)) }
      let offset = adding(truth, (0..<d).map { _ in random.normal() }, scaledBy: sigma)
      let expected = try mostProbable(offset, from: 0.1, to: 10) { lambda in
        var sum = c
        sum.scale(by: 1 / lambda)
        sum.addToDiagonal(sigma * sigma)
        return sum
      }
      let data = try DataTerm(map, GaussianNoise(sigma: sigma), adding(prior.mean, offset, scaledBy: 1))
      func estimate(threads: Int) throws -> EvidenceLambda {
        try EvidenceLambda.estimate(
          data, prior: prior, seed: 1, source: 0, pool: ThreadPool(threads: threads))
      }
      let found = try estimate(threads: 2)
      #expect(abs(log(found.lambda / expected)) < 0.15, "\(found) for \(expected)")
      #expect(found.error > 0.1 * found.lambda && found.error < found.lambda)
      #expect((expected > 1) == (scale < 1))
      if scale > 1 {
        let alone = try estimate(threads: 1)
        #expect(alone.lambda == found.lambda)
      }
    }
  }

  /// Both are stopped in their midst, and tell how far they are.
  @Test func estimatesAreStopped() throws {
    let one = try GaussianCase.all()[0]
    var shares: [Double] = []
    #expect(throws: SamplingCancelled.self) {
      try EvidenceSigma.estimate(
        one.data, prior: one.prior, gaussian: nil, seed: 1, source: 0, pool: ThreadPool(threads: 1),
        isCancelled: { shares.count >= 130 }, onProgress: { shares.append($0) })
    }
    #expect(shares.count == 130 && shares == shares.sorted() && shares.last! < 1)
    shares = []
    #expect(throws: SamplingCancelled.self) {
      try EvidenceLambda.estimate(
        one.data, prior: one.prior, seed: 1, source: 0, pool: ThreadPool(threads: 1),
        isCancelled: { shares.count >= 3 }, onProgress: { shares.append($0) })
    }
    #expect(shares.count == 3)
  }

  private func particles(
    _ one: GaussianCase, _ space: SolutionSpace, seed: UInt64, count: Int = 300, threads: Int = 1
  ) throws -> SequentialMonteCarlo {
    let key = DrawKey(seed: seed, image: 0, chain: 0, draw: 0)
    return try SequentialMonteCarlo(
      AnnealingPath(dataTo: one.density(space)), HamiltonianSampler.hamiltonian, particles: count, key: key,
      pool: ThreadPool(threads: threads)
    ) { k, point, scratch in
      var random = key.of(chain: k).random(.chainStart)
      if space == .z {
        one.prior.drawLatents(point, &random)
      } else {
        try one.prior.draw(into: point, &random, scratch)
      }
    }
  }

  /// log p(y) of the closed form, within four errors of the runs' spread, which is below 0.2 nats.
  @Test(arguments: [SolutionSpace.x, .z]) func sequentialMonteCarloFindsTheEvidence(space: SolutionSpace)
    throws
  {
    for one in try GaussianCase.all() {
      let logs = try (0..<6).map { seed in
        let run = try particles(one, space, seed: UInt64(seed))
        while !run.isFinished { _ = try run.advance() }
        let betas = run.ladder.map(\.beta)
        #expect(betas.first == 0 && betas.last == 1 && betas == betas.sorted())
        return run.logEvidence
      }
      let estimate = try #require(EvidenceEstimate(logs: logs))
      #expect(estimate.error < 0.2, "\(one.name)")
      #expect(
        abs(estimate.logEvidence - one.logEvidence) < 4 * estimate.error + 0.02,
        "\(one.name): \(estimate) of \(one.logEvidence)")
    }
  }

  private func sampler(
    _ data: DataTerm, _ prior: any Prior, _ space: SolutionSpace, particles: Int, seed: UInt64 = 0,
    threads: Int = 1
  ) throws -> PosteriorSampler {
    var options = PosteriorOptions()
    (options.sampler, options.space, options.draws, options.chains) = (.smcNoise, space, particles, 6)
    options.seed = seed
    return try PosteriorSampler(
      data: data, prior: prior, options: options, source: 2, pool: ThreadPool(threads: threads))
  }

  /// Along the prior's noise level log p(y) and the posterior are the closed form's.
  @Test(arguments: [SolutionSpace.x, .z]) func alongTheNoiseLevelTheEvidenceIsTheSame(space: SolutionSpace)
    throws
  {
    for one in try GaussianCase.all() {
      let prior = SmoothedGaussian(one.prior)
      let outcome = try sampler(one.data, prior, space, particles: 200).run()
      let estimate = try #require(outcome.evidence)
      #expect(estimate.error < 0.3, "\(one.name)")
      #expect(
        abs(estimate.logEvidence - one.logEvidence) < 4 * estimate.error + 0.02,
        "\(one.name): \(estimate) of \(one.logEvidence)")
      let summary = try PosteriorSummary(outcome.draws)
      for i in 0..<one.mean.count {
        let sd = one.covariance[i, i].squareRoot()
        #expect(abs(summary.mean[flat: i] - one.mean[i]) < 5 * sd / 25, "\(one.name), value \(i)")
        #expect(abs(summary.sd[flat: i] / sd - 1) < 0.15, "\(one.name), value \(i)")
      }
    }
  }

  /// Modes end with their own weights, even where the densities on the way give them others.
  @Test func alongTheNoiseLevelModesKeepTheirWeights() throws {
    let prior = TwoModes(weight: 0.3, smoothWeight: 0.9)
    let (y, sigma) = (0.8, 2.0)
    let data = try DataTerm(IdentityMap(prior.imageShape), GaussianNoise(sigma: sigma), [y, 0.1])
    func evidence(_ weight: Double, _ place: Double) -> Double {
      let variance = prior.sd * prior.sd + sigma * sigma
      return weight * exp(-0.5 * (y - place) * (y - place) / variance)
    }
    let (left, right) = (evidence(0.7, -2), evidence(0.3, 2))
    let exact = right / (left + right)
    let outcome = try sampler(data, prior, .x, particles: 250).run()
    let found = outcome.draws.kept.map { chain in
      Double(chain.count { $0.image[flat: 0] > 0 }) / Double(chain.count)
    }
    let error = (ChainDraws.variance(found) / 6).squareRoot()
    #expect(
      error < 0.03 && abs(ChainDraws.mean(found) - exact) < 3 * error + 0.005, "\(found), exact \(exact)")
  }

  @Test func alongTheNoiseLevelBitsAreTheSameOnAnyThreads() throws {
    let one = try GaussianCase.all()[2]
    func run(_ threads: Int) throws -> [Double] {
      let outcome = try sampler(
        one.data, SmoothedGaussian(one.prior), .z, particles: 30, seed: 4, threads: threads
      ).run()
      return [outcome.evidence!.logEvidence, outcome.evidence!.error]
        + outcome.draws.kept.flatMap { $0.flatMap(\.functionals) }
    }
    let alone = try run(1)
    for threads in [2, 3] { #expect(try run(threads) == alone) }
  }

  @Test func aPriorOfOneLevelHasNoSuchPath() throws {
    let one = try GaussianCase.all()[0]
    #expect(throws: SolverError.self) { try sampler(one.data, one.prior, .z, particles: 10).run() }
  }

  @Test func particlesAreTheSameBitsOnAnyThreads() throws {
    let one = try GaussianCase.all()[1]
    func run(threads: Int) throws -> [Double] {
      let run = try particles(one, .z, seed: 1, count: 40, threads: threads)
      while !run.isFinished { _ = try run.advance() }
      return [run.logEvidence] + run.particles.flatMap { $0.sample.point.elements }
    }
    let alone = try run(threads: 1)
    for threads in [2, 5] { #expect(try run(threads: threads) == alone) }
  }

  /// Two modes far apart keep their weights.
  @Test func modesKeepTheirWeights() throws {
    let prior = TwoModes(weight: 0.3)
    let (y, sigma) = (0.8, 2.0)
    let data = try DataTerm(IdentityMap(prior.imageShape), GaussianNoise(sigma: sigma), [y, 0.1])
    func evidence(_ weight: Double, _ place: Double) -> Double {
      let variance = prior.sd * prior.sd + sigma * sigma
      return weight * exp(-0.5 * (y - place) * (y - place) / variance)
    }
    let (left, right) = (evidence(0.7, -2), evidence(0.3, 2))
    let exact = right / (left + right)
    var found: [Double] = []
    for seed in 0..<8 as Range<UInt64> {
      let key = DrawKey(seed: seed, image: 0, chain: 0, draw: 0)
      let run = try SequentialMonteCarlo(
        AnnealingPath(dataTo: SampledDensity(pixels: data, prior: prior)), HamiltonianSampler.hamiltonian,
        particles: 250, key: key,
        pool: ThreadPool(threads: 1)
      ) { k, point, scratch in
        var random = key.of(chain: k).random(.chainStart)
        prior.draw(into: point, &random, scratch)
      }
      while !run.isFinished { _ = try run.advance() }
      found.append(Double(run.particles.count { $0.sample.point[0] > 0 }) / 250)
    }
    let error = (ChainDraws.variance(found) / 8).squareRoot()
    #expect(error < 0.03 && abs(ChainDraws.mean(found) - exact) < 3 * error, "\(found), exact \(exact)")
    #expect(exact > 0.35 && exact < 0.6)
  }

  /// From both sides: a weight up from the prior is on average below log p(y), one down from the posterior above it.
  @Test func annealingBoundsTheEvidenceFromBothSides() throws {
    let one = try GaussianCase.all()[0]
    let ladder = (0...100).map { pow(Double($0) / 100, 4) }
    let annealing = AnnealedImportance(
      one.density(.z), HamiltonianSampler.hamiltonian, ladder: ladder,
      tuning: SamplerTuning(step: 0.3, length: 1), sweeps: 2)
    var (lower, upper) = ([Double](), [Double]())
    for k in 0..<60 {
      let key = DrawKey(seed: 9, image: 0, chain: k, draw: 0)
      var random = key.random(.chainStart)
      lower.append(
        try #require(try annealing.lowerBound(key, Scratch()) { one.prior.drawLatents($0, &random) }))
      let latents = try one.prior.encode(try one.draw(&random))
      upper.append(try #require(try annealing.upperBound(key, Scratch()) { $0.copy(from: latents) }))
    }
    let (low, high) = (ChainDraws.mean(lower), ChainDraws.mean(upper))
    let error = ((ChainDraws.variance(lower) + ChainDraws.variance(upper)) / 60).squareRoot()
    #expect(low < one.logEvidence + 2 * error && high > one.logEvidence - 2 * error)
    #expect(high - low < 3, "\(low) to \(high), exact \(one.logEvidence)")
    // The logarithm of the mean weight has no bias to speak of.
    let estimate = try #require(EvidenceEstimate(logs: lower))
    #expect(abs(estimate.logEvidence - one.logEvidence) < 4 * estimate.error)
  }
}
