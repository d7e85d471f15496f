import AIPOKernels
import AIPOPriors
import AIPOProblems

/// Reconstructs the images of an inverse problem with a prior.
///
///     let results = try Reconstructor(problem: problem, prior: prior, gaussian: gaussian).run()
///
/// Small images are solved side by side, a thread each; large ones one after another by all threads. An image's result is
/// the same bits either way.
public struct Reconstructor: Sendable {
  public let problem: InverseProblem
  public let prior: any Prior
  /// The Gaussian of the training images; without it there is no prior path and no Gaussian start.
  public let gaussian: GaussianPrior?
  public let options: ReconstructionOptions
  let pool: ThreadPool
  let shared = SharedWork()

  /// Images of fewer values than this are solved side by side: above, a flow keeps all threads busy with one.
  static let sideBySideLimit = 1 << 14

  /// Throws where the shapes of problem, prior and Gaussian differ, an option is out of range or needs what
  /// isn't there.
  ///
  /// `pool`: the threads to work on; the same as the prior's, where it has some.
  public init(
    problem: InverseProblem, prior: any Prior, gaussian: GaussianPrior?,
    options: ReconstructionOptions = ReconstructionOptions(),
    pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws(SolverError) {
    try options.check(count: problem.count)
    self.problem = problem
    self.prior = prior
    self.gaussian = gaussian
    self.options = options
    // Sums are those of a strip also where one process has the whole image, so that its results are the same.
    self.pool = prior.strips.map { ThreadPool(threads: pool.threads, strips: $0) } ?? pool
    for other in [prior.imageShape, gaussian?.imageShape ?? prior.imageShape]
    where other != problem.imageShape {
      let found = problem.imageShape
      throw .problem(
        .shapeMismatch(
          what: "image of the problem", found: [found.height, found.width, found.channels],
          expected: [other.height, other.width, other.channels]))
    }
    if options.space == .z, !(prior is any LatentPrior) {
      throw .unsupported("this prior has no latents, so it can't be solved in space z")
    }
    if gaussian == nil {
      if options.method == .gaussian || options.start == .gaussian || options.path.needsGaussian
        || options.flowShare ?? 1 < 1
      {
        throw .unsupported(
          "the model holds no Gaussian prior, which this method, start, path or flow share needs")
      }
    }
    if followsTheorem { try checkTheorem() }
  }

  /// The path that the method takes.
  public var path: PathChoice {
    guard options.path == .auto else { return options.path }
    if prior.noiseLevels != nil, options.space == .x, options.method == .aipo { return .smooth }
    return gaussian == nil ? .lambda : .noise
  }

  /// t at an image's target.
  public func flowShare(of image: Int) -> Double {
    if let share = options.flowShare { return share }
    guard options.lambda == .auto, gaussian != nil, !followsTheorem else { return 1 }
    let coverage = coverage(of: image)
    // A mean is nothing that is minimised.
    if path == .smooth, options.method == .aipo, smoothPath(of: image).finish == 0 { return 1 }
    return coverage == .pixels
      ? ReconstructionOptions.flowShareOfMissing : ReconstructionOptions.usualFlowShare
  }

  /// What the data see of an image, which decides what is chosen for it.
  func coverage(of image: Int) -> Coverage {
    problem.isShared
      ? shared.coverage { Coverage(of: problem.map(0), pool.strips) }
      : Coverage(of: problem.map(image), pool.strips)
  }

  /// What the data see under noise: of a blur that leaves some frequency less than a third, sums alone, since that may drown.
  func visibleCoverage(of image: Int) -> Coverage {
    let coverage = coverage(of: image)
    guard coverage == .whole, let map = problem.linearMap(image), case .stationary(let spectrum) = map.normal
    else { return coverage }
    let extent = spectrum.extent
    return extent.lowerBound < extent.upperBound / 9 ? .sums : .whole
  }

  var followsTheorem: Bool { options.method == .aipo && options.path == .theorem }

  /// The index of an image in its source, which keys everything random.
  func source(_ image: Int) -> UInt64 {
    UInt64(options.sourceIndices.isEmpty ? image : options.sourceIndices[image])
  }

  /// The data term of an image. h has joints, where the theorem asks for second derivatives.
  func dataTerm(_ image: Int) -> DataTerm {
    problem.dataTerm(image, encoding: followsTheorem ? nil : prior.encoding)
  }

  /// The objective over x.
  func pixelObjective(_ image: Int) -> PixelObjective {
    PixelObjective(
      data: dataTerm(image), prior: prior, gaussian: gaussian, isotropicCurvature: options.isotropicCurvature,
      cache: problem.isShared ? shared.metrics : nil)
  }

  func linearMap(_ image: Int) throws -> any LinearMap {
    guard let linear = problem.linearMap(image) else {
      throw SolverError.unsupported("this method or start needs a linear operator")
    }
    return linear
  }

  var latentPrior: any LatentPrior {
    get throws {
      guard let latent = prior as? any LatentPrior else {
        throw SolverError.unsupported("this prior has no latents, which this method or start needs")
      }
      return latent
    }
  }

  // MARK: - All images

  /// Solves all images. After cancellation those that were begun have the reason `cancelled`; the others are left out.
  public func run(_ observer: ReconstructionObserver = ReconstructionObserver()) throws(SolverError)
    -> [ReconstructionResult]
  {
    try solver {
      try BLASThreads.single {
        let isSideBySide =
          pool.threads > 1 && problem.count > 1 && problem.imageShape.count < Self.sideBySideLimit
        let log = RunLog(count: problem.count, observer)
        func solve(_ image: Int, _ scratch: Scratch) throws {
          guard !observer.isCancelled() else { return }
          let work = ImageWork(image: image, scratch: scratch, log: log)
          try log.add(try self.solve(work))
        }
        if isSideBySide {
          let alone = ThreadPool(threads: 1, strips: pool.strips)
          let scratches = (0..<pool.threads).map { _ in Scratch(pool: alone) }
          try pool.run(problem.count) { image, worker in try solve(image, scratches[worker]) }
        } else {
          let scratch = Scratch(pool: pool)
          for image in 0..<problem.count { try solve(image, scratch) }
        }
        return log.results
      }
    }
  }

  /// Solves one image.
  private func solve(_ work: ImageWork) throws -> ReconstructionResult {
    let clock = ContinuousClock()
    let begin = clock.now
    let solution =
      switch options.method {
      case .aipo where followsTheorem: try theorem(work)
      case .aipo where path == .smooth: try smooth(work)
      case .aipo, .fixed: try followPath(work)
      case .gaussian: try closedForm(work)
      case .latent: try latentNorm(work)
      case .restarts: try restarts(work)
      case .tv, .lasso: try classical(work)
      }
    return try result(solution, work, seconds: (clock.now - begin).inSeconds)
  }

  /// What became of an image.
  struct Solution {
    var outcome: PathOutcome
    /// The image where the outcome has none: the start.
    var fallback: Tensor<Double>
    /// The path's name.
    var path: String
  }

  private func result(_ solution: Solution, _ work: ImageWork, seconds: Double) throws -> ReconstructionResult
  {
    let outcome = solution.outcome
    let data = dataTerm(work.image)
    let shape = problem.imageShape
    let pixels = outcome.sample?.pixels ?? solution.fallback.view
    let recon = try outcome.sample?.recon ?? data.evaluate(pixels: pixels, gradient: nil, work.scratch)
    let weights = ObjectiveWeights(lambda: outcome.weights.lambda, t: flowShare(of: work.image))
    // A solution of a target that isn't finite is none, whichever term it is.
    let isFinite =
      outcome.sample.flatMap { weights.regularizer(flow: $0.flow, gaussian: $0.gaussian) } != nil
    let reg = isFinite ? outcome.sample?.flow : nil
    return ReconstructionResult(
      index: work.image, image: try pixels.tensor(shape: [shape.height, shape.width, shape.channels]),
      objective: reg.map { recon + weights.lambda * $0 }, recon: recon, reg: reg,
      gaussian: isFinite && weights.t < 1 ? outcome.sample?.gaussian : nil,
      misfit: try data.misfit(pixels: pixels, work.scratch), lambda: weights.lambda, flowShare: weights.t,
      evaluations: outcome.evaluations, iterations: outcome.iterations, seconds: seconds,
      converged: reg != nil && outcome.stop.isConverged, reason: outcome.stop, path: solution.path,
      starts: shared.search(of: work.image), trace: work.trace)
  }

  // MARK: - Methods

  private func followPath(_ work: ImageWork) throws -> Solution {
    let image = work.image
    let rule = try lambdaRule(of: image, work.scratch)
    let path = solutionPath(rule, flowShare: flowShare(of: image))
    let settings = pathSettings(
      image, lambdaRule: rule, maximumEvaluations: options.maximumEvaluations)
    let objective: any Objective =
      switch options.space {
      case .x: pixelObjective(image)
      case .z: LatentObjective(data: dataTerm(image), prior: try latentPrior, gaussian: gaussian)
      }
    let first = path.weights(at: 0)
    let start = try start(of: image, lambda: first.lambda, work.scratch)
    let evaluator = work.evaluator(objective)
    let run = try Continuation(
      evaluator, path: path, minimizer: options.minimizer(), settings: settings, data: dataTerm(image),
      onState: work.report)
    // Under the Gaussian alone a start in pixels v is the point x = h⁻¹(v), where a closed form is the solution.
    let encoding = options.space == .x && first.flow == 0 ? dataTerm(image).encoding : nil
    var closedForm: ((Vector) throws -> Void)?
    if options.method == .aipo, options.space == .x, first.flow == 0, first.gaussian > 0, gaussian != nil,
      startChoice(image) != .gaussian, problem.linearMap(image) != nil, problem.noise(image) is GaussianNoise
    {
      closedForm = { point in
        try setGaussianMean(point, image, lambda: first.lambda, work.scratch)
        encoding?.encode(point, into: point)
      }
    }
    let outcome = try run.run(firstSolution: closedForm) { point in
      point.set(start.view)
      if options.space == .z { try setLatents(of: point, work.scratch) }
      encoding?.encode(point, into: point)
    }
    return Solution(
      outcome: outcome, fallback: start, path: options.method == .fixed ? "fixed" : path.name)
  }

  /// Choosing λ can pay where the data see all values, or sums of them, through noise.
  private func lambdaRule(of image: Int, _ scratch: Scratch) throws -> (any LambdaRule)? {
    guard options.lambda == .auto, options.space == .x else { return nil }
    switch coverage(of: image) {
    case .whole: return options.lambdaRule
    case .pixels, .nonlinear: return nil
    case .sums:
      let noise = try problem.noise(image).curvature(problem.observations[image].view)
      let square = try linearMap(image).meanSquare(scratch)
      return square > 0 ? options.lambdaRule.ofSums(sigma: noise.sigma / square.squareRoot()) : nil
    }
  }

  /// What the options say of an image's run.
  func pathSettings(
    _ image: Int, lambdaRule rule: (any LambdaRule)? = nil, maximumEvaluations: Int
  ) -> PathSettings {
    PathSettings(
      predictor: options.predictor, stepControl: options.stepControl, stopRule: options.stopRule,
      lambdaRule: rule, maximumEvaluations: maximumEvaluations, probes: probes,
      domain: options.space == .x ? options.domain : nil, seed: options.seed, source: source(image))
  }

  var probes: CurvatureProbes {
    var probes = options.probes
    probes.seed = options.seed
    return probes
  }

  /// `point ← G⁻¹(point)` for a start: beyond black and white the latents are so large that no descent from them gets
  /// anywhere, and where G⁻¹ isn't finite, ε = 0 is.
  func setLatents(of point: Vector, _ scratch: Scratch) throws {
    if let domain = options.domain { point.clamp(to: domain) }
    try scratch.scope {
      let latents = try scratch.take(point.count)
      _ = try latentPrior.encode(point, into: latents, scratch)
      if latents.isFinite() { point.set(latents) } else { point.set(0) }
    }
  }

  private func solutionPath(_ rule: (any LambdaRule)?, flowShare: Double) -> any SolutionPath {
    let lambda: Double
    switch options.lambda {
    case .value(let value): lambda = value
    case .auto: lambda = rule?.first ?? 1
    }
    let target = ObjectiveWeights(lambda: lambda, t: flowShare)
    if options.method == .fixed { return FixedWeights(target) }
    switch path {
    case .noise, .smooth, .auto: return CurvePath.noise(target: target)
    case .curve(let corners): return CurvePath(corners: corners, target: target)
    case .prior: return PriorPath(target: target)
    case .lambda: return LambdaPath(target: target)
    case .theorem: return UniformLambdaPath(target: lambda)
    }
  }

  private func closedForm(_ work: ImageWork) throws -> Solution {
    let image = work.image
    var mean = try Tensor<Double>(count: problem.imageShape.count)
    try mean.withMemory { try setGaussianMean($0, image, lambda: 1, work.scratch) }
    let weights = ObjectiveWeights(lambda: 1, t: flowShare(of: image))
    let sample = try Evaluator(pixelObjective(image), work.scratch).evaluate(weights) { point in
      point.set(mean.view)
      prior.encoding?.encode(point, into: point)
    }
    return Solution(
      outcome: PathOutcome(
        sample: sample, weights: weights, evaluations: 1, iterations: 0,
        stop: sample == nil ? .noFiniteStart : coverage(of: image) == .nonlinear ? .gradient : .closedForm),
      fallback: mean, path: "gaussian")
  }

  // MARK: - Starts

  /// The mean of an image given its measurements, under the Gaussian at λ; of a map that isn't linear the lowest minimum that
  /// is found.
  func setGaussianMean(_ v: Vector, _ image: Int, lambda: Double, _ scratch: Scratch) throws {
    guard let gaussian else { throw SolverError.unsupported("the model holds no Gaussian prior") }
    guard let map = problem.linearMap(image) else {
      return try setLowestMinimum(v, image, lambda: lambda, scratch)
    }
    let y = problem.observations[image].view
    func make() throws -> GaussianPosterior {
      try GaussianPosterior(
        gaussian, map: map, noise: try problem.noise(image).matched(y), lambda: lambda, scratch)
    }
    let posterior = try problem.isShared ? shared.posterior(at: lambda, make) : make()
    try posterior.mean(y, into: v, scratch)
  }

  /// The start of an image in pixels, finite; under the flow it is a guess of x as it is.
  func start(of image: Int, lambda: Double, _ scratch: Scratch) throws -> Tensor<Double> {
    var start = try Tensor<Double>(count: problem.imageShape.count)
    try start.withMemory { v in
      switch startChoice(image) {
      case .auto, .observed, .direct:
        let y = problem.observations[image].view
        let map = problem.linearMap(image)
        if startChoice(image) == .direct || map == nil,
          try problem.map(image).estimate(y, into: v, scratch)
        {
          return
        }
        guard let map else {
          throw SolverError.unsupported("this operator suggests no image by itself, which the start needs")
        }
        try map.leastSquares(y, noise: try problem.noise(image).matched(y), into: v, scratch)
      case .gaussian: try setGaussianMean(v, image, lambda: lambda, scratch)
      case .random:
        var random = Philox(seed: options.seed, index: source(image), purpose: .start)
        for i in 0..<v.count { v[i] = random.uniform() }
      case .zero: try decode({ $0.set(0) }, into: v, scratch)
      case .prior:
        var random = Philox(seed: options.seed, index: source(image), purpose: .start)
        try decode({ $0.setNormals(&random) }, into: v, scratch)
      }
    }
    return start
  }

  func startChoice(_ image: Int) -> StartChoice {
    guard options.start == .auto else { return options.start }
    let startsAtGaussian =
      path == .smooth && options.method == .aipo && smoothPath(of: image).startsAtGaussian
    return switch visibleCoverage(of: image) {
    case .whole: startsAtGaussian && gaussian != nil ? .gaussian : .observed
    case .pixels, .sums: gaussian == nil ? .observed : .gaussian
    case .nonlinear: gaussian == nil ? .zero : .gaussian
    }
  }

  /// `x ← G(ε)` of the latents that `set` writes, or the Gaussian's mean where it isn't finite.
  func decode(_ set: (_ latents: Vector) -> Void, into x: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let latents = try scratch.take(x.count)
      set(latents)
      _ = try latentPrior.decode(latents, into: x, scratch)
      guard !x.isFinite() else { return }
      if let gaussian { x.set(gaussian.mean.view) } else { x.set(0.5) }
    }
  }
}
