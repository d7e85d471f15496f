import AIPOKernels
import AIPOPlatform

/// Microcanonical dynamics with a Metropolis test: the velocity has a direction e alone, which bends towards where the density
/// grows, and the time that a path spends in a place does what its speed does in Hamiltonian dynamics. In w, where the mass
/// is 1, a step of length ε is half a turn, a straight step and half a turn:
///
///     δ = ½ε‖g‖/(d − 1),   n = −g/‖g‖,   e ← (e + (sinh δ + (eᵀn)(cosh δ − 1)) n) / (cosh δ + (eᵀn) sinh δ)
///
/// each turn adds `(d − 1) log(cosh δ + (eᵀn) sinh δ)` to what a path gains in `−log π`; the sum is what the test is of. Every path begins in a direction of its own (J. Robnik, R. Cohn-Gordon, U. Seljak, *Metropolis Adjusted Microcanonical
/// Hamiltonian Monte Carlo*, 2025). It takes at least two dimensions.
public struct MicrocanonicalSampler: Sampler {
  public let name = "mams"
  public let targetAcceptance = 0.9

  public init() {}

  public func evaluations(_ tuning: SamplerTuning) -> Double {
    HamiltonianSampler.hamiltonian.evaluations(tuning)
  }

  public func move(_ chain: MarkovChain, _ tuning: SamplerTuning, _ key: DrawKey) throws -> Move {
    let (d, pool) = (chain.density.dimension, chain.pool)
    precondition(d > 1, "microcanonical dynamics take at least two dimensions")
    // A direction covers in a step what a momentum of length √d does.
    let step = tuning.step * Double(d).squareRoot()
    return try chain.scratch.scope {
      let e = try chain.scratch.take(d)
      var random = key.random(.momentum)
      e.setNormals(&random)
      e.scale(by: 1 / e.norm(pool), pool)
      // As a velocity in u.
      tuning.mass.pushForward(e, pool)
      var path = try DynamicPath(chain, tuning.mass)
      let before = chain.energy
      var work = 0.0
      for _ in 0..<PathLength.steps(tuning, key) {
        work += Self.turn(e, by: path, step: 0.5 * step, pool)
        guard try path.advance(along: e, by: step) else {
          return Move(acceptance: 0, energy: before, isDivergent: true)
        }
        work += Self.turn(e, by: path, step: 0.5 * step, pool)
        path.teach(gain: path.energy - before + work)
      }
      let gain = path.energy - before + work
      let acceptance = chain.decide(path.end, logRatio: -gain, key)
      return Move(acceptance: acceptance, energy: chain.energy, isDivergent: !(gain < Move.divergence))
    }
  }

  /// Turns the direction e, and gives what the turn adds to the gain. In w the gradient is `Wᵀg`, of the square `gᵀM⁻¹g`, and
  /// turns We, the velocity in u, by M⁻¹g.
  private static func turn(_ e: Vector, by path: DynamicPath, step: Double, _ pool: ThreadPool) -> Double {
    let (g, acceleration) = (path.gradient, path.acceleration)
    let norm = max(g.dot(acceleration, pool), 0).squareRoot()
    guard norm > 0 else { return 0 }
    let (freedom, along) = (Double(e.count - 1), -e.dot(g, pool) / norm)
    let delta = step * norm / freedom
    // All over exp(δ), which overflows.
    let small = exp(-2 * delta)
    let (sinh, cosh) = (0.5 * (1 - small), 0.5 * (1 + small))
    let scale = max(cosh + along * sinh, .leastNormalMagnitude)
    let share = sinh + along * (cosh - exp(-delta))
    e.set(-share / (scale * norm), acceleration, plus: exp(-delta) / scale, pool)
    return freedom * (delta + log(scale))
  }
}
