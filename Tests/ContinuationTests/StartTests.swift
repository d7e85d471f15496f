import AIPOContinuation
import AIPOFlowTesting
import AIPOInverseProblems
import AIPOKernels
import Testing

/// Where the first corrector starts, and that the path's end doesn't depend on it.
@Suite struct StartTests {
  private let shape = ImageShape(height: 4, width: 5, channels: 1)
  private let prior = WarpedGaussian<Double>.random(
    imageShape: ImageShape(height: 4, width: 5, channels: 1), warp: 0.7, seed: 5)
  private let lambda = 0.8
  private let seed: UInt64 = 9
  private let source = 41

  private func problem(_ a: any LinearOperator) throws -> InverseProblem {
    let y = a.apply((0..<shape.count).map { 0.5 + 0.3 * randomVector(shape.count, seed: 3)[$0] })
    return try InverseProblem(
      operators: [a], noise: try GaussianNoise(sigma: 0.1),
      observations: [adding(y, randomVector(y.count, seed: 4), scaledBy: 0.1)], imageShape: shape)
  }

  private func gaussian() throws -> GaussianDensity {
    try GaussianDensity(
      imageShape: shape, mean: randomVector(shape.count, seed: 11).map { 0.5 + 0.1 * $0 },
      covariance: .dense(try randomCovariance(shape.count, seed: 12)))
  }

  /// The start in closed form, with λ at the path's begin.
  private func expected(_ start: StartChoice, _ problem: InverseProblem, lambda: Double) throws -> [Double] {
    let linear = try #require(problem.linearOperator(0))
    let y = problem.observations[0]
    var random = Philox(seed: seed, index: UInt64(source), purpose: .start)
    switch start {
    case .observed, .auto: return try linear.pseudoInverse(y)
    case .random: return (0..<shape.count).map { _ in random.uniform() }
    case .zero: return prior.mean
    case .prior:
      let objective = try LatentObjective(problem: problem, prior: prior, gaussian: nil)
      return try #require(try objective.values([(0..<shape.count).map { _ in random.normal() }])[0])
    case .gaussian:
      return try GaussianConditional(
        try gaussian(), linearOperator: linear, noise: GaussianNoise(sigma: 0.1), lambda: lambda
      ).mean(y)
    }
  }

  @Test(arguments: ["identity", "mask", "dense"])
  func everyStartIsTheFirstCorrectorsAndLeadsToTheSameEnd(_ name: String) throws {
    let a: any LinearOperator =
      switch name {
      case "identity": IdentityOperator(count: shape.count)
      case "mask": MaskOperator(mask: (0..<shape.count).map { $0 % 3 != 0 })
      default: try DenseOperator.gaussian(measurements: 8, inputCount: shape.count, seed: 2)
      }
    let problem = try problem(a)
    var ends: [Double] = []
    for start in [StartChoice.observed, .zero, .random, .prior, .gaussian] {
      var options = ReconstructionOptions()
      options.start = start
      options.lambda = .value(lambda)
      options.seed = seed
      options.sourceIndices = [source]
      var states: [PathState] = []
      var observer = ReconstructionObserver<Double>()
      observer.onStates = { states += $0 }
      let result = try Reconstructor(
        problem: problem, prior: prior, gaussian: try gaussian(), options: options
      ).run(observer)[0]
      #expect(result.path == "noise" && result.converged)
      ends.append(try #require(result.objective))

      // The first state is the start at the path's first weights, and the corrector goes on from it.
      let first = try #require(states.first)
      #expect(
        first.event == .start && first.s == 0 && first.weights == ObjectiveWeights(lambda: 3 * lambda, t: 0))
      let point = try expected(start, problem, lambda: 3 * lambda)
      #expect(distance(first.point, point) < 1e-9, "\(start)")
      let closed = try expected(.gaussian, problem, lambda: 3 * lambda)
      let solved = try #require(states.first { $0.event == .solved })
      #expect(solved.s == 0 && distance(solved.point, closed) < 1e-4)
      #expect((solved.solveIterations > 0) == (start != .gaussian), "\(start)")
    }
    #expect(ends.max()! - ends.min()! < 2, "\(ends)")
  }
}
