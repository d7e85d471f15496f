import AIPOKernels
import AIPOPlatform

/// Several chains of one density, side by side. All of them make a draw, then the next: a warm-up learns from all of them
/// together, and what comes is the same bits on any number of threads.
public final class MarkovChains {
  public let density: SampledDensity
  public let sampler: any Sampler
  public let chains: [MarkovChain]
  /// Draws of a chain so far, those of the warm-up counted.
  public private(set) var draws: Int
  public private(set) var tuning: SamplerTuning
  private let key: DrawKey
  private let pool: ThreadPool
  private let isSideBySide: Bool

  /// What became of the chains' last draw.
  public struct Round: Sendable {
    public var moves: [Move]
    public var acceptance: Double { moves.reduce(0) { $0 + $1.acceptance } / Double(moves.count) }
  }

  /// Chains at points.
  ///
  /// - `start`: writes the point of a chain.
  /// - `key`: the image's.
  /// - `pool`: what chains are made on: a thread each while an image is small, else all for one.
  public init(
    _ density: SampledDensity, _ sampler: any Sampler, count: Int, key: DrawKey, tuning: SamplerTuning? = nil,
    draws: Int = 0, pool: ThreadPool, isCancelled: @escaping () -> Bool = { false },
    start: (_ chain: Int, _ point: Vector, _ scratch: Scratch) throws -> Void
  ) throws {
    self.density = density
    self.sampler = sampler
    self.key = key
    self.pool = pool
    self.draws = draws
    let d = density.dimension
    isSideBySide = d < Reconstructor.sideBySideLimit
    let alone = ThreadPool(threads: 1)
    let isSmall = isSideBySide
    chains = try (0..<count).map { k in
      let scratch = Scratch(pool: isSmall ? alone : pool)
      guard
        let chain = try MarkovChain(
          density, scratch, isCancelled: isCancelled, at: { try start(k, $0, scratch) })
      else { throw SolverError.unsupported("the density isn't finite where chain \(k + 1) starts") }
      return chain
    }
    self.tuning = tuning ?? SamplerTuning(step: pow(Double(d), -0.25), length: Self.usualLength)
  }

  /// The length of paths in units of the mass, which makes the mean curvature 1, until the draws' spread is known.
  static let usualLength = 4.0
  /// The length that is right for a deviation of so many units: a quarter of a turn. Chains that lie apart seem wide, too, and
  /// no path joins them.
  static func length(for deviation: Double) -> Double { min(max(0.5 * .pi * deviation, 2), 8) }

  public var evaluations: Int { chains.reduce(0) { $0 + $1.evaluations } }

  /// Where they are, `[chains, d]`.
  func positions() throws(TensorError) -> Tensor<Double> {
    try Tensor(
      shape: [chains.count, density.dimension], elements: chains.flatMap { $0.sample.point.elements })
  }

  /// Every chain makes a draw.
  public func advance() throws -> Round {
    let round = try advance(tuning)
    draws += 1
    return round
  }

  private func advance(_ tuning: SamplerTuning) throws -> Round {
    var moves = [Move](repeating: Move(acceptance: 0, energy: 0), count: chains.count)
    let (draw, sampler, key) = (draws, sampler, key)
    func move(_ k: Int) throws -> Move {
      try sampler.move(chains[k], tuning, key.of(chain: k).at(draw: draw))
    }
    if isSideBySide {
      let lock = Lock()
      try pool.run(chains.count) { k, _ in
        let done = try move(k)
        lock.withLock { moves[k] = done }
      }
    } else {
      for k in chains.indices { moves[k] = try move(k) }
    }
    return Round(moves: moves)
  }

  /// Adapts mass, step and the length of paths in so many draws, which count for nothing else. At first the chains go where
  /// the density is, while the data's weight β grows to its own; the mass is then learned in stretches, each twice as long as
  /// the one before, and the last fifth is for the step alone. Paths get the length of a quarter of a turn in the coordinate that
  /// is the widest for its mass: a density is often wider than its mean curvature says.
  public func warmUp(_ count: Int, observe: (_ done: Int, Round) throws -> Void = { _, _ in }) throws {
    guard count > 0 else { return }
    let isWalk = sampler is CrankNicolsonSampler
    var curvature =
      try isWalk
      ? nil
      : density.startingCurvature(at: chains[0].sample, seed: key.imageSeed, key: 0, chains[0].scratch)
    let gentle = try chains.map { try density.gentleBeta(at: $0.sample, curvature, $0.scratch) }.min()!
    var steps = StepAdaptation(
      step: tuning.step, target: sampler.targetAcceptance, greatest: isWalk ? 1 : .infinity)
    let bounds = Self.stretches(count)
    var estimates: [MassEstimate]?
    var spread: VectorMoments?
    for done in 0..<count {
      if done < bounds[0], density.beta > 0 {
        if done % max(bounds[0] / 2, 1) == 0 {
          curvature?.whole = try density.wholeDataCurvature(at: chains, pool)
        }
        let beta = density.beta * pow(gentle / density.beta, 1 - Double(done + 1) / Double(bounds[0]))
        for chain in chains { chain.density.beta = beta }
        if let mass = curvature?.mass(beta: beta) { tuning.mass = mass }
      }
      if done == bounds[0], curvature?.whole != nil {
        curvature?.whole = try density.wholeDataCurvature(at: chains, pool)
      }
      if let stretch = bounds.firstIndex(of: done) {
        if let found = estimates {
          for chain in chains { chain.onGradient = nil }
          if let mass = try MassEstimate.mass(found, near: curvature?.matrix(beta: density.beta)) {
            let first = stretch == 1
            tuning.mass = mass
            if let spread { tuning.length = Self.length(for: spread.greatestDeviation(in: mass)) }
            // In units of the new mass.
            steps = StepAdaptation(
              step: first ? pow(Double(density.dimension), -0.25) : steps.found,
              target: sampler.targetAcceptance)
          }
        }
        (estimates, spread) = (nil, nil)
        if stretch < bounds.count - 1, !isWalk {
          let made = try chains.map { _ in try MassEstimate(dimension: density.dimension) }
          for (chain, estimate) in zip(chains, made) { chain.onGradient = { estimate.add($0) } }
          estimates = made
          if stretch == bounds.count - 2 { spread = try VectorMoments(dimension: density.dimension) }
        }
      }
      var trial = tuning
      trial.step = steps.step
      // While steps are short and the mass is none yet, long paths don't pay.
      if done < bounds[bounds.count - 1] {
        trial.length = min(trial.length, (done < bounds[0] ? 8 : 16) * trial.step)
      }
      let round = try advance(trial)
      for chain in chains { spread?.add(chain.sample.point) }
      steps.add(round.acceptance)
      tuning.step = steps.found
      draws += 1
      try observe(done + 1, round)
    }
    for chain in chains { chain.onGradient = nil }
  }

  /// Where stretches of a warm-up begin that learn the mass, and where the last ends.
  static func stretches(_ count: Int) -> [Int] {
    let (begin, end) = (count * 3 / 20, count * 4 / 5)
    guard end - begin >= 30 else { return [begin, end] }
    var bounds = [begin]
    var length = max(15, (end - begin) / 7)
    while bounds.last! + 3 * length <= end {
      bounds.append(bounds.last! + length)
      length *= 2
    }
    return bounds + [end]
  }
}
