import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

/// The path by the theorem's steps, against closed forms.
@Suite struct TheoremTests {
  private func options(lambda: Double = 1, evaluations: Int = 100_000) -> ReconstructionOptions {
    var options = ReconstructionOptions()
    options.path = .theorem
    options.lambda = .value(lambda)
    options.maximumEvaluations = evaluations
    options.stopRule = ToleranceRule(tolerance: 1e-9, epsilon: 0)
    return options
  }

  /// Under a Gaussian prior all constants are eigenvalues and norms, M = 0, and one λ-step is enough.
  @Test func constantsOfAGaussian() throws {
    let shape = ImageShape(height: 2, width: 3, channels: 1)
    let density = try GaussianPrior(
      imageShape: shape, mean: randomVector(6, seed: 1), covariance: try randomCovariance(6, seed: 2))
    let precision = try density.covariance.matrix.inverted().inverse
    let a = try DenseMap.gaussian(measurements: 30, input: shape, seed: 3)
    let y = try a.apply(randomVector(6, seed: 4))
    let noise = try GaussianNoise(sigma: 0.1)
    let lambda = 0.7
    let result = try reconstruct(InverseProblem(a, noise, [y]), density, nil, options(lambda: lambda))[0]
    let plan = try #require(result.trace.first?.theorem)

    var data = try a.matrix.transposedTimes(a.matrix)
    data.scale(by: 100)
    var target = data
    target.add(precision, scaledBy: lambda)
    let least = try data.symmetricEigen().values[0]
    let greatest = try target.symmetricEigen().values[5]
    let slope = try (0...4).map { place in
      let x =
        place == 0
        ? try a.leastSquares(y)
        : try density.posteriorMean(a, noise, y, lambda: lambda * Double(place) / 4)
      return norm(precision.times(adding(x, density.mean.elements, scaledBy: -1)))
    }.max()!
    #expect((plan.leastCurvature / least - 1).magnitude < 1e-5)
    #expect((plan.greatestCurvature / greatest - 1).magnitude < 1e-5)
    #expect((plan.priorGradient / slope - 1).magnitude < 1e-4)
    #expect(plan.hessianLipschitz < 1e-4 * greatest && plan.lambdaSteps == 1)
    let steps = Int((2 * greatest / least * 0.6931471805599453).rounded(.up))
    #expect(plan.gradientSteps == Double(steps))

    let expected = try density.posteriorMean(a, noise, y, lambda: lambda)
    #expect(distance(result.image.elements, expected) < 1e-6)
    #expect(result.converged && result.path == "theorem" && result.iterations >= steps)
    #expect(result.evaluations > plan.evaluations + steps)
  }

  /// −log p = Σ x²/2 + a x⁴/4.
  private func quartic(_ a: Double) -> FunctionPrior {
    FunctionPrior(imageShape: .vector(1)) { x in
      (-(x[0] * x[0] / 2 + a * x[0] * x[0] * x[0] * x[0] / 4), [-(x[0] + a * x[0] * x[0] * x[0])])
    }
  }

  private func scalarProblem(_ y: Double) throws -> InverseProblem {
    try InverseProblem(IdentityMap(.vector(1)), GaussianNoise(sigma: 1), [[y]])
  }

  /// The root of (x − y) + λ(x + ax³), which has one.
  private func solution(_ lambda: Double, _ a: Double, _ y: Double) -> Double {
    var (low, high) = (0.0, y)
    for _ in 0..<100 {
      let x = (low + high) / 2
      if x - y + lambda * (x + a * x * x * x) < 0 { low = x } else { high = x }
    }
    return low
  }

