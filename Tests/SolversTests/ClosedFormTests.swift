import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

@Suite struct ClosedFormTests {
  let shape = ImageShape(height: 3, width: 4, channels: 1)

  private func gaussian(seed: UInt64) throws -> GaussianPrior {
    try GaussianPrior(
      imageShape: shape, mean: randomVector(12, seed: seed),
      covariance: try randomCovariance(12, seed: seed + 1))
  }

  /// Denoising with unit noise: x*(λ) = (I + λC⁻¹)⁻¹(y + λC⁻¹μ₀) at every λ of the path, by an independent
  /// LU.
  @Test(arguments: [0, 3]) func denoisingPathAtEveryLambda(probes: Int) throws {
    let density = try gaussian(seed: 2)
    let precision = try density.covariance.matrix.inverted().inverse
    for y in [randomVector(12, seed: 5), randomVector(12, seed: 6)] {
      let objective = PixelObjective(
        data: try DataTerm(IdentityMap(shape), GaussianNoise(sigma: 1), y), prior: density, gaussian: density,
        isotropicCurvature: 30)
      let settings = PathSettings(
        stopRule: ToleranceRule.exact(tolerance: 1e-12), maximumEvaluations: 5000,
        probes: CurvatureProbes(count: probes, after: [0, 4]))
      let (states, outcome) = try solve(
        objective, from: y, path: LambdaPath(target: ObjectiveWeights(lambda: 1), start: 0.001), settings)
      let solved = states.filter { $0.event == .solved || $0.event == .finished }
      #expect(solved.count >= 4)
      for state in solved {
        let lambda = state.weights.lambda
        var h = precision
        h.scale(by: lambda)
        h.addToDiagonal(1)
        let right = adding(y, precision.times(density.mean.elements), scaledBy: lambda)
        let expected = try h.inverted().inverse.times(right)
        #expect(distance(state.image, expected) < 1e-8, "λ = \(lambda)")
      }
      #expect(outcome.stop.isConverged && outcome.weights.lambda == 1)
    }
  }

