import AIPOKernels
import AIPOPriors
import AIPOProblems

/// The methods that others use, for comparison. Whatever they minimise, their results are reported under the full
/// objective, and evaluations are counted alike.
extension Reconstructor {
  /// λ where it isn't given: these methods have no rule to choose it.
  private func baselineWeights(_ image: Int) -> ObjectiveWeights {
    var weights = ObjectiveWeights(lambda: 1, t: flowShare(of: image))
    if case .value(let lambda) = options.lambda { weights.lambda = lambda }
    return weights
  }

  /// The full objective where `set` writes; nil where it isn't finite.
  private func inFull(_ work: ImageWork, at set: (_ point: Vector) -> Void) throws -> ObjectiveSample? {
    try Evaluator(pixelObjective(work.image), work.scratch).evaluate(baselineWeights(work.image), at: set)
  }

  // MARK: Penalties

  /// `tv` and `lasso`: the classical penalties, with noise as the Gaussian of its mean and covariance.
  func classical(_ work: ImageWork) throws -> Solution {
    let (image, scratch) = (work.image, work.scratch)
    var y = problem.observations[image]
    let noise = try problem.noise(image).matched(y.view)
    y.withMemory { noise.whitenObservation($0, scratch.pool) }
    func make() throws -> ProximalGradient {
      try ProximalGradient(
        noise.whitened(try linearMap(image), scratch), variance: noise.whiteVariance, scratch)
    }
    let solver = try problem.isShared ? shared.proximalGradient(make) : make()
    let search = try PenaltySearch(solver, measurements: y, seed: options.seed, source: source(image))
    let shape = problem.imageShape
    var pixels = try Tensor<Double>(count: shape.count)
    func penalty() throws -> any Penalty {
      if options.method == .tv { return try TotalVariation(shape: shape) }
      return try CosineSparsity(shape: shape)
    }
    var iterations = 0
    var stop = PathStop.cancelled
    do {
      let found = try pixels.withMemory {
        try search.solve(penalty, weight: options.penalty, from: $0, scratch, isCancelled: work.isCancelled)
      }
      iterations = found.iterations
      stop = found.converged ? .objective : .iterations
    } catch Interruption.cancelled {}
    let sample = try inFull(work) { point in
      point.set(pixels.view)
      prior.encoding?.encode(point, into: point)
    }
    return Solution(
      outcome: PathOutcome(
        sample: sample, weights: baselineWeights(image), evaluations: 1, iterations: iterations,
        stop: sample == nil ? .noFiniteStart : stop),
      fallback: pixels, path: options.method.rawValue)
  }

  // MARK: Descents

  /// `restarts`: the best of n descents on the objective from draws of the prior, or of uniform pixels. The
  /// budget is shared by all.
  func restarts(_ work: ImageWork) throws -> Solution {
    let budget = options.maximumEvaluations
    let objective: any Objective =
      switch options.space {
      case .x: pixelObjective(work.image)
      case .z: LatentObjective(data: dataTerm(work.image), prior: try latentPrior, gaussian: gaussian)
      }
    let (outcome, start) = try lowest(
      min(options.restartCount, budget), work, budget: budget, on: objective,
      weights: baselineWeights(work.image), setStart: setDraw)
    var pixels = start
    if outcome.sample == nil { try pixels.withMemory { try setPixels($0, options.space, work.scratch) } }
    return Solution(outcome: outcome, fallback: pixels, path: "restarts")
  }

