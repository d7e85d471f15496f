import AIPOKernels
import AIPOPriors
import AIPOProblems

/// Follows the solution of one image along a path of objectives from an easy one to the target: predict, minimise,
/// control the step, and choose λ at the end where there is a rule for it.
///
///     let outcome = try Continuation(evaluator, path: path, minimizer: LBFGS()).run { $0.set(start) }
public final class Continuation {
  let evaluator: Evaluator
  let path: any SolutionPath
  let minimizer: any Minimizer
  let settings: PathSettings
  /// Set where λ can be chosen: a linear map in pixel space.
  private let chooser: LambdaChooser?
  private let onState: (PathState, _ pixels: Vector) -> Void

  private enum Stage { case path, ladder, final }
  private var stage = Stage.path
  private var sample: ObjectiveSample?
  private var weights: ObjectiveWeights
  private var iterations = 0
  private var progress = SolveProgress()
  /// ‖∇L‖ at the start, at the target's weights; 0 while it isn't known.
  private var reference = 0.0
  private var s = 0.0
  private var step: Double
  private var solved: [PathPoint] = []
  /// Writes the first solution, until it was asked.
  private var firstSolution: ((_ point: Vector) throws -> Void)?
  /// How far the last prediction was from the last solution; nil where there was none.
  private var guess: ObjectiveSample?
  private var trials: [LambdaTrial] = []
  private var tried: [ObjectiveSample] = []
  /// The flow's curvature as last probed, how often it was, and the steps accepted on the flow's objective.
  private var probed: Tensor<Double>?
  private var probings = 0
  private var flowIterations = 0

  /// - `data`: needed where λ is to be chosen.
  /// - `onState`: called with each state that is reached, and the image there, which may not be kept.
  public init(
    _ evaluator: Evaluator, path: any SolutionPath, minimizer: any Minimizer = LBFGS(),
    settings: PathSettings = PathSettings(), data: DataTerm? = nil,
    onState: @escaping (PathState, _ pixels: Vector) -> Void = { _, _ in }
  ) throws {
    self.evaluator = evaluator
    self.path = path
    self.minimizer = minimizer
    self.settings = settings
    self.onState = onState
    if let rule = settings.lambdaRule, let data, let linear = data.map as? any LinearMap,
      !evaluator.objective.latentCoordinates
    {
      let noise = try data.noise.curvature(data.observation.view)
      let square = try linear.meanSquare(evaluator.scratch)
      chooser = LambdaChooser(
        rule: rule, data: data, linearMap: linear, noise: noise,
        sigma: noise.sigma / (square > 0 ? square.squareRoot() : 1))
    } else {
      chooser = nil
    }
    step = settings.stepControl.firstStep ?? path.firstStep
    weights = path.weights(at: 0)
    if path.weights(at: 1) == weights { s = 1 }
  }

  private var pool: ThreadPool { evaluator.pool }
  private var scratch: Scratch { evaluator.scratch }
  private var resolution: Double { evaluator.objective.resolution }

  /// Runs from the point that `start` writes, to the end.
  ///
  /// - Parameters:
  ///   - firstSolution: writes the first solution, where it is a closed form; a descent would only come near it, from each start
  ///     elsewhere, and the path go on from there.
  ///   - start: writes the point.
  /// - Returns: what came of it.
  /// - Throws: what the evaluator throws but for a cancellation, and where memory is short.
  public func run(
    firstSolution: ((_ point: Vector) throws -> Void)? = nil, from start: (_ point: Vector) throws -> Void
  ) throws -> PathOutcome {
    self.firstSolution = firstSolution
    var stop: PathStop
    do {
      stop = try begin(start) ? follow() : .noFiniteStart
      if stop != .noFiniteStart { stop = try finish(stop) }
    } catch Interruption.cancelled {
      stop = .cancelled
    }
    return PathOutcome(
      sample: sample, weights: weights, evaluations: evaluator.evaluations, iterations: iterations, stop: stop
    )
  }

  /// Evaluates the start. Latents so large that G overflows are drawn towards 0, where it doesn't, and at last there.
  private func begin(_ start: (_ point: Vector) throws -> Void) throws -> Bool {
    var backOffs = 0
    sample = try evaluator.evaluate(weights, at: start)
    while sample == nil, evaluator.objective.latentCoordinates, backOffs < 5 {
      backOffs += 1
      let isLast = backOffs > 3 || evaluator.evaluations + 1 >= limit
      let factor = isLast ? 0 : (0..<backOffs).reduce(1.0) { factor, _ in 0.25 * factor }
      sample = try evaluator.evaluate(weights) { point in
        try start(point)
        if isLast { point.set(0, pool) } else { point.scale(by: factor, pool) }
      }
      if isLast { break }
    }
    guard sample != nil else { return false }
    report(.start)
    return true
  }

