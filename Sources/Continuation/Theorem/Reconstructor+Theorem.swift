import AIPOInverseProblems

/// The path as the theorem has it: see `TheoremPlan`.
extension Reconstructor {
  /// What the theorem supposes, and what can be told before a solve.
  func checkTheorem() throws(SolverError) {
    guard options.space == .x else { throw .unsupported("the theorem's path is one over pixels, space x") }
    guard Scalar.self == Double.self else {
      throw .unsupported("the theorem's constants are differences of gradients, which need float64")
    }
    guard prior.isSmooth else {
      throw .unsupported(
        "the prior's nets have ReLU, whose kinks have no Hessian: the theorem needs a smooth activation (silu)"
      )
    }
    for image in 0..<problem.count {
      guard problem.linearOperator(image)?.isInjective ?? false else {
        throw .unsupported("the theorem needs a linear operator of full rank, as many measurements as pixels")
      }
    }
  }

  /// Image by image: each has its own constants.
  func theorem(_ images: [Int], _ observer: ReconstructionObserver<Scalar>) throws
    -> [ReconstructionResult<Scalar>]
  {
    let starts = try startPoints(images, lambda: 0)
    return try zip(images, starts).map { image, start in
      try theorem(image, start: start, observer)
    }
  }

  private func theorem(_ image: Int, start: [Double], _ observer: ReconstructionObserver<Scalar>) throws
    -> ReconstructionResult<Scalar>
  {
    var lambda = 1.0
    if case .value(let value) = options.lambda { lambda = value }
    let clock = ContinuousClock()
    let begin = clock.now
    let survey = try survey(image, start: start, lambda: lambda)
    let plan = survey.plan
    var trace: [PathState] = []
    var outcome = survey.end
    if outcome.sample != nil {
      if let obstacle = plan.obstacle(maximumEvaluations: options.maximumEvaluations) {
        outcome.stop = obstacle
        if let end = survey.state { trace = [end] }
        observer.onStates(trace)
      } else {
        var machine = PathMachine(
          objective: objective, starts: [survey.start], images: [image], sources: [source(image)],
          path: UniformLambdaPath(target: lambda),
          settings: plan.settings(
            stopRule: options.stopRule, maximumEvaluations: options.maximumEvaluations, seed: options.seed))
        while let states = try machine.next() {
          if observer.isCancelled() { machine.cancel() }
          observer.onStates(states)
          trace += states
        }
        outcome = machine.outcomes[0]
        outcome.evaluations += plan.evaluations
      }
    }
    let span = (clock.now - begin).components
    outcome.seconds = Double(span.seconds) + Double(span.attoseconds) * 1e-18
    for k in trace.indices {
      trace[k].point = []
      trace[k].pixels = []
      trace[k].evaluations += plan.evaluations
    }
    if !trace.isEmpty {
      trace[0].theorem = plan
      trace[trace.count - 1].stop = outcome.stop
    }
    return try result(outcome, x: outcome.point, path: "theorem", trace: trace)
  }

  private struct Survey {
    var plan: TheoremPlan
    /// The minimiser at λ = 0.
    var start: [Double]
    /// The solution at the target, and its state.
    var end: PathOutcome
    var state: PathState?
  }

  /// Places of the path where the constants are taken.
  private static var places: Int { 4 }

  /// Follows the path by L-BFGS and looks round at some places.
  private func survey(_ image: Int, start: [Double], lambda: Double) throws -> Survey {
    let target = ObjectiveWeights(lambda: lambda)
    var look = CurvatureLook(
      objective: objective, image: image, target: target, seed: options.seed, source: source(image))
    var (least, greatest, lipschitz, slope) = (Double.infinity, 0.0, 0.0, 0.0)
    var solved = 0
    var point = start
    var first = start
    var end: PathOutcome?
    var state: PathState?
    for place in 0...Self.places {
      let here = lambda * Double(place) / Double(Self.places)
      var machine = PathMachine(
        objective: objective, starts: [point], images: [image], sources: [source(image)],
        path: FixedWeights(ObjectiveWeights(lambda: here)),
        settings: PathSettings(
          stopRule: ToleranceRule(tolerance: 1e-6, epsilon: 0), maximumEvaluations: 400, probes: .none))
      while let states = try machine.next() { state = states.last ?? state }
      let found = machine.outcomes[0]
      solved += found.evaluations
      end = found
      let way = adding(found.point, point, scaledBy: -1)
      point = found.point
      if place == 0 { first = point }
      guard greatest.isFinite else { continue }
      do {
        guard case .split(_, let flow?, _) = try look.sample(point).gradient else {
          throw CurvatureLook.NotFinite()
        }
        slope = max(slope, norm(flow))
        let extremes = try look.extremes(point, lambda: here)
        least = min(least, extremes.least)
        greatest = max(greatest, extremes.greatest)
        let length = norm(way)
        let ahead = place > 0 && length > 0 ? way.map { $0 / length } : look.direction()
        for u in [ahead, look.direction(), look.direction()] {
          lipschitz = max(lipschitz, try look.lipschitz(point, along: u, lambda: here))
        }
      } catch is CurvatureLook.NotFinite {
        // No constant holds where the density ends.
        greatest = .infinity
      }
    }
    let plan = TheoremPlan(
      leastCurvature: least, greatestCurvature: greatest, hessianLipschitz: lipschitz, priorGradient: slope,
      lambda: lambda, evaluations: solved + look.evaluations)
    var outcome = end!
    outcome.evaluations = plan.evaluations
    return Survey(plan: plan, start: first, end: outcome, state: state)
  }
}
