import AIPOContinuation
import AIPOFlowTesting
import AIPOInverseProblems
import AIPOKernels
import Testing

@Suite struct PathTests {
  let shape = ImageShape(height: 3, width: 3, channels: 1)

  func problem(images: Int = 1, operator a: (any LinearOperator)? = nil) throws -> InverseProblem {
    let a = a ?? IdentityOperator(count: 9)
    return try InverseProblem(
      operators: [a], noise: try GaussianNoise(sigma: 0.2),
      observations: (0..<images).map { randomVector(a.outputCount, seed: 70 + UInt64($0)) },
      imageShape: shape)
  }

  func gaussian() throws -> GaussianDensity {
    try GaussianDensity(
      imageShape: shape, mean: randomVector(9, seed: 11),
      covariance: .dense(try randomCovariance(9, seed: 12)))
  }

  let exact = PathSettings(
    stepControl: AdaptiveStep(firstStep: 0.05, largest: 0.05),
    stopRule: ToleranceRule.exact(tolerance: 1e-9), maximumEvaluations: 20000, pathShare: 1)

  /// Solves a smooth problem along λ from 0.02 to 1, in small steps.
  private func alongLambda() throws -> (states: [PathState], outcomes: [PathOutcome]) {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.4, seed: 5)
    let problem = try problem()
    let objective = try PixelObjective(problem: problem, prior: prior, gaussian: nil)
    return try solve(
      objective, from: problem.observations,
      path: LambdaPath(target: ObjectiveWeights(lambda: 1), start: 0.02), exact)
  }

  /// Along λ: R doesn't increase, F doesn't decrease, and d/dλ min L = R.
  @Test func monotoneAlongLambda() throws {
    let (states, outcomes) = try alongLambda()
    let solved = states.filter { $0.event == .solved || $0.event == .finished }
    #expect(solved.count > 15 && outcomes[0].stop.isConverged)
    for (a, b) in zip(solved, solved.dropFirst()) {
      #expect(b.flow! <= a.flow! + 1e-7)
      #expect(b.recon >= a.recon - 1e-7)
      // By concavity of min L in λ its secant lies between the slopes R at both ends.
      let secant = (b.objective - a.objective) / (b.weights.lambda - a.weights.lambda)
      #expect(secant <= a.flow! + 1e-6 && secant >= b.flow! - 1e-6)
    }
  }

  /// A guess is a state of its own where it is better than the last solution; the solve there descends from it.
  @Test func guessesAreReported() throws {
    let (states, _) = try alongLambda()
    let guesses = states.indices.filter { states[$0].event == .predicted }
    #expect(guesses.count > 10)
    for k in guesses {
      let guess = states[k]
      let last = try #require(states[..<k].last { $0.event == .solved })
      let solution = try #require(states[(k + 1)...].first { [.solved, .finished].contains($0.event) })
      #expect(last.s < guess.s && solution.s == guess.s && solution.weights == guess.weights)
      #expect(guess.point != last.point && guess.solveIterations == 0)
      #expect(guess.objective <= last.recon + guess.weights.flow * last.flow!)
      #expect(solution.objective <= guess.objective)
    }
  }

  /// Along t: R_flow − R_gauss doesn't increase and F + λR_gauss doesn't decrease.
  @Test func monotoneAlongThePrior() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.4, seed: 5)
    for a in [
      IdentityOperator(count: 9), MaskOperator(mask: (0..<9).map { $0 % 3 != 0 }),
      try DenseOperator.gaussian(measurements: 4, inputCount: 9, seed: 2),
    ] as [any LinearOperator] {
      let problem = try problem(operator: a)
      let gaussian = try gaussian()
      let objective = try PixelObjective(problem: problem, prior: prior, gaussian: gaussian)
      let start = try a.pseudoInverse(problem.observations[0])
      let (states, outcomes) = try solve(
        objective, from: [start], path: PriorPath(target: ObjectiveWeights(lambda: 0.7)), exact)
      #expect(outcomes[0].stop.isConverged)
      let solved = states.filter { ($0.event == .solved || $0.event == .finished) && $0.flow != nil }
      #expect(solved.count > 15)
      for (a, b) in zip(solved, solved.dropFirst()) {
        let ga = gaussian.negativeLogProb(a.point).value
        let gb = gaussian.negativeLogProb(b.point).value
        #expect(b.flow! - gb <= a.flow! - ga + 1e-7)
        #expect(b.recon + 0.7 * gb >= a.recon + 0.7 * ga - 1e-7)
      }
    }
  }

  /// F = (x − .6)²/2, modes ±2: method.md's figures.
  @Test func twoModeCrossing() throws {
    let shape = ImageShape(height: 1, width: 1, channels: 1)
    let noise = try GaussianNoise(sigma: 1)
    let constant = 0.9189385332046727
    let problem = try InverseProblem(
      operators: [IdentityOperator(count: 1)], noise: noise, observations: [[0.6]], imageShape: shape)
    let settings = PathSettings(stopRule: ToleranceRule.exact(tolerance: 1e-10), maximumEvaluations: 2000)
    func run(right: Double, path: any SolutionPath, start: Double, corrector: any Corrector = LBFGS()) throws
      -> PathOutcome
    {
      var settings = settings
      settings.corrector = corrector
      let objective = try PixelObjective(
        problem: problem, prior: twoModes(right: right), gaussian: nil, isotropicCurvature: 4)
      return try solve(objective, from: [[start]], path: path, settings).outcomes[0]
    }
    let target = ObjectiveWeights(lambda: 1)
    let tracked = try run(right: 0.5, path: LambdaPath(target: ObjectiveWeights(lambda: 1)), start: 0.6)
    #expect((tracked.point[0] - 1.72).magnitude < 0.005)
    let stuck = try run(
      right: 0.5, path: FixedWeights(target), start: -2, corrector: GradientDescent(firstStep: 0.01))
    #expect((stuck.point[0] + 1.48).magnitude < 0.005)
    #expect(tracked.sample!.value(target) < stuck.sample!.value(target))
    // With weight .01 on +2 the tracked solution is not the global one.
    let wrong = try run(right: 0.01, path: LambdaPath(target: ObjectiveWeights(lambda: 1)), start: 0.6)
    let global = try run(right: 0.01, path: FixedWeights(target), start: -2)
    #expect((wrong.sample!.value(target) - constant - 5.389).magnitude < 0.001)
    #expect((global.sample!.value(target) - constant - 2.714).magnitude < 0.001)
    #expect((global.point[0] + 1.48).magnitude < 0.005)
  }

  @Test(arguments: [PathChoice.lambda, .prior], [SolutionSpace.x, .z])
  func sameBitsAloneAndInABatch(path: PathChoice, space: SolutionSpace) throws {
    let prior = WarpedGaussian<Float>.random(imageShape: shape, warp: 0.4, seed: 5)
    let a = try DenseOperator.gaussian(measurements: 5, inputCount: 9, seed: 3)
    let all = try problem(images: 5, operator: a)
    func run(_ images: [Int], chunk: Int) throws -> [ReconstructionResult<Float>] {
      var options = ReconstructionOptions()
      options.path = path
      options.space = space
      options.start = .random
      options.chunk = chunk
      options.sourceIndices = images
      options.maximumEvaluations = 60
      let some = try InverseProblem(
        operators: [a], noise: all.noise(0), observations: images.map { all.observations[$0] },
        imageShape: shape)
      return try Reconstructor(problem: some, prior: prior, gaussian: try gaussian(), options: options)
        .run()
    }
    let together = try run([0, 1, 2, 3, 4], chunk: 5)
    let chunked = try run([4, 2, 0, 1, 3], chunk: 2)
    for i in 0..<5 {
      let alone = try run([i], chunk: 1)[0]
      #expect(alone.image == together[i].image && alone.objective == together[i].objective)
      #expect(alone.evaluations == together[i].evaluations && alone.reason == together[i].reason)
      let k = [4, 2, 0, 1, 3].firstIndex(of: i)!
      #expect(chunked[k].image == together[i].image)
    }
  }

  @Test func curvesAreRelativeToTheTarget() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.4, seed: 5)
    func run(_ path: PathChoice) throws -> (ReconstructionResult<Double>, [ObjectiveWeights]) {
      var options = ReconstructionOptions()
      options.path = path
      options.lambda = .value(0.7)
      let result = try Reconstructor(
        problem: try problem(), prior: prior, gaussian: try gaussian(), options: options
      ).run()[0]
      return (result, result.trace.filter { [.solved, .unfinished].contains($0.event) }.map(\.weights))
    }
    let (noise, _) = try run(.noise)
    let (same, _) = try run(PathChoice(parsing: "curve:3,0/3,1/1,1"))
    #expect(same.image == noise.image && same.evaluations == noise.evaluations && same.path == "curve")
    // The flow comes in while λ falls and rises again.
    let corners = [(2.0, 0.0), (0.5, 0.25), (4.0, 0.75)].map { ObjectiveWeights(lambda: $0, t: $1) }
    let (wild, solved) = try run(.curve(corners + [ObjectiveWeights(lambda: 1)]))
    #expect(wild.converged && wild.lambda == 0.7)
    #expect(solved == corners.map { ObjectiveWeights(lambda: 0.7 * $0.lambda, t: $0.t) })
  }

  @Test func pathsAreSpelled() throws {
    for text in ["lambda", "prior", "noise", "theorem", "auto", "curve:3,0/3,1/1,1", "curve:0.25,0.5/1,1"] {
      #expect(try PathChoice(parsing: text).description == text)
    }
    for text in [
      "", "Lambda", "curve", "curve:", "curve:1,1", "curve:2,0/1", "curve:2,0/1,1,1", "curve:2,0/1,1/",
      "curve:x,0/1,1", "curve:nan,0/1,1", "curve:0,0/1,1", "curve:2,-1/1,1", "curve:2,0/2,1",
      "curve:1e9,0/1,1",
    ] {
      #expect(throws: SolverError.self, "\(text)") { try PathChoice(parsing: text) }
    }
  }

  @Test func budgetIsKept() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.8, seed: 5)
    for budget in [1, 2, 3, 7, 20] {
      for path in [PathChoice.lambda, .prior] {
        for method in [ReconstructionMethod.aipo, .fixed] {
          var options = ReconstructionOptions()
          options.path = path
          options.method = method
          options.maximumEvaluations = budget
          options.stopRule = ToleranceRule(tolerance: 1e-13, epsilon: 0)
          let result = try Reconstructor(
            problem: try problem(), prior: prior, gaussian: try gaussian(), options: options
          ).run()[0]
          // Where the end isn't the last evaluated objective one more tells its value.
          #expect(result.evaluations <= budget + 1, "\(budget) \(path) \(method)")
          #expect(result.objective != nil && result.lambda <= 1)
          if budget < 7 { #expect(result.reason == .budget && !result.converged) }
        }
      }
    }
  }

  @Test func cancellationKeepsFinishedWork() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0.8, seed: 5)
    var options = ReconstructionOptions()
    options.chunk = 1
    let reconstructor = try Reconstructor(
      problem: try problem(images: 3), prior: prior, gaussian: try gaussian(), options: options)
    let full = try reconstructor.run()
    var done = 0
    var states = 0
    var observer = ReconstructionObserver<Double>()
    observer.onResults = { done += $0.count }
    observer.onStates = { states += $0.count }
    observer.isCancelled = { done >= 1 && states > full[0].trace.count }
    let part = try reconstructor.run(observer)
    #expect(part.count == 2)
    #expect(part[0].image == full[0].image && part[0].converged)
    #expect(part[1].reason == .cancelled && !part[1].converged)
    #expect(part[1].image.elements.allSatisfy { $0.isFinite })
  }

  @Test func lambdaIsChosenNearTheRightOneForARightPrior() throws {
    // Data drawn from the prior itself: λ = 1 is right, and the estimate alone, held nowhere, must find it nearly.
    let shape = ImageShape(height: 12, width: 12, channels: 1)
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0, seed: 31)
    let factor = try Matrix(rows: 144, columns: 144, rowMajor: prior.factor)
    let density = try GaussianDensity(
      imageShape: shape, mean: prior.mean, covariance: .dense(try factor.timesTransposed(factor)))
    let truths = (0..<6).map { density.sample(seed: 1, index: $0) }
    let y = truths.enumerated().map { i, x in
      adding(x, randomVector(144, seed: 500 + UInt64(i)), scaledBy: 0.2)
    }
    let problem = try InverseProblem(
      operators: [IdentityOperator(count: 144)], noise: try GaussianNoise(sigma: 0.2), observations: y,
      imageShape: shape)
    var options = ReconstructionOptions()
    options.lambdaRule = RiskRule(pull: 0)
    let results = try Reconstructor(problem: problem, prior: prior, gaussian: density, options: options).run()
    let mean = results.reduce(0) { $0 + $1.lambda } / 6
    #expect(mean > 0.7, "\(results.map(\.lambda))")
    for (result, truth) in zip(results, truths) {
      #expect(result.converged && result.reason != .budget)
      #expect(distance(result.image.elements, truth) < 0.9 * distance(y[result.index], truth))
    }
  }
}
