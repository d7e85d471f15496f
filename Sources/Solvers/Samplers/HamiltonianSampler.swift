import AIPOKernels

/// Hamiltonian dynamics with a Metropolis test: leapfrog steps in position and momentum p ~ N(0, M), accepted with the
/// probability `min(1, exp(−ΔH))`, `H = −log π(u) + ½ pᵀM⁻¹p`. The number of steps is drawn evenly from 1 to twice its mean, so
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
    let (density, pool, mass, step) = (chain.density, chain.pool, tuning.mass, tuning.step)
    let d = density.dimension
    return try chain.scratch.scope {
      let (p, g, v) = (try chain.scratch.take(d), try chain.scratch.take(d), try chain.scratch.take(d))
      var random = key.random(.momentum)
      p.setNormals(&random)
      let start = chain.sample
      let before = density.energy(start) + 0.5 * p.dot(p, pool)
      var end = start
      density.gradient(end, into: g, pool)
      mass.pullBack(g, pool)
      for _ in 0..<PathLength.steps(isSingleStep ? nil : tuning, key) {
        p.add(g, times: -0.5 * step, pool)
        v.set(p, pool)
        mass.pushForward(v, pool)
        let next = try chain.evaluate { u in
          u.set(end.point, pool)
          u.add(v, times: step, pool)
        }
        guard let next else { return Move(acceptance: 0, energy: before, isDivergent: true) }
        end = next
        density.gradient(end, into: g, pool)
        if chain.onGradient != nil { v.set(g, pool) }
        mass.pullBack(g, pool)
        p.add(g, times: -0.5 * step, pool)
        // A path that is leaving tells nothing of where draws are.
        if let tell = chain.onGradient,
          density.energy(end) + 0.5 * p.dot(p, pool) - before < Move.learnable
        {
          tell(v)
        }
      }
      let after = density.energy(end) + 0.5 * p.dot(p, pool)
      let acceptance = chain.decide(end, logRatio: before - after, key)
      return Move(
        acceptance: acceptance, energy: chain.sample === end ? after : before,
        isDivergent: !(after - before < Move.divergence))
    }
  }
}

/// How many steps a path has.
enum PathLength {
  /// Evenly from 1 to twice the mean, the same for all chains; 1 without a tuning.
  static func steps(_ tuning: SamplerTuning?, _ key: DrawKey) -> Int {
    guard let tuning else { return 1 }
    var random = key.of(chain: 0).random(.pathLength)
    let mean = min(tuning.length / tuning.step, Double(HamiltonianSampler.stepLimit) / 2)
    return max(1, Int((2 * mean * random.uniform()).rounded(.up)))
  }
}
