import AIPOFlowTesting
import AIPOInverseProblems
import AIPOKernels
import Testing

@testable import AIPOContinuation

/// Prediction, and the control of the steps along a path.
@Suite struct StepTests {
  private let shape = ImageShape(height: 3, width: 4, channels: 1)

  private func problem() throws -> InverseProblem {
    try InverseProblem(
      operators: [IdentityOperator(count: 12)], noise: try GaussianNoise(sigma: 0.3),
      observations: [randomVector(12, seed: 41)], imageShape: shape)
  }

  /// `v = −Δλ H⁻¹∇R`, by products with the true Hessian.
  @Test func theTangentSolvesItsSystem() throws {
    let h = try randomCovariance(12, seed: 42)
    let slope = randomVector(12, seed: 43)
    let x = randomVector(12, seed: 44)
    var search = TangentSearch(next: 1, slope: slope, products: 12, curvature: nil)
    while !search.isOver {
      let point = search.point(beside: x, resolution: Double.ulpOfOne)
      search.receive(point, h.times(point), beside: x, resolution: Double.ulpOfOne)
    }
    let residual = adding(h.times(search.step), slope, scaledBy: 1)
    #expect(norm(residual) <= 0.11 * norm(slope))
    // Where the prior isn't finite beside the point, nothing is predicted.
    var wall = TangentSearch(next: 1, slope: slope, products: 12, curvature: nil)
    wall.receive(x, nil, beside: x, resolution: Double.ulpOfOne)
    #expect(wall.isOver && norm(wall.step) == 0)
  }

