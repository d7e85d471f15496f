import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems

/// The weight λ of a prior under which a measurement is the most probable: of the densities `p(x)^λ/Z(λ)`, which are wider than
/// the prior for λ < 1 and narrower for λ > 1, that which leads to y most often. With `R = −log p` the evidence's slope is
///
///     d log p(y | λ) / d log λ = λ (E[R | λ] − E[R | y, λ])
///
/// so that where it is greatest the draws of the posterior are as probable under the prior as the prior's own are. Two groups
/// of chains give both means while λ follows them (A. F. Vidal, V. De Bortoli, M. Pereyra, A. Durmus, *Maximum likelihood
/// estimation of regularization parameters in high-dimensional inverse problems*, SIAM Journal on Imaging Sciences 13, 2020).
///
/// 1 is what a draw of the prior leads to; an image that is smoother than most of the prior's draws leads to more, one that is
/// rougher to less. The weight of the best picture by its PSNR is another question.
public struct EvidenceLambda {
  public let lambda: Double
  /// Its standard error, by the evidence's curvature and the chains' wandering; infinite where the measurement doesn't tell λ.
  public let error: Double
  public let evaluations: Int

  /// λ at least and at most.
  public static let range = 0.05...20.0

  /// `source`: the image's index in its source, which its random numbers are keyed by.
  ///
  /// Throws `SolverError.unsupported` where the prior is no density of the whole image that can be drawn, `SamplingCancelled`
  /// where it is cancelled.
  public static func estimate(
    _ data: DataTerm, prior: any Prior, seed: UInt64, source: UInt64, pool: ThreadPool,
    isCancelled: @escaping () -> Bool = { false }, onProgress: @escaping (Double) -> Void = { _ in }
  ) throws -> EvidenceLambda {
    try EvidenceEstimate.requireDensity(prior)
    guard let drawable = prior as? any DrawablePrior else {
      throw SolverError.unsupported("this prior can't be drawn, which the evidence of its weight needs")
    }
    func group(_ number: Int, beta: Double) -> EvidenceAscent.Group {
      EvidenceAscent.Group(
        density: { log in
          var density = SampledDensity(pixels: data, prior: prior, lambda: exp(log))
          density.beta = beta
          return density
        },
        start: { chain, point, scratch in
          let key = DrawKey(seed: seed &+ UInt64(number) << 32, image: source, chain: chain, draw: 0)
          var random = key.random(.chainStart)
          try drawable.draw(into: point, &random, scratch)
        })
    }
    // What λ would be told by were each value or measurement one direction of a Gaussian: the curvature in log λ at most.
    let most = 0.5 * Double(min(data.observation.count, prior.count))
    // Of λR, of the posterior and of the prior.
    var moments = [PosteriorDraws.RunningMoments(), .init()]
    let ascent = EvidenceAscent(
      seed: seed, source: source, pool: pool, isCancelled: isCancelled, onProgress: onProgress)
    let (low, high) = (log(range.lowerBound), log(range.upperBound))
    let found = try ascent.run(from: 0, [group(0, beta: 1), group(1, beta: 0)]) { log, draws, isLate in
      var means = [0.0, 0]
      for draw in draws {
        for (k, group) in draw.enumerated() {
          for sample in group {
            let value = exp(log) * sample.flow!
            means[k] += value / Double(draws.count * group.count)
            if isLate { moments[k].add(value) }
          }
        }
      }
      return max(min(log + (means[1] - means[0]) / most, high), low) - log
    }
    let information =
      moments[1].squares / (moments[1].count - 1) - moments[0].squares / (moments[0].count - 1)
    let lambda = exp(found.log)
    return EvidenceLambda(
      lambda: lambda,
      error: information > 0 ? lambda * (1 / information + found.variance).squareRoot() : .infinity,
      evaluations: found.evaluations)
  }
}
