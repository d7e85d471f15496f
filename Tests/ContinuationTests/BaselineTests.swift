import AIPOFlowTesting
import AIPOFlows
import AIPOInverseProblems
import AIPOKernels
import Testing

@testable import AIPOContinuation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// What the other methods minimise, against closed forms and optimality conditions.
@Suite struct BaselineTests {
  private let shape = ImageShape(height: 4, width: 5, channels: 2)

  // MARK: Penalties

  @Test func cosineTransformIsOrthonormal() {
    let sparsity = CosineSparsity(shape: shape)
    let x = randomVector(shape.count, seed: 1)
    let c = sparsity.transform(x)
    #expect((norm(c) - norm(x)).magnitude < 1e-12)
    #expect(distance(sparsity.inverse(c), x) < 1e-12)
    // A constant channel has one coefficient, √(h·w) times its value.
    let flat = (0..<shape.count).map { $0 % 2 == 0 ? 3.0 : 0 }
    let coefficients = sparsity.transform(flat)
    #expect((coefficients[0] - 3 * 20.0.squareRoot()).magnitude < 1e-12)
    #expect(coefficients.dropFirst().allSatisfy { $0.magnitude < 1e-12 })
    #expect((sparsity.value(flat) - coefficients[0]).magnitude < 1e-11)
  }

  /// Soft thresholding: the subgradient of ‖c‖₁ at the result explains the step.
  @Test func proximalMapOfTheCosinePenalty() {
    let sparsity = CosineSparsity(shape: shape)
    let v = randomVector(shape.count, seed: 2)
    let before = sparsity.transform(v)
    let after = sparsity.transform(sparsity.proximal(v, weight: 0.6))
    for k in before.indices {
      let expected = before[k].magnitude <= 0.6 ? 0 : before[k] - (before[k] > 0 ? 0.6 : -0.6)
      #expect((after[k] - expected).magnitude < 1e-12)
    }
  }

  /// Two pixels move towards each other by the weight until they meet; a large weight leaves the mean.
  @Test func proximalMapOfTotalVariation() {
    let pair = ImageShape(height: 1, width: 2, channels: 1)
    for weight in [0.1, 0.4, 3.0] {
      var penalty = TotalVariation(shape: pair, steps: 300)
      let u = penalty.proximal([0, 1], weight: weight)
      let expected = weight < 0.5 ? [weight, 1 - weight] : [0.5, 0.5]
      #expect(distance(u, expected) < 1e-6, "\(weight) \(u)")
    }
    var penalty = TotalVariation(shape: shape, steps: 2000)
    let v = randomVector(shape.count, seed: 3)
    let flat = penalty.proximal(v, weight: 100)
    for channel in 0..<2 {
      let values = stride(from: channel, to: v.count, by: 2).map { v[$0] }
      let mean = values.reduce(0, +) / 20
      #expect(stride(from: channel, to: v.count, by: 2).allSatisfy { (flat[$0] - mean).magnitude < 1e-3 })
    }
    // Nothing near the result is better.
    let weight = 0.3
    let u = penalty.proximal(v, weight: weight)
    func objective(_ x: [Double]) -> Double {
      0.5 * distance(x, v) * distance(x, v) + weight * penalty.value(x)
    }
    for seed in 0..<20 {
      let step = randomVector(v.count, seed: 40 + UInt64(seed))
      #expect(objective(adding(u, step, scaledBy: 0.01)) > objective(u) - 1e-6)
    }
    // √(1 + 1) at the corner, 1 at each of its neighbours before.
    let spot = TotalVariation(shape: ImageShape(height: 3, width: 3, channels: 1))
    #expect((spot.value([0, 0, 0, 0, 1, 0, 0, 0, 0]) - (2 + 2.0.squareRoot())).magnitude < 1e-12)
  }

  /// The lasso's optimality: |Aᵀ(y − Ax)/v| ≤ w in the basis, with equality and the sign where x isn't 0.
  @Test func lassoMeetsItsOptimalityConditions() throws {
    let sparsity = CosineSparsity(shape: shape)
    for a: any LinearOperator in [
      try DenseOperator.gaussian(measurements: 15, inputCount: shape.count, seed: 1),
      MaskOperator(mask: (0..<shape.count).map { $0 % 3 != 0 }), IdentityOperator(count: shape.count),
    ] {
      let y = randomVector(a.outputCount, seed: 5)
      let solver = ProximalGradient(a, variance: 0.25)
      var penalty = sparsity
      let weight = 1.5
      let solution = solver.minimize(
        y, penalty: &penalty, weight: weight, from: [Double](repeating: 0, count: shape.count))
      #expect(solution.converged)
      let residual = adding(y, a.apply(solution.point), scaledBy: -1)
      let slope = sparsity.transform(a.adjoint(residual)).map { $0 / 0.25 }
      let c = sparsity.transform(solution.point)
      for k in c.indices {
        #expect(slope[k].magnitude < weight + 0.1)
        if c[k].magnitude > 0.1 { #expect((slope[k] - (c[k] > 0 ? weight : -weight)).magnitude < 0.1) }
      }
    }
  }

  /// For denoising in an orthonormal basis the risk is known: thresholding at the best weight of the ladder.
  @Test func thePenaltyHasTheLeastRisk() throws {
    let square = ImageShape(height: 16, width: 16, channels: 1)
    let sparsity = CosineSparsity(shape: square)
    var coefficients = [Double](repeating: 0, count: 256)
    for k in 0..<12 { coefficients[17 * k % 64] = 3 * (k % 2 == 0 ? 1 : -1) }
    let truth = sparsity.inverse(coefficients)
    var ratios: [Double] = []
    for source in 0..<6 {
      let y = adding(truth, randomVector(256, seed: 60 + UInt64(source)), scaledBy: 0.2)
      let search = PenaltySearch(
        ProximalGradient(IdentityOperator(count: 256), variance: 0.04), measurements: y, seed: 0,
        source: UInt64(source))
      let start = [Double](repeating: 0, count: 256)
      let chosen = distance(search.solve(sparsity, weight: .auto, from: start).point, truth)
      let best = PenaltySearch.ladder.map {
        distance(search.solve(sparsity, weight: .value($0), from: start).point, truth)
      }.min()!
      ratios.append(chosen / best)
    }
    #expect(ratios.reduce(0, +) / 6 < 1.1, "\(ratios)")
  }

  // MARK: Methods

  private func problem(_ d: Int, images: Int = 3) throws -> (InverseProblem, WarpedGaussian<Double>) {
    let shape = ImageShape(height: 4, width: d / 4, channels: 1)
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.5, seed: 31)
    let y = (0..<images).map { randomVector(d, seed: 300 + UInt64($0)).map { 0.5 + 0.2 * $0 } }
    return (
      try InverseProblem(
        operators: [IdentityOperator(count: d)], noise: try GaussianNoise(sigma: 0.2), observations: y,
        imageShape: shape), prior
    )
  }

