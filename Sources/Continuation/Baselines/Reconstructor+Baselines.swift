import AIPOFlows
import AIPOInverseProblems
import AIPOKernels

/// The methods that others use, for comparison. Whatever they minimise, their results are reported under the full
/// objective, and evaluations are counted alike.
extension Reconstructor {
  /// λ where it isn't given: these methods have no rule to choose it.
  private func baselineWeights(_ image: Int) -> ObjectiveWeights {
    var weights = ObjectiveWeights(lambda: 1, t: flowShare(of: image))
    if case .value(let lambda) = options.lambda { weights.lambda = lambda }
    return weights
  }

  // MARK: Penalties

  /// `tv` and `lasso`: the classical penalties, with noise as the Gaussian of its mean and covariance.
  func classical(_ images: [Int], isCancelled: () -> Bool) throws -> [ReconstructionResult<Scalar>] {
    let shape = problem.imageShape
    let shared = problem.isShared ? try gradient(images[0]) : nil
    var results: [ReconstructionResult<Scalar>] = []
    for image in images where !isCancelled() {
      let clock = ContinuousClock()
      let begin = clock.now
      let y = problem.observations[image]
      let solver = try shared ?? gradient(image)
      let search = PenaltySearch(
        solver, measurements: problem.noise(image).matched(y).whiten(y), seed: options.seed,
        source: source(image))
      let start = [Double](repeating: 0, count: shape.count)
      let solution =
        options.method == .tv
        ? search.solve(TotalVariation(shape: shape), weight: options.penalty, from: start)
        : search.solve(CosineSparsity(shape: shape), weight: options.penalty, from: start)
      let (point, sample) = try inFull([problem.values(solution.point)], images: [image])[0]
      let outcome = PathOutcome(
        image: image, point: point, weights: baselineWeights(image), sample: sample, evaluations: 1,
        iterations: solution.iterations, seconds: (clock.now - begin).inSeconds,
        stop: sample == nil ? .noFiniteStart : solution.converged ? .objective : .iterations)
      results.append(try result(outcome, x: point, path: options.method.rawValue, trace: []))
    }
    return results
  }

  private func gradient(_ image: Int) throws -> ProximalGradient {
    let noise = problem.noise(image).matched(problem.observations[image])
    return ProximalGradient(try noise.whiten(try linear(image)), variance: noise.whiteVariance)
  }

  /// Points of images as the scalar type holds them, with the full objective there; nil where it isn't finite.
  private func inFull(_ values: [[Double]], images: [Int]) throws
    -> [(point: [Double], sample: ObjectiveSample?)]
  {
    let objective = try PixelObjective(problem: problem, prior: prior, gaussian: gaussian)
    let points = values.map(objective.representable)
    let samples = try objective.evaluate(
      points, images: images, weights: images.map(baselineWeights))
    return Array(zip(points, samples))
  }

  // MARK: Descents

  /// `restarts`: the best of n descents on the objective from draws of the prior, or of uniform pixels. The
  /// budget is shared by all.
  func restarts(_ images: [Int], isCancelled: () -> Bool) throws -> [ReconstructionResult<Scalar>] {
    let budget = options.maximumEvaluations
    let draws = try draws(images, count: min(options.restartCount, budget))
    let runs = try draws.map {
      try descend(
        images, from: $0, budget: budget / draws.count, on: objective, weights: baselineWeights(images[0]),
        isCancelled)
    }
    let outcomes = images.indices.map { k in lowest(runs.map { $0[k] }) }
    let values = try objective.values(outcomes.map(\.point))
    return try outcomes.indices.map { k in
      let start = [Double](repeating: 0, count: problem.imageShape.count)
      return try result(outcomes[k], x: values[k] ?? start, path: "restarts", trace: [])
    }
  }

