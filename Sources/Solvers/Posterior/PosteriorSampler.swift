import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems

/// How the posterior is sampled, as the command spells it.
public enum SamplerChoice: String, Sendable, Codable, CaseIterable {
  /// `best`.
  case auto
  /// Hamiltonian dynamics.
  case hmc
  /// Langevin's dynamics with a Metropolis test.
  case mala
  /// Microcanonical dynamics with a Metropolis test.
  case mams
  /// The preconditioned Crank–Nicolson walk, over latents.
  case pcn
  /// Sequential Monte Carlo along the data's weight: particles that go from the prior to the posterior.
  case smc
  /// The same along the prior's noise level.
  case smcNoise = "smc-noise"

  /// What `auto` stands for. `scripts/samplers` compares it with the others.
  public static let best = SamplerChoice.hmc

  /// Itself, or what `auto` stands for.
  public var resolved: SamplerChoice { self == .auto ? .best : self }

  /// Whether particles take the place of chains.
  public var isParticles: Bool { self == .smc || self == .smcNoise }

  /// The Markov chain's move; nil of particles.
  public var sampler: (any Sampler)? {
    switch resolved {
    case .auto, .hmc: HamiltonianSampler.hamiltonian
    case .mala: HamiltonianSampler.langevin
    case .mams: MicrocanonicalSampler()
    case .pcn: CrankNicolsonSampler()
    case .smc, .smcNoise: nil
    }
  }
}

/// How a posterior is sampled.
public struct PosteriorOptions: Sendable, Hashable {
  public var sampler = SamplerChoice.auto
  /// Over pixels or latents; nil chooses.
  public var space: SolutionSpace?
  public var chains = 4
  /// Draws of each chain, those of the warm-up apart; particles of each run where there are particles. Nil: `usualDraws`.
  public var draws: Int?
  /// Draws of each chain that are thrown away.
  public var warmUp = 500
  /// Draws from one that is kept to the next.
  public var thin = 1
  /// λ, and the flow's share t.
  public var lambda = 1.0
  public var flowShare = 1.0
  public var probabilities = [0.05, 0.95]
  /// Mass of the intervals.
  public var level = 0.9
  /// For the probability that a value exceeds it.
  public var threshold: Double?
  public var seed: UInt64 = 0

  public init() {}

  public static let usualDraws = 1000
  public static let usualParticles = 100

  /// Draws of each chain.
  public var drawCount: Int { draws ?? (sampler.isParticles ? Self.usualParticles : Self.usualDraws) }

  /// Reads probabilities with commas between them: `0.05,0.95`. Throws `invalidOption`.
  public static func probabilities(_ text: String) throws(SolverError) -> [Double] {
    let values = text.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) ?? .nan }
    try require(values, text: "'\(text)'")
    return values
  }

  private static func require(_ probabilities: [Double], text: String) throws(SolverError) {
    let isGrowing = zip(probabilities, probabilities.dropFirst()).allSatisfy { $0 < $1 }
    guard isGrowing, probabilities.allSatisfy({ $0 > 0 && $0 < 1 }) else {
      throw .invalidOption(
        name: "quantiles", found: text, expected: "growing probabilities between 0 and 1, as 0.05,0.95")
    }
  }

  /// Throws `invalidOption` where one is out of its range.
  public func check() throws(SolverError) {
    func require(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(SolverError) {
      guard range.contains(value) else {
        throw .invalidOption(
          name: name, found: "\(value)", expected: "\(range.lowerBound) to \(range.upperBound)")
      }
    }
    try require("chains", chains, 1...1024)
    try require("draws", drawCount, 1...100_000_000)
    try require("warmup", warmUp, 0...100_000_000)
    try require("thin", thin, 1...1_000_000)
    for (name, value) in [("lambda", lambda), ("flow share", flowShare)] where !(value > 0 && value.isFinite)
    {
      throw .invalidOption(name: name, found: "\(value)", expected: "a finite number above 0")
    }
    try Self.require(probabilities, text: "\(probabilities)")
    guard level > 0, level < 1 else {
      throw .invalidOption(name: "level", found: "\(level)", expected: "between 0 and 1")
    }
    if let threshold, !threshold.isFinite {
      throw .invalidOption(name: "exceeds", found: "\(threshold)", expected: "a number")
    }
  }
}

/// Sampling was cancelled.
public struct SamplingCancelled: Error {
  /// To go on from; nil where the warm-up wasn't over.
  public let state: PosteriorState?
}

/// Samples the posterior of one image.
public struct PosteriorSampler: Sendable {
  public let data: DataTerm
  public let prior: any Prior
  public let gaussian: GaussianPrior?
  public let options: PosteriorOptions
  /// The image's index in its source.
  public let source: UInt64
  public let density: SampledDensity
  let pool: ThreadPool