  /// The better the guess the less is left to correct; where it ends doesn't depend on it.
  @Test(arguments: [SolutionSpace.x, .z]) func predictorsSaveCorrections(space: SolutionSpace) throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.5, seed: 45)
    let problem = try problem()
    let pixel = try PixelObjective(problem: problem, prior: prior, gaussian: nil, isotropicCurvature: 30)
    let latent = try LatentObjective(problem: problem, prior: prior, gaussian: nil)
    let objective: any Objective = space == .x ? pixel : latent
    let start = space == .x ? problem.observations[0] : [Double](repeating: 0, count: 12)
    var found: [(iterations: Int, point: [Double])] = []
    for predictor in PredictorChoice.allCases {
      let settings = PathSettings(
        predictor: predictor.predictor, stepControl: AdaptiveStep(firstStep: 0.05, largest: 0.05),
        stopRule: ToleranceRule.exact(tolerance: 1e-6), maximumEvaluations: 20000, pathShare: 1, probes: .none
      )
      let (_, outcomes) = try solve(
        objective, from: [start], path: LambdaPath(target: ObjectiveWeights(lambda: 1), start: 0.1), settings)
      #expect(outcomes[0].stop.isConverged)
      found.append((outcomes[0].iterations, outcomes[0].point))
    }
    // Over latents what a corrector learned is lost with the weights, and most steps go into learning it again.
    let counts = found.map(\.iterations)
    if space == .x { #expect(counts[1] < counts[0] && counts[2] < counts[0], "\(counts)") }
    for other in found.dropFirst() { #expect(distance(other.point, found[0].point) < 1e-3) }
  }

  /// From the Gaussian prior, where the flow has no weight yet, the tangent needs its gradient all the same.
  @Test func theTangentLeavesTheGaussian() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.3, seed: 46)
    let factor = try Matrix(rows: 12, columns: 12, rowMajor: prior.factor)
    let density = try GaussianDensity(
      imageShape: shape, mean: prior.mean, covariance: .dense(try factor.timesTransposed(factor)))
    let objective = try PixelObjective(problem: try problem(), prior: prior, gaussian: density)
    var seconds: [Double] = []
    for predictor in [NoPredictor(), TangentPredictor(products: 30)] as [any Predictor] {
      let settings = PathSettings(
        predictor: predictor, stepControl: AdaptiveStep(firstStep: 0.1),
        stopRule: ToleranceRule.exact(tolerance: 1e-9), maximumEvaluations: 20000, pathShare: 1)
      let (states, _) = try solve(
        objective, from: [randomVector(12, seed: 41)], path: PriorPath(target: ObjectiveWeights(lambda: 1)),
        settings)
      let places = states.filter { $0.event == .solved }
      // The work of the second solve tells how good its guess was.
      seconds.append(Double(places[1].solveIterations))
      #expect(places[0].weights.t == 0 && (places[1].weights.t - 0.1).magnitude < 1e-12)
    }
    #expect(seconds[1] <= seconds[0])
  }

  @Test func stepsAdapt() {
    let control = AdaptiveStep(smallest: 0.01, largest: 0.4, easy: 3, close: 0.1)
    #expect(control.next(after: 0.1, .converged(iterations: 3, deviation: nil)) == 0.2)
    #expect(control.next(after: 0.3, .converged(iterations: 2, deviation: nil)) == 0.4)
    #expect(control.next(after: 0.1, .converged(iterations: 9, deviation: 0.05)) == 0.2)
    #expect(control.next(after: 0.1, .converged(iterations: 9, deviation: 0.5)) == 0.1)
    #expect(control.next(after: 0.1, .converged(iterations: 9, deviation: 1.5)) == 0.05)
    #expect(control.next(after: 0.015, .converged(iterations: 9, deviation: 1.5)) == 0.01)
    #expect(control.next(after: 0.1, .unfinished) == 0.1)
    #expect(control.next(after: 0.1, .failed) == 0.05)
    #expect(control.next(after: 0.015, .failed) == nil)
  }

  /// Fails wherever λ has grown by more than a tenth since the last solve that succeeded.
  private struct Fragile: Corrector {
    var inner = LBFGS()
    var last: Double?
    var isTooFar = false
    var limit = 0.1

    mutating func begin(
      _ point: [Double], _ sample: ObjectiveSample, weights: ObjectiveWeights,
      curvature: (any CurvatureSolver)?, resolution: Double
    ) {
      isTooFar = last.map { weights.lambda - $0 > limit } ?? false
      if !isTooFar { last = weights.lambda }
      inner.begin(point, sample, weights: weights, curvature: curvature, resolution: resolution)
    }

    mutating func propose() -> Result<[Double], CorrectorFailure> {
      isTooFar ? .failure(CorrectorFailure(.lineSearch)) : inner.propose()
    }

    mutating func receive(_ point: [Double], _ sample: ObjectiveSample?) -> CorrectorOutcome {
      inner.receive(point, sample)
    }
  }

  /// A failed solve is undone: the path goes on from the last good place with half the step, to the same end.
  @Test func failureHalvesAndRestarts() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.3, seed: 47)
    let problem = try problem()
    let objective = try PixelObjective(problem: problem, prior: prior, gaussian: nil, isotropicCurvature: 30)
    func run(_ corrector: any Corrector) throws -> (states: [PathState], outcomes: [PathOutcome]) {
      try solve(
        objective, from: [problem.observations[0]], path: UniformLambdaPath(target: 1),
        PathSettings(
          corrector: corrector, stepControl: AdaptiveStep(firstStep: 0.5),
          stopRule: ToleranceRule.exact(tolerance: 1e-9), maximumEvaluations: 20000, pathShare: 1))
    }
    let (states, outcomes) = try run(Fragile())
    let failed = states.indices.filter { states[$0].event == .failed }
    #expect(failed.count > 2 && outcomes[0].stop.isConverged && outcomes[0].weights.lambda == 1)
    for k in failed {
      let before = states[..<k].last { $0.event == .solved }!
      let after = states[(k + 1)...].first { [.solved, .failed, .iterate, .finished].contains($0.event) }!
      #expect((after.s - before.s - (states[k].s - before.s) / 2).magnitude < 1e-9)
    }
    let straight = try run(LBFGS()).outcomes[0]
    #expect(distance(straight.point, outcomes[0].point) < 1e-6)
    // Where even the smallest step fails, the end says so, at the last good place.
    let (_, never) = try run(Fragile(limit: 1e-9))
    #expect(never[0].stop == .smallestStep && never[0].sample != nil)
  }
}
