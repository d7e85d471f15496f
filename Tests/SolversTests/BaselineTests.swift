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

/// What the other methods minimise, against closed forms and optimality conditions.
@Suite struct BaselineTests {
  private let shape = ImageShape(height: 4, width: 5, channels: 2)

  // MARK: Penalties

  private func transform(_ shape: ImageShape, _ x: [Double], isInverse: Bool = false) throws -> [Double] {
    let transform = try CosineTransform(shape)
    return try written(x.count) { v, scratch in
      v.copy(from: x)
      if isInverse { try transform.backward(v, scratch) } else { try transform.forward(v, scratch) }
    }
  }

  /// Against the sums of the definition, which are orthonormal.
  @Test func cosineTransformIsItsSums() throws {
    for shape in testShapes + [shape, ImageShape(height: 1, width: 1, channels: 2)] {
      let (h, w, c) = (shape.height, shape.width, shape.channels)
      func basis(_ n: Int, _ k: Int, _ j: Int) -> Double {
        (k == 0 ? 1 / Double(n) : 2 / Double(n)).squareRoot()
          * cos(.pi * (Double(j) + 0.5) * Double(k) / Double(n))
      }
      let x = randomVector(shape.count, seed: 1)
      let found = try transform(shape, x)
      let expected = (0..<shape.count).map { place in
        let (i, k, channel) = (place / c / w, place / c % w, place % c)
        var sum = 0.0
        for y in 0..<h {
          for z in 0..<w { sum += basis(h, i, y) * basis(w, k, z) * x[(y * w + z) * c + channel] }
        }
        return sum
      }
      #expect(distance(found, expected) < 1e-12, "\(shape)")
      #expect(distance(try transform(shape, found, isInverse: true), x) < 1e-12, "\(shape)")
      #expect(
        (try CosineSparsity(shape: shape).evaluate(x).value - found.reduce(0) { $0 + $1.magnitude }).magnitude
          < 1e-11)
    }
  }

  private func penalties(_ shape: ImageShape) throws -> [any Penalty] {
    [try TotalVariation(shape: shape, steps: 2000), try CosineSparsity(shape: shape)]
  }

  private func proximal(_ penalty: any Penalty, _ v: [Double], weight: Double) throws -> (
    point: [Double], value: Double
  ) {
    var value = 0.0
    let point = try written(v.count) { x, scratch in
      x.copy(from: v)
      value = try penalty.proximal(x, weight: weight, scratch)
    }
    return (point, value)
  }

  /// What holds of every penalty: its gradient where it has one, its value at the proximal point, which nothing near it
  /// betters, and the same bits on any number of threads.
  @Test func penaltiesAndTheirProximalMaps() throws {
    for shape in testShapes + [shape] {
      for penalty in try penalties(shape) {
        let v = randomVector(shape.count, seed: 3)
        let (value, gradient) = try penalty.evaluate(v)
        let order = try taylorOrder(
          at: v, along: randomVector(v.count, seed: 4), step: 1e-4, value: value, gradient: gradient
        ) { try penalty.evaluate($0).value }
        #expect(order > 1.9, "\(shape) \(penalty)")
        let (u, cost) = try proximal(penalty, v, weight: 0.3)
        #expect((cost - (try penalty.evaluate(u).value)).magnitude < 1e-9)
        func objective(_ x: [Double]) throws -> Double {
          0.5 * distance(x, v) * distance(x, v) + 0.3 * (try penalty.evaluate(x).value)
        }
        for seed in 0..<10 {
          let step = randomVector(v.count, seed: 40 + UInt64(seed))
          #expect(try objective(adding(u, step, scaledBy: 0.01)) > objective(u) - 1e-6)
        }
      }
    }
    let large = ImageShape(height: 151, width: 97, channels: 3)
    let v = randomVector(large.count, seed: 5)
    var found: [[Double]] = []
    for threads in [1, 2, 5] {
      for penalty in [try TotalVariation(shape: large, steps: 3), try CosineSparsity(shape: large)]
        as [any Penalty]
      {
        found.append(
          try written(v.count, threads: threads) { x, scratch in
            x.copy(from: v)
            let value = try penalty.proximal(x, weight: 0.3, scratch)
            x[0] += 1e-3 * value
          })
      }
    }
    #expect(found[2...] == (found[..<2] + found[..<2])[...])
  }

  /// Soft thresholding: the subgradient of ‖c‖₁ at the result explains the step.
  @Test func proximalMapOfTheCosinePenalty() throws {
    let sparsity = try CosineSparsity(shape: shape)
    let v = randomVector(shape.count, seed: 2)
    let before = try transform(shape, v)
    let after = try transform(shape, try proximal(sparsity, v, weight: 0.6).point)
    for k in before.indices {
      let expected = before[k].magnitude <= 0.6 ? 0 : before[k] - (before[k] > 0 ? 0.6 : -0.6)
      #expect((after[k] - expected).magnitude < 1e-12)
    }
  }

  /// Two pixels move towards each other by the weight until they meet; a large weight leaves the mean.
  @Test func proximalMapOfTotalVariation() throws {
    for pair in [(1, 2), (2, 1)] {
      for weight in [0.1, 0.4, 3.0] {
        let shape = ImageShape(height: pair.0, width: pair.1, channels: 1)
        let u = try proximal(TotalVariation(shape: shape, steps: 300), [0, 1], weight: weight).point
        let expected = weight < 0.5 ? [weight, 1 - weight] : [0.5, 0.5]
        #expect(distance(u, expected) < 1e-6, "\(weight) \(u)")
      }
    }
    let v = randomVector(shape.count, seed: 3)
    let flat = try proximal(TotalVariation(shape: shape, steps: 2000), v, weight: 100).point
    for channel in 0..<2 {
      let values = stride(from: channel, to: v.count, by: 2).map { v[$0] }
      let mean = values.reduce(0, +) / 20
      #expect(stride(from: channel, to: v.count, by: 2).allSatisfy { (flat[$0] - mean).magnitude < 1e-3 })
    }
    // √(1 + 1) at the corner, 1 at each of its neighbours before.
    let spot = try TotalVariation(shape: ImageShape(height: 3, width: 3, channels: 1))
    #expect(
      (try spot.evaluate([0, 0, 0, 0, 1, 0, 0, 0, 0]).value - (2 + 2.0.squareRoot())).magnitude < 1e-12)
  }

  /// The lasso's optimality: |Aᵀ(y − Ax)/v| ≤ w in the basis, with equality and the sign where x isn't 0.
  @Test func lassoMeetsItsOptimalityConditions() throws {
    let sparsity = try CosineSparsity(shape: shape)
    for (name, a) in try linearMaps(shape) {
      let y = randomVector(a.output.count, seed: 5)
      let weight = 1.5
      var converged = false
      let point = try y.asVector { y in
        try written(shape.count) { x, scratch in
          x.set(0)
          let solver = try ProximalGradient(a, variance: 0.25, scratch)
          converged = try solver.minimize(y, penalty: sparsity, weight: weight, from: x, scratch).converged
        }
      }
      #expect(converged, "\(name)")
      let residual = adding(y, try a.apply(point), scaledBy: -1)
      let slope = try transform(shape, try a.adjoint(residual)).map { $0 / 0.25 }
      let c = try transform(shape, point)
      for k in c.indices {
        #expect(slope[k].magnitude < weight + 0.1, "\(name)")
        if c[k].magnitude > 0.1 {
          #expect((slope[k] - (c[k] > 0 ? weight : -weight)).magnitude < 0.1, "\(name)")
        }
      }
    }
  }

  /// For denoising in an orthonormal basis the risk is known: thresholding at the best weight of the ladder.
  @Test func thePenaltyHasTheLeastRisk() throws {
    let square = ImageShape(height: 16, width: 16, channels: 1)
    var coefficients = [Double](repeating: 0, count: 256)
    for k in 0..<12 { coefficients[17 * k % 64] = 3 * (k % 2 == 0 ? 1 : -1) }
    let truth = try transform(square, coefficients, isInverse: true)
    var ratios: [Double] = []
    for source in 0..<6 {
      let y = adding(truth, randomVector(256, seed: 60 + UInt64(source)), scaledBy: 0.2)
      func error(_ weight: PenaltyWeight) throws -> Double {
        let found = try written(256) { x, scratch in
          x.set(0)
          let solver = try ProximalGradient(IdentityMap(square), variance: 0.04, scratch)
          let search = try PenaltySearch(solver, measurements: try Tensor(y), seed: 0, source: UInt64(source))
          _ = try search.solve({ try CosineSparsity(shape: square) }, weight: weight, from: x, scratch)
        }
        return distance(found, truth)
      }
      ratios.append(try error(.auto) / PenaltySearch.ladder.map { try error(.value($0)) }.min()!)
    }
    #expect(ratios.reduce(0, +) / 6 < 1.1, "\(ratios)")
  }

  // MARK: Methods

  private let small = ImageShape(height: 4, width: 3, channels: 1)
  private var prior: WarpedGaussian { WarpedGaussian.random(imageShape: small, warp: 0.5, seed: 31) }

  private func problem() throws -> InverseProblem {
    try InverseProblem(
      IdentityMap(small), GaussianNoise(sigma: 0.2),
      (0..<3).map { randomVector(12, seed: 300 + UInt64($0)).map { 0.5 + 0.2 * $0 } })
  }

  private func run(
    _ method: ReconstructionMethod, threads: Int = 1,
    _ change: (inout ReconstructionOptions) -> Void = { _ in }
  ) throws -> [ReconstructionResult] {
    var options = ReconstructionOptions()
    options.method = method
    options.lambda = .value(1)
    change(&options)
    return try reconstruct(problem(), prior, nil, options, threads: threads)
  }

  /// Every method's objective is the flow's in full at its image.
  @Test func objectivesAreInFull() throws {
    for method in [ReconstructionMethod.latent, .restarts, .tv, .lasso] {
      for result in try run(method) {
        let image = result.image.elements
        let reg = try prior.evaluate(image).value
        let recon = try problem().dataTerm(result.index, encoding: nil).evaluate(image).value
        #expect((try #require(result.reg) - reg).magnitude < 1e-8 && (result.recon - recon).magnitude < 1e-8)
        #expect((try #require(result.objective) - recon - reg).magnitude < 1e-8, "\(method)")
        #expect(result.path == method.rawValue && result.evaluations >= 1 && result.converged)
      }
    }
  }

  /// The stationary point of `L_recon(G(ε)) + ½‖ε‖²`, which isn't the most probable image.
  @Test func latentMinimisesTheNorm() throws {
    let results = try run(.latent) { $0.stopRule = ToleranceRule.exact(tolerance: 1e-8) }
    let full = try run(.fixed) { $0.stopRule = ToleranceRule.exact(tolerance: 1e-8) }
    for (k, result) in results.enumerated() {
      let objective = LatentObjective(
        data: try problem().dataTerm(k, encoding: nil), prior: prior, gaussian: nil, regularizer: .base)
      let z = try prior.encode(result.image.elements)
      let weights = ObjectiveWeights(lambda: 1)
      let sample = try #require(try objective.sample(z, weights))
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

  /// The best of n is no worse than any of fewer, costs what all cost together, and doesn't depend on the threads.
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
    let apart = try run(.restarts, threads: 3) {
      $0.restarts = 4
      $0.maximumEvaluations = 4000
    }
    #expect(zip(four, apart).allSatisfy { $0.image == $1.image && $0.evaluations == $1.evaluations })
    let capped = try run(.restarts) { $0.maximumEvaluations = 16 }
    #expect(capped.allSatisfy { $0.evaluations <= 16 })
    #expect(throws: SolverError.self) { try run(.restarts) { $0.start = .observed } }
    #expect(throws: SolverError.self) { try run(.restarts) { $0.restarts = 0 } }
    #expect(throws: SolverError.self) { try run(.tv) { $0.penalty = .value(-1) } }
  }
}
