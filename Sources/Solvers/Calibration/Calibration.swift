import AIPOKernels
import AIPOPriors
import AIPOProblems

/// A made problem whose truth is known: an image drawn from the prior, and its measurement.
public struct CalibrationProblem {
  public let index: Int
  public let density: SampledDensity
  /// The truth, evaluated: an exact draw of its own posterior.
  public let truth: ObjectiveSample
  /// All that is random about its sampling.
  public let key: DrawKey
  /// A point to measure distances from, of another draw of the prior: pixels.
  let reference: Tensor<Double>
  let functionals: ImageFunctionals

  /// The functionals, −log π, and the distance from the reference.
  func values(_ sample: ObjectiveSample) throws -> [Double] {
    functionals.values(sample) + [density.energy(sample), sample.pixels.distance(to: reference.view)]
  }
}

/// Simulation-based calibration: truths are drawn from the prior and measured, their posteriors sampled, and the ranks of each
/// truth's functionals among the draws counted. If prior, likelihood and sampler belong together the ranks are uniform, whatever
/// the functional (S. Talts et al., *Validating Bayesian inference algorithms with simulation-based calibration*, 2018). Two of
/// them cover the whole image: −log π, whose rank tells the coverage of the regions of highest density, and the distance from a
/// random point (TARP: P. Lemos et al., *Sampling-based accuracy testing of posterior estimators*, 2023).
///
/// That says nothing about real images: whether the prior is right is another question.
public struct Calibration {
  public let prior: any DrawablePrior
  public let map: any Map
  public let noise: any NoiseModel
  /// Whether posteriors are sampled over latents.
  public let space: SolutionSpace
  public let seed: UInt64
  /// Draws that a truth is ranked among.
  public let draws: Int
  private let functionals: ImageFunctionals

  public init(
    prior: any DrawablePrior, map: any Map, noise: any NoiseModel, space: SolutionSpace, draws: Int = 31,
    seed: UInt64 = 0
  ) throws {
    (self.prior, self.map, self.noise, self.space) = (prior, map, noise, space)
    (self.draws, self.seed) = (draws, seed)
    functionals = try ImageFunctionals(prior.imageShape)
  }

  public var names: [String] {
    functionals.names + [
      "density of image and data (highest density regions)", "distance from a random image (TARP)",
    ]
  }

  /// What makes draws of a problem's posterior: points in the density's coordinates, as many as `Calibration.draws`.
  public typealias Draw = (_ problem: CalibrationProblem, _ scratch: Scratch) throws -> [Tensor<Double>]

  /// The ranks of one truth, of each functional; ties are broken at random.
  public func ranks(problem index: Int, _ scratch: Scratch, draw: Draw) throws -> [Int] {
    let problem = try make(index, scratch)
    let points = try draw(problem, scratch)
    precondition(points.count == draws, "\(points.count) draws, expected \(draws)")
    let truth = try problem.values(problem.truth)
    var (below, same) = ([Int](repeating: 0, count: truth.count), [Int](repeating: 0, count: truth.count))
    let evaluator = Evaluator(problem.density.objective, scratch)
    for point in points {
      guard let sample = try evaluator.evaluate(problem.density.weights, at: { $0.set(point.view) }) else {
        throw SolverError.unsupported("a draw isn't finite under the density")
      }
      for (k, value) in try problem.values(sample).enumerated() {
        if value < truth[k] { below[k] += 1 } else if value == truth[k] { same[k] += 1 }
      }
    }
    var random = Philox(seed: seed, index: UInt64(index), purpose: .evaluation)
    return zip(below, same).map { $0 + Int(random.uniform() * Double($1 + 1)) }
  }

  /// A problem: its truth, its measurement, its reference.
  public func make(_ index: Int, _ scratch: Scratch) throws -> CalibrationProblem {
    var random = Philox(seed: seed, index: UInt64(index), purpose: .sample)
    let d = prior.count
    var (point, pixels, reference) = (
      try Tensor<Double>(count: d), try Tensor<Double>(count: d), try Tensor<Double>(count: d)
    )
    let latent = space == .z ? prior as? any LatentPrior : nil
    func draw(_ x: Vector, _ u: Vector) throws {
      if let latent {
        try latent.draw(latents: u, into: x, &random, scratch)
      } else {
        try prior.draw(into: x, &random, scratch)
        prior.round(x, scratch)
        u.set(x)
      }
      prior.encoding.decode(x, into: x)
    }
    try reference.withMemory { reference in try point.withMemory { try draw(reference, $0) } }
    try pixels.withMemory { pixels in try point.withMemory { try draw(pixels, $0) } }
    var y = try Tensor<Double>(count: map.output.count)
    var noiseRandom = Philox(seed: seed, index: UInt64(index), purpose: .noise)
    try y.withMemory { y in
      try map.apply(pixels.view, into: y, scratch)
      try noise.sample(prediction: y, into: y, random: &noiseRandom, scratch)
    }
    let data = DataTerm(map: map, noise: noise, observation: y, encoding: prior.encoding)
    let density =
      latent.map { SampledDensity(latents: data, prior: $0) } ?? SampledDensity(pixels: data, prior: prior)
    let evaluator = Evaluator(density.objective, scratch)
    guard let truth = try evaluator.evaluate(density.weights, at: { $0.set(point.view) }) else {
      throw SolverError.unsupported("draw \(index) of the prior isn't finite under it")
    }
    return CalibrationProblem(
      index: index, density: density, truth: truth,
      key: DrawKey(seed: seed, image: UInt64(index), chain: 0, draw: 0), reference: reference,
      functionals: functionals)
  }
}