  /// Every linear map, both paths, at even and odd sizes, with one channel and three: the end is the closed form.
  @Test func linearMapsEndAtTheNormalEquations() throws {
    for shape in testShapes {
      func gaussian(_ seed: UInt64) throws -> GaussianPrior {
        try GaussianPrior(
          imageShape: shape, mean: randomVector(shape.count, seed: seed),
          covariance: try randomCovariance(shape.count, seed: seed + 1))
      }
      let (density, other) = (try gaussian(10), try gaussian(20))
      let noise = try GaussianNoise(sigma: 0.1)
      for (name, map) in try linearMaps(shape) {
        let y = randomVector(map.output.count, seed: 5)
        for path in [
          LambdaPath(target: ObjectiveWeights(lambda: 1)), PriorPath(target: ObjectiveWeights(lambda: 0.3)),
        ] as [any SolutionPath] {
          let lambda = path.weights(at: 1).lambda
          let expected = try density.posteriorMean(map, noise, y, lambda: lambda)
          let objective = PixelObjective(data: try DataTerm(map, noise, y), prior: density, gaussian: other)
          let settings = PathSettings(
            stopRule: ToleranceRule.exact(tolerance: 1e-11), maximumEvaluations: 5000)
          let (_, outcome) = try solve(objective, from: try map.leastSquares(y), path: path, settings)
          #expect(
            distance(outcome.point, expected) < 1e-6, "\(name) \(shape) \(path.name) \(outcome.stop)")
        }
      }
    }
  }

  /// The answer doesn't depend on the method, the space or the minimizer when the prior is Gaussian.
  @Test func everyMethodAndMinimizerAgrees() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0, seed: 3)
    let density = try prior.unwarped()
    let y = randomVector(12, seed: 8)
    let noise = try GaussianNoise(sigma: 0.1)
    let problem = try InverseProblem(IdentityMap(shape), noise, [y])
    let expected = try density.posteriorMean(IdentityMap(shape), noise, y, lambda: 1)
    for space in SolutionSpace.allCases {
      for method in [ReconstructionMethod.aipo, .fixed, .gaussian] {
        for minimizer in MinimizerChoice.allCases {
          for start in StartChoice.allCases where minimizer == .lbfgs || start == .prior {
            var options = ReconstructionOptions()
            options.space = space
            options.method = method
            options.start = start
            options.lambda = .value(1)
            options.minimizer = minimizer.makeMinimizer
            options.stopRule = ToleranceRule(tolerance: 1e-7, epsilon: 0)
            options.maximumEvaluations = minimizer == .lbfgs ? 500 : 4000
            let result = try reconstruct(problem, prior, density, options)[0]
            let image = result.image.elements
            let goal = minimizer == .lbfgs ? 1e-6 : minimizer == .gd ? 2e-3 : 2e-2
            #expect(
              distance(image, expected) < goal, "\(space) \(method) \(minimizer) \(start) \(result.reason)")
            let objective = try #require(result.objective)
            #expect((objective - result.recon - result.lambda * result.reg!).magnitude < 1e-9)
          }
        }
      }
    }
  }

  /// With a part of the Gaussian's the prior is the product of two densities: of two Gaussians one with the mean of
  /// their precisions, along every path and in both spaces.
  @Test func aFlowShareIsTheProductOfBothPriors() throws {
    let (d, t, lambda, sigma) = (12, 0.6, 0.7, 0.1)
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0, seed: 3)
    let other = try gaussian(seed: 50)
    let y = randomVector(d, seed: 8)
    let problem = try InverseProblem(IdentityMap(shape), GaussianNoise(sigma: sigma), [y])
    var h = try prior.covariance().inverted().inverse
    var right = h.times(prior.mean).map { t * lambda * $0 }
    h.scale(by: t * lambda)
    var second = try other.covariance.matrix.inverted().inverse
    right = adding(right, second.times(other.mean.elements), scaledBy: (1 - t) * lambda)
    second.scale(by: (1 - t) * lambda)
    h.add(second, scaledBy: 1)
    h.addToDiagonal(1 / (sigma * sigma))
    let expected = try h.inverted().inverse.times(adding(right, y, scaledBy: 1 / (sigma * sigma)))
    var options = ReconstructionOptions()
    options.lambda = .value(lambda)
    options.flowShare = t
    options.stopRule = ToleranceRule(tolerance: 1e-8, epsilon: 0)
    options.maximumEvaluations = 2000
    var targets: [Double] = []
    var objectives: [Double] = []
    for space in SolutionSpace.allCases {
      options.space = space
      for method in [ReconstructionMethod.aipo, .fixed, .restarts] {
        options.method = method
        options.restarts = method == .restarts ? 2 : nil
        let paths: [PathChoice] = [
          .noise, .prior, .lambda, .curve([.init(lambda: 2, t: 0.5), .init(lambda: 1)]),
        ]
        for path in method == .aipo ? paths : [.auto] {
          options.path = path
          let result = try reconstruct(problem, prior, other, options)[0]
          #expect(
            distance(result.image.elements, expected) < 1e-5, "\(space) \(method) \(path) \(result.reason)")
          #expect(result.flowShare == t && result.lambda == lambda)
          targets.append(try #require(result.target))
          objectives.append(try #require(result.objective))
        }
      }
    }
    let flow = try prior.evaluate(expected).value
    let recon = try problem.dataTerm(0, encoding: nil).evaluate(expected).value
    let target = try recon + lambda * (t * flow + (1 - t) * other.evaluate(expected).value)
    #expect(targets.allSatisfy { abs($0 - target) < 1e-5 }, "\(target) \(targets)")
    // Reported is the flow's in full, where nothing is least: it changes with the distance, not with its square.
    #expect(objectives.allSatisfy { abs($0 - recon - lambda * flow) < 1e-2 }, "\(objectives)")
  }

  /// What is chosen for an image, λ, t and the start, is of what is seen of it, not of the image before it.
  @Test func imagesSeenInPartAndWholeDontMix() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.3, seed: 3)
    let density = try gaussian(seed: 4)
    let seen = [12, 7, 12, 7, 7]
    func solve(_ images: [Int], _ method: ReconstructionMethod) throws -> [ReconstructionResult] {
      let problem = try InverseProblem(
        maps: try images.map { k in try MaskMap(shape, mask: (0..<12).map { $0 < seen[k] }) },
        noises: [try GaussianNoise(sigma: 0.1)],
        observations: try images.map { try Tensor(randomVector(seen[$0], seed: UInt64(20 + $0))) },
        imageShape: shape)
      var options = ReconstructionOptions()
      options.method = method
      options.sourceIndices = images
      return try reconstruct(problem, prior, density, options)
    }
    for method in [ReconstructionMethod.aipo, .fixed, .gaussian, .restarts, .latent, .tv] {
      let together = try solve(Array(seen.indices), method)
      for (k, result) in together.enumerated() {
        let alone = try solve([k], method)[0]
        #expect(result.image == alone.image && result.target == alone.target, "\(method) \(k)")
        #expect(result.lambda == alone.lambda && result.evaluations == alone.evaluations)
        #expect(result.index == k && result.flowShare == (seen[k] == 12 ? 0.8 : 0.6))
      }
    }
  }

  @Test func theFlowShareIsChosenWithLambda() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0, seed: 3)
    let problem = try InverseProblem(
      IdentityMap(shape), try GaussianNoise(sigma: 0.1), [randomVector(12, seed: 8)])
    func share(
      _ gaussian: GaussianPrior?, of other: InverseProblem? = nil,
      _ change: (inout ReconstructionOptions) -> Void
    ) throws -> Double {
      var options = ReconstructionOptions()
      change(&options)
      return try Reconstructor(problem: other ?? problem, prior: prior, gaussian: gaussian, options: options)
        .flowShare(of: 0)
    }
    let density = try gaussian(seed: 4)
    #expect(try share(density) { _ in } == ReconstructionOptions.usualFlowShare)
    for seen in [12, 7, 0] {
      let masked = try InverseProblem(
        MaskMap(shape, mask: (0..<12).map { $0 < seen }), try GaussianNoise(sigma: 0.1),
        [randomVector(seen, seed: 8)])
      let expected =
        seen == 12 ? ReconstructionOptions.usualFlowShare : ReconstructionOptions.flowShareOfMissing
      #expect(try share(density, of: masked) { _ in } == expected)
    }
    #expect(try share(density) { $0.lambda = .value(1) } == 1)
    #expect(try share(density) { ($0.lambda, $0.flowShare) = (.value(1), 0.3) } == 0.3)
    #expect(try share(nil) { _ in } == 1)
    #expect(throws: SolverError.self) { try share(nil) { $0.flowShare = 0.5 } }
  }
}
