import AIPOKernels

/// A path of a chain by straight steps in w, where the mass is 1, between which a momentum or a direction is turned by the
/// gradient. It lives in a scope of the chain's scratch.
struct DynamicPath {
  private let chain: MarkovChain
  private let mass: Mass
  /// Where it has come to.
  private(set) var end: ObjectiveSample
  /// `∇(−log π)` there, in w.
  let gradient: Vector
  private let work: Vector

  init(_ chain: MarkovChain, _ mass: Mass) throws {
    (self.chain, self.mass) = (chain, mass)
    let d = chain.density.dimension
    (gradient, work) = (try chain.scratch.take(d), try chain.scratch.take(d))
    end = chain.sample
    chain.density.gradient(end, into: gradient, chain.pool)
    mass.pullBack(gradient, chain.pool)
  }

  /// −log π where it has come to.
  var energy: Double { chain.density.energy(end) }

  /// Goes by `step · direction` in w; false where the density isn't finite there, and then it is at its end.
  mutating func advance(along direction: Vector, by step: Double) throws -> Bool {
    let pool = chain.pool
    work.set(direction, pool)
    mass.pushForward(work, pool)
    let (from, v) = (end, work)
    let next = try chain.evaluate { u in
      u.set(from.point, pool)
      u.add(v, times: step, pool)
    }
    guard let next else { return false }
    end = next
    chain.density.gradient(end, into: gradient, pool)
    if chain.onGradient != nil { work.set(gradient, pool) }
    mass.pullBack(gradient, pool)
    return true
  }

  /// Shows the last gradient to the warm-up, unless the path is leaving: it then tells nothing of where draws are.
  func teach(gain: Double) {
    if let tell = chain.onGradient, gain < Move.learnable { tell(work) }
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