  /// Along the path, then up and down the ladder of λ, to the last solve; why that ended.
  private func follow() throws -> PathStop {
    while true {
      if stage == .path, s >= 1, chooser != nil { stage = .ladder }
      guard let end = try solve() else { return .noFiniteStart }
      if isSetback(end) || s < 1 {
        guard try advance(end) else { return .smallestStep }
      } else if chooser == nil || stage == .final {
        return end.stop
      } else if let lambda = try tryLambda() {
        weights.lambda = lambda
      } else {
        stage = .final
      }
    }
  }

  // MARK: - Solves

  /// Steps that a metric serves which differs from point to point.
  private static let metricSteps = 5

  private var isFinalSolve: Bool { chooser == nil ? s >= 1 : stage == .final }

  /// Evaluations at which the present solve ends.
  private var limit: Int {
    let total = Double(settings.maximumEvaluations)
    if stage == .path, s < 1 { return Int(settings.pathShare * total) }
    return isFinalSolve ? settings.maximumEvaluations : Int(0.75 * total)
  }

  /// Minimises at the present weights from the present point; nil where the prior has no finite value there.
  private func solve() throws -> SolveEnd? {
    guard var start = sample else { return nil }
    if let known = firstSolution {
      firstSolution = nil
      if let found = try evaluator.evaluate(weights, at: known) { (start, sample) = (found, found) }
    }
    if !start.serves(weights) {
      let point = start.point
      guard let found = try evaluator.evaluate(weights, at: { $0.set(point, pool) }) else { return nil }
      (start, sample) = (found, found)
    }
    if isProbeDue { try probeCurvature() }
    let target = path.weights(at: 1)
    if reference == 0, let known = start.serves(target) ? target : s >= 1 ? weights : nil {
      reference = try start.gradientNorm(known, scratch)
    }
    return try minimize(from: start, limit: limit) { [self] solve in
      iterations += 1
      progress = solve.progress
      sample = solve.current
      if solve.progress.isFinal { report(.iterate) }
      if weights.flow != 0 { flowIterations += 1 }
      if let verdict = verdict(solve.progress) { return .stop(verdict) }
      let isProbed = isProbeDue
      if isProbed { try probeCurvature() }
      let isOld =
        evaluator.objective.metricVaries && solve.progress.iterations % Self.metricSteps == 0
      return isProbed || isOld ? .metric(try metric(at: solve.current)) : .goOn
    }
  }

  /// One run of the minimizer.
  private func minimize(
    from start: ObjectiveSample, limit: Int, modify: ((ObjectiveSample) throws -> Void)? = nil,
    accepted: @escaping (Solve) throws -> Solve.Step
  ) throws -> SolveEnd {
    var begun = SolveProgress()
    begun.dimension = start.point.wholeCount(pool)
    begun.rounding = start.rounding(weights, resolution: resolution)
    begun.isFinal = isFinalSolve
    begun.isFree = weights.flow == 0 && !evaluator.objective.latentCoordinates
    begun.gradientNorm = try start.gradientNorm(weights, scratch)
    begun.startGradientNorm = begun.gradientNorm
    begun.referenceGradientNorm = reference
    begun.objectives = [start.value(weights)]
    progress = begun
    if let verdict = verdict(begun, isProbe: modify != nil) { return .verdict(verdict) }
    let solve = Solve(
      evaluator, from: start, weights: weights, metric: try metric(at: start), progress: begun, limit: limit,
      modify: modify, accepted: accepted)
    do {
      let end = try minimizer.minimize(solve)
      sample = solve.end
      return end
    } catch Interruption.budget {
      sample = solve.end
      return .budget
    } catch {
      sample = solve.end
      throw error
    }
  }

  /// A solve at a tried λ, or of a probe, is done when a few steps change L by next to nothing: its residual and degrees
  /// of freedom, not its objective, are what is asked.
  private func verdict(_ progress: SolveProgress, isProbe: Bool = false) -> StopVerdict? {
    guard stage == .ladder || isProbe else { return settings.stopRule.verdict(progress) }
    guard let change = progress.change(over: 4), change < progress.threshold(ToleranceRule.coarseEpsilon)
    else {
      return nil
    }
    return .objective
  }

  private func metric(at sample: ObjectiveSample) throws -> Metric? {
    try evaluator.objective.metric(at: sample, weights: weights, probed: probed, scratch)
  }

  /// Whether the curvature should be probed before the next step. It must leave the budget enough to use it.
  private var isProbeDue: Bool {
    guard probings < settings.probes.after.count, weights.flow != 0 else { return false }
    return flowIterations >= settings.probes.after[probings]
      && evaluator.evaluations + 3 * settings.probes.count < limit
  }

