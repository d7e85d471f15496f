import AIPOKernels
import AIPOPlatform

/// Particles that go from a density that can be drawn to the posterior, by densities in between (`AnnealingPath`). At each the
/// particles are weighted by what the density changed, drawn anew by their weights, and moved by a Markov chain that leaves the
/// new density as it is. Modes keep their weights, and the product of the mean weights is an estimate of p(y) without bias
/// (P. Del Moral, A. Doucet, A. Jasra, JRSS B 68, 2006).
///
/// Steps are so long that the weights are worth `share` of the particles; mass and step are learned from the particles on the
/// way.
public final class SequentialMonteCarlo {
  public let sampler: any Sampler
  public let particles: [MarkovChain]
  /// Where the particles have been, from the start on.
  public private(set) var ladder: [AnnealingPath.Place]
  /// log of the product of the mean weights so far.
  public private(set) var logEvidence = 0.0
  public private(set) var tuning: SamplerTuning
  private let path: AnnealingPath
  private let key: DrawKey
  private let pool: ThreadPool
  private let isSideBySide: Bool
  private let share: Double
  private let sweeps: Int
  private var draws = 0
  /// How far s falls next: the fall of its logarithm.
  private var fall = 0.1
  private let mass: ParticleMass

  /// - `path`: the densities.
  /// - `key`: the image's and the run's.
  /// - `start`: writes an exact draw of the path's first density.
  /// - `share`: the particles that weights are worth, of all.
  /// - `sweeps`: moves at each place.
  public init(
    _ path: AnnealingPath, _ sampler: any Sampler, particles count: Int, key: DrawKey,
    share: Double = 0.5, sweeps: Int = 4, pool: ThreadPool, isCancelled: @escaping () -> Bool = { false },
    start: (_ particle: Int, _ point: Vector, _ scratch: Scratch) throws -> Void
  ) throws {
    (self.path, self.sampler, self.key, self.pool) = (path, sampler, key, pool)
    (self.share, self.sweeps) = (share, sweeps)
    ladder = [path.start]
    let first = try path.density(at: path.start)
    let d = first.dimension
    isSideBySide = d < Reconstructor.sideBySideLimit
    let (alone, isSmall) = (ThreadPool(threads: 1), isSideBySide)
    particles = try (0..<count).map { k in
      let scratch = Scratch(pool: isSmall ? alone : pool)
      guard
        let one = try MarkovChain(first, scratch, isCancelled: isCancelled, at: { try start(k, $0, scratch) })
      else { throw SolverError.unsupported("a draw of the prior isn't finite under it") }
      return one
    }
    tuning = SamplerTuning(step: pow(Double(d), -0.25), length: 0.5 * .pi)
    mass = try ParticleMass(first, isWalk: sampler is CrankNicolsonSampler)
  }

  public var evaluations: Int { particles.reduce(0) { $0 + $1.evaluations } }
  public var place: AnnealingPath.Place { ladder[ladder.count - 1] }
  public var isFinished: Bool { path.isEnd(place) }
  /// How far it is, from 0 to 1.
  public var progress: Double { path.progress(place) }

  /// Goes to the next place.
  public func advance() throws -> MarkovChains.Round {
    let greatest = path.beta(at: place.level)
    let logs: [Double]
    if place.beta < greatest {
      let next = nextBeta(greatest)
      logs = particles.map { -(next - place.beta) * $0.sample.recon }
      for particle in particles { particle.density.beta = next }
      ladder.append(.init(beta: next, level: place.level))
    } else {
      logs = try lowerLevel()
    }
    let greatestLog = logs.max()!
    guard greatestLog > -.infinity else {
      throw SolverError.unsupported("no particle is finite under the next density")
    }
    let weights = logs.map { exp($0 - greatestLog) }
    let total = weights.reduce(0, +)
    logEvidence += greatestLog + log(total / Double(weights.count))
    resample(weights.map { $0 / total })
    if let found = try mass.next(particles, place, key, pool) { tuning.mass = found }
    var last = MarkovChains.Round(moves: [])
    for _ in 0..<sweeps { last = try sweep() }
    return last
  }

