import AIPOFlows
import AIPOInverseProblems
import AIPOKernels

/// Reconstructs the images of an inverse problem with a prior.
///
///     let results = try Reconstructor(problem: problem, prior: flow, gaussian: gaussian).run()
///
/// The images are solved in chunks of bounded memory, each chunk as one batch. An image's result is the
/// same bits whatever the chunk.
public struct Reconstructor<Scalar: KernelScalar>: Sendable {
  public let problem: InverseProblem
  public let prior: any ImagePrior<Scalar>
  /// The Gaussian of the training images; without it there is no prior path and no Gaussian start.
  public let gaussian: GaussianDensity?
  public let options: ReconstructionOptions

  let objective: any Objective
  let latent: LatentObjective<Scalar>?

  /// Throws where the shapes of problem, prior and Gaussian differ, an option is out of range or needs what
  /// isn't there.
  public init(
    problem: InverseProblem, prior: any ImagePrior<Scalar>, gaussian: GaussianDensity?,
    options: ReconstructionOptions = ReconstructionOptions()
  ) throws(SolverError) {
    try options.check(count: problem.count)
    var problem = problem
    // h has joints, where the theorem asks for second derivatives.
    if options.method == .aipo, options.path == .theorem { problem.requantization = nil }
    self.problem = problem
    self.prior = prior
    self.gaussian = gaussian
    self.options = options
    let latentPrior = prior as? any LatentPrior<Scalar>
    (objective, latent) = try solver {
      if options.space == .z {
        guard let latentPrior else {
          throw SolverError.unsupported("this prior has no latents, so it can't be solved in space z")
        }
        let latent = try LatentObjective(problem: problem, prior: latentPrior, gaussian: gaussian)
        return (latent as any Objective, Optional(latent))
      }
      let pixel = try PixelObjective(
        problem: problem, prior: prior, gaussian: gaussian,
        isotropicCurvature: options.isotropicCurvature)
      return (pixel as any Objective, nil)
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
    options.path == .auto ? (gaussian == nil ? .lambda : .noise) : options.path
  }

  /// t at an image's target.
  public func flowShare(of image: Int) -> Double {
    if let share = options.flowShare { return share }
    guard options.lambda == .auto, gaussian != nil, !followsTheorem else { return 1 }
    return view(of: image) == .pixels
      ? ReconstructionOptions.flowShareOfMissing : ReconstructionOptions.usualFlowShare
  }

  /// What the data see of an image, which decides what is chosen for it.
  private enum View {
    /// Every value; some pixels and nothing of the others; less than every value otherwise; not linear.
    case whole, pixels, sums, nonlinear
  }

  private func view(of image: Int) -> View {
    guard let linear = problem.linearOperator(image) else { return .nonlinear }
    if linear.isInjective { return .whole }
    if case .selection = linear.form { return .pixels }
    return .sums
  }

  private var followsTheorem: Bool {
    options.method == .aipo && options.path == .theorem
  }

  /// Solves all images. After cancellation the rest has the reason `cancelled`; chunks that weren't begun
  /// are left out.
  public func run(_ observer: ReconstructionObserver<Scalar> = ReconstructionObserver()) throws(SolverError)
    -> [ReconstructionResult<Scalar>]
  {
    try solver {
      try BLASThreads.single {
        let shared = options.method == .gaussian ? try conditional(at: 1) : nil
        var results: [ReconstructionResult<Scalar>] = []
        var first = 0
        while first < problem.count, !observer.isCancelled() {
          // Of one view, so that what is chosen for an image doesn't depend on the others.
          let view = view(of: first)
          let end = min(first + chunkSize, problem.count)
          let images = Array((first..<end).prefix { self.view(of: $0) == view })
          let done =
            switch options.method {
            case .aipo where followsTheorem: try theorem(images, observer)
            case .aipo, .fixed: try solve(images, before: results, observer)
            case .gaussian: try closedForm(images, shared: shared)
            case .latent: try latentNorm(images, isCancelled: observer.isCancelled)
            case .restarts: try restarts(images, isCancelled: observer.isCancelled)
            case .tv, .lasso: try classical(images, isCancelled: observer.isCancelled)
            }
          results += done
          try observer.onResults(done)
          (objective as? PixelObjective<Scalar>)?.releaseCurvature()
          first += images.count
        }
        return results
      }
    }
  }

  /// Bounded by about 256 MB of solver state: some 120 vectors an image, and a matrix where each has its
  /// own operator.
  private var chunkSize: Int {
    if let chunk = options.chunk { return chunk }
    let d = problem.imageShape.count
    let own = problem.isShared ? 0 : 8 * d * d
    return min(max((1 << 28) / (8 * 120 * d + own), 1), 32)
  }

  // MARK: - Methods

  private func solve(
    _ images: [Int], before: [ReconstructionResult<Scalar>], _ observer: ReconstructionObserver<Scalar>
  ) throws -> [ReconstructionResult<Scalar>] {
    let settings = settings(view(of: images[0]))
    let path = solutionPath(settings, flowShare: flowShare(of: images[0]))
    var starts = try startPoints(images, lambda: path.weights(at: 0).lambda)
    let values = starts
    if let latent {
      // Beyond black and white the latents of a start are so large that no descent from them gets anywhere.
      if let domain = options.domain {
        starts = starts.map { $0.map { min(max($0, domain.lowerBound), domain.upperBound) } }
      }
      starts = zip(try latent.latents(starts), starts).map { latents, start in
        // Where G⁻¹ isn't finite, ε = 0 is.
        latents ?? [Double](repeating: 0, count: start.count)
      }
    }
    if latent == nil, path.weights(at: 0).flow == 0 {
      // Under the Gaussian alone a start in pixels v is the point x = h⁻¹(v), where a closed form is the solution.
      starts = starts.map(problem.values)
    }
    var machine = PathMachine(
      objective: objective, starts: starts, images: images, sources: images.map(source), path: path,
      settings: settings, problem: problem)
    var traces = [[PathState]](repeating: [], count: images.count)
    let spent = before.reduce(0) { $0 + $1.evaluations }
    while true {
      if observer.isCancelled() {
        machine.cancel()
        break
      }
      guard let states = try machine.next() else { break }
      for state in states {
        var kept = state
        kept.point = []
        kept.pixels = []
        traces[state.image - images[0]].append(kept)
      }
      if !states.isEmpty { observer.onStates(states) }
      let active = images.count - machine.activeCount
      let latest = traces.compactMap(\.last)
      func mean(_ value: (PathState) -> Double) -> Double? {
        latest.isEmpty ? nil : latest.reduce(0) { $0 + value($1) } / Double(latest.count)
      }
      observer.onProgress(
        ReconstructionProgress(
          finished: before.count + active, total: problem.count,
          evaluations: spent + machine.outcomes.reduce(0) { $0 + $1.evaluations },
          lambda: mean(\.weights.lambda), t: mean(\.weights.t), objective: mean(\.objective)))
    }
    let outcomes = machine.outcomes
    let found = try objective.values(outcomes.map(\.point))
    return try zip(outcomes, zip(found, zip(traces, values))).map { outcome, rest in
      let (value, (trace, start)) = rest
      return try result(
        outcome, x: value ?? start, path: options.method == .fixed ? "fixed" : path.name,
        trace: trace)
    }
  }

  private func settings(_ view: View) -> PathSettings {
    PathSettings(
      corrector: options.corrector, predictor: options.predictor, stepControl: options.stepControl,
      stopRule: options.stopRule,
      // Choosing λ can pay where the data see every value through noise.
      lambdaRule: options.lambda == .auto && options.space == .x && view == .whole ? options.lambdaRule : nil,
      maximumEvaluations: options.maximumEvaluations, probes: probes,
      domain: options.space == .x ? options.domain : nil, seed: options.seed)
  }

  private var probes: CurvatureProbes {
    var probes = options.probes
    probes.seed = options.seed
    return probes
  }

  private func solutionPath(_ settings: PathSettings, flowShare: Double) -> any SolutionPath {
    let lambda: Double
    switch options.lambda {
    case .value(let value): lambda = value
    case .auto: lambda = settings.lambdaRule?.first ?? 1
    }
    let target = ObjectiveWeights(lambda: lambda, t: flowShare)
    if options.method == .fixed { return FixedWeights(target) }
    switch path {
    case .noise, .auto: return CurvePath.noise(target: target)
    case .curve(let corners): return CurvePath(corners: corners, target: target)
    case .prior: return PriorPath(target: target)
    case .lambda: return LambdaPath(target: target)
    case .theorem: return UniformLambdaPath(target: lambda)
    }
  }

  private func closedForm(_ images: [Int], shared: GaussianConditional?) throws
    -> [ReconstructionResult<Scalar>]
  {
    let clock = ContinuousClock()
    let begin = clock.now
    let points = try images.map { image in
      objective.representable(problem.values(try gaussianMean(image, lambda: 1, shared: shared)))
    }
    let weights = ObjectiveWeights(lambda: 1, t: flowShare(of: images[0]))
    let pixel = try PixelObjective(problem: problem, prior: prior, gaussian: gaussian)
    let samples = try pixel.evaluate(
      points, images: images, weights: images.map { _ in weights })
    let span = (clock.now - begin).components
    let seconds = Double(span.seconds) + Double(span.attoseconds) * 1e-18
    return try images.indices.map { k in
      let outcome = PathOutcome(
        image: images[k], point: points[k], weights: weights, sample: samples[k], evaluations: 1,
        iterations: 0, seconds: seconds / Double(images.count),
        stop: samples[k] == nil ? .noFiniteStart : .closedForm)
      return try result(outcome, x: points[k], path: "gaussian", trace: [])
    }
  }

  /// `x`: where the outcome stands, in the prior's values.
  func result(_ outcome: PathOutcome, x: [Double], path: String, trace: [PathState])
    throws -> ReconstructionResult<Scalar>
  {
    let shape = problem.imageShape
    let pixels = problem.pixels(x)
    let image = try Tensor<Scalar>(
      shape: [shape.height, shape.width, shape.channels], elements: pixels.map { Scalar($0) })
    let recon = try outcome.sample?.recon ?? problem.recon(x, image: outcome.image).value
    let weights = ObjectiveWeights(lambda: outcome.weights.lambda, t: flowShare(of: outcome.image))
    // A solution of a target that isn't finite is none, whichever term it is.
    let isFinite =
      outcome.sample.flatMap { weights.regularizer(flow: $0.flow, gaussian: $0.gaussian) } != nil
    let reg = isFinite ? outcome.sample?.flow : nil
    return ReconstructionResult(
      index: outcome.image, image: image, objective: reg.map { recon + weights.lambda * $0 },
      recon: recon, reg: reg, gaussian: isFinite && weights.t < 1 ? outcome.sample?.gaussian : nil,
      misfit: problem.misfit(pixels, image: outcome.image), lambda: weights.lambda, flowShare: weights.t,
      evaluations: outcome.evaluations,
      iterations: outcome.iterations, seconds: outcome.seconds,
      converged: reg != nil && outcome.stop.isConverged, reason: outcome.stop, path: path, trace: trace)
  }

  // MARK: - Starts

  private func conditional(at lambda: Double) throws -> GaussianConditional? {
    guard problem.isShared, let gaussian, problem.count > 0 else { return nil }
    return try conditional(gaussian, 0, at: lambda)
  }

  func linear(_ image: Int) throws -> any LinearOperator {
    guard let linear = problem.linearOperator(image) else {
      throw SolverError.unsupported("this method or start needs a linear operator")
    }
    return linear
  }

  private func gaussianMean(_ image: Int, lambda: Double, shared: GaussianConditional?) throws -> [Double] {
    if let shared { return shared.mean(problem.observations[image]) }
    guard let gaussian else { throw SolverError.unsupported("the model holds no Gaussian prior") }
    return try conditional(gaussian, image, at: lambda).mean(problem.observations[image])
  }

  private func conditional(_ gaussian: GaussianDensity, _ image: Int, at lambda: Double) throws
    -> GaussianConditional
  {
    try GaussianConditional(
      gaussian, linearOperator: try linear(image),
      noise: problem.noise(image).matched(problem.observations[image]), lambda: lambda)
  }

  /// Start points in pixels, finite; under the flow they are guesses of x as they are.
  func startPoints(_ images: [Int], lambda: Double) throws -> [[Double]] {
    let d = problem.imageShape.count
    var choice = options.start
    if choice == .auto {
      let isLinear = images.allSatisfy { problem.linearOperator($0) != nil }
      let injective = images.allSatisfy { problem.linearOperator($0)?.isInjective ?? false }
      choice = injective ? .observed : gaussian == nil ? (isLinear ? .observed : .zero) : .gaussian
      if !isLinear, let gaussian { return images.map { _ in gaussian.mean } }
    }
    switch choice {
    case .auto, .observed:
      return try images.map { try linear($0).pseudoInverse(problem.observations[$0]) }
    case .gaussian:
      let shared = try conditional(at: lambda)
      return try images.map { try gaussianMean($0, lambda: lambda, shared: shared) }
    case .random:
      return images.map { image in
        var random = Philox(seed: options.seed, index: source(image), purpose: .start)
        return (0..<d).map { _ in random.uniform() }
      }
    case .zero:
      return try decoded(images) { _ in [Double](repeating: 0, count: d) }
    case .prior:
      return try decoded(images) { image in
        var random = Philox(seed: options.seed, index: source(image), purpose: .start)
        return (0..<d).map { _ in random.normal() }
      }
    }
  }

  func source(_ image: Int) -> UInt64 {
    UInt64(options.sourceIndices.isEmpty ? image : options.sourceIndices[image])
  }

  /// `G(ε)`, or the Gaussian's mean where it isn't finite.
  func decoded(_ images: [Int], _ latents: (Int) -> [Double]) throws -> [[Double]] {
    guard let prior = prior as? any LatentPrior<Scalar> else {
      throw SolverError.unsupported("this prior has no latents, which the start G(ε) needs")
    }
    let found = try LatentObjective(problem: problem, prior: prior, gaussian: nil).values(
      images.map(latents))
    return found.map {
      $0 ?? gaussian?.mean ?? [Double](repeating: 0.5, count: problem.imageShape.count)
    }
  }
}
