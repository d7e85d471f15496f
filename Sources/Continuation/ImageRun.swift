import AIPOInverseProblems

/// The continuation of one image, asking for one evaluation at a time.
struct ImageRun: Sendable {
  enum Request: Sendable {
    /// Value and gradient.
    case sample([Double], ObjectiveWeights)
    /// The curvature by probes.
    case curvature([Double])
  }

  enum Stage: Sendable { case path, ladder, final }

  enum Pending: Sendable {
    case start([Double])
    /// The gradient at the present point with the weights at this s, for a tangent.
    case slope(s: Double)
    /// A product of the tangent's.
    case tangent(TangentSearch)
    /// Guess for the solution at this s.
    case predicted([Double], s: Double)
    /// The present point needs terms that its sample lacks.
    case refresh
    /// The same, only to report a finished run.
    case report(PathStop)
    case trial([Double])
    case correct
    /// The curvature at the present point, before a solve or in its midst.
    case curvature(isSolving: Bool)
    case none
  }

  /// How a solve ended.
  enum SolveEnd: Sendable {
    case verdict(StopVerdict)
    case stuck(CorrectorStop)
    case budget
  }

  let image: Int
  let source: UInt64
  let path: any SolutionPath
  let settings: PathSettings
  let objective: any Objective
  /// Set where λ can be chosen: a linear operator in pixel space.
  let chooser: LambdaChooser?

  var point: [Double]
  var sample: ObjectiveSample?
  var weights: ObjectiveWeights
  var evaluations = 0
  var iterations = 0
  var stop: PathStop?
  var seconds = 0.0

  var stage = Stage.path
  var pending: Pending
  private var corrector: any Corrector
  var progress = SolveProgress()
  private var reference = 0.0
  var s = 0.0
  var step: Double
  var solved: [(place: PathPoint, sample: ObjectiveSample)] = []
  /// The last prediction, where it wasn't the last solution.
  var guess: [Double]?
  private var best: (point: [Double], sample: ObjectiveSample)?
  /// Set while the degrees of freedom are estimated: the objective is then that of the moved measurements.
  var probe: FreedomProbe?
  var probeEnd = 0
  var trials: [LambdaTrial] = []
  var tried: [(point: [Double], sample: ObjectiveSample)] = []
  private var states: [PathState] = []
  /// The flow's curvature as last probed, how often it was, and the steps accepted on the flow's objective.
  var probed: [Double]?
  private var probings = 0
  private var flowIterations = 0
  private var backOffs = 0

  init(
    image: Int, source: UInt64, start: [Double], path: any SolutionPath, settings: PathSettings,
    objective: any Objective, problem: InverseProblem?
  ) {
    self.image = image
    self.source = source
    self.path = path
    self.settings = settings
    self.objective = objective
    if let rule = settings.lambdaRule, let problem, let linear = problem.linearOperator(image),
      objective.latentCoordinates == false
    {
      chooser = LambdaChooser(
        rule: rule, problem: problem, linearOperator: linear,
        noise: problem.noise(image).curvature(problem.observations[image]))
    } else {
      chooser = nil
    }
    point = objective.representable(start)
    corrector = settings.corrector
    step = settings.stepControl.firstStep ?? path.firstStep
    weights = path.weights(at: 0)
    if path.weights(at: 1) == weights { s = 1 }
    pending = .start(point)
  }

  var isDone: Bool { stop != nil }

  mutating func takeStates() -> [PathState] {
    defer { states.removeAll() }
    return states
  }

  var outcome: PathOutcome {
    PathOutcome(
      image: image, point: point, weights: weights, sample: sample, evaluations: evaluations,
      iterations: iterations, seconds: seconds, stop: stop ?? .cancelled)
  }

  // MARK: - Asking

  /// The evaluation that the run needs next; nil when it is done.
  mutating func request() throws -> Request? {
    while stop == nil {
      switch pending {
      case .start(let point), .predicted(let point, _): return ask(point)
      case .slope, .refresh, .report: return ask(point)
      case .tangent(let search):
        return ask(objective.representable(search.point(beside: point, resolution: objective.resolution)))
      case .trial(let trial): return ask(trial)
      case .curvature: return .curvature(point)
      case .correct:
        if weights.flow != 0, evaluations >= (probe == nil ? limit : probeEnd) {
          try endSolve(.budget)
          continue
        }
        switch corrector.propose() {
        case .success(let trial):
          let trial = objective.representable(trial)
          pending = .trial(trial)
          return ask(trial)
        case .failure(let failure): try endSolve(.stuck(failure.reason))
        }
      case .none: return nil
      }
    }
    return nil
  }