  /// The share of particles that weights are worth, `(Σw)²/Σw²`.
  private static func worth(_ logs: [Double]) -> Double {
    let greatest = logs.max()!
    guard greatest > -.infinity else { return 0 }
    let weights = logs.map { exp($0 - greatest) }
    let sum = weights.reduce(0, +)
    return sum * sum / weights.reduce(0) { $0 + $1 * $1 } / Double(logs.count)
  }

  /// The greatest β up to a limit at which the weights are worth the share.
  private func nextBeta(_ limit: Double) -> Double {
    let (beta, recon) = (place.beta, particles.map(\.sample.recon))
    func worth(_ next: Double) -> Double { Self.worth(recon.map { -(next - beta) * $0 }) }
    if worth(limit) >= share { return limit }
    var (low, high) = (beta, limit)
    for _ in 0..<60 {
      let middle = 0.5 * (low + high)
      if worth(middle) >= share { low = middle } else { high = middle }
    }
    return max(low, beta.nextUp)
  }

  /// Lets s fall, and gives the logarithms of the weights. A fall after which they are worth much less than the share is taken
  /// back; the next one is as long as this one should have been.
  private func lowerLevel() throws -> [Double] {
    let before = particles.map { (sample: $0.sample, energy: $0.energy) }
    while true {
      let next = path.below(place, by: fall)
      let density = try path.density(at: next)
      var logs = [Double](repeating: -.infinity, count: particles.count)
      let lock = Lock()
      try forEach { k, _ in
        let particle = self.particles[k]
        particle.sample = before[k].sample
        guard try particle.change(to: density) else { return }
        let log = before[k].energy - particle.energy
        lock.withLock { logs[k] = log }
      }
      let worth = Self.worth(logs)
      let longest = (log(share) / log(min(max(worth, 1e-6), 0.999))).squareRoot()
      fall *= min(max(longest, 0.3), 2)
      if worth >= 0.5 * share || fall < 1e-6 {
        ladder.append(next)
        return logs
      }
    }
  }

  /// Draws the particles anew in proportion to their weights, by places that are evenly spaced: each has `n w` successors,
  /// rounded down or up.
  private func resample(_ weights: [Double]) {
    var random = key.at(draw: draws).random(.resampling)
    let n = Double(weights.count)
    let offset = random.uniform()
    let samples = particles.map(\.sample)
    var (k, sum) = (0, weights[0] * n)
    for i in particles.indices {
      while sum < Double(i) + offset, k + 1 < weights.count {
        k += 1
        sum += weights[k] * n
      }
      particles[i].sample = samples[k]
    }
  }

  /// Moves all particles once, and learns from it.
  private func sweep() throws -> MarkovChains.Round {
    var moves = [Move](repeating: Move(acceptance: 0, energy: 0), count: particles.count)
    let (draw, tuning, key, sampler) = (draws, tuning, key, sampler)
    let lock = Lock()
    try forEach { k, group in
      let particle = self.particles[k]
      particle.onGradient = self.mass.learner(group)
      defer { particle.onGradient = nil }
      let done = try sampler.move(particle, tuning, key.of(chain: k).at(draw: draw))
      lock.withLock { moves[k] = done }
    }
    draws += 1
    let round = MarkovChains.Round(moves: moves)
    // The next density is nearly the same: a step that was too long is made shorter, and the other way round.
    self.tuning.step = min(
      tuning.step * exp(1.5 * (round.acceptance - sampler.targetAcceptance)),
      sampler is CrankNicolsonSampler ? 1 : .infinity)
    return round
  }

  /// Calls `body` for every particle, in groups that are at work side by side while images are small; one group is always the
  /// same particles in the same order.
  private func forEach(_ body: (_ particle: Int, _ group: Int) throws -> Void) throws {
    let groups = ParticleMass.groups
    func run(_ group: Int) throws {
      for k in stride(from: group, to: particles.count, by: groups) { try body(k, group) }
    }
    if isSideBySide {
      try pool.run(groups) { group, _ in try run(group) }
    } else {
      for group in 0..<groups { try run(group) }
    }
  }
}