  private func probeCurvature() throws {
    probings += 1
    guard let sample else { return }
    if let found = try evaluator.probe(sample.point, key: settings.source, settings.probes) { probed = found }
  }

  // MARK: - Steps along the path

  /// Whether the path's last step led to where no descent is possible, so that a shorter one should be tried.
  private func isSetback(_ end: SolveEnd) -> Bool {
    guard end == .lineSearch, progress.iterations == 0, let last = solved.last else { return false }
    return last.s < s && stage != .final && trials.isEmpty && evaluator.evaluations < limit
  }

  /// Goes to the next place of the path, after a solve that ended like this; false where the step is too small.
  private func advance(_ end: SolveEnd) throws -> Bool {
    let result: StepOutcome
    switch end {
    case .verdict(.gradient), .verdict(.objective), .resolution:
      result = .converged(iterations: progress.iterations, deviation: deviation)
    case .verdict(.iterations), .budget: result = .unfinished
    case .lineSearch: result = isSetback(end) ? .failed : .unfinished
    }
    if result == .failed {
      report(.failed)
      let last = solved[solved.count - 1]
      sample = last.sample
      s = last.s
      stage = .path
      weights = path.weights(at: s)
    } else {
      report(result == .unfinished ? .unfinished : .solved)
      solved.append(PathPoint(s: s, sample: sample!))
      if solved.count > 2 { solved.removeFirst() }
    }
    if solved.count > 1 || result == .failed {
      guard let next = settings.stepControl.next(after: step, result) else { return false }
      step = next
    }
    let corner = path.corner(after: s)
    var next = min(corner, s + step)
    if corner - next < 0.25 * step { next = corner }
    if weights.flow != 0, evaluator.evaluations >= limit { next = 1 }
    step = next - s
    try go(to: next)
    return true
  }

  /// How far the prediction was from the solution, over how far the last solution is.
  private var deviation: Double? {
    guard let guess, let last = solved.last, let sample else { return nil }
    let way = sample.point.distance(to: last.sample.point, pool)
    return way > 0 ? sample.point.distance(to: guess.point, pool) / way : nil
  }

  /// Predicts the solution at `next`, and stands there unless the last solution is the better start.
  private func go(to next: Double) throws {
    guard let last = sample else { return }
    let following = path.weights(at: next)
    guess = nil
    let tangent = try tangent(to: following)
    let predicted = try scratch.scope {
      let point = try scratch.take(evaluator.dimension)
      point.set(last.point, pool)
      if let tangent {
        point.add(tangent.view, pool)
      } else {
        // Beyond a corner of the path the way to it says nothing.
        let history = solved.filter { path.corner(after: $0.s) >= next - 1e-9 }
        if !history.isEmpty { settings.predictor.predict(history, at: next, point, pool) }
      }
      let isPredicted = !point.equals(last.point)
      if weights.flow == 0, following.flow != 0, let domain = settings.domain {
        // The Gaussian's solution is a picture of pixels. Where in its bin x lies it doesn't know: h⁻¹ would spread its
        // ringing in black over the whole bin, so that the pixel itself is the better guess.
        if !isPredicted { point.set(last.pixels, pool) }
        point.clamp(to: domain, pool)
      }
      evaluator.objective.round(point, scratch)
      guard !point.equals(last.point) else { return false }
      let found = try evaluator.evaluate(following) { $0.set(point, pool) }
      if isPredicted { guess = found }
      guard let found else { return true }
      if !(last.serves(following) && last.value(following) < found.value(following)) { sample = found }
      return true
    }
    weights = following
    s = next
    if predicted, sample !== last {
      progress = SolveProgress()
      report(.predicted)
    }
  }

  /// The tangent of the path at the present solution; nil where none is asked for, or to be had.
  private func tangent(to following: ObjectiveWeights) throws -> Tensor<Double>? {
    let products = settings.predictor.tangentProducts
    guard products > 0, evaluator.evaluations + 2 * products < limit, let here = sample else { return nil }
    var there = here
    if !here.serves(following) {
      guard let found = try evaluator.evaluate(following, at: { $0.set(here.point, pool) }) else {
        return nil
      }
      there = found
    }
    return try scratch.scope {
      let slope = try scratch.take(evaluator.dimension)
      let old = try scratch.take(evaluator.dimension)
      there.gradient(following, into: slope, pool)
      here.gradient(weights, into: old, pool)
      slope.add(old, times: -1, pool)
      return try Tangent.step(
        evaluator, at: there, weights: weights, slope: slope, products: products,
        metric: try metric(at: there))
    }
  }

  // MARK: - λ

