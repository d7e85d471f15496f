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

/// Conjugate gradients in a trust region, and curves through (λ, t).
@Suite struct NewtonTests {
  private func matrix(_ d: Int, seed: UInt64, shift: Double) throws -> Matrix {
    let b = try Matrix(rows: d, columns: d, rowMajor: randomVector(d * d, seed: seed))
    var h = try b.timesTransposed(b)
    h.addToDiagonal(shift)
    return h
  }

  /// Searches in a region with exact products, and hands the result to `check` while it lives.
  private func search(
    _ h: Matrix, _ g: [Double], _ metric: Metric?, radius: Double, _ check: (SteihaugSearch) throws -> Void
  ) throws {
    let scratch = Scratch()
    try g.asVector { g in
      try scratch.scope {
        var search = try SteihaugSearch(gradient: g, scratch)
        let product = try scratch.take(g.count)
        try search.begin(metric)
        for _ in 0..<30 {
          product.copy(from: h.times(search.direction.elements))
          if try search.advance(product: product, radius: radius, tolerance: 1e-12) { break }
        }
        try check(search)
      }
    }
  }

  /// In a region that is wide enough the step is Newton's, and its decrease the model's.
  @Test func solvesTheNewtonSystem() throws {
    let h = try matrix(9, seed: 1, shift: 1)
    let g = randomVector(9, seed: 2)
    let expected = try h.inverted().inverse.times(g).map { -$0 }
    for scale in [[Double](repeating: 1, count: 9), (0..<9).map { 1 + Double($0) }] {
      let metric = scale[1] == 1 ? nil : Metric(diagonal: try Tensor(scale))
      try search(h, g, metric, radius: 1e6) { search in
        #expect(distance(search.step.elements, expected) < 1e-8 && !search.isAtEdge)
        #expect((search.decrease + 0.5 * dot(g, expected)).magnitude < 1e-8)
        let measured = expected.indices.reduce(0.0) { $0 + scale[$1] * expected[$1] * expected[$1] }
        #expect((search.stepSquare - measured).magnitude < 1e-6 * measured)
      }
    }
  }

  /// In a small region, or with negative curvature, the step ends at the edge and lowers the model.
  @Test func stopsAtTheEdge() throws {
    let g = randomVector(9, seed: 3)
    for shift in [1.0, -8.0] {
      let h = try matrix(9, seed: 4, shift: shift)
      try search(h, g, nil, radius: 0.1) { search in
        let step = search.step.elements
        #expect(search.isAtEdge && (norm(step) - 0.1).magnitude < 1e-9)
        let model = dot(g, step) + 0.5 * dot(step, h.times(step))
        #expect(model < 0 && (search.decrease + model).magnitude < 1e-9)
      }
    }
  }