  /// `latent`: `L_recon(G(ε)) − λ log p_base(ε)`, for a Gaussian base `λ‖ε‖²/2`: without the log-determinant,
  /// from ε = 0 (Asim et al. 2020); or the lowest of n descents from draws (Bora et al. 2017), the budget
  /// shared by all.
  func latentNorm(_ images: [Int], isCancelled: () -> Bool) throws -> [ReconstructionResult<Scalar>] {
    guard let prior = prior as? any LatentPrior<Scalar> else {
      throw SolverError.unsupported("this prior has no latents, which the method latent needs")
    }
    let objective = try LatentObjective(problem: problem, prior: prior, gaussian: nil, regularizer: .base)
    // The last evaluation is that of the objective in full.
    let budget = options.maximumEvaluations - 1
    let count = max(1, min(options.restartCount, budget))
    let zero = [Double](repeating: 0, count: problem.imageShape.count)
    let starts =
      options.restartCount == 1 ? [images.map { _ in zero }] : latentDraws(images, count: count)
    let weights = ObjectiveWeights(lambda: baselineWeights(images[0]).lambda)
    let runs = try starts.map {
      try descend(images, from: $0, budget: budget / count, on: objective, weights: weights, isCancelled)
    }
    let outcomes = images.indices.map { k in lowest(runs.map { $0[k] }) }
    let values = try objective.values(outcomes.map(\.point)).map { $0 ?? zero }
    let full = try inFull(values, images: images)
    return try images.indices.map { k in
      let own = outcomes[k]
      let outcome = PathOutcome(
        image: own.image, point: full[k].point, weights: own.weights, sample: full[k].sample,
        evaluations: own.evaluations + 1, iterations: own.iterations, seconds: own.seconds,
        stop: full[k].sample == nil && own.stop.isConverged ? .noFiniteStart : own.stop)
      return try result(outcome, x: full[k].point, path: "latent", trace: [])
    }
  }

  /// n starts an image, in the coordinates of the objective.
  private func draws(_ images: [Int], count: Int) throws -> [[[Double]]] {
    let d = problem.imageShape.count
    switch options.start {
    case .random:
      var random = images.map { Philox(seed: options.seed, index: source($0), purpose: .restart) }
      let pixels = (0..<count).map { _ in
        random.indices.map { k in (0..<d).map { _ in random[k].uniform() } }
      }
      guard let latent else { return pixels }
      return try pixels.map { try latent.latents($0).map { $0 ?? [Double](repeating: 0, count: d) } }
    case .auto, .prior:
      let latents = latentDraws(images, count: count)
      if latent != nil { return latents }
      return try latents.map { draw in try decoded(images) { draw[images.firstIndex(of: $0)!] } }
    case .observed, .zero, .gaussian:
      throw SolverError.invalidOption(
        name: "the start of restarts", found: options.start.rawValue, expected: "prior or random")
    }
  }

  private func latentDraws(_ images: [Int], count: Int) -> [[[Double]]] {
    let d = problem.imageShape.count
    var random = images.map { Philox(seed: options.seed, index: source($0), purpose: .restart) }
    return (0..<count).map { _ in random.indices.map { k in (0..<d).map { _ in random[k].normal() } } }
  }

  /// One descent at fixed weights; without a budget it stays where it starts.
  private func descend(
    _ images: [Int], from starts: [[Double]], budget: Int, on objective: any Objective,
    weights: ObjectiveWeights, _ isCancelled: () -> Bool
  ) throws -> [PathOutcome] {
    guard budget > 0 else {
      return zip(images, starts).map { image, start in
        PathOutcome(
          image: image, point: start, weights: weights, sample: nil, evaluations: 0, iterations: 0,
          seconds: 0, stop: .budget)
      }
    }
    let settings = PathSettings(
      corrector: options.corrector, stopRule: options.stopRule,
      maximumEvaluations: budget, seed: options.seed)
    var machine = PathMachine(
      objective: objective, starts: starts, images: images, sources: images.map(source),
      path: FixedWeights(weights), settings: settings)
    while !isCancelled(), try machine.next() != nil {}
    machine.cancel()
    return machine.outcomes
  }

  /// The run that ended lowest, with the work of all.
  private func lowest(_ runs: [PathOutcome]) -> PathOutcome {
    func value(_ run: PathOutcome) -> Double { run.sample?.value(run.weights) ?? .infinity }
    let best = runs.min { value($0) < value($1) } ?? runs[0]
    let isCancelled = runs.contains { $0.stop == .cancelled }
    return PathOutcome(
      image: best.image, point: best.point, weights: best.weights, sample: best.sample,
      evaluations: runs.reduce(0) { $0 + $1.evaluations },
      iterations: runs.reduce(0) { $0 + $1.iterations }, seconds: runs.reduce(0) { $0 + $1.seconds },
      stop: isCancelled ? .cancelled : best.stop)
  }
}

extension Duration {
  var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
