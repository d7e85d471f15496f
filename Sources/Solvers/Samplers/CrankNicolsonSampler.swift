import AIPOKernels

/// The preconditioned Crank–Nicolson walk over latents, where the prior is N(0, I):
///
///     ε′ = √(1 − β²) ε + β ξ,   ξ ~ N(0, I)
///
/// which leaves the prior as it is whatever β, so the test is of the likelihood alone, `min(1, p(y | ε′)/p(y | ε))`
/// (S. L. Cotter, G. O. Roberts, A. M. Stuart, D. White, Statistical Science 28, 2013). The step is β, at most 1. It takes no
/// gradient, and slows down with what the data tell.
public struct CrankNicolsonSampler: Sampler {
  public let name = "pcn"
  public let targetAcceptance = 0.25

  public init() {}

  public func evaluations(_ tuning: SamplerTuning) -> Double { 1 }

  public func move(_ chain: MarkovChain, _ tuning: SamplerTuning, _ key: DrawKey) throws -> Move {
    let (density, pool) = (chain.density, chain.pool)
    precondition(density.isLatent, "the walk is over latents")
    let beta = min(tuning.step, 1)
    let shrink = (1 - beta * beta).squareRoot()
    let start = chain.sample
    var random = key.random(.proposal)
    let proposal = try chain.evaluate { u in
      u.setNormals(&random)
      u.set(shrink, start.point, plus: beta, pool)
    }
    guard let proposal else { return Move(acceptance: 0, energy: chain.energy, isDivergent: true) }
    let acceptance = chain.decide(
      proposal, logRatio: density.beta * (start.recon - proposal.recon), key)
    return Move(acceptance: acceptance, energy: chain.energy)
  }
}