  /// A smooth prior that isn't Gaussian: Newton ends where L-BFGS does, in few steps.
  @Test func meetsLBFGSOnASmoothPrior() throws {
    let shape = ImageShape(height: 3, width: 4, channels: 1)
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.6, seed: 12)
    let problem = try InverseProblem(
      IdentityMap(shape), try GaussianNoise(sigma: 0.2), [randomVector(12, seed: 13)])
    var results: [ReconstructionResult] = []
    for minimizer in [MinimizerChoice.lbfgs, .newton] {
      for space in SolutionSpace.allCases {
        var options = ReconstructionOptions()
        options.space = space
        options.method = .fixed
        options.lambda = .value(1)
        options.minimizer = minimizer.makeMinimizer
        options.stopRule = ToleranceRule(tolerance: 1e-8, epsilon: 0)
        let result = try reconstruct(problem, prior, nil, options)[
          0]
        #expect(result.converged)
        results.append(result)
      }
    }
    for result in results.dropFirst() {
      #expect(distance(result.image.elements, results[0].image.elements) < 1e-5)
    }
    #expect(results[2].iterations < results[0].iterations)
  }

  /// Ripples that no value shows, but products of the Hessian do, as kinks in a net do: the way that such products
  /// find may be no descent at all, which isn't the end of the descent.
  @Test func ripplesAreNoConvergence() throws {
    let shape = ImageShape(height: 4, width: 4, channels: 1)
    let ripple = 1e-6
    let prior = FunctionPrior(imageShape: shape) { x in
      let value = x.reduce(0.0) { $0 + 2 * $1 * $1 + 0.2 * ripple * cos($1 / ripple) }
      return (-value, x.map { 0.2 * sin($0 / ripple) - 4 * $0 })
    }
    let y = randomVector(16, seed: 21)
    let problem = try InverseProblem(IdentityMap(shape), try GaussianNoise(sigma: 0.5), [y])
    var options = ReconstructionOptions()
    options.method = .fixed
    options.lambda = .value(1)
    options.start = .random
    options.isotropicCurvature = 40
    options.minimizer = { TrustRegionNewton() }
    let result = try reconstruct(problem, prior, nil, options)[0]
    // (x − y)·4 + 4x = 0, but for the ripples.
    #expect(distance(result.image.elements, y.map { $0 / 2 }) < 0.3, "\(result.reason)")
  }

  /// Products that show a wall where there is none promise next to nothing, which is no convergence: the gradient
  /// promises more, and is followed. Only where it doesn't, either, nothing is left.
  @Test(arguments: [1.0, 1e-4]) func wildProductsAreNoConvergence(_ slope: Double) throws {
    let evaluator = Evaluator(Wall(slope: slope), Scratch())
    let weights = ObjectiveWeights(lambda: 0)
    let start = try #require(try evaluator.evaluate(weights) { $0.set(0) })
    var reached: [Double]?
    let solve = Solve(
      evaluator, from: start, weights: weights, metric: nil, progress: SolveProgress(), limit: .max
    ) {
      reached = $0.current.point.elements
      return .stop(.gradient)
    }
    let end = try TrustRegionNewton().minimize(solve)
    if slope == 1 {
      #expect(reached == [-1, 0] && end == .verdict(.gradient), "\(end)")
    } else {
      #expect(end == .resolution && reached == nil, "\(reached ?? [])")
    }
  }

  /// A wall to products beside (0, 0), and a slope to a step of the gradient's own length.
  private struct Wall: Objective {
    let slope: Double
    var dimension: Int { 2 }
    var latentCoordinates: Bool { false }
    var resolution: Double { 1e-9 }

    func round(_ point: Vector, _ scratch: Scratch) {}

    func evaluate(_ sample: ObjectiveSample, weights: ObjectiveWeights, _ scratch: Scratch) -> Bool {
      let x = sample.point
      let isStep = x[0] <= -0.1 * slope
      sample.recon = isStep ? 99 : 100
      sample.reconGradient.copy(from: isStep ? [0, 0] : [slope + 1e9 * x[0], 1e9 * x[1]])
      return true
    }

    func metric(
      at sample: ObjectiveSample, weights: ObjectiveWeights, probed: Tensor<Double>?, _ scratch: Scratch
    ) -> Metric? { nil }

    func probeCurvature(_ point: Vector, key: UInt64, probes: CurvatureProbes, _ scratch: Scratch)
      -> Tensor<Double>?
    { nil }
  }

  @Test func curvesMeetTheirCorners() {
    let corners = [
      ObjectiveWeights(lambda: 4, t: 0), ObjectiveWeights(lambda: 4, t: 0.5),
      ObjectiveWeights(lambda: 1, t: 1),
      ObjectiveWeights(lambda: 0.25, t: 1),
    ]
    let path = CurvePath(corners: corners)
    var s = 0.0
    for corner in corners {
      #expect(path.weights(at: s) == corner)
      s += path.firstStep
    }
    let middle = path.weights(at: 0.5)
    #expect((middle.lambda - 2).magnitude < 1e-12 && (middle.t - 0.75).magnitude < 1e-12)
    let turns = [0, 0.3, 1.0 / 3, 0.4, 2.0 / 3, 0.9].map(path.corner)
    let expected = [1.0 / 3, 1.0 / 3, 2.0 / 3, 2.0 / 3, 1, 1]
    #expect(zip(turns, expected).allSatisfy { ($0 - $1).magnitude < 1e-12 }, "\(turns)")
    let noise = CurvePath.noise(target: ObjectiveWeights(lambda: 0.5))
    #expect(noise.weights(at: 0) == ObjectiveWeights(lambda: 1.5, t: 0))
    #expect(noise.weights(at: 1) == ObjectiveWeights(lambda: 0.5))
  }

  /// The first corrector starts where it is told, and the first solution doesn't depend on it.
  @Test func everyStartLeadsToTheSamePath() throws {
    let shape = ImageShape(height: 3, width: 4, channels: 1)
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.8, seed: 14)
    let density = try prior.unwarped()
    let a = try DenseMap.gaussian(measurements: 5, input: shape, seed: 3)
    let problem = try InverseProblem(a, GaussianNoise(sigma: 0.05), [try a.apply(randomVector(12, seed: 15))])
    var objectives: [Double] = []
    var starts: Set<Double> = []
    for start in StartChoice.allCases where start != .auto {
      var options = ReconstructionOptions()
      options.start = start
      options.lambda = .value(1)
      let result = try reconstruct(problem, prior, density, options)[0]
      objectives.append(try #require(result.objective))
      let first = try #require(result.trace.first)
      #expect(first.event == .start && first.evaluations == 0)
      starts.insert((first.objective * 1e6).rounded())
    }
    #expect(starts.count == 5)
    #expect(objectives.max() == objectives.min(), "\(objectives)")
  }
}
