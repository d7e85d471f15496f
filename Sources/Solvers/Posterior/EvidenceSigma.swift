import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems

/// The deviation σ of white Gaussian noise under which a measurement is the most probable, by draws of the posterior: the
/// evidence's slope is
///
///     d log p(y | σ) / d log σ = E[‖y − f(h(x))‖² | y, σ]/σ² − m
///
/// so that `σ² = E[‖y − f(h(x))‖² | y, σ]/m` where it is greatest. Chains go on while σ follows them, each step half the
/// logarithm of that ratio; the mean of log σ over the later steps is kept (stochastic approximation of expectation and
/// maximisation: B. Delyon, M. Lavielle, E. Moulines, Annals of Statistics 27, 1999).
///
/// In contrast to an estimate at the most probable image it counts what the prior leaves open, so that it isn't drawn to 0.
public struct EvidenceSigma {
  public let sigma: Double
  /// Its standard error: `σ/√(2m)` of so many measurements, and the chains' wandering.
  public let error: Double
  public let evaluations: Int

  static let chains = 4
  static let warmUp = 120
  static let rounds = 24
  static let drawsEach = 4

  /// - Parameters:
  ///   - data: its noise is the first guess, white and Gaussian.
  ///   - source: the image's index in its source, which its random numbers are keyed by.
  ///
  /// Throws `SolverError.unsupported` where the prior is no normalised density, or the noise isn't white.
  public static func estimate(
    _ data: DataTerm, prior: any Prior, gaussian: GaussianPrior?, seed: UInt64, source: UInt64,
    pool: ThreadPool, isCancelled: @escaping () -> Bool = { false }
  ) throws -> EvidenceSigma {
    try EvidenceEstimate.requireDensity(prior)
    guard let noise = data.noise as? GaussianNoise, noise.mean == nil,
      case .isotropic(let variance) = noise.covariance
    else {
      throw SolverError.unsupported("the evidence is of white Gaussian noise")
    }
    var options = PosteriorOptions()
    options.chains = chains
    options.seed = seed
    let m = Double(data.observation.count)
    let key = DrawKey(seed: seed, image: source, chain: 0, draw: 0)
    func sampler(_ sigma: Double) throws -> PosteriorSampler {
      try PosteriorSampler(
        data: DataTerm(
          map: data.map, noise: GaussianNoise(sigma: sigma), observation: data.observation,
          encoding: data.encoding),
        prior: prior, gaussian: gaussian, options: options, source: source, pool: pool)
    }
    return try BLASThreads.single {
      var logSigma = 0.5 * log(variance)
      let first = try sampler(variance.squareRoot())
      let move = HamiltonianSampler.hamiltonian
      var chains = try MarkovChains(
        first.density, move, count: Self.chains, key: key, pool: pool, isCancelled: isCancelled,
        start: first.setStart)
      try chains.warmUp(warmUp)
      var evaluations = chains.evaluations
      var later = PosteriorDraws.RunningMoments()
      for round in 0..<rounds {
        let sigma = exp(logSigma)
        let positions = try chains.positions()
        let density = try sampler(sigma).density
        chains = try MarkovChains(
          density, move, count: Self.chains, key: key, tuning: chains.tuning, draws: chains.draws, pool: pool,
          isCancelled: isCancelled, start: { chain, point, _ in point.set(positions.row(chain)) })
        var ratio = 0.0
        for _ in 0..<drawsEach {
          _ = try chains.advance()
          for chain in chains.chains {
            // −log p(y | x) is ½‖y − f‖²/σ² and a constant.
            ratio += 2 * (chain.sample.recon - 0.5 * m * log(2 * .pi * sigma * sigma)) / m
          }
        }
        ratio /= Double(drawsEach * Self.chains)
        evaluations += chains.evaluations
        let isLate = round >= rounds / 3
        // At most by a factor of e at once, and ever less towards the end.
        let gain = isLate ? 1 / (1 + Double(round - rounds / 3) / 4) : 1
        logSigma += gain * max(min(0.5 * log(max(ratio, 1e-300)), 1), -1)
        if isLate { later.add(logSigma) }
      }
      let spread = later.squares / (later.count - 1) / later.count
      let sigma = max(exp(later.mean), NoiseEstimate.floor)
      return EvidenceSigma(
        sigma: sigma, error: sigma * (1 / (2 * m) + spread).squareRoot(), evaluations: evaluations)
    }
  }
}
