import AIPOKernels
import AIPOPlatform

/// Finds the setting of a density under which a measurement is the most probable, by draws: groups of chains go on while the
/// setting follows what they show of the evidence's slope, by ever shorter steps, and the mean of its logarithm over the later
/// steps is kept (stochastic approximation of expectation and maximisation: B. Delyon, M. Lavielle, E. Moulines, Annals of
/// Statistics 27, 1999).
struct EvidenceAscent {
  /// What is found.
  struct Found {
    /// The logarithm of the setting, and the variance of that mean because the steps wander.
    var log: Double
    var variance: Double
    var evaluations: Int
  }

  /// Chains that are drawn at the setting.
  struct Group {
    /// The density at the logarithm of a setting.
    var density: (_ log: Double) throws -> SampledDensity
    /// Writes where a chain starts.
    var start: (_ chain: Int, _ point: Vector, _ scratch: Scratch) throws -> Void
  }

  static let chains = 4
  private static let warmUp = 120
  private static let rounds = 24
  private static let drawsEach = 4
  private static let most = 0.5

  var seed: UInt64
  var source: UInt64
  var pool: ThreadPool
  var isCancelled: () -> Bool
  /// Told the share that is done.
  var onProgress: (Double) -> Void

  /// - Parameters:
  ///   - first: the logarithm of the setting at first.
  ///   - rise: what the logarithm should change by, of the chains of all groups after each of some draws; at most by `most` at once.
  ///     Whether the step is one of the later ones, which count, is told besides.
  ///
  /// Throws `SamplingCancelled`.
  func run(
    from first: Double, _ groups: [Group],
    rise: (_ log: Double, _ draws: [[[ObjectiveSample]]], _ isLate: Bool) -> Double
  ) throws -> Found {
    do { return try BLASThreads.single { try climb(first, groups, rise) } } catch Interruption.cancelled {
      throw SamplingCancelled(state: nil)
    }
  }

  private func climb(
    _ first: Double, _ groups: [Group],
    _ rise: (_ log: Double, _ draws: [[[ObjectiveSample]]], _ isLate: Bool) -> Double
  ) throws -> Found {
    let move = HamiltonianSampler.hamiltonian
    let (steps, early) = (Double(Self.warmUp * groups.count + Self.rounds), Self.rounds / 3)
    var running = try groups.enumerated().map { k, group in
      let key = DrawKey(seed: seed &+ UInt64(k) << 32, image: source, chain: 0, draw: 0)
      let chains = try MarkovChains(
        try group.density(first), move, count: Self.chains, key: key, pool: pool, isCancelled: isCancelled,
        start: group.start)
      try chains.warmUp(Self.warmUp) { done, _ in onProgress(Double(k * Self.warmUp + done) / steps) }
      return chains
    }
    var evaluations = running.reduce(0) { $0 + $1.evaluations }
    var tunings = running.map(\.tuning)
    var log = first
    var later = PosteriorDraws.RunningMoments()
    for round in 0..<Self.rounds {
      running = try zip(groups, running).enumerated().map { k, pair in
        let (group, chains) = pair
        let positions = try chains.positions()
        let key = DrawKey(seed: seed &+ UInt64(k) << 32, image: source, chain: 0, draw: 0)
        return try MarkovChains(
          try group.density(log), move, count: Self.chains, key: key, tuning: tunings[k],
          draws: chains.draws, pool: pool, isCancelled: isCancelled,
          start: { chain, point, _ in point.set(positions.row(chain)) })
      }
      var draws: [[[ObjectiveSample]]] = []
      for _ in 0..<Self.drawsEach {
        for (k, chains) in running.enumerated() {
          let accepted = try chains.advance().acceptance
          // The density changes with the setting: a step that became too long is made shorter, and the other way round.
          tunings[k].step *= exp(0.5 * (accepted - move.targetAcceptance))
        }
        draws.append(running.map { $0.chains.map(\.sample) })
      }
      evaluations += running.reduce(0) { $0 + $1.evaluations }
      let isLate = round >= early
      let gain = isLate ? 1 / (1 + Double(round - early) / 4) : 1
      log += gain * max(min(rise(log, draws, isLate), Self.most), -Self.most)
      if isLate { later.add(log) }
      onProgress((Double(Self.warmUp * groups.count + round + 1)) / steps)
    }
    return Found(
      log: later.mean, variance: later.squares / (later.count - 1) / later.count, evaluations: evaluations)
  }
}