  private func run(_ method: ReconstructionMethod, _ change: (inout ReconstructionOptions) -> Void = { _ in })
    throws -> [ReconstructionResult<Double>]
  {
    let (problem, prior) = try problem(12)
    var options = ReconstructionOptions()
    options.method = method
    options.lambda = .value(1)
    change(&options)
    return try Reconstructor(problem: problem, prior: prior, gaussian: nil, options: options).run()
  }

  /// Every method's objective is the flow's in full at its image.
  @Test func objectivesAreInFull() throws {
    let (problem, prior) = try problem(12)
    for method in [ReconstructionMethod.latent, .restarts, .tv, .lasso] {
      for result in try run(method) {
        let x: Tensor<Double> = try Tensor(shape: [1, 4, 3, 1], elements: result.image.elements)
        let reg = -(try prior.evaluate(x)[0])
        let recon = try problem.recon(result.image.elements, image: result.index).value
        #expect((try #require(result.reg) - reg).magnitude < 1e-8 && (result.recon - recon).magnitude < 1e-8)
        #expect((try #require(result.objective) - recon - reg).magnitude < 1e-8, "\(method)")
        #expect(result.path == method.rawValue && result.evaluations >= 1 && result.converged)
      }
    }
  }

  /// The stationary point of `L_recon(G(ε)) + ½‖ε‖²`, which isn't the most probable image.
  @Test func latentMinimisesTheNorm() throws {
    let (problem, prior) = try problem(12)
    let results = try run(.latent) { $0.stopRule = ToleranceRule.exact(tolerance: 1e-8) }
    let objective = try LatentObjective(problem: problem, prior: prior, gaussian: nil, regularizer: .base)
    let full = try run(.fixed) { $0.stopRule = ToleranceRule.exact(tolerance: 1e-8) }
    for (k, result) in results.enumerated() {
      let z = try #require(try objective.latents([result.image.elements])[0])
      let weights = ObjectiveWeights(lambda: 1)
      let sample = try #require(
        try objective.evaluate([z, z.map { _ in 0 }], images: [k, k], weights: [weights, weights])[0])
      let constant = 6 * log(2 * Double.pi)
      #expect((try #require(sample.flow) - 0.5 * dot(z, z) - constant).magnitude < 1e-9)
      #expect(norm(sample.gradient(weights)) < 1e-4, "\(norm(sample.gradient(weights)))")
      #expect(try #require(full[k].objective) < #require(result.objective))
    }
  }

  /// The evaluation that tells the full objective, and fewer evaluations than descents, count too.
  @Test(arguments: [ReconstructionMethod.latent, .restarts], [1, 2, 3, 7, 20])
  func budgetsAreKept(method: ReconstructionMethod, budget: Int) throws {
    for restarts in [nil, 4] {
      let results = try run(method) {
        $0.maximumEvaluations = budget
        $0.restarts = restarts
        $0.stopRule = ToleranceRule(tolerance: 1e-13, epsilon: 0)
      }
      for result in results {
        #expect(result.evaluations <= budget, "\(restarts ?? 0) restarts")
        #expect(result.objective != nil)
      }
      if budget == 7, restarts == nil {
        #expect(results.allSatisfy { !$0.converged && $0.reason == .budget })
      }
    }
  }

  /// The best of n is no worse than any of fewer, costs what all cost together, and doesn't depend on the batch.
  @Test func restartsKeepTheLowest() throws {
    let one = try run(.restarts) { $0.restarts = 1 }
    let four = try run(.restarts) {
      $0.restarts = 4
      $0.maximumEvaluations = 4000
    }
    for (a, b) in zip(one, four) {
      #expect(try #require(b.objective) <= #require(a.objective) + 1e-9)
      #expect(b.evaluations > a.evaluations)
    }
    let apart = try run(.restarts) {
      $0.restarts = 4
      $0.maximumEvaluations = 4000
      $0.chunk = 1
    }
    #expect(zip(four, apart).allSatisfy { $0.image == $1.image && $0.evaluations == $1.evaluations })
    let capped = try run(.restarts) { $0.maximumEvaluations = 16 }
    #expect(capped.allSatisfy { $0.evaluations <= 16 })
    #expect(throws: SolverError.self) { try run(.restarts) { $0.start = .observed } }
    #expect(throws: SolverError.self) { try run(.restarts) { $0.restarts = 0 } }
    #expect(throws: SolverError.self) { try run(.tv) { $0.penalty = .value(-1) } }
  }
}
