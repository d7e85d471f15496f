import AIPOFlowTesting
import AIPOInverseProblems
import AIPOKernels
import Testing

@testable import AIPOContinuation

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

  /// In a region that is wide enough the step is Newton's, and its decrease the model's.
  @Test func solvesTheNewtonSystem() throws {
    let h = try matrix(9, seed: 1, shift: 1)
    let g = randomVector(9, seed: 2)
    let scale = DiagonalCurvature(diagonal: (0..<9).map { 1 + Double($0) })
    for curvature in [nil, scale] as [DiagonalCurvature?] {
      var search = SteihaugSearch(gradient: g, preconditioned: curvature?.solve(g) ?? g)
      for _ in 0..<30 {
        let product = h.times(search.direction)
        if search.advance(product: product, radius: 1e6, tolerance: 1e-12, curvature: curvature) { break }
      }
      let expected = try LU(h).solve(g).map { -$0 }
      #expect(distance(search.step, expected) < 1e-8 && !search.isAtEdge)
      #expect((search.decrease + 0.5 * dot(g, expected)).magnitude < 1e-8)
      let measured = expected.indices.reduce(0.0) {
        $0 + (curvature?.diagonal[$1] ?? 1) * expected[$1] * expected[$1]
      }
      #expect((search.stepSquare - measured).magnitude < 1e-6 * measured)
    }
  }

  /// In a small region, or with negative curvature, the step ends at the edge and lowers the model.
  @Test func stopsAtTheEdge() throws {
    let g = randomVector(9, seed: 3)
    for shift in [1.0, -8.0] {
      let h = try matrix(9, seed: 4, shift: shift)
      var search = SteihaugSearch(gradient: g, preconditioned: g)
      for _ in 0..<30 {
        let product = h.times(search.direction)
        if search.advance(product: product, radius: 0.1, tolerance: 1e-12, curvature: nil) { break }
      }
      #expect(search.isAtEdge && (norm(search.step) - 0.1).magnitude < 1e-9)
      let model = dot(g, search.step) + 0.5 * dot(search.step, h.times(search.step))
      #expect(model < 0 && (search.decrease + model).magnitude < 1e-9)
    }
  }

  /// A smooth prior that isn't Gaussian: Newton ends where L-BFGS does, in few steps.
  @Test func meetsLBFGSOnASmoothPrior() throws {
    let shape = ImageShape(height: 3, width: 4, channels: 1)
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.6, seed: 12)
    let problem = try InverseProblem(
      operators: [IdentityOperator(count: 12)], noise: try GaussianNoise(sigma: 0.2),
      observations: [randomVector(12, seed: 13)], imageShape: shape)
    var results: [ReconstructionResult<Double>] = []
    for corrector: any Corrector in [LBFGS(), TrustRegionNewton()] {
      for space in SolutionSpace.allCases {
        var options = ReconstructionOptions()
        options.space = space
        options.method = .fixed
        options.lambda = .value(1)
        options.corrector = corrector
        options.stopRule = ToleranceRule(tolerance: 1e-8, epsilon: 0)
        let result = try Reconstructor(problem: problem, prior: prior, gaussian: nil, options: options).run()[
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
    let prior = FunctionPrior<Double>(imageShape: shape) { x in
      let value = x.reduce(0.0) { $0 + 2 * $1 * $1 + 0.2 * ripple * cos($1 / ripple) }
      return (-value, x.map { 0.2 * sin($0 / ripple) - 4 * $0 })
    }
    let y = randomVector(16, seed: 21)
    let problem = try InverseProblem(
      operators: [IdentityOperator(count: 16)], noise: try GaussianNoise(sigma: 0.5), observations: [y],
      imageShape: shape)
    var options = ReconstructionOptions()
    options.method = .fixed
    options.lambda = .value(1)
    options.start = .random
    options.isotropicCurvature = 40
    options.corrector = TrustRegionNewton()
    let result = try Reconstructor(problem: problem, prior: prior, gaussian: nil, options: options).run()[0]
    // (x − y)·4 + 4x = 0, but for the ripples.
    #expect(distance(result.image.elements, y.map { $0 / 2 }) < 0.3, "\(result.reason)")
  }

  /// Products that show a wall where there is none promise next to nothing, which is no convergence: the gradient
  /// promises more, and is followed. Only where it doesn't, either, nothing is left.
  @Test(arguments: [1.0, 1e-4]) func wildProductsAreNoConvergence(_ slope: Double) throws {
    var newton = TrustRegionNewton()
    func sample(_ value: Double, _ gradient: [Double]) -> ObjectiveSample {
      ObjectiveSample(
        recon: value, flow: nil, gaussian: nil, gradient: .split(recon: gradient, flow: nil, gaussian: nil))
    }
    newton.begin(
      [0, 0], sample(100, [slope, 0]), weights: ObjectiveWeights(lambda: 0), curvature: nil, resolution: 1e-9)
    var ends: [CorrectorStop] = []
    var reached: [Double]?
    for _ in 0..<60 where ends.isEmpty && reached == nil {
      guard case .success(let trial) = newton.propose() else {
        ends.append(.resolution)
        break
      }
      let isStep = trial[0] <= -0.1 * slope
      // A wall to the products, and a slope to a step of the gradient's own length.
      let answer = isStep ? sample(99, [0, 0]) : sample(100, [slope + 1e9 * trial[0], 1e9 * trial[1]])
      switch newton.receive(trial, answer) {
      case .searching: continue
      case .stuck(let reason): ends.append(reason)
      case .accepted(let point, _): reached = point
      }
    }
    if slope == 1 {
      #expect(reached == [-1, 0] && ends.isEmpty, "\(ends)")
    } else {
      #expect(ends == [.resolution] && reached == nil, "\(reached ?? [])")
    }
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
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.8, seed: 14)
    let factor = try Matrix(rows: 12, columns: 12, rowMajor: prior.factor)
    let density = try GaussianDensity(
      imageShape: shape, mean: prior.mean, covariance: .dense(try factor.timesTransposed(factor)))
    let a = try DenseOperator.gaussian(measurements: 5, inputCount: 12, seed: 3)
    let problem = try InverseProblem(
      operators: [a], noise: try GaussianNoise(sigma: 0.05),
      observations: [a.apply(randomVector(12, seed: 15))], imageShape: shape)
    var objectives: [Double] = []
    var starts: Set<Double> = []
    for start in StartChoice.allCases where start != .auto {
      var options = ReconstructionOptions()
      options.start = start
      options.lambda = .value(1)
      let result = try Reconstructor(problem: problem, prior: prior, gaussian: density, options: options)
        .run()[0]
      objectives.append(try #require(result.objective))
      let first = try #require(result.trace.first)
      #expect(first.event == .start && first.evaluations == 0)
      starts.insert((first.objective * 1e6).rounded())
    }
    #expect(starts.count == 5)
    #expect(objectives.max()! - objectives.min()! < 1e-3, "\(objectives)")
  }
}
