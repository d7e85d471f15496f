import AIPOKernels
import AIPOPriors
import AIPOProblems

/// The path as the theorem has it: see `TheoremPlan`.
extension Reconstructor {
  /// What the theorem supposes, and what can be told before a solve.
  func checkTheorem() throws(SolverError) {
    guard options.space == .x else { throw .unsupported("the theorem's path is one over pixels, space x") }
    guard prior.resolution <= .ulpOfOne else {
      throw .unsupported("the theorem's constants are differences of gradients, which need float64")
    }
    guard prior.isSmooth else {
      throw .unsupported(
        "the prior's nets have ReLU, whose kinks have no Hessian: the theorem needs a smooth activation (silu)"
      )
    }
    for image in 0..<problem.count {
      guard coverage(of: image) == .whole else {
        throw .unsupported(
          "the theorem needs a linear operator of full rank, as many measurements as pixels and none drowned")
      }
    }
  }

  func theorem(_ work: ImageWork) throws -> Solution {
    let image = work.image
    var lambda = 1.0
    if case .value(let value) = options.lambda { lambda = value }
    let start = try start(of: image, lambda: 0, work.scratch)
    let survey = try survey(work, start: start, lambda: lambda)
    let plan = survey.plan
    var outcome = survey.end
    func report(_ state: PathState, _ pixels: Vector) {
      var state = state
      if work.trace.isEmpty { state.theorem = plan }
      work.report(state, pixels)
    }
    if let sample = outcome.sample, outcome.stop != .cancelled {
      if let obstacle = plan.obstacle(maximumEvaluations: options.maximumEvaluations) {
        outcome.stop = obstacle
        if var end = survey.state {
          end.evaluations = plan.evaluations
          end.stop = obstacle
          report(end, sample.pixels)
        }
      } else {
        let run = try Continuation(
          work.evaluator(pixelObjective(image)), path: UniformLambdaPath(target: lambda),
          minimizer: PlainDescent(length: 1 / plan.greatestCurvature),
          settings: plan.settings(
            stopRule: options.stopRule, maximumEvaluations: options.maximumEvaluations, seed: options.seed)
        ) { state, pixels in
          var state = state
          state.evaluations += plan.evaluations
          report(state, pixels)
        }
        outcome = try run.run { $0.set(survey.start.view) }
        outcome.evaluations += plan.evaluations
      }
    }
    return Solution(outcome: outcome, fallback: start, path: "theorem")
  }

  private struct Survey {
    var plan: TheoremPlan
    /// The minimiser at λ = 0.
    var start: Tensor<Double>
    /// The solution at the target, and its state.
    var end: PathOutcome
    var state: PathState?
  }

  /// Places of the path where the constants are taken.
  private static var places: Int { 4 }

  /// Follows the path by L-BFGS and looks round at some places.
  private func survey(_ work: ImageWork, start: Tensor<Double>, lambda: Double) throws -> Survey {
    let scratch = work.scratch
    let objective = pixelObjective(work.image)
    var look = CurvatureLook(
      work.evaluator(objective), target: ObjectiveWeights(lambda: lambda), seed: options.seed,
      source: source(work.image))
    var (least, greatest, lipschitz, slope) = (Double.infinity, 0.0, 0.0, 0.0)
    var solved = 0
    var point = start
    var first = start
    var end: PathOutcome?
    var state: PathState?
    try scratch.scope {
      let way = try scratch.take(point.count)
      for place in 0...Self.places {
        let here = lambda * Double(place) / Double(Self.places)
        let run = try Continuation(
          work.evaluator(objective), path: FixedWeights(ObjectiveWeights(lambda: here)),
          settings: PathSettings(
            stopRule: ToleranceRule(tolerance: 1e-6, epsilon: 0), maximumEvaluations: 400, probes: .none)
        ) { found, _ in state = found }
        let found = try run.run { $0.set(point.view) }
        solved += found.evaluations
        end = found
        guard let sample = found.sample, found.stop != .cancelled else { break }
        way.setDifference(sample.point, point.view)
        point.withMemory { $0.set(sample.point) }
        if place == 0 { first = point }
        guard greatest.isFinite else { continue }
        do {
          slope = max(slope, try look.priorSlope(point.view))
          let extremes = try look.extremes(point.view, lambda: here)
          least = min(least, extremes.least)
          greatest = max(greatest, extremes.greatest)
          let length = way.norm()
          if place > 0, length > 0 { way.scale(by: 1 / length) } else { look.setDirection(way) }
          for turn in 0..<3 {
            if turn > 0 { look.setDirection(way) }
            lipschitz = max(lipschitz, try look.lipschitz(point.view, along: way, lambda: here))
          }
        } catch is CurvatureLook.NotFinite {
          // No constant holds where the density ends.
          greatest = .infinity
        } catch Interruption.cancelled {
          end?.stop = .cancelled
          break
        }
      }
    }
    let plan = TheoremPlan(
      leastCurvature: least, greatestCurvature: greatest, hessianLipschitz: lipschitz, priorGradient: slope,
      lambda: lambda, evaluations: solved + look.evaluator.evaluations)
    var outcome = end!
    outcome.evaluations = plan.evaluations
    return Survey(plan: plan, start: first, end: outcome, state: state)
  }
}
