import AIPO

/// Looks for the minimum with particles: draws of the prior go to the posterior by sequential Monte Carlo, and descents begin
/// at the lowest of them.
struct Particles {
  /// Particles for each dimension.
  static let perDimension = 18
  /// Descents, from particles that lie apart.
  static let descents = 5
  /// How far apart they begin, of the box's unit.
  static let apart = 0.1

  let prior: TrainedPrior
  let problem: InverseProblem
  let seed: UInt64

  func run(_ image: Int, pool: ThreadPool) throws -> Method.Found {
    let flow = FlowPrior(prior.flow)
    let density = SampledDensity(pixels: problem.dataTerm(image, encoding: nil), prior: flow)
    let key = DrawKey(seed: seed, image: UInt64(image), chain: 0, draw: 0)
    let run = try SequentialMonteCarlo(
      AnnealingPath(dataTo: density), HamiltonianSampler.langevin,
      particles: Self.perDimension * problem.imageShape.count, key: key, sweeps: 1, pool: pool
    ) { particle, point, scratch in
      var random = Philox(seed: seed, index: UInt64(image << 16 + particle), purpose: .study)
      try flow.draw(into: point, &random, scratch)
    }
    while !run.isFinished { _ = try run.advance() }
    var starts: [[Double]] = []
    for particle in run.particles.sorted(by: { $0.energy < $1.energy }) where starts.count < Self.descents {
      let point = particle.sample.point.elements
      if starts.allSatisfy({ Anatomy.distance($0, point) > Self.apart }) { starts.append(point) }
    }
    var found = Method.Found(evaluations: run.evaluations)
    for minimum in try Polish(prior: prior, problem: problem).minima(from: starts.map { (image, $0) }) {
      found.evaluations += minimum.evaluations
      if minimum.value < found.objective { (found.objective, found.point) = (minimum.value, minimum.x) }
    }
    return found
  }
}
