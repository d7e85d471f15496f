import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// log p(y) with its standard error.
public struct EvidenceEstimate: Sendable, Hashable, Codable {
  public var logEvidence: Double
  /// Of `logEvidence`, in nats.
  public var error: Double

  /// Throws where a prior is no density of the whole image: it has no evidence.
  package static func requireDensity(_ prior: any Prior) throws(SolverError) {
    guard prior.isNormalized else {
      throw .unsupported(
        "this prior is an average over patches or a margin, no density of the whole image: it has no evidence"
      )
    }
  }

  /// The mean of independent estimates of p(y), each without bias, by their logarithms; the error is that of their spread, with
  /// the factor by which few estimates are unsure of their spread (Student's t over the normal's, at 95 %).
  public init?(logs: [Double]) {
    guard logs.count > 1, logs.allSatisfy(\.isFinite) else { return nil }
    let n = Double(logs.count)
    let greatest = logs.max()!
    let shares = logs.map { exp($0 - greatest) }
    let mean = shares.reduce(0, +) / n
    logEvidence = greatest + log(mean)
    // By the logs' spread: where it is large the shares' is led by one of them.
    error =
      (ChainDraws.variance(logs) / n).squareRoot() * StudentDistribution.quantile95(logs.count - 1) / 1.959964
  }
}

/// Particles that go from a density that can be drawn to the one that is wanted, by densities in between: from the prior (β = 0)
/// to the posterior (β = 1). At each the particles are weighted by what the density changed, drawn anew by their weights, and
/// moved by a Markov chain that leaves the new density as it is. Modes keep their weights, and the product of the mean weights
/// is an estimate of p(y) without bias (P. Del Moral, A. Doucet, A. Jasra, JRSS B 68, 2006).
///
/// β grows so far that the weights are worth `share` of the particles; mass and step are learned from the particles on the way.
public final class SequentialMonteCarlo {
  public let sampler: any Sampler
  public let particles: [MarkovChain]
  /// β of the particles.
  public private(set) var beta = 0.0
  /// Those that were gone through, from 0.
  public private(set) var ladder = [0.0]
  /// log of the product of the mean weights so far.
  public private(set) var logEvidence = 0.0
  public private(set) var tuning: SamplerTuning
  private let density: SampledDensity
  private let key: DrawKey
  private let pool: ThreadPool
  private let share: Double
  private let sweeps: Int
  private var draws = 0

  /// - Parameters:
  ///   - key: the image's and the run's.
  ///   - start: writes an exact draw of the prior.
  ///   - share: the particles that weights are worth, of all.
  ///   - sweeps: moves at each β.
  public init(
    _ density: SampledDensity, _ sampler: any Sampler, particles count: Int, key: DrawKey,
    share: Double = 0.5,
    sweeps: Int = 4, pool: ThreadPool, isCancelled: @escaping () -> Bool = { false },
    start: (_ particle: Int, _ point: Vector, _ scratch: Scratch) throws -> Void
  ) throws {
    (self.density, self.sampler, self.key, self.pool) = (density, sampler, key, pool)
    (self.share, self.sweeps) = (share, sweeps)
    var prior = density
    prior.beta = 0
    let isSmall = density.dimension < Reconstructor.sideBySideLimit
    let alone = ThreadPool(threads: 1)
    particles = try (0..<count).map { k in
      let scratch = Scratch(pool: isSmall ? alone : pool)
      guard
        let one = try MarkovChain(prior, scratch, isCancelled: isCancelled, at: { try start(k, $0, scratch) })
      else { throw SolverError.unsupported("a draw of the prior isn't finite under it") }
      return one
    }
    tuning = SamplerTuning(step: pow(Double(density.dimension), -0.25), length: 0.5 * .pi)
  }

  public var evaluations: Int { particles.reduce(0) { $0 + $1.evaluations } }
  public var isFinished: Bool { beta >= 1 }

  /// Goes to the next β.
  public func advance() throws -> MarkovChains.Round {
    let recon = particles.map(\.sample.recon)
    let next = nextBeta(recon)
    let logs = recon.map { -(next - beta) * $0 }
    let greatest = logs.max()!
    let weights = logs.map { exp($0 - greatest) }
    let total = weights.reduce(0, +)
    logEvidence += greatest + log(total / Double(weights.count))
    resample(weights.map { $0 / total })
    beta = next
    ladder.append(next)
    for particle in particles { particle.density.beta = next }
    var last = MarkovChains.Round(moves: [])
    for _ in 0..<sweeps { last = try sweep() }
    return last
  }

  /// The greatest β up to 1 at which the weights' `(Σw)²/Σw²` is the share of the particles.
  private func nextBeta(_ recon: [Double]) -> Double {
    func worth(_ next: Double) -> Double {
      let logs = recon.map { -(next - beta) * $0 }
      let greatest = logs.max()!
      let weights = logs.map { exp($0 - greatest) }
      let sum = weights.reduce(0, +)
      return sum * sum / weights.reduce(0) { $0 + $1 * $1 } / Double(recon.count)
    }
    if worth(1) >= share { return 1 }
    var (low, high) = (beta, 1.0)
    for _ in 0..<60 {
      let middle = 0.5 * (low + high)
      if worth(middle) >= share { low = middle } else { high = middle }
    }
    return max(low, beta.nextUp)
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
    let estimate =
      try sampler is CrankNicolsonSampler
      ? nil
      : (0..<particles.count).map { _ in
        try MassEstimate(dimension: density.dimension, isDense: false)
      }
    let lock = Lock()
    func move(_ k: Int) throws {
      let particle = particles[k]
      if let estimate { particle.onGradient = { estimate[k].add($0) } }
      defer { particle.onGradient = nil }
      let done = try sampler.move(particle, tuning, key.of(chain: k).at(draw: draw))
      lock.withLock { moves[k] = done }
    }
    if density.dimension < Reconstructor.sideBySideLimit {
      try pool.run(particles.count) { k, _ in try move(k) }
    } else {
      for k in particles.indices { try move(k) }
    }
    draws += 1
    let round = MarkovChains.Round(moves: moves)
    // The next density is nearly the same: a step that was too long is made shorter, and the other way round.
    self.tuning.step = min(
      tuning.step * exp(1.5 * (round.acceptance - sampler.targetAcceptance)),
      sampler is CrankNicolsonSampler ? 1 : .infinity)
    if let estimate, let mass = try MassEstimate.mass(estimate) { self.tuning.mass = mass }
    return round
  }
}

/// Student's t.
enum StudentDistribution {
  /// Its 97.5 % quantile: by the beta distribution, `t² = ν(1 − x)/x` with `I_x(ν/2, ½) = 0.05`.
  static func quantile95(_ degrees: Int) -> Double {
    let nu = Double(degrees)
    let x = BetaDistribution.quantile(0.05, nu / 2, 0.5)
    return (nu * (1 - x) / x).squareRoot()
  }
}
