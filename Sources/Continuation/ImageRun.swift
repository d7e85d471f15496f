import AIPOInverseProblems

/// The continuation of one image, asking for one evaluation at a time.
struct ImageRun: Sendable {
  struct Request: Sendable {
    let point: [Double]
    let weights: ObjectiveWeights
  }

  enum Stage: Sendable { case path, ladder, final }

  enum Pending: Sendable {
    case start([Double])
    /// Guess for the solution at this s.
    case predicted([Double], s: Double)
    /// The present point needs terms that its sample lacks.
    case refresh
    /// The same, only to report a finished run.
    case report(PathStop)
    case trial([Double])
    case correct
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
  let chooser: (rule: any LambdaRule, linearOperator: any LinearOperator, noise: GaussianNoise, y: [Double])?

  private(set) var point: [Double]
  private(set) var sample: ObjectiveSample?
  private(set) var weights: ObjectiveWeights
  private(set) var evaluations = 0
  private(set) var iterations = 0
  private(set) var stop: PathStop?
  var seconds = 0.0

  private var stage = Stage.path
  private var pending: Pending
  private var corrector: any Corrector
  private var progress = SolveProgress()
  private var reference = 0.0
  private var s = 0.0
  private var step: Double
  private var solved: [(place: PathPoint, sample: ObjectiveSample)] = []
  private var best: (point: [Double], sample: ObjectiveSample)?
  /// Set while the degrees of freedom are estimated: the objective is then that of the moved measurements.
  private var probe: FreedomProbe?
  private var probeEnd = 0
  private var trials: [LambdaTrial] = []
  private var tried: [(point: [Double], sample: ObjectiveSample)] = []
  private var states: [PathState] = []

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
      let noise = problem.noise(image) as? GaussianNoise, noise.isWhiteGaussian,
      objective.latentCoordinates == false
    {
      chooser = (rule, linear, noise, problem.observations[image])
    } else {
      chooser = nil
    }
    point = objective.representable(start)
    corrector = settings.corrector
    step = settings.stepControl.firstStep
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
      case .refresh, .report: return ask(point)
      case .trial(let trial): return ask(trial)
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
    if case .predicted(_, let s) = pending { return Request(point: point, weights: path.weights(at: s)) }
    return Request(point: point, weights: weights)
  }

  private var limit: Int {
    let total = Double(settings.maximumEvaluations)
    if stage == .path, s < 1 { return Int(settings.pathShare * total) }
    return isFinalSolve ? settings.maximumEvaluations : Int(0.75 * total)
  }

  // MARK: - Answers