  /// Throws where an option is out of range or needs what isn't there.
  public init(
    data: DataTerm, prior: any Prior, gaussian: GaussianPrior? = nil,
    options: PosteriorOptions = PosteriorOptions(), source: UInt64 = 0,
    pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws(SolverError) {
    try options.check()
    let isPlain = options.lambda == 1 && options.flowShare == 1
    let latent = prior as? any LatentPrior
    let space = options.space ?? (latent != nil && isPlain ? .z : .x)
    if space == .z {
      guard let latent else {
        throw .unsupported("this prior has no latents, so it can't be sampled in space z")
      }
      guard isPlain else { throw .unsupported("another density than the posterior is sampled in space x") }
      density = SampledDensity(latents: data, prior: latent)
    } else {
      guard !options.sampler.isParticles || prior is any DrawablePrior && isPlain else {
        throw .unsupported(
          "the sampler \(options.sampler.rawValue) begins at draws of the prior, which can't be had of this density"
        )
      }
      guard options.sampler != .pcn else { throw .unsupported("the sampler pcn works in space z") }
      guard options.flowShare == 1 || gaussian != nil else {
        throw .unsupported("the model holds no Gaussian prior, which a flow share below 1 needs")
      }
      density = SampledDensity(
        pixels: data, prior: prior, gaussian: gaussian, lambda: options.lambda, flowShare: options.flowShare)
    }
    (self.data, self.prior, self.gaussian, self.options) = (data, prior, gaussian, options)
    (self.source, self.pool) = (source, pool)
  }

  /// How far a run has come.
  public struct Progress: Sendable {
    /// Draws of a chain, those of the warm-up counted.
    public var draws: Int
    public var total: Int
    public var acceptance: Double
    public var evaluations: Int
    /// Of the log-density's draws so far.
    public var essSoFar: Double?
  }

  /// What a run came to.
  public struct Outcome: Sendable {
    public var draws: PosteriorDraws
    public var evaluations: Int
    /// Those of the warm-up.
    public var warmUpEvaluations: Int
    public var tuning: SamplerTuning
    public var evidence: EvidenceEstimate?
    /// log p(y) by each run of particles.
    public var logEvidences: [Double]?
    /// Where the chains are; nil of particles.
    public var state: PosteriorState?
  }

  private var key: DrawKey { DrawKey(seed: options.seed, image: source, chain: 0, draw: 0) }

  /// Draws of these settings, none of them made.
  public func noDraws() throws -> PosteriorDraws {
    try PosteriorDraws(
      ImageFunctionals(prior.imageShape), prior.imageShape, chains: options.chains, thin: options.thin,
      threshold: options.threshold)
  }

  /// Warms up and draws. Throws `SamplingCancelled` where it is cancelled, with what it takes to go on.
  ///
  /// `state`: of a run of the same settings, to go on from.
  public func run(
    from state: PosteriorState? = nil, isCancelled: @escaping () -> Bool = { false },
    onProgress: (Progress) -> Void = { _ in }
  ) throws -> Outcome {
    do {
      return try BLASThreads.single {
        guard let sampler = options.sampler.sampler else { return try particles(isCancelled, onProgress) }
        return try chains(sampler, state, isCancelled, onProgress)
      }
    } catch Interruption.cancelled { throw SamplingCancelled(state: nil) }
  }

  private func chains(
    _ sampler: any Sampler, _ state: PosteriorState?, _ isCancelled: @escaping () -> Bool,
    _ onProgress: (Progress) -> Void
  ) throws -> Outcome {
    let (count, warmUp) = (options.drawCount, options.warmUp)
    var draws = try state?.draws ?? noDraws()
    let chains = try MarkovChains(
      density, sampler, count: options.chains, key: key, tuning: state?.tuning,
      draws: state.map { warmUp + $0.count } ?? 0, pool: pool, isCancelled: isCancelled
    ) { chain, point, scratch in
      if let state { point.set(state.positions.row(chain)) } else { try setStart(chain, point, scratch) }
    }
    // Those that a state was evaluated by are counted already.
    let offset = state.map { $0.evaluations - chains.evaluations } ?? 0
    func report(_ draw: Int, _ round: MarkovChains.Round, ess: Double? = nil) {
      onProgress(
        Progress(
          draws: draw, total: warmUp + count, acceptance: round.acceptance,
          evaluations: offset + chains.evaluations, essSoFar: ess))
    }
    if state == nil { try chains.warmUp(warmUp) { report($0, $1) } }
    let before = state?.warmUpEvaluations ?? chains.evaluations
    var positions = try chains.positions()
    while draws.count < count {
      positions = try chains.positions()
      let done = offset + chains.evaluations
      do {
        let round = try chains.advance()
        try draws.add(chains.chains, round)
        let isTime = draws.count % 50 == 0
        report(warmUp + draws.count, round, ess: isTime ? draws.draws(functional: 1).essBulk : nil)
      } catch Interruption.cancelled {
        throw SamplingCancelled(
          state: PosteriorState(
            draws: draws, positions: positions, tuning: chains.tuning, evaluations: done,
            warmUpEvaluations: before))
      }
    }
    let evaluations = offset + chains.evaluations
    return Outcome(
      draws: draws, evaluations: evaluations, warmUpEvaluations: before, tuning: chains.tuning,
      state: PosteriorState(
        draws: draws, positions: try chains.positions(), tuning: chains.tuning, evaluations: evaluations,
        warmUpEvaluations: before))
  }

  /// A run of particles in place of each chain: that they agree is told as of chains, and their spread is the error of the
  /// evidence.
  private func particles(_ isCancelled: @escaping () -> Bool, _ onProgress: (Progress) -> Void) throws
    -> Outcome
  {
    let (path, first) = try annealing()
    var runs: [SequentialMonteCarlo] = []
    for k in 0..<options.chains {
      // Particles are keyed apart from those of other runs.
      let run = try SequentialMonteCarlo(
        path, HamiltonianSampler.hamiltonian, particles: options.drawCount,
        key: DrawKey(seed: options.seed &+ UInt64(k) << 32, image: source, chain: 0, draw: 0), sweeps: 3,
        pool: pool, isCancelled: isCancelled
      ) { particle, point, scratch in
        try setStart(k * options.drawCount + particle, point, of: first, scratch)
      }
      while !run.isFinished {
        let round = try run.advance()
        onProgress(
          Progress(
            draws: Int(100 * (Double(k) + run.progress)), total: 100 * options.chains,
            acceptance: round.acceptance, evaluations: runs.reduce(run.evaluations) { $0 + $1.evaluations }))
      }
      runs.append(run)
    }
    var draws = try noDraws()
    for k in 0..<options.drawCount {
      let chosen = runs.map { $0.particles[k] }
      let moves = chosen.map { Move(acceptance: 1, energy: $0.energy) }
      try draws.add(chosen, MarkovChains.Round(moves: moves))
    }
    return Outcome(
      draws: draws, evaluations: runs.reduce(0) { $0 + $1.evaluations }, warmUpEvaluations: 0,
      tuning: runs[0].tuning, evidence: EvidenceEstimate(logs: runs.map(\.logEvidence)),
      logEvidences: runs.map(\.logEvidence))
  }

  /// The densities that particles go through, and the prior that they begin under.
  private func annealing() throws -> (AnnealingPath, any Prior) {
    guard options.sampler == .smcNoise else { return (AnnealingPath(dataTo: density), prior) }
    guard let levels = prior.noiseLevels else {
      throw SolverError.unsupported("the sampler smc-noise needs a prior that knows its noise level")
    }
    let (data, prior, isLatent) = (data, prior, density.isLatent)
    let path = AnnealingPath(noiseTo: density, levels: levels, width: try data.pixelDeviation()) { level in
      let smooth = try prior.smoothed(by: level, turn: 0)
      return isLatent
        ? SampledDensity(latents: data, prior: smooth as! any LatentPrior)
        : SampledDensity(pixels: data, prior: smooth)
    }
    return (path, try prior.smoothed(by: levels.greatest, turn: 0))
  }

  /// Where a chain starts: at a draw of the prior, which is wider than any posterior; of a prior that can't be drawn, at a draw
  /// of the posterior under the Gaussian.
  func setStart(_ chain: Int, _ point: Vector, _ scratch: Scratch) throws {
    try setStart(chain, point, of: prior, scratch)
  }

  private func setStart(_ chain: Int, _ point: Vector, of prior: any Prior, _ scratch: Scratch) throws {
    var random = key.of(chain: chain).random(.chainStart)
    if density.isLatent {
      try scratch.scope {
        let x = try scratch.take(point.count)
        try (prior as! any LatentPrior).draw(latents: point, into: x, &random, scratch)
      }
    } else if let drawable = prior as? any DrawablePrior {
      try drawable.draw(into: point, &random, scratch)
    } else if let gaussian {
      try gaussian.draw(into: point, &random, scratch)
      prior.encoding.encode(point, into: point)
    } else {
      throw SolverError.unsupported("this prior can't be drawn and the model holds no Gaussian to start from")
    }
  }
}
