import AIPOKernels
import AIPOPriors
import AIPOProblems

/// A density that is sampled, known up to its constant:
///
///     −log π = β L_recon + λ((1 − t) R_gauss + t R_flow)
///
/// λ = t = β = 1 is the posterior p(x | y). Any other weight is another density, and `words` says which.
///
/// Over x, the values that the prior is a density of, that is the objective as it is. Over latents ε, x = G(ε), the density of
/// ε has the Jacobian of G besides, so that of `p(y | f(h(x))) p(x)` becomes `p(y | f(h(G(ε)))) p_base(ε)`, without the
/// log-determinant. h stands in the likelihood alone: no density of h(x) is meant.
public struct SampledDensity: Sendable {
  public let objective: any Objective
  public let weights: ObjectiveWeights
  /// β, the weight of the data term: 0 is the prior, 1 the posterior.
  public var beta = 1.0
  /// `Prior.isNormalized` of the prior.
  public let isNormalized: Bool

  /// Over x.
  ///
  /// - `lambda`: λ.
  /// - `flowShare`: t; below 1 takes a Gaussian.
  public init(
    pixels data: DataTerm, prior: any Prior, gaussian: GaussianPrior? = nil, lambda: Double = 1,
    flowShare: Double = 1
  ) {
    objective = PixelObjective(data: data, prior: prior, gaussian: gaussian)
    weights = ObjectiveWeights(lambda: lambda, t: flowShare)
    isNormalized = prior.isNormalized && lambda == 1 && flowShare == 1
  }

  /// Over latents, at λ = t = 1.
  public init(latents data: DataTerm, prior: any LatentPrior) {
    objective = LatentObjective(data: data, prior: prior, gaussian: nil, regularizer: .base)
    weights = ObjectiveWeights(lambda: 1)
    isNormalized = prior.isNormalized
  }

  public var dimension: Int { objective.dimension }
  public var isLatent: Bool { objective.latentCoordinates }

  /// −log π of an evaluated point.
  public func energy(_ sample: ObjectiveSample) -> Double {
    var sum = beta * sample.recon
    if weights.flow != 0 { sum += weights.flow * sample.flow! }
    if weights.gaussian != 0 { sum += weights.gaussian * sample.gaussian! }
    return sum
  }

  /// `g ← ∇(−log π)` of an evaluated point.
  public func gradient(_ sample: ObjectiveSample, into g: Vector, _ pool: ThreadPool) {
    g.set(beta, sample.reconGradient, plus: 0, pool)
    if weights.flow != 0 { g.add(sample.flowGradient, times: weights.flow, pool) }
    if weights.gaussian != 0 { g.add(sample.gaussianGradient, times: weights.gaussian, pool) }
  }

  /// The density's name, for a report.
  public var words: String {
    func rounded(_ value: Double) -> Double { (value * 1e4).rounded() / 1e4 }
    let likelihood = beta == 1 ? "p(y | x)" : "p(y | x)^\(rounded(beta))"
    let flow = weights.flow == 1 ? "p(x)" : "p(x)^\(rounded(weights.flow))"
    let gaussian = weights.gaussian == 0 ? "" : " gaussian(x)^\(rounded(weights.gaussian))"
    let parts = "\(likelihood) \(flow)\(gaussian)"
    return isNormalized && beta == 1 ? "the posterior, \(parts) / p(y)" : "in proportion to \(parts)"
  }
}
