import AIPOContinuation
import AIPOFlowTesting
import AIPOInverseProblems
import AIPOKernels
import Testing

@Suite struct ClosedFormTests {
  let shape = ImageShape(height: 3, width: 4, channels: 1)

  func gaussian(seed: UInt64) throws -> GaussianDensity {
    try GaussianDensity(
      imageShape: shape, mean: randomVector(12, seed: seed),
      covariance: .dense(try randomCovariance(12, seed: seed + 1)))
  }

  /// Denoising with unit noise: x*(λ) = (I + λC⁻¹)⁻¹(y + λC⁻¹μ₀) at every λ of the path, by an independent
  /// LU.
  @Test(arguments: [0, 3]) func denoisingPathAtEveryLambda(probes: Int) throws {
    let density = try gaussian(seed: 2)
    guard case .dense(let c) = density.covariance else { return }
    let precision = try LU(c).inverse()
    let y = [randomVector(12, seed: 5), randomVector(12, seed: 6)]
    let problem = try InverseProblem(
      operators: [IdentityOperator(count: 12)], noise: try GaussianNoise(sigma: 1), observations: y,
      imageShape: shape)
    let objective = try PixelObjective(
      problem: problem, prior: GaussianPrior<Double>(density), gaussian: density,
      isotropicCurvature: 30)
    let settings = PathSettings(
      stopRule: ToleranceRule.exact(tolerance: 1e-12), maximumEvaluations: 5000,
      probes: CurvatureProbes(count: probes, after: [0, 4]))
    let (states, outcomes) = try solve(
      objective, from: y, path: LambdaPath(target: ObjectiveWeights(lambda: 1), start: 0.001), settings)
    let solved = states.filter { $0.event == .solved || $0.event == .finished }
    #expect(solved.count >= 8)
    for state in solved {
      let lambda = state.weights.lambda
      var h = precision
      h.scale(by: lambda)
      h.addToDiagonal(1)
      let right = adding(y[state.image], precision.times(density.mean), scaledBy: lambda)
      let expected = try LU(h).solve(right)
      #expect(distance(state.point, expected) < 1e-8, "λ = \(lambda)")
    }
    #expect(outcomes.allSatisfy { $0.stop.isConverged && $0.weights.lambda == 1 })
  }