  private func ask(_ point: [Double]) -> Request {
    switch pending {
    case .predicted(_, let s), .slope(let s): .sample(point, path.weights(at: s))
    default: .sample(point, weights)
    }
  }

  var limit: Int {
    let total = Double(settings.maximumEvaluations)
    if stage == .path, s < 1 { return Int(settings.pathShare * total) }
    return isFinalSolve ? settings.maximumEvaluations : Int(0.75 * total)
  }

  // MARK: - Answers

  /// The evaluation of the last request; nil where it wasn't finite.
  mutating func receive(_ found: ObjectiveSample?) throws {
    let asked = pending
    var evaluated = weights
    switch asked {
    case .predicted(_, let s), .slope(let s): evaluated = path.weights(at: s)
    default: break
    }
    if evaluated.flow != 0 || objective.latentCoordinates { evaluations += 1 }
    switch asked {
    case .start:
      guard let found else {
        if backOff() { pending = .start(point) } else { stop = .noFiniteStart }
        return
      }
      sample = found
      report(.start)
      try beginSolve()
    case .slope(let next): try beginTangent(to: next, found)
    case .tangent(let search): try continueTangent(search, found)
    case .predicted(let guess, let next):
      weights = path.weights(at: next)
      s = next
      if let found, !isPresentBetter(than: found) {
        point = guess
        sample = found
        progress = SolveProgress()
        report(.predicted)
      }
      try beginSolve()
    case .refresh:
      guard let found else {
        finish(.noFiniteStart)
        return
      }
      sample = found
      try beginSolve()
    case .report(let reason):
      if let found { sample = found }
      stop = reason
      report(.finished)
    case .trial(let trial):
      pending = .correct
      let found = try found.map { try probe?.tilted($0, at: trial) ?? $0 }
      switch corrector.receive(trial, found) {
      case .searching: break
      case .stuck(let reason): try endSolve(.stuck(reason))
      case .accepted(let next, let found): try accept(next, found)
      }
    case .correct, .curvature, .none: break
    }
  }

  /// Latents so large that G overflows are drawn towards 0, where it doesn't, and at last there.
  private mutating func backOff() -> Bool {
    guard objective.latentCoordinates, point.contains(where: { $0 != 0 }) else { return false }
    backOffs += 1
    let factor = backOffs > 3 || evaluations + 1 >= limit ? 0 : 0.25
    point = objective.representable(point.map { factor * $0 })
    return true
  }

  /// The answer to a request for curvature.
  mutating func receive(curvature found: [Double]?) throws {
    guard case .curvature(let isSolving) = pending else { return }
    probings += 1
    if let found {
      probed = found
      evaluations += settings.probes.count
    }
    if isSolving {
      try beginCorrector()
      pending = .correct
    } else {
      try beginSolve()
    }
  }

  /// Whether the curvature should be probed before the next step. It must leave the budget enough to use it.
  private var isProbeDue: Bool {
    guard probings < settings.probes.after.count, probe == nil, weights.flow != 0 else { return false }
    return flowIterations >= settings.probes.after[probings]
      && evaluations + 3 * settings.probes.count < limit
  }

  private func isPresentBetter(than found: ObjectiveSample) -> Bool {
    guard let sample, sample.serves(weights) else { return false }
    return sample.value(weights) < found.value(weights)
  }

  private mutating func accept(_ next: [Double], _ found: ObjectiveSample) throws {
    point = next
    sample = found
    iterations += 1
    let value = found.value(weights)
    progress.iterations += 1
    progress.gradientNorm = norm(found.gradient(weights))
    progress.objectives.append(value)
    if progress.objectives.count > 64 { progress.objectives.removeFirst() }
    if best == nil || value < best!.sample.value(weights) { best = (next, found) }
    if progress.isFinal { report(.iterate) }
    if weights.flow != 0 { flowIterations += 1 }
    if let verdict {
      try endSolve(.verdict(verdict))
    } else if isProbeDue {
      pending = .curvature(isSolving: true)
    }
  }

  /// A solve at a tried λ, or of a probe, is done when a few steps change L by less than a few nats: its residual
  /// and degrees of freedom, not its objective, are what is asked.
  private var verdict: StopVerdict? {
    guard stage == .ladder || probe != nil else { return settings.stopRule.verdict(progress) }
    let recent = progress.objectives.suffix(5)
    return recent.count == 5 && recent.max()! - recent.min()! < 3 ? .objective : nil
  }

