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
/// logarithm of that ratio (`EvidenceAscent`).
///
/// In contrast to an estimate at the most probable image it counts what the prior leaves open, so that it isn't drawn to 0.
public struct EvidenceSigma {
  public let sigma: Double
  /// Its standard error: `σ/√(2m)` of so many measurements, and the chains' wandering.
  public let error: Double
  public let evaluations: Int

  /// - `data`: its noise is the first guess, white and Gaussian.
  /// - `source`: the image's index in its source, which its random numbers are keyed by.
  ///
  /// Throws `SolverError.unsupported` where the prior is no normalised density, or the noise isn't white; `SamplingCancelled`
  /// where it is cancelled.
  public static func estimate(
    _ data: DataTerm, prior: any Prior, gaussian: GaussianPrior?, seed: UInt64, source: UInt64,
    pool: ThreadPool, isCancelled: @escaping () -> Bool = { false },
    onProgress: @escaping (Double) -> Void = { _ in }
  ) throws -> EvidenceSigma {
    try EvidenceEstimate.requireDensity(prior)
    guard let noise = data.noise as? GaussianNoise, noise.mean == nil,
      case .isotropic(let variance) = noise.covariance
    else {
      throw SolverError.unsupported("the evidence is of white Gaussian noise")
    }
    var options = PosteriorOptions()
    options.chains = EvidenceAscent.chains
    options.seed = seed
    let m = Double(data.observation.count)
    func sampler(_ sigma: Double) throws -> PosteriorSampler {
      try PosteriorSampler(
        data: DataTerm(
          map: data.map, noise: GaussianNoise(sigma: sigma), observation: data.observation,
          encoding: data.encoding),
        prior: prior, gaussian: gaussian, options: options, source: source, pool: pool)
    }
    let ascent = EvidenceAscent(
      seed: seed, source: source, pool: pool, isCancelled: isCancelled, onProgress: onProgress)
    let group = EvidenceAscent.Group(
      density: { try sampler(exp($0)).density }, start: try sampler(variance.squareRoot()).setStart)
    let found = try ascent.run(from: 0.5 * log(variance), [group]) { logSigma, draws, _ in
      let samples = draws.flatMap { $0[0] }
      // −log p(y | x) is ½‖y − f‖²/σ² and a constant.
      let constant = 0.5 * m * (log(2 * .pi) + 2 * logSigma)
      let ratio = samples.reduce(0) { $0 + 2 * ($1.recon - constant) / m } / Double(samples.count)
      return 0.5 * log(max(ratio, 1e-300))
    }
    let sigma = max(exp(found.log), NoiseEstimate.floor)
    return EvidenceSigma(
      sigma: sigma, error: sigma * (1 / (2 * m) + found.variance).squareRoot(),
      evaluations: found.evaluations)
  }
}