  /// On an objective that isn't quadratic the constants are those of its derivatives, every λ gets its number of
  /// steps, and every solution on the way is within r/2 of the true one.
  @Test func keepsWhatTheTheoremPromises() throws {
    let (a, y) = (0.5, 1.5)
    var reached: [(lambda: Double, point: Double, steps: Int)] = []
    var observer = ReconstructionObserver()
    observer.onState = { _, state, pixels in
      guard state.event == .unfinished || state.event == .finished else { return }
      reached.append((state.weights.lambda, pixels[0], state.solveIterations))
    }
    let result = try reconstruct(try scalarProblem(y), quartic(a), nil, options(), observer)[0]
    let plan = try #require(result.trace.first?.theorem)
    let places = (0...4).map { Double($0) / 4 }
    let third = places.map { $0 * 6 * a * solution($0, a, y) }.max()!
    let greatest = places.map { 1 + $0 * (1 + 3 * a * solution($0, a, y) * solution($0, a, y)) }.max()!
    #expect((plan.leastCurvature - 1).magnitude < 1e-6)
    #expect((plan.greatestCurvature / greatest - 1).magnitude < 1e-5)
    // Differences over 0.01 see 3aρ of the fourth derivative.
    #expect((plan.hessianLipschitz - third).magnitude < 0.02)
    #expect((plan.priorGradient - (y + a * y * y * y)).magnitude < 1e-5)
    #expect(reached.count == Int(plan.lambdaSteps) && plan.lambdaSteps > 10)
    for (k, place) in reached.enumerated() {
      #expect((place.lambda - Double(k + 1) / plan.lambdaSteps).magnitude < 1e-9)
      #expect((place.point - solution(place.lambda, a, y)).magnitude < plan.radius / 2)
      if k + 1 < reached.count { #expect(place.steps == Int(plan.gradientSteps)) }
    }
    #expect(result.converged && (result.image.elements[0] - solution(1, a, y)).magnitude < 1e-6)
  }

  /// What can't be done says why, with the solution that the survey found and its constants.
  @Test func obstaclesAreNamed() throws {
    let short = try reconstruct(try scalarProblem(1.5), quartic(0.5), nil, options(evaluations: 150))[0]
    let plan = try #require(short.trace.first?.theorem)
    #expect(short.reason == .theoremBound && !short.converged && short.trace.last?.stop == .theoremBound)
    #expect(plan.lambdaSteps * plan.gradientSteps > 150 - Double(plan.evaluations))
    #expect((short.image.elements[0] - solution(1, 0.5, 1.5)).magnitude < 1e-4)
    #expect(short.objective!.isFinite && "\(plan)".contains("λ-steps of"))

    // −log p = x⁴ − 0.8x² from its top: a point where nothing falls, and the curvature is 1 − 1.6λ.
    let hill = FunctionPrior(imageShape: .vector(1)) { x in
      (0.8 * x[0] * x[0] - x[0] * x[0] * x[0] * x[0], [1.6 * x[0] - 4 * x[0] * x[0] * x[0]])
    }
    let top = try reconstruct(try scalarProblem(0), hill, nil, options())[0]
    let seen = try #require(top.trace.first?.theorem)
    #expect(top.reason == .notConvex && !top.converged && (seen.leastCurvature + 0.6).magnitude < 1e-5)
  }

  @Test func needsSmoothnessAndFullRank() throws {
    let shape = ImageShape.vector(4)
    func make<S: KernelScalar>(
      _: S.Type, _ activation: NetSpec.Activation, _ a: any LinearMap, space: SolutionSpace = .x
    ) throws -> Reconstructor {
      let flow = try Flow<S>(
        spec: .vector(couplings: 2, hidden: [4], activation: activation), imageShape: shape)
      var options = options()
      options.space = space
      return try Reconstructor(
        problem: try InverseProblem(a, GaussianNoise(sigma: 1), [try a.apply([0, 0, 0, 0])]),
        prior: FlowPrior(flow), gaussian: nil, options: options)
    }
    let full = IdentityMap(shape)
    _ = try make(Double.self, .silu, full)
    #expect(throws: SolverError.self) { try make(Double.self, .relu, full) }
    #expect(throws: SolverError.self) { try make(Float.self, .silu, full) }
    #expect(throws: SolverError.self) { try make(Double.self, .silu, full, space: .z) }
    #expect(throws: SolverError.self) {
      try make(Double.self, .silu, MaskMap(shape, mask: [true, false, true, true]))
    }
  }
}
