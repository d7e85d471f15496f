import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Priors that end, overflow or lie.
@Suite struct HardPriorTests {
  let shape = ImageShape(height: 2, width: 2, channels: 1)

  func problem(_ y: [Double]) throws -> InverseProblem {
    try InverseProblem(IdentityMap(shape), GaussianNoise(sigma: 0.3), [y])
  }

  /// log p = Σ log x (1 − x) on (0, 1)⁴, −∞ outside, as a flow with a uniform base has it.
  func bounded() -> FunctionPrior {
    FunctionPrior(imageShape: shape) { x in
      guard x.allSatisfy({ $0 > 0 && $0 < 1 }) else {
        return (-.infinity, [Double](repeating: 0, count: 4))
      }
      return (x.reduce(0) { $0 + log($1 * (1 - $1)) }, x.map { 1 / $0 - 1 / (1 - $0) })
    }
  }

  @Test(arguments: MinimizerChoice.allCases) func infeasiblePointsAreWalls(choice: MinimizerChoice) throws {
    var options = ReconstructionOptions()
    options.path = .lambda
    options.lambda = .value(1)
    options.minimizer = choice.makeMinimizer
    options.stopRule = ToleranceRule(tolerance: 1e-8, epsilon: 0)
    options.maximumEvaluations = 5000
    options.start = .random
    let y = [1.6, -0.5, 0.2, 0.5]
    let result = try reconstruct(try problem(y), bounded(), nil, options)[0]
    // (x − y)/σ² = 1/x − 1/(1 − x), one equation a pixel.
    for (x, y) in zip(result.image.elements, y) {
      #expect(x > 0 && x < 1)
      let slope = (x - y) / 0.09 - 1 / x + 1 / (1 - x)
      #expect(slope.magnitude < (choice == .adam ? 1 : 1e-3), "\(choice) \(slope)")
    }
  }

  @Test func anInfeasibleStartIsExplained() throws {
    var options = ReconstructionOptions()
    options.start = .observed
    options.path = .lambda
    let result = try reconstruct(try problem([1.6, -0.5, 0.2, 0.5]), bounded(), nil, options)[0]
    #expect(!result.converged && result.reason == .noFiniteStart)
    #expect(result.objective == nil && result.reg == nil)
    #expect(result.recon.isFinite && result.image.elements.allSatisfy { $0.isFinite })
  }

  @Test(arguments: [SolutionSpace.x, .z], [ReconstructionMethod.aipo, .fixed, .gaussian])
  func aPriorOfNaNGivesNoNaN(space: SolutionSpace, method: ReconstructionMethod) throws {
    // A warped Gaussian whose parameters overflowed.
    let broken = WarpedGaussian(
      imageShape: shape, mean: [Double](repeating: .nan, count: 4),
      factor: (0..<16).map { $0 % 5 == 0 ? 1 : 0 }, warp: 0)
    let gaussian = try GaussianPrior(
      imageShape: shape, mean: [0, 0, 0, 0], covariance: try randomCovariance(4, seed: 1))
    var options = ReconstructionOptions()
    options.space = space
    options.method = method
    let result = try reconstruct(try problem([0.1, 0.2, 0.3, 0.4]), broken, gaussian, options)[0]
    #expect(!result.converged && result.objective == nil && result.reason == .noFiniteStart)
    #expect(result.image.elements.allSatisfy { $0.isFinite })
    #expect(result.evaluations < 20)
  }

  /// Every third value is NaN: the solver backs off and still ends finite and no worse than it began.
  @Test func aFlickeringPriorIsSurvived() throws {
    let counter = Counter()
    let prior = FunctionPrior(imageShape: shape) { x in
      let value = -0.5 * dot(x, x) / 0.04
      return counter.next() % 3 == 2 ? (.nan, x) : (value, x.map { -$0 / 0.04 })
    }
    var options = ReconstructionOptions()
    options.path = .lambda
    options.lambda = .value(1)
    let y = [0.1, 0.2, 0.3, 0.4]
    let result = try reconstruct(try problem(y), prior, nil, options)[0]
    #expect(result.image.elements.allSatisfy { $0.isFinite } && result.objective!.isFinite)
    let expected = y.map { $0 / (1 + 0.09 / 0.04) }
    #expect(distance(result.image.elements, expected) < 0.01)
  }

  /// z-space from z = G⁻¹(y) of a wild observation: the known trap.
  @Test func latentSpaceFromAWildStart() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.9, seed: 4)
    var options = ReconstructionOptions()
    options.space = .z
    options.method = .fixed
    options.start = .observed
    options.maximumEvaluations = 500
    let result = try reconstruct(try problem([40, -30, 25, -60]), prior, nil, options)[0]
    let first = try #require(result.trace.first)
    #expect(result.image.elements.allSatisfy { $0.isFinite })
    #expect(result.objective! <= first.objective)
  }

  /// Latents that are finite while their image isn't: the start is drawn back to where it is.
  @Test(arguments: [1, 2, 50]) func latentStartsThatOverflow(budget: Int) throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.9, seed: 4)
    let data = try problem([0.1, 0.2, 0.3, 0.4]).dataTerm(0, encoding: nil)
    let objective = LatentObjective(data: data, prior: prior, gaussian: nil)
    for size in [1e160, 1e250, 1.7e308] {
      let (_, outcome) = try solve(
        objective, from: [size, -size, size, size], path: FixedWeights(ObjectiveWeights(lambda: 1)),
        by: AdamDescent(), PathSettings(maximumEvaluations: budget))
      let sample = try #require(outcome.sample, "\(size)")
      #expect(sample.value(outcome.weights).isFinite && outcome.evaluations <= max(budget, 2) + 1)
    }
  }

  @Test func optionsAreChecked() throws {
    func fails(_ change: (inout ReconstructionOptions) -> Void) throws {
      var options = ReconstructionOptions()
      change(&options)
      let problem = try problem([0, 0, 0, 0])
      #expect(throws: SolverError.self) {
        try reconstruct(problem, bounded(), nil, options)
      }
    }
    try fails { $0.lambda = .value(0) }
    try fails { $0.lambda = .value(.nan) }
    try fails { $0.maximumEvaluations = 0 }
    try fails { $0.sourceIndices = [1, 2] }
    try fails { $0.space = .z }
    try fails { $0.method = .gaussian }
    try fails { $0.path = .prior }
    try fails { $0.start = .zero }
    try fails { $0.isotropicCurvature = -1 }
    try fails { $0.probes.count = -1 }
    for share in [0, -0.5, 1.1, .nan, 0.5] { try fails { $0.flowShare = share } }
    try fails { ($0.path, $0.flowShare) = (.theorem, 0.5) }
    try fails { $0.path = .curve([ObjectiveWeights(lambda: 1)]) }
    try fails { $0.path = .curve([ObjectiveWeights(lambda: 2), ObjectiveWeights(lambda: 1, t: 0.5)]) }
  }
}