  // MARK: - Solves

  private var isFinalSolve: Bool { chooser == nil ? s >= 1 : stage == .final }

  mutating func beginSolve() throws {
    if stage == .path, s >= 1, chooser != nil { stage = .ladder }
    guard let sample, sample.serves(weights) else {
      pending = .refresh
      return
    }
    if isProbeDue {
      pending = .curvature(isSolving: false)
      return
    }
    let target = path.weights(at: 1)
    if reference == 0 {
      let known = sample.serves(target) ? target : s >= 1 ? weights : nil
      if let known { reference = norm(sample.gradient(known)) }
    }
    try beginCorrector()
    progress = SolveProgress()
    progress.isFinal = isFinalSolve
    progress.isFree = weights.flow == 0 && !objective.latentCoordinates
    progress.gradientNorm = norm(sample.gradient(weights))
    progress.startGradientNorm = progress.gradientNorm
    progress.referenceGradientNorm = reference
    progress.objectives = [sample.value(weights)]
    best = (point, sample)
    pending = .correct
    if let verdict { try endSolve(.verdict(verdict)) }
  }

  private mutating func beginCorrector() throws {
    guard let sample else { return }
    corrector.begin(
      point, sample, weights: weights,
      curvature: try objective.curvature(at: point, image: image, weights: weights, probed: probed),
      resolution: objective.resolution)
  }

  private mutating func endSolve(_ end: SolveEnd) throws {
    takeBest()
    if let probe {
      try endProbe(probe)
    } else if isSetback(end) {
      try advance(end)
    } else if isFinalSolve {
      switch end {
      case .verdict(.gradient): finish(.gradient)
      case .verdict(.objective): finish(.objective)
      case .verdict(.iterations), .budget: finish(.budget)
      case .stuck(.resolution): finish(.resolution)
      case .stuck(.lineSearch): finish(.lineSearch)
      }
    } else if s < 1 {
      try advance(end)
    } else {
      try beginProbe()
    }
  }

  mutating func finish(_ reason: PathStop) {
    var target = path.weights(at: 1)
    if stage == .final { target.lambda = weights.lambda }
    if !(weights == target && sample?.serves(target) == true) {
      // A run that ends on the way is still judged at the target.
      weights = target
      if sample?.serves(target) != true {
        pending = .report(reason)
        return
      }
    }
    pending = .none
    stop = reason
    report(.finished)
  }

  /// Ends the run now, with what it has.
  mutating func cancel() {
    guard stop == nil else { return }
    takeBest()
    if let probe { leave(probe) }
    pending = .none
    stop = .cancelled
  }

  /// Back to the lowest point of the solve, where a corrector has risen above it by more than rounding.
  private mutating func takeBest() {
    guard let best, let sample, sample.serves(weights), best.sample.serves(weights) else { return }
    let value = sample.value(weights)
    guard best.sample.value(weights) < value - sample.rounding(weights, resolution: objective.resolution)
    else { return }
    point = best.point
    self.sample = best.sample
  }

  mutating func report(_ event: PathEvent) {
    guard let sample, sample.serves(weights) else { return }
    let gradientNorm = norm(sample.gradient(weights))
    states.append(
      PathState(
        image: image, event: event, s: s, weights: weights, point: point,
        pixels: sample.pixels ?? point, objective: sample.value(weights), recon: sample.recon,
        flow: sample.flow, gaussian: sample.gaussian, evaluations: evaluations, iterations: iterations,
        step: step, gradientNorm: gradientNorm,
        relativeGradient: reference > 0 ? gradientNorm / reference : nil,
        solveIterations: progress.iterations,
        curvature: probed.map { $0.reduce(0, +) / Double(max($0.count, 1)) },
        isMonotone: [.solved, .unfinished, .finished].contains(event) ? isMonotone(sample) : nil,
        stop: stop))
  }

  private func isMonotone(_ sample: ObjectiveSample) -> Bool? {
    guard let before = solved.last, before.place.s < s else { return nil }
    let old = path.weights(at: before.place.s)
    var sum = 0.0
    for (change, now, then) in [
      (weights.flow - old.flow, sample.flow, before.sample.flow),
      (weights.gaussian - old.gaussian, sample.gaussian, before.sample.gaussian),
    ] where change != 0 {
      guard let now, let then else { return nil }
      sum += change * (now - then)
    }
    return sum <= sample.rounding(weights, resolution: objective.resolution)
  }
}
