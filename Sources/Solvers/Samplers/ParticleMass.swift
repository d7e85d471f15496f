import AIPOKernels
import AIPOPlatform

/// The mass of particles' moves on a path of densities: the curvature of prior and data where some of the particles are,
/// bettered by the gradients of their moves, as in the warm-up of chains. One mass serves all particles.
final class ParticleMass {
  /// Particles whose gradients are summed one after another: the same on any number of threads.
  static let groups = 16
  /// Particles that the data's curvature is looked at by.
  private static let looks = 16
  /// The factor of β or s after which it is looked at anew.
  private static let outdated = 1.3

  private let isWalk: Bool
  private let dimension: Int
  private var estimates: [MassEstimate]?
  private var curvature: StartingCurvature?
  /// The curvature at the last place as a whole matrix.
  private var guess: Matrix?
  private var place: AnnealingPath.Place?

  /// - Parameter isWalk: moves without mass.
  init(_ density: SampledDensity, isWalk: Bool) throws {
    (self.isWalk, dimension) = (isWalk, density.dimension)
  }

  /// What learns from the gradients of a group.
  func learner(_ group: Int) -> ((Vector) -> Void)? {
    estimates.map { estimates in { estimates[group].add($0) } }
  }

  /// The mass at a place, from what was learned before it; nil where nothing is known. Learning begins anew.
  func next(
    _ particles: [MarkovChain], _ next: AnnealingPath.Place, _ key: DrawKey, _ pool: ThreadPool
  ) throws -> Mass? {
    guard !isWalk else { return nil }
    if isOutdated(next) {
      let first = particles[0]
      curvature = try first.density.startingCurvature(
        at: first.sample, seed: key.imageSeed, key: 0, first.scratch)
      let step = max(1, particles.count / Self.looks)
      curvature?.whole = try particles[0].density.wholeDataCurvature(
        at: stride(from: 0, to: particles.count, by: step).map { particles[$0] }, pool)
      place = next
    }
    let before = guess
    guess = curvature?.matrix(beta: next.beta)
    let found =
      try (before == nil) == (guess == nil)
      ? estimates.flatMap { try MassEstimate.mass($0, near: before, next: guess) } : nil
    estimates = try (0..<Self.groups).map { _ in
      try MassEstimate(dimension: dimension, isDense: guess != nil)
    }
    return found ?? curvature?.mass(beta: next.beta)
  }

  private func isOutdated(_ next: AnnealingPath.Place) -> Bool {
    guard let place, place.beta > 0 else { return true }
    func isFar(_ a: Double, _ b: Double) -> Bool { max(a, b) > Self.outdated * min(a, b) }
    return isFar(place.beta, next.beta) || isFar(place.level, next.level)
  }
}

extension SampledDensity {
  /// The data's Gauss–Newton curvature at β = 1, of each chain's share of the measurements where the chain is; nil where there
  /// are too many values for a whole matrix, or too many measurements.
  func wholeDataCurvature(at chains: [MarkovChain], _ pool: ThreadPool) throws -> Matrix? {
    guard let m = measurementCount, max(m, dimension) <= MassEstimate.denseLimit else { return nil }
    var factors = [Matrix?](repeating: nil, count: chains.count)
    let lock = Lock()
    try pool.run(chains.count) { k, _ in
      let factor = try chains[k].density.dataFactor(
        at: chains[k].sample, rows: Array(stride(from: k, to: m, by: chains.count)), chains[k].scratch)
      lock.withLock { factors[k] = factor }
    }
    var sum = try Matrix(rows: dimension, columns: dimension)
    for factor in factors {
      guard let factor else { return nil }
      if factor.columns > 0 { sum.add(try factor.timesTransposed(factor), scaledBy: 1) }
    }
    return sum
  }
}
