import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

/// Where the first minimizer starts, and that a path's end doesn't depend on it: its first solution is a closed form.
@Suite struct StartTests {
  private let shape = ImageShape(height: 4, width: 5, channels: 1)
  private let prior = WarpedGaussian.random(
    imageShape: ImageShape(height: 4, width: 5, channels: 1), warp: 0.7, seed: 5)
  private let lambda = 0.8
  private let seed: UInt64 = 9
  private let source = 41

  private func problem(_ a: any LinearMap) throws -> InverseProblem {
    let y = try a.apply(randomVector(shape.count, seed: 3).map { 0.5 + 0.3 * $0 })
    return try InverseProblem(
      a, GaussianNoise(sigma: 0.1), [adding(y, randomVector(y.count, seed: 4), scaledBy: 0.1)])
  }

  private func gaussian() throws -> GaussianPrior {
    try GaussianPrior(
      imageShape: shape, mean: randomVector(shape.count, seed: 11).map { 0.5 + 0.1 * $0 },
      covariance: try randomCovariance(shape.count, seed: 12))
  }

  /// The start in closed form, with λ at the path's begin.
  private func expected(_ start: StartChoice, _ problem: InverseProblem, lambda: Double) throws -> [Double] {
    let map = try #require(problem.linearMap(0))
    let y = problem.observations[0].elements
    var random = Philox(seed: seed, index: UInt64(source), purpose: .start)
    switch start {
    case .observed, .auto, .direct: return try map.leastSquares(y, sigma: 0.1)
    case .random: return (0..<shape.count).map { _ in random.uniform() }
    case .zero: return prior.mean
    case .prior: return try prior.decode((0..<shape.count).map { _ in random.normal() })
    case .gaussian: return try gaussian().posteriorMean(map, GaussianNoise(sigma: 0.1), y, lambda: lambda)
    }
  }

  @Test(arguments: ["identity", "mask", "dense"])
  func everyStartIsTheFirstSolvesAndLeadsToTheSameEnd(_ name: String) throws {
    let a: any LinearMap =
      switch name {
      case "identity": IdentityMap(shape)
      case "mask": try MaskMap(shape, mask: (0..<shape.count).map { $0 % 3 != 0 })
      default: try DenseMap.gaussian(measurements: 8, input: shape, seed: 2)
      }
    let problem = try problem(a)
    var ends: [Double] = []
    for start in [StartChoice.observed, .direct, .zero, .random, .prior, .gaussian] {
      var options = ReconstructionOptions()
      options.start = start
      options.lambda = .value(lambda)
      options.seed = seed
      options.sourceIndices = [source]
      var states: [Place] = []
      var observer = ReconstructionObserver()
      observer.onState = { states.append(Place(state: $1, image: $2.elements)) }
      let result = try reconstruct(problem, prior, try gaussian(), options, observer)[0]
      #expect(result.path == "noise" && result.converged)
      ends.append(try #require(result.objective))

      // The first state is the start at the path's first weights, and the minimizer goes on from it.
      let first = try #require(states.first)
      #expect(
        first.event == .start && first.s == 0 && first.weights == ObjectiveWeights(lambda: 3 * lambda, t: 0))
      let point = try expected(start, problem, lambda: 3 * lambda)
      #expect(distance(first.image, point) < 1e-9, "\(start)")
      let closed = try expected(.gaussian, problem, lambda: 3 * lambda)
      let solved = try #require(states.first { $0.event == .solved })
      #expect(solved.s == 0 && distance(solved.image, closed) < 1e-9)
      #expect(solved.solveIterations == 0, "\(start)")
    }
    #expect(ends.max() == ends.min(), "\(ends)")
  }
}