  /// Estimates the degrees of freedom at the present λ; gives the next to try, nil where the choice is made and the
  /// present point is the nearest to it.
  private func tryLambda() throws -> Double? {
    guard let chooser, let sample else { return nil }
    // What is left must pay for the estimate and then for the solve at the chosen λ.
    let cost = chooser.rule.probeEvaluations
    guard evaluator.evaluations + 2 * cost <= limit else {
      settle(trials.min { $0.risk < $1.risk }?.lambda ?? weights.lambda)
      return nil
    }
    let freedom = try degreesOfFreedom(chooser, at: sample)
    self.sample = sample
    trials.append(
      LambdaTrial(
        lambda: weights.lambda, recon: sample.recon, degreesOfFreedom: freedom,
        measurements: chooser.linearMap.output.count, sigma: chooser.sigma))
    tried.append(sample)
    report(.lambda)
    switch chooser.rule.decide(trials) {
    case .attempt(let lambda) where evaluator.evaluations + 3 * cost <= limit: return lambda
    case .attempt: settle(trials.min { $0.risk < $1.risk }!.lambda)
    case .settle(let lambda): settle(lambda)
    }
    return nil
  }

  private func degreesOfFreedom(_ chooser: LambdaChooser, at sample: ObjectiveSample) throws -> Double {
    let probe = try FreedomProbe(
      chooser.data, linearMap: chooser.linearMap, noise: chooser.noise, seed: settings.seed,
      source: settings.source, scratch)
    let start = try evaluator.copy(sample)
    try probe.tilt(start, scratch)
    defer { self.sample = sample }
    _ = try minimize(
      from: start, limit: evaluator.evaluations + chooser.rule.probeEvaluations,
      modify: { [self] in try probe.tilt($0, scratch) },
      accepted: { [self] solve in
        iterations += 1
        progress = solve.progress
        if weights.flow != 0 { flowIterations += 1 }
        return verdict(solve.progress, isProbe: true).map { .stop($0) } ?? .goOn
      })
    return try probe.degreesOfFreedom(sample.pixels, moved: self.sample!.pixels, scratch)
  }

  /// Goes on to the end at this λ, from the nearest that was tried.
  private func settle(_ lambda: Double) {
    weights.lambda = lambda
    guard
      let nearest = trials.indices.min(by: {
        (trials[$0].lambda - lambda).magnitude < (trials[$1].lambda - lambda).magnitude
      })
    else { return }
    sample = tried[nearest]
  }

  // MARK: - Reports

  /// A run that ends on the way is still judged at the target.
  private func finish(_ stop: PathStop) throws -> PathStop {
    var target = path.weights(at: 1)
    if stage == .final { target.lambda = weights.lambda }
    weights = target
    if let sample, !sample.serves(target) {
      let point = sample.point
      if let found = try evaluator.evaluate(target, at: { $0.set(point, pool) }) { self.sample = found }
    }
    report(.finished, stop: stop)
    return stop
  }

  private func report(_ event: PathEvent, stop: PathStop? = nil) {
    guard let sample, sample.serves(weights), let gradientNorm = try? sample.gradientNorm(weights, scratch)
    else {
      return
    }
    onState(
      PathState(
        event: event, s: s, weights: weights, objective: sample.value(weights), recon: sample.recon,
        flow: sample.flow, gaussian: sample.gaussian, evaluations: evaluator.evaluations,
        iterations: iterations,
        step: step, gradientNorm: gradientNorm,
        relativeGradient: reference > 0 ? gradientNorm / reference : nil,
        solveIterations: progress.iterations,
        curvature: probed.map { $0.view.total() / Double(max($0.count, 1)) },
        isMonotone: [.solved, .unfinished, .finished].contains(event) ? isMonotone(sample) : nil, stop: stop),
      sample.pixels)
  }

  private func isMonotone(_ sample: ObjectiveSample) -> Bool? {
    guard let before = solved.last, before.s < s else { return nil }
    let old = path.weights(at: before.s)
    var sum = 0.0
    for (change, now, then) in [
      (weights.flow - old.flow, sample.flow, before.sample.flow),
      (weights.gaussian - old.gaussian, sample.gaussian, before.sample.gaussian),
    ] where change != 0 {
      guard let now, let then else { return nil }
      sum += change * (now - then)
    }
    return sum <= sample.rounding(weights, resolution: resolution)
  }
}

/// What choosing λ takes.
private struct LambdaChooser {
  let rule: any LambdaRule
  let data: DataTerm
  let linearMap: any LinearMap
  /// Of the noise's curvature.
  let noise: GaussianNoise
  /// With which a single value shows through the measurements.
  let sigma: Double
}

extension SolveEnd {
  /// Why a run ended whose last solve ended so.
  fileprivate var stop: PathStop {
    switch self {
    case .verdict(.gradient): .gradient
    case .verdict(.objective): .objective
    case .verdict(.iterations), .budget: .budget
    case .resolution: .resolution
    case .lineSearch: .lineSearch
    }
  }
}