  /// `latent`: `L_recon(G(ε)) − λ log p_base(ε)`, for a Gaussian base `λ‖ε‖²/2`: without the log-determinant,
  /// from ε = 0 (Asim et al. 2020); or the lowest of n descents from draws (Bora et al. 2017), the budget
  /// shared by all.
  func latentNorm(_ work: ImageWork) throws -> Solution {
    let objective = LatentObjective(
      data: dataTerm(work.image), prior: try latentPrior, gaussian: nil, regularizer: .base)
    // The last evaluation is that of the objective in full.
    let budget = options.maximumEvaluations - 1
    var (outcome, point) = try lowest(
      max(1, min(options.restartCount, budget)), work, budget: budget, on: objective,
      weights: ObjectiveWeights(lambda: baselineWeights(work.image).lambda)
    ) { point, random, _ in
      if options.restartCount == 1 { point.set(0) } else { point.setNormals(&random) }
    }
    let scratch = work.scratch
    if let found = outcome.sample { point.withMemory { $0.set(found.point) } }
    let full = try scratch.scope {
      let x = try scratch.take(point.count)
      _ = try latentPrior.decode(point.view, into: x, scratch)
      if !x.isFinite() { x.set(0) }
      return try inFull(work) { $0.set(x) }
    }
    if full == nil { try point.withMemory { try setPixels($0, .z, scratch) } }
    outcome.evaluations += 1
    if full == nil, outcome.stop.isConverged { outcome.stop = .noFiniteStart }
    outcome.sample = full
    outcome.weights = baselineWeights(work.image)
    return Solution(outcome: outcome, fallback: point, path: "latent")
  }

  /// A start of `restarts`, in the coordinates of the space.
  private func setDraw(_ point: Vector, _ random: inout Philox, _ scratch: Scratch) throws {
    switch options.start {
    case .random:
      for i in 0..<point.count { point[i] = random.uniform() }
      if options.space == .z { try setLatents(of: point, scratch) }
    case .auto, .prior:
      point.setNormals(&random)
      if options.space == .x {
        try scratch.scope {
          let latents = try scratch.take(point.count)
          latents.set(point)
          try decode({ $0.set(latents) }, into: point, scratch)
        }
      }
    case .observed, .direct, .zero, .gaussian:
      throw SolverError.invalidOption(
        name: "the start of restarts", found: options.start.rawValue, expected: "prior or random")
    }
  }

  /// `point ←` the image that a point of a space stands for, 0 where that isn't finite.
  private func setPixels(_ point: Vector, _ space: SolutionSpace, _ scratch: Scratch) throws {
    try scratch.scope {
      let x = try scratch.take(point.count)
      x.set(point)
      if space == .z { _ = try latentPrior.decode(point, into: x, scratch) }
      if !x.isFinite() { x.set(0) }
      prior.encoding.decode(x, into: point)
    }
  }

  /// The lowest of n descents at fixed weights, with the work of all, and where it started. Without a budget for each
  /// the first stays where it starts.
  private func lowest(
    _ count: Int, _ work: ImageWork, budget: Int, on objective: any Objective, weights: ObjectiveWeights,
    setStart: (_ point: Vector, _ random: inout Philox, Scratch) throws -> Void
  ) throws -> (outcome: PathOutcome, start: Tensor<Double>) {
    var random = Philox(seed: options.seed, index: source(work.image), purpose: .restart)
    var start = try Tensor<Double>(count: objective.dimension)
    var best: (outcome: PathOutcome, start: Tensor<Double>)?
    var (evaluations, iterations) = (0, 0)
    var isCancelled = false
    func value(_ outcome: PathOutcome) -> Double { outcome.sample?.value(weights) ?? .infinity }
    for _ in 0..<count where !isCancelled {
      try start.withMemory { try setStart($0, &random, work.scratch) }
      var outcome = PathOutcome(sample: nil, weights: weights, evaluations: 0, iterations: 0, stop: .budget)
      if budget > 0 {
        let settings = PathSettings(
          stopRule: options.stopRule, maximumEvaluations: budget / count, seed: options.seed,
          source: source(work.image))
        let run = try Continuation(
          work.evaluator(objective), path: FixedWeights(weights), minimizer: options.minimizer(),
          settings: settings)
        outcome = try run.run { $0.set(start.view) }
      }
      evaluations += outcome.evaluations
      iterations += outcome.iterations
      isCancelled = outcome.stop == .cancelled
      if best.map({ value(outcome) < value($0.outcome) }) ?? true { best = (outcome, start) }
    }
    var (outcome, begin) = best!
    outcome.evaluations = evaluations
    outcome.iterations = iterations
    if isCancelled { outcome.stop = .cancelled }
    return (outcome, begin)
  }
}