  /// The evaluation of the last request; nil where it wasn't finite.
  mutating func receive(_ found: ObjectiveSample?) throws {
    let asked = pending
    if case .predicted(_, let s) = asked {
      if path.weights(at: s).flow != 0 || objective.latentCoordinates { evaluations += 1 }
    } else if weights.flow != 0 || objective.latentCoordinates {
      evaluations += 1
    }
    switch asked {
    case .start:
      guard let found else {
        stop = .noFiniteStart
        return
      }
      sample = found
      report(.start)
      try beginSolve()
    case .predicted(let guess, let next):
      weights = path.weights(at: next)
      s = next
      if let found, !isPresentBetter(than: found) {
        point = guess
        sample = found
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
      let found = found.map { probe?.tilted($0, at: trial) ?? $0 }
      switch corrector.receive(trial, found) {
      case .searching: break
      case .stuck(let reason): try endSolve(.stuck(reason))
      case .accepted(let next, let found): try accept(next, found)
      }
    case .correct, .none: break
    }
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
    if let verdict { try endSolve(.verdict(verdict)) }
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

  private mutating func beginSolve() throws {
    if stage == .path, s >= 1, chooser != nil { stage = .ladder }
    guard let sample, sample.serves(weights) else {
      pending = .refresh
      return
    }
    let target = path.weights(at: 1)
    if reference == 0 {
      let known = sample.serves(target) ? target : s >= 1 ? weights : nil
      if let known { reference = norm(sample.gradient(known)) }
    }
    corrector.begin(
      point, sample, weights: weights,
      curvature: try objective.curvature(image: image, weights: weights),
      resolution: objective.resolution)
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

  private mutating func endSolve(_ end: SolveEnd) throws {
    takeBest()
    if let probe {
      try endProbe(probe)
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

  /// The next step along the path.
  private mutating func advance(_ end: SolveEnd) throws {
    var result: StepOutcome
    switch end {
    case .verdict(.gradient), .verdict(.objective), .stuck(.resolution):
      result = .converged(iterations: progress.iterations)
    case .verdict(.iterations), .budget: result = .unfinished
    case .stuck(.lineSearch): result = progress.iterations > 0 ? .unfinished : .failed
    }
    if solved.isEmpty, result == .failed { result = .unfinished }
    if result == .failed {
      report(.failed)
      let last = solved[solved.count - 1]
      point = last.place.point
      sample = last.sample
      s = last.place.s
      weights = path.weights(at: s)
    } else {
      report(result == .unfinished ? .unfinished : .solved)
      solved.append((PathPoint(s: s, point: point), sample!))
      if solved.count > 2 { solved.removeFirst() }
    }
    if solved.count > 1 || result == .failed {
      guard let next = settings.stepControl.next(after: step, result) else {
        finish(.smallestStep)
        return
      }
      step = next
    }
    var next = min(1, s + step)
    if 1 - next < 0.25 * step { next = 1 }
    if weights.flow != 0, evaluations >= limit { next = 1 }
    step = next - s
    let guess = objective.representable(settings.predictor.predict(solved.map(\.place), at: next))
    if guess == point {
      s = next
      weights = path.weights(at: s)
      try beginSolve()
    } else {
      pending = .predicted(guess, s: next)
    }
  }

  private mutating func finish(_ reason: PathStop) {
    let target = ObjectiveWeights(lambda: stage == .final ? weights.lambda : path.weights(at: 1).lambda)
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

  // MARK: - Choosing λ

  private mutating func beginProbe() throws {
    // What is left must pay for the estimate and then for the solve at the chosen λ.
    guard let chooser, let sample, evaluations + 2 * chooser.rule.probeEvaluations <= limit else {
      try settle(trials.min { $0.risk < $1.risk }?.lambda ?? weights.lambda)
      return
    }
    let probe = FreedomProbe(
      linearOperator: chooser.linearOperator, dataWeight: 1 / chooser.noise.variance, point: point,
      sample: sample,
      limit: chooser.rule.probeEvaluations, seed: settings.seed, source: source)
    self.probe = probe
    probeEnd = evaluations + probe.limit
    self.sample = probe.tilted(sample, at: point)
    try beginSolve()
  }

  /// Back to the measurements as they are.
  private mutating func leave(_ probe: FreedomProbe) {
    (point, sample) = (probe.point, probe.sample)
    self.probe = nil
  }

  private mutating func endProbe(_ probe: FreedomProbe) throws {
    guard let chooser else { return }
    let freedom = probe.degreesOfFreedom(at: point)
    leave(probe)
    guard let sample else { return }
    let residual = adding(chooser.y, chooser.linearOperator.apply(point), scaledBy: -1)
    trials.append(
      LambdaTrial(
        lambda: weights.lambda, residualSquare: dot(residual, residual),
        degreesOfFreedom: freedom, variance: chooser.noise.variance,
        measurements: chooser.y.count))
    tried.append((point, sample))
    report(.lambda)
    let isSpent = evaluations + 3 * chooser.rule.probeEvaluations > limit
    switch chooser.rule.decide(trials) {
    case .attempt(let lambda) where !isSpent:
      weights = ObjectiveWeights(lambda: lambda)
      try beginSolve()
    case .attempt: try settle(trials.min { $0.risk < $1.risk }!.lambda)
    case .settle(let lambda): try settle(lambda)
    }
  }

  /// Goes on to the end at this λ, from the nearest that was tried.
  private mutating func settle(_ lambda: Double) throws {
    stage = .final
    weights = ObjectiveWeights(lambda: lambda)
    if let nearest = trials.indices.min(by: {
      (trials[$0].lambda - lambda).magnitude < (trials[$1].lambda - lambda).magnitude
    }) {
      (point, sample) = (tried[nearest].point, tried[nearest].sample)
    }
    try beginSolve()
  }

  private mutating func report(_ event: PathEvent) {
    guard let sample, sample.serves(weights) else { return }
    states.append(
      PathState(
        image: image, event: event, s: s, weights: weights, point: point,
        pixels: sample.pixels ?? point, objective: sample.value(weights), recon: sample.recon,
        flow: sample.flow, gaussian: sample.gaussian, evaluations: evaluations, iterations: iterations,
        step: step,
        gradientNorm: norm(sample.gradient(weights))))
  }
}