  /// Linear operators, both paths: the end is the LAPACK solve.
  @Test func linearOperatorsEndAtTheNormalEquations() throws {
    let density = try gaussian(seed: 10)
    let other = try gaussian(seed: 20)
    let operators: [any LinearOperator] = [
      IdentityOperator(count: 12), MaskOperator(mask: (0..<12).map { $0 % 2 == 0 }),
      MaskOperator(mask: [Bool](repeating: false, count: 12)),
      try DenseOperator.gaussian(measurements: 5, inputCount: 12, seed: 1),
      try DenseOperator.gaussian(measurements: 30, inputCount: 12, seed: 1),
      try DenseOperator(try Matrix(rows: 3, columns: 12)),
    ]
    for a in operators {
      let y = randomVector(a.outputCount, seed: 5)
      let problem = try InverseProblem(
        operators: [a], noise: try GaussianNoise(sigma: 0.1), observations: [y], imageShape: shape)
      for lambda in [1, 0.3] {
        let expected = try density.conditionalMeans(of: problem, lambda: lambda)[0]
        for path in [
          LambdaPath(target: ObjectiveWeights(lambda: lambda)),
          PriorPath(target: ObjectiveWeights(lambda: lambda)),
        ] as [any SolutionPath] {
          let objective = try PixelObjective(
            problem: problem, prior: GaussianPrior<Double>(density), gaussian: other)
          let settings = PathSettings(
            stopRule: ToleranceRule.exact(tolerance: 1e-11), maximumEvaluations: 5000)
          let start = try a.pseudoInverse(y)
          let (_, outcomes) = try solve(objective, from: [start], path: path, settings)
          #expect(
            distance(outcomes[0].point, expected) < 1e-8,
            "\(a.outputCount) \(path.name) \(lambda) \(outcomes[0].stop)")
        }
      }
    }
  }

  /// The answer doesn't depend on the method, the space or the corrector when the prior is Gaussian.
  @Test func everyMethodAndCorrectorAgrees() throws {
    let d = 12
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0, seed: 3)
    let factor = try Matrix(rows: d, columns: d, rowMajor: prior.factor)
    let density = try GaussianDensity(
      imageShape: shape, mean: prior.mean, covariance: .dense(try factor.timesTransposed(factor)))
    let problem = try InverseProblem(
      operators: [IdentityOperator(count: d)], noise: try GaussianNoise(sigma: 0.1),
      observations: [randomVector(d, seed: 8)], imageShape: shape)
    let expected = try density.conditionalMeans(of: problem, lambda: 1)[0]
    for space in SolutionSpace.allCases {
      for method in [ReconstructionMethod.aipo, .fixed, .gaussian] {
        for corrector in CorrectorChoice.allCases {
          for start in StartChoice.allCases where corrector == .lbfgs || start == .prior {
            var options = ReconstructionOptions()
            options.space = space
            options.method = method
            options.start = start
            options.lambda = .value(1)
            options.corrector = corrector.corrector
            options.stopRule = ToleranceRule(tolerance: 1e-7, epsilon: 0)
            options.maximumEvaluations = corrector == .lbfgs ? 500 : 4000
            let result = try Reconstructor(
              problem: problem, prior: prior, gaussian: density, options: options
            ).run()[0]
            let image = result.image.elements
            let goal = corrector == .lbfgs ? 1e-6 : corrector == .gd ? 2e-3 : 2e-2
            #expect(
              distance(image, expected) < goal, "\(space) \(method) \(corrector) \(start) \(result.reason)")
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
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0, seed: 3)
    let factor = try Matrix(rows: d, columns: d, rowMajor: prior.factor)
    let other = try gaussian(seed: 50)
    guard case .dense(let c) = other.covariance else { return }
    let y = randomVector(d, seed: 8)
    let problem = try InverseProblem(
      operators: [IdentityOperator(count: d)], noise: try GaussianNoise(sigma: sigma), observations: [y],
      imageShape: shape)
    var h = try LU(try factor.timesTransposed(factor)).inverse()
    var right = h.times(prior.mean).map { t * lambda * $0 }
    h.scale(by: t * lambda)
    var second = try LU(c).inverse()
    right = adding(right, second.times(other.mean), scaledBy: (1 - t) * lambda)
    second.scale(by: (1 - t) * lambda)
    for i in 0..<d { for j in 0..<d { h[i, j] += second[i, j] } }
    h.addToDiagonal(1 / (sigma * sigma))
    let expected = try LU(h).solve(adding(right, y, scaledBy: 1 / (sigma * sigma)))
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
          let result = try Reconstructor(problem: problem, prior: prior, gaussian: other, options: options)
            .run()[0]
          #expect(
            distance(result.image.elements, expected) < 1e-5, "\(space) \(method) \(path) \(result.reason)")
          #expect(result.flowShare == t && result.lambda == lambda)
          targets.append(try #require(result.target))
          objectives.append(try #require(result.objective))
        }
      }
    }
    let image = expected
    let (logProb, _) = try prior.evaluateWithGradient(
      try Tensor(shape: [1, 3, 4, 1], elements: image))
    let recon = try problem.recon(image, image: 0).value
    let target = recon + lambda * (-t * logProb[0] + (1 - t) * other.negativeLogProb(image).value)
    #expect(targets.allSatisfy { abs($0 - target) < 1e-5 }, "\(target) \(targets)")
    // Reported is the flow's in full, where nothing is least: it changes with the distance, not with its square.
    #expect(objectives.allSatisfy { abs($0 - recon + lambda * logProb[0]) < 1e-2 }, "\(objectives)")
  }

  /// What is chosen for an image, λ, t and the start, is of what is seen of it, not of the image before it.
  @Test func imagesSeenInPartAndWholeDontMix() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.3, seed: 3)
    let density = try gaussian(seed: 4)
    let seen = [12, 7, 12, 7, 7]
    func solve(_ images: [Int], _ method: ReconstructionMethod) throws -> [ReconstructionResult<Double>] {
      let problem = try InverseProblem(
        operators: images.map { k in MaskOperator(mask: (0..<12).map { $0 < seen[k] }) },
        noises: [try GaussianNoise(sigma: 0.1)],
        observations: images.map { randomVector(seen[$0], seed: UInt64(20 + $0)) }, imageShape: shape)
      var options = ReconstructionOptions()
      options.method = method
      options.sourceIndices = images
      return try Reconstructor(problem: problem, prior: prior, gaussian: density, options: options).run()
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
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0, seed: 3)
    let problem = try InverseProblem(
      operators: [IdentityOperator(count: 12)], noise: try GaussianNoise(sigma: 0.1),
      observations: [randomVector(12, seed: 8)], imageShape: shape)
    func share(
      _ gaussian: GaussianDensity?, of other: InverseProblem? = nil,
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
        operators: [MaskOperator(mask: (0..<12).map { $0 < seen })], noise: try GaussianNoise(sigma: 0.1),
        observations: [randomVector(seen, seed: 8)], imageShape: shape)
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
