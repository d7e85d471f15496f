import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import CAIPOAllocationCounting
import Testing

@testable import AIPOSolvers

/// What is done again and again takes no memory after the first time: calls of malloc are counted.
@Suite(.enabled(if: allocation_counting_works() != 0)) struct AllocationTests {
  private let shape = ImageShape(height: 8, width: 8, channels: 1)

  private func prior<S: KernelScalar>(_: S.Type) throws -> FlowPrior<S> {
    let flow = try Flow<S>(
      spec: .glow(levels: 2, steps: 2, hidden: 8), imageShape: shape, seed: 1, pool: ThreadPool(threads: 1))
    try randomizeParameters(of: flow, seed: 2, scale: 0.05)
    return FlowPrior(
      flow, encoding: Requantization(means: [0.03, 0.4, 0.7, 0.97], slopes: [0.1, 1, 0.8, 0.2]))
  }

  /// The calls of a run after two first ones.
  private func calls(_ body: () throws -> Void) rethrows -> Int {
    for _ in 0..<2 { try body() }
    allocation_counting_start()
    try body()
    return allocation_counting_stop()
  }

  /// What the flow alone takes for a gradient there and back: nothing, but in a build without optimisation.
  private func flowCalls<S: KernelScalar>(_ flow: Flow<S>) throws -> Int {
    let images = try Tensor<S>(shape: [1, 8, 8, 1])
    var (values, gradient) = ([0.0], images)
    let latents = try Tensor<S>(shape: [1, 64])
    var decoded = try DecodeGradient<S>()
    let there = try calls { try flow.evaluateWithGradient(images, logProb: &values, gradient: &gradient) }
    let back = try calls {
      try flow.decodeWithGradient(latents, &decoded) { result, _ in result.logDetCotangent[0] = 1 }
    }
    return max(there, back)
  }

  @Test func evaluationsTakeNoMemory() throws {
    let prior = try prior(Float.self)
    let own = try flowCalls(prior.flow)
    let gaussian = try GaussianPrior(
      imageShape: shape, mean: [Double](repeating: 0.5, count: 64),
      covariance: try randomCovariance(64, seed: 3))
    for map in try [
      MaskMap(shape, mask: (0..<64).map { $0 % 3 != 0 }),
      DenseMap.gaussian(measurements: 20, input: shape, seed: 1), IdentityMap(shape),
      CyclicDifference(input: shape),
    ] as [any LinearMap] {
      for noise in try [GaussianNoise(sigma: 0.1), LaplaceNoise(sigma: 0.1), PoissonNoise(peak: 30)]
        as [any NoiseModel]
      {
        let y = try Tensor(try map.apply([Double](repeating: 0.5, count: 64)))
        let data = DataTerm(map: map, noise: noise, observation: y, encoding: prior.encoding)
        for objective in [
          PixelObjective(data: data, prior: prior, gaussian: gaussian),
          LatentObjective(data: data, prior: prior, gaussian: gaussian),
        ] as [any Objective] {
          let evaluator = Evaluator(objective, Scratch())
          let weights = ObjectiveWeights(lambda: 0.7, t: 0.6)
          let found = try calls {
            let sample = try evaluator.evaluate(weights) { $0.set(0.4) }
            if sample == nil { Issue.record("not finite") }
          }
          #expect(found <= own, "\(type(of: objective)) \(type(of: map)) \(type(of: noise))")
        }
      }
    }
  }

  #if DEBUG
    private static let isOptimised = false
  #else
    private static let isOptimised = true
  #endif

  /// An iteration of L-BFGS, once it holds as many pairs as it may: its line search, its pairs, its direction and what a
  /// solve notes.
  @Test(.enabled(if: isOptimised)) func iterationsTakeNoMemory() throws {
    let prior = try prior(Double.self)
    let y = randomVector(64, seed: 4).map { 0.5 + 0.3 * $0 }
    let data = DataTerm(
      map: IdentityMap(shape), noise: try GaussianNoise(sigma: 2), observation: try Tensor(y),
      encoding: prior.encoding)
    let evaluator = Evaluator(PixelObjective(data: data, prior: prior, gaussian: nil), Scratch())
    let weights = ObjectiveWeights(lambda: 1)
    let start = try #require(try evaluator.evaluate(weights) { $0.copy(from: y) })
    var calls: [Int] = []
    calls.reserveCapacity(1000)
    let solve = Solve(
      evaluator, from: start, weights: weights,
      metric: Metric(diagonal: try Tensor([Double](repeating: 1, count: 64))),
      progress: SolveProgress(), limit: 10_000
    ) { _ in
      if !calls.isEmpty { calls[calls.count - 1] = allocation_counting_stop() }
      calls.append(0)
      allocation_counting_start()
      return calls.count > 90 ? .stop(.iterations) : .goOn
    }
    let end = try LBFGS(memory: 4).minimize(solve)
    _ = allocation_counting_stop()
    #expect(calls.count > 75, "\(end)")
    #expect(calls.dropFirst(70).dropLast().allSatisfy { $0 == 0 }, "\(calls)")
  }
}