extension Calibration {
  /// Draws by a chain that begins at the truth, itself a draw of the posterior: of a place in the sequence that is drawn at
  /// random, some draws before it and the others behind. The moves are reversible, so the ranks are uniform exactly if they
  /// leave the posterior as it is, however slowly they mix (A. Gandy, J. Scott, *Unit testing for MCMC and other Monte Carlo
  /// methods*, 2020). It says nothing about whether a chain from elsewhere gets there.
  public static func fromTruth(_ sampler: any Sampler, _ tuning: SamplerTuning, draws: Int, spacing: Int = 1)
    -> Draw
  {
    { problem, scratch in
      var random = problem.key.random(.chainStart)
      let before = min(Int(random.uniform() * Double(draws + 1)), draws)
      var points: [Tensor<Double>] = []
      for (chain, count) in [(0, before), (1, draws - before)] {
        guard count > 0,
          let walk = try MarkovChain(problem.density, scratch, at: { $0.set(problem.truth.point) })
        else { continue }
        for draw in 0..<count * spacing {
          _ = try sampler.move(walk, tuning, problem.key.of(chain: chain).at(draw: draw + chain << 20))
          if draw % spacing == spacing - 1 {
            points.append(try walk.sample.point.tensor(shape: [problem.density.dimension]))
          }
        }
      }
      return points
    }
  }

  /// Draws as a user gets them: by chains from draws of the prior, after a warm-up of their own, evenly spaced.
  public static func byChains(
    _ sampler: any Sampler, chains count: Int, warmUp: Int, draws: Int, of prior: any DrawablePrior, kept: Int
  ) -> Draw {
    { problem, scratch in
      let chains = try MarkovChains(
        problem.density, sampler, count: count, key: problem.key, pool: scratch.pool
      ) { chain, point, scratch in
        var random = problem.key.of(chain: chain).random(.chainStart)
        if problem.density.isLatent, let latent = prior as? any LatentPrior {
          try scratch.scope {
            let x = try scratch.take(point.count)
            try latent.draw(latents: point, into: x, &random, scratch)
          }
        } else {
          try prior.draw(into: point, &random, scratch)
        }
      }
      try chains.warmUp(warmUp)
      let total = draws * count
      precondition(total >= kept, "\(total) draws, of which \(kept) are kept")
      // The k-th that is kept is draw (k + ½)·total/kept of all chains, one after the other.
      let places = (0..<kept).map { (2 * $0 + 1) * total / (2 * kept) }
      var points = [Tensor<Double>?](repeating: nil, count: kept)
      for draw in 0..<draws {
        _ = try chains.advance()
        for (k, place) in places.enumerated() where place % draws == draw {
          points[k] = try chains.chains[place / draws].sample.point.tensor(shape: [problem.density.dimension])
        }
      }
      return points.compactMap(\.self)
    }
  }
}

/// What the ranks of many problems say of one functional.
public struct CalibrationFigure: Sendable {
  public let name: String
  public let ranks: [Int]
  /// `RankUniformity.probability`.
  public let probability: Double
  /// The share of truths in the central 90 % interval.
  public let coverage: Double
  public var isInside: Bool { probability >= 0.05 }

  /// Of each functional, from the ranks of each problem.
  public static func all(_ ranks: [[Int]], names: [String], draws: Int) -> [CalibrationFigure] {
    guard !ranks.isEmpty else { return [] }
    let uniformity = RankUniformity(count: ranks.count, draws: draws)
    return names.enumerated().map { k, name in
      let own = ranks.map { $0[k] }
      // Ranks are spread evenly over their part of [0, 1], so that the interval needn't fit their number.
      let width = Double(draws + 1)
      let inside = own.reduce(0.0) { sum, rank in
        let (low, high) = (Double(rank) / width, Double(rank + 1) / width)
        return sum + max(0, min(high, 0.95) - max(low, 0.05)) * width
      }
      return CalibrationFigure(
        name: name, ranks: own, probability: uniformity.probability(own),
        coverage: inside / Double(own.count))
    }
  }
}

/// Intervals `mean ± q·sd` that hold real values as often as they say, wherever the prior is wrong: q is the quantile of
/// `|x − mean|/sd` over the values of images that were held out (split conformal prediction: J. Lei et al., JASA 113, 2018).
/// The values of one image aren't independent, so the coverage is that over images.
public struct ConformalCorrection: Sendable, Hashable {
  public let factor: Double
  public let level: Double

  /// `scores`: `|x − mean|/sd` of the values of held-out images.
  public init(scores: [Double], level: Double) {
    precondition(!scores.isEmpty && level > 0 && level < 1)
    let sorted = scores.sorted()
    let rank = Int((level * Double(sorted.count + 1)).rounded(.up))
    factor = rank <= sorted.count ? sorted[rank - 1] : .infinity
    self.level = level
  }

  /// The scores of an image.
  public static func scores(_ truth: Tensor<Double>, mean: Tensor<Double>, sd: Tensor<Double>) -> [Double] {
    (0..<truth.count).map { i in
      let difference = abs(truth[flat: i] - mean[flat: i])
      return sd[flat: i] > 0 ? difference / sd[flat: i] : difference > 0 ? .infinity : 0
    }
  }
}
