import AIPOFlowTesting
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Foundation
import Testing

@testable import AIPOSolvers

/// Prediction, and the control of the steps along a path.
@Suite struct StepTests {
  private let shape = ImageShape(height: 3, width: 4, channels: 1)
  private let y = randomVector(12, seed: 41)

  private func data() throws -> DataTerm { try DataTerm(IdentityMap(shape), GaussianNoise(sigma: 0.3), y) }

  /// `v = −Δλ H⁻¹∇R`, by products with the true Hessian.
  @Test func theTangentSolvesItsSystem() throws {
    let h = try randomCovariance(12, seed: 42)
    let slope = randomVector(12, seed: 43)
    let x = randomVector(12, seed: 44)
    let nothing = try DataTerm(
      MaskMap(shape, mask: [Bool](repeating: false, count: 12)), GaussianNoise(sigma: 1), [])
    let weights = ObjectiveWeights(lambda: 1)
    func tangent(_ prior: FunctionPrior, _ metric: Metric?) throws -> (step: [Double]?, evaluations: Int) {
      let evaluator = Evaluator(PixelObjective(data: nothing, prior: prior, gaussian: nil), Scratch())
      let sample = try #require(try evaluator.evaluate(weights) { $0.copy(from: x) })
      let step = try slope.asVector {
        try Tangent.step(evaluator, at: sample, weights: weights, slope: $0, products: 12, metric: metric)
      }
      return (step?.elements, evaluator.evaluations - 1)
    }
    let bowl = FunctionPrior(imageShape: shape) { x in
      let slope = h.times(x)
      return (-0.5 * dot(x, slope), slope.map { -$0 })
    }
    for metric in [nil, Metric(diagonal: try Tensor((0..<12).map { h[$0, $0] }))] {
      let (step, evaluations) = try tangent(bowl, metric)
      let residual = adding(h.times(try #require(step)), slope)
      #expect(norm(residual) <= 0.11 * norm(slope))
      #expect(evaluations > 2 && evaluations <= 24 && evaluations % 2 == 0)
    }
    // Where the prior isn't finite beside the point, nothing is predicted.
    let (step, evaluations) = try tangent(
      FunctionPrior(imageShape: shape) { ($0 == x ? 0 : -.infinity, [Double](repeating: 0, count: 12)) }, nil)
    #expect(step == nil && evaluations == 1)
  }

  /// From far away the objective is large, and so is what rounding can do to it. At the end it is small.
  @Test func aFarStartDoesNotEndTheSolveEarly() throws {
    let curvatures = (0..<12).map { pow(10, Double($0) / 3) }
    let bowl = FunctionPrior(imageShape: shape, resolution: Double(Float.ulpOfOne)) { x in
      let slope = zip(curvatures, x).map { $0 * $1 }
      return (-0.5 * dot(x, slope), slope.map { -$0 })
    }
    let nothing = try DataTerm(
      MaskMap(shape, mask: [Bool](repeating: false, count: 12)), GaussianNoise(sigma: 1), [])
    let settings = PathSettings(stopRule: ToleranceRule(tolerance: 1e-12), probes: .none)
    let outcome = try solve(
      PixelObjective(data: nothing, prior: bowl, gaussian: nil, isotropicCurvature: 1),
      from: [Double](repeating: 1000, count: 12), path: FixedWeights(ObjectiveWeights(lambda: 1)), settings
    ).outcome
    #expect(outcome.stop == .objective && outcome.iterations > 10)
    #expect(try #require(outcome.sample?.flow) < 0.05)
  }

  /// The better the guess the less is left to correct; where it ends doesn't depend on it.
  @Test(arguments: SolutionSpace.allCases) func predictorsSaveCorrections(space: SolutionSpace) throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.5, seed: 45)
    let data = try data()
    let objective: any Objective =
      space == .x
      ? PixelObjective(data: data, prior: prior, gaussian: nil, isotropicCurvature: 30)
      : LatentObjective(data: data, prior: prior, gaussian: nil)
    let start = space == .x ? y : [Double](repeating: 0, count: 12)
    var found: [PathOutcome] = []
    for predictor in PredictorChoice.allCases {
      let settings = PathSettings(
        predictor: predictor.predictor, stepControl: AdaptiveStep(firstStep: 0.05, largest: 0.05),
        stopRule: ToleranceRule.exact(tolerance: 1e-6), maximumEvaluations: 20000, pathShare: 1, probes: .none
      )
      let (_, outcome) = try solve(
        objective, from: start, path: LambdaPath(target: ObjectiveWeights(lambda: 1), start: 0.1), settings)
      #expect(outcome.stop.isConverged)
      found.append(outcome)
    }
    // Over latents what a minimizer learned is lost with the weights, and most steps go into learning it again.
    let counts = found.map(\.iterations)
    if space == .x { #expect(counts[1] < counts[0] && counts[2] < counts[0], "\(counts)") }
    for other in found.dropFirst() { #expect(distance(other.point, found[0].point) < 1e-3) }
  }

  /// From the Gaussian prior, where the flow has no weight yet, the tangent needs its gradient all the same.
  @Test func theTangentLeavesTheGaussian() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.3, seed: 46)
    let objective = PixelObjective(data: try data(), prior: prior, gaussian: try prior.unwarped())
    var seconds: [Double] = []
    for predictor in [NoPredictor(), TangentPredictor(products: 30)] as [any Predictor] {
      let settings = PathSettings(
        predictor: predictor, stepControl: AdaptiveStep(firstStep: 0.1),
        stopRule: ToleranceRule.exact(tolerance: 1e-9), maximumEvaluations: 20000, pathShare: 1)
      let (states, _) = try solve(
        objective, from: y, path: PriorPath(target: ObjectiveWeights(lambda: 1)), settings)
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
  private final class Fragile: Minimizer {
    private let inner = LBFGS()
    private let limit: Double
    private var last: Double?

    init(limit: Double = 0.1) { self.limit = limit }

    func minimize(_ solve: Solve) throws -> SolveEnd {
      if let last, solve.weights.lambda - last > limit { return .lineSearch }
      last = solve.weights.lambda
      return try inner.minimize(solve)
    }
  }

  /// A failed solve is undone: the path goes on from the last good place with half the step, to the same end.
  @Test func failureHalvesAndRestarts() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.3, seed: 47)
    let objective = PixelObjective(data: try data(), prior: prior, gaussian: nil, isotropicCurvature: 30)
    func run(_ minimizer: any Minimizer) throws -> (states: [Place], outcome: PathOutcome) {
      try solve(
        objective, from: y, path: UniformLambdaPath(target: 1), by: minimizer,
        PathSettings(
          stepControl: AdaptiveStep(firstStep: 0.5), stopRule: ToleranceRule.exact(tolerance: 1e-9),
          maximumEvaluations: 20000, pathShare: 1))
    }
    let (states, outcome) = try run(Fragile())
    let failed = states.indices.filter { states[$0].event == .failed }
    #expect(failed.count > 2 && outcome.stop.isConverged && outcome.weights.lambda == 1)
    for k in failed {
      let before = states[..<k].last { $0.event == .solved }!
      let after = states[(k + 1)...].first { [.solved, .failed, .iterate, .finished].contains($0.event) }!
      #expect((after.s - before.s - (states[k].s - before.s) / 2).magnitude < 1e-9)
    }
    let straight = try run(LBFGS()).outcome
    #expect(distance(straight.point, outcome.point) < 1e-6)
    // Where even the smallest step fails, the end says so, at the last good place.
    let never = try run(Fragile(limit: 1e-9)).outcome
    #expect(never.stop == .smallestStep && never.sample != nil)
  }
}
