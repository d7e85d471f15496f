import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

@Suite struct PathTests {
  let shape = ImageShape(height: 3, width: 3, channels: 1)

  func problem(images: Int = 1, _ a: (any LinearMap)? = nil) throws -> InverseProblem {
    let a = a ?? IdentityMap(shape)
    return try InverseProblem(
      a, GaussianNoise(sigma: 0.2), (0..<images).map { randomVector(a.output.count, seed: 70 + UInt64($0)) })
  }

  /// An image's data term.
  func data(_ a: (any LinearMap)? = nil) throws -> DataTerm { try problem(a).dataTerm(0, encoding: nil) }

  func gaussian() throws -> GaussianPrior {
    try GaussianPrior(
      imageShape: shape, mean: randomVector(9, seed: 11),
      covariance: try randomCovariance(9, seed: 12))
  }

  let exact = PathSettings(
    stepControl: AdaptiveStep(firstStep: 0.05, largest: 0.05),
    stopRule: ToleranceRule.exact(tolerance: 1e-9), maximumEvaluations: 20000, pathShare: 1)

  /// Solves a smooth problem along λ from 0.02 to 1, in small steps.
  private func alongLambda() throws -> (states: [Place], outcome: PathOutcome) {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.4, seed: 5)
    let data = try data()
    return try solve(
      PixelObjective(data: data, prior: prior, gaussian: nil), from: data.observation.elements,
      path: LambdaPath(target: ObjectiveWeights(lambda: 1), start: 0.02), exact)
  }

  /// Along λ: R doesn't increase, F doesn't decrease, and d/dλ min L = R.
  @Test func monotoneAlongLambda() throws {
    let (states, outcome) = try alongLambda()
    let solved = states.filter { $0.event == .solved || $0.event == .finished }
    #expect(solved.count > 15 && outcome.stop.isConverged)
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
      #expect(guess.image != last.image && guess.solveIterations == 0)
      #expect(guess.objective <= last.recon + guess.weights.flow * last.flow!)
      #expect(solution.objective <= guess.objective)
    }
  }

  /// Along t: R_flow − R_gauss doesn't increase and F + λR_gauss doesn't decrease.
  @Test func monotoneAlongThePrior() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.4, seed: 5)
    for a in try [
      IdentityMap(shape), MaskMap(shape, mask: (0..<9).map { $0 % 3 != 0 }),
      DenseMap.gaussian(measurements: 4, input: shape, seed: 2),
    ] as [any LinearMap] {
      let data = try data(a)
      let gaussian = try gaussian()
      let (states, outcome) = try solve(
        PixelObjective(data: data, prior: prior, gaussian: gaussian),
        from: try a.leastSquares(data.observation.elements),
        path: PriorPath(target: ObjectiveWeights(lambda: 0.7)), exact)
      #expect(outcome.stop.isConverged)
      let solved = states.filter { ($0.event == .solved || $0.event == .finished) && $0.flow != nil }
      #expect(solved.count > 15)
      for (a, b) in zip(solved, solved.dropFirst()) {
        let ga = try gaussian.evaluate(a.image).value
        let gb = try gaussian.evaluate(b.image).value
        #expect(b.flow! - gb <= a.flow! - ga + 1e-7)
        #expect(b.recon + 0.7 * gb >= a.recon + 0.7 * ga - 1e-7)
      }
    }
  }

  /// F = (x − .6)²/2, modes ±2: method.md's figures.
  @Test func twoModeCrossing() throws {
    let data = try DataTerm(IdentityMap(.vector(1)), GaussianNoise(sigma: 1), [0.6])
    let constant = 0.9189385332046727
    let settings = PathSettings(stopRule: ToleranceRule.exact(tolerance: 1e-10), maximumEvaluations: 2000)
    func run(right: Double, path: any SolutionPath, start: Double, by minimizer: any Minimizer = LBFGS())
      throws
      -> PathOutcome
    {
      let objective = PixelObjective(
        data: data, prior: twoModes(right: right), gaussian: nil, isotropicCurvature: 4)
      return try solve(objective, from: [start], path: path, by: minimizer, settings).outcome
    }
    let target = ObjectiveWeights(lambda: 1)
    let tracked = try run(right: 0.5, path: LambdaPath(target: ObjectiveWeights(lambda: 1)), start: 0.6)
    #expect((tracked.point[0] - 1.72).magnitude < 0.005)
    let stuck = try run(
      right: 0.5, path: FixedWeights(target), start: -2, by: GradientDescent(firstStep: 0.01))
    #expect((stuck.point[0] + 1.48).magnitude < 0.005)
    #expect(tracked.sample!.value(target) < stuck.sample!.value(target))
    // With weight .01 on +2 the tracked solution is not the global one.
    let wrong = try run(right: 0.01, path: LambdaPath(target: ObjectiveWeights(lambda: 1)), start: 0.6)
    let global = try run(right: 0.01, path: FixedWeights(target), start: -2)
    #expect((wrong.sample!.value(target) - constant - 5.389).magnitude < 0.001)
    #expect((global.sample!.value(target) - constant - 2.714).magnitude < 0.001)
    #expect((global.point[0] + 1.48).magnitude < 0.005)
  }

  @Test func curvesAreRelativeToTheTarget() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.4, seed: 5)
    func run(_ path: PathChoice) throws -> (ReconstructionResult, [ObjectiveWeights]) {
      var options = ReconstructionOptions()
      options.path = path
      options.lambda = .value(0.7)
      let result = try reconstruct(try problem(), prior, try gaussian(), options)[0]
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
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.8, seed: 5)
    for budget in [1, 2, 3, 7, 20] {
      for path in [PathChoice.lambda, .prior] {
        for method in [ReconstructionMethod.aipo, .fixed] {
          var options = ReconstructionOptions()
          options.path = path
          options.method = method
          options.maximumEvaluations = budget
          options.stopRule = ToleranceRule(tolerance: 1e-13, epsilon: 0)
          let result = try reconstruct(try problem(), prior, try gaussian(), options)[0]
          // Where the end isn't the last evaluated objective one more tells its value.
          #expect(result.evaluations <= budget + 1, "\(budget) \(path) \(method)")
          #expect(result.objective != nil && result.lambda <= 1)
          if budget < 7 { #expect(result.reason == .budget && !result.converged) }
        }
      }
    }
  }

  @Test(arguments: [1, 2]) func cancellationKeepsFinishedWork(threads: Int) throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.8, seed: 5)
    let problem = try problem(images: 6)
    let full = try reconstruct(problem, prior, try gaussian(), threads: threads)
    #expect(full.count == 6 && full.map(\.index) == Array(0..<6))
    // After the first two results.
    let done = Counter()
    var observer = ReconstructionObserver()
    observer.onResult = { _ in _ = done.next() }
    observer.isCancelled = { done.count >= 2 }
    let part = try reconstruct(problem, prior, try gaussian(), threads: threads, observer)
    // Side by side, any number may be finished while an earlier one is still at work: results come in order.
    #expect(part.count >= 2 && (threads > 1 || part.count <= 3))
    #expect(part.map(\.index) == Array(0..<part.count))
    for result in part {
      #expect(result.image.elements.allSatisfy { $0.isFinite })
      if result.reason == .cancelled {
        #expect(!result.converged && result.index >= 2)
      } else {
        #expect(result.image == full[result.index].image && result.converged)
      }
    }
    // In the midst of the first.
    let states = Counter()
    observer = ReconstructionObserver()
    observer.onState = { _, _, _ in _ = states.next() }
    observer.isCancelled = { states.count >= 2 }
    let one = try reconstruct(self.problem(), prior, try gaussian(), threads: threads, observer)
    #expect(one.count == 1 && one[0].reason == .cancelled && !one[0].converged && one[0].trace.count >= 2)
  }

  /// Whenever it comes, in whatever method, cancellation is no error, and what is there is finite.
  @Test(arguments: ReconstructionMethod.allCases) func cancellationAtAnyMoment(method: ReconstructionMethod)
    throws
  {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0.5, seed: 5)
    for path in method == .aipo ? [PathChoice.noise, .theorem] : [.auto] {
      for moment in [1, 2, 3, 5, 10, 30, 100] {
        var options = ReconstructionOptions()
        options.method = method
        options.path = path
        let asked = Counter()
        var observer = ReconstructionObserver()
        observer.isCancelled = { asked.next() >= moment }
        let results = try reconstruct(problem(), prior, try gaussian(), options, observer)
        let result = try #require(results.first, "\(path) \(moment)")
        #expect(result.image.elements.allSatisfy { $0.isFinite } && result.recon.isFinite)
        if asked.count > moment {
          #expect(result.reason == .cancelled || method == .gaussian, "\(path) \(moment)")
        }
      }
    }
  }

  @Test func lambdaIsChosenNearTheRightOneForARightPrior() throws {
    // Data drawn from the prior itself: λ = 1 is right, and the estimate alone, held nowhere, must find it nearly.
    let shape = ImageShape(height: 12, width: 12, channels: 1)
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0, seed: 31)
    let density = try prior.unwarped()
    let truths = try (0..<6).map { i in
      try written(144) { try density.sample(seed: 1, index: i, into: $0, $1) }
    }
    let y = truths.enumerated().map { i, x in
      adding(x, randomVector(144, seed: 500 + UInt64(i)), scaledBy: 0.2)
    }
    let problem = try InverseProblem(IdentityMap(shape), GaussianNoise(sigma: 0.2), y)
    var options = ReconstructionOptions()
    options.lambdaRule = RiskRule(pull: 0)
    let results = try reconstruct(problem, prior, density, options)
    let mean = results.reduce(0) { $0 + $1.lambda } / 6
    #expect(mean > 0.7, "\(results.map(\.lambda))")
    for (result, truth) in zip(results, truths) {
      #expect(result.converged && result.reason != .budget)
      #expect(distance(result.image.elements, truth) < 0.9 * distance(y[result.index], truth))
    }
  }
}
