import AIPOKernels

/// A path of a chain by straight steps, between which a momentum or a direction is turned by the gradient. It lives in a scope of
/// the chain's scratch.
struct DynamicPath {
  private let chain: MarkovChain
  private let mass: Mass
  /// Where it has come to.
  private(set) var end: ObjectiveSample
  /// `∇(−log π)` there.
  let gradient: Vector
  /// M⁻¹ times that: what the gradient does to a velocity. One product a step is all that the mass takes.
  let acceleration: Vector

  init(_ chain: MarkovChain, _ mass: Mass) throws {
    (self.chain, self.mass) = (chain, mass)
    let d = chain.density.dimension
    (gradient, acceleration) = (try chain.scratch.take(d), try chain.scratch.take(d))
    end = chain.sample
    feel()
  }

  private func feel() {
    chain.density.gradient(end, into: gradient, chain.pool)
    mass.accelerate(gradient, into: acceleration, chain.pool)
  }

  /// −log π where it has come to.
  var energy: Double { chain.density.energy(end) }

  /// Goes by `step · velocity`; false where the density isn't finite there, and then it is at its end.
  mutating func advance(along velocity: Vector, by step: Double) throws -> Bool {
    let (from, pool) = (end, chain.pool)
    let next = try chain.evaluate { u in
      u.set(from.point, pool)
      u.add(velocity, times: step, pool)
    }
    guard let next else { return false }
    end = next
    feel()
    return true
  }

  /// Lets the gradient act on a momentum, and on the velocity that belongs to it.
  func kick(momentum: Vector, velocity: Vector, for time: Double) {
    momentum.add(gradient, times: -time, chain.pool)
    velocity.add(acceleration, times: -time, chain.pool)
  }

  /// Shows the last gradient to the warm-up, unless the path is leaving: it then tells nothing of where draws are.
  func teach(gain: Double) {
    if let tell = chain.onGradient, gain < Move.learnable { tell(gradient) }
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
