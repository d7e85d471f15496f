import AIPOKernels

/// Hamiltonian dynamics with a Metropolis test: leapfrog steps in position and momentum p ~ N(0, M), accepted with the
/// probability `min(1, exp(−ΔH))`, `H = −log π(u) + ½ pᵀM⁻¹p`. The velocity `v = M⁻¹p` goes beside the momentum. The number of steps is drawn evenly from 1 to twice its mean, so
/// that no direction comes back to where it was (R. M. Neal, *MCMC using Hamiltonian dynamics*, 2011). All chains draw the same
/// number, which depends on the draw alone.
///
/// With a single step it is the Metropolis-adjusted Langevin algorithm: `langevin`.
public struct HamiltonianSampler: Sampler {
  public let name: String
  public let targetAcceptance: Double
  private let isSingleStep: Bool

  /// Steps of a path at most.
  static let stepLimit = 256

  public static let hamiltonian = HamiltonianSampler(name: "hmc", targetAcceptance: 0.75, isSingleStep: false)
  public static let langevin = HamiltonianSampler(name: "mala", targetAcceptance: 0.574, isSingleStep: true)

  public func evaluations(_ tuning: SamplerTuning) -> Double {
    isSingleStep ? 1 : min(max(tuning.length / tuning.step, 1), Double(Self.stepLimit))
  }

  public func move(_ chain: MarkovChain, _ tuning: SamplerTuning, _ key: DrawKey) throws -> Move {
    let (d, pool, step) = (chain.density.dimension, chain.pool, tuning.step)
    return try chain.scratch.scope {
      let (p, v) = (try chain.scratch.take(d), try chain.scratch.take(d))
      var random = key.random(.momentum)
      p.setNormals(&random)
      v.set(p, pool)
      tuning.mass.momentum(p, pool)
      tuning.mass.pushForward(v, pool)
      var path = try DynamicPath(chain, tuning.mass)
      let before = chain.energy + 0.5 * p.dot(v, pool)
      for _ in 0..<PathLength.steps(isSingleStep ? nil : tuning, key) {
        path.kick(momentum: p, velocity: v, for: 0.5 * step)
        guard try path.advance(along: v, by: step) else {
          return Move(acceptance: 0, energy: before, isDivergent: true)
        }
        path.kick(momentum: p, velocity: v, for: 0.5 * step)
        path.teach(gain: path.energy + 0.5 * p.dot(v, pool) - before)
      }
      let after = path.energy + 0.5 * p.dot(v, pool)
      let acceptance = chain.decide(path.end, logRatio: before - after, key)
      return Move(
        acceptance: acceptance, energy: chain.sample === path.end ? after : before,
        isDivergent: !(after - before < Move.divergence))
    }
  }
}
