import AIPOFlows
import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems

/// Estimates the deviation σ of white Gaussian noise together with the image: what a fit with df effective
/// degrees of freedom leaves is `E‖r‖² = σ²(m − df)`, so
///
///     σ² = ‖y − f(x*)‖² / (m − df)
///
/// is solved by iteration from a first guess, each solve from the last solution's. x* is taken at λ = ½,
/// where MAP's own bias is least; df by a `FreedomProbe`. The plain joint minimum over x and σ has no bottom
/// (σ → 0 with f(x) = y); here m − df is kept above a twentieth of m, and σ above `NoiseEstimate.floor`.
public enum JointSigma {
  static let lambda = 0.5
  /// Least share of m that the residual is divided by.
  static let leastShare = 0.05

  /// The estimate for an image, and the evaluations of the flow that it took.
  public struct Estimate: Sendable {
    public let sigma: Double
    public let evaluations: Int
  }

  /// One estimate an image of a problem with linear operators, whose noise is the first guess. It is as good as
  /// the noise is strong: where the data are followed almost exactly, as many missing pixels and little noise
  /// make it, m − df is a difference of nearly equal numbers.
  /// Where nothing finite is found the guess stays.
  public static func estimate(
    _ problem: InverseProblem, prior: any Prior, gaussian: GaussianPrior?, options: ReconstructionOptions,
    rounds: Int = 3, pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws(SolverError) -> [Estimate] {
    var options = options
    options.method = .aipo
    // Degrees of freedom are a mode's here, so that a path must end in one.
    options.path = gaussian == nil ? .lambda : .noise
    options.space = .x
    options.lambda = .value(lambda)
    options.maximumEvaluations = 80
    options.stopRule = ToleranceRule(epsilon: ToleranceRule.coarseEpsilon)
    let scratch = Scratch(pool: pool)
    return try solver {
      if let levels = prior.noiseLevels, (0..<problem.count).allSatisfy({ problem.map($0) is IdentityMap }) {
        return try problem.observations.map { try mostProbable($0, prior, levels, scratch) }
      }
      var sigmas = try (0..<problem.count).map {
        try problem.noise($0).matched(problem.observations[$0].view).sigma
      }
      var spent = [Int](repeating: 0, count: problem.count)
      for _ in 0..<rounds {
        let current = try problem.replacing(noises: sigmas.map { try GaussianNoise(sigma: $0) })
        let reconstructor = try Reconstructor(
          problem: current, prior: prior, gaussian: gaussian, options: options, pool: pool)
        var change = 0.0
        for result in try reconstructor.run() {
          let i = result.index
          spent[i] += result.evaluations
          guard result.objective != nil else { continue }
          let (freedom, evaluations) = try reconstructor.degreesOfFreedom(result, sigma: sigmas[i], scratch)
          spent[i] += evaluations
          let m = Double(problem.observations[i].count)
          // ‖r‖² of noise that is white, by the misfit √(‖r‖²/(mσ²)).
          let square = result.misfit * result.misfit * m * sigmas[i] * sigmas[i]
          let next = max((square / max(m - freedom, leastShare * m)).squareRoot(), NoiseEstimate.floor)
          change = max(change, (next / sigmas[i] - 1).magnitude)
          if next.isFinite { sigmas[i] = next }
        }
        if change < 0.01 { break }
      }
      return zip(sigmas, spent).map { Estimate(sigma: $0, evaluations: $1) }
    }
  }
}

extension JointSigma {
  /// What was observed with white noise of deviation σ and nothing else has the density p_σ of the prior itself, so σ is where
  /// that is greatest: by golden sections of log s, to a hundredth.
  public static func mostProbable(
    _ y: Tensor<Double>, _ prior: any Prior, _ levels: Condition, _ scratch: Scratch
  ) throws -> Estimate {
    var evaluations = 0
    func energy(_ u: Double) throws -> Double {
      evaluations += 1
      let value = try prior.smoothed(by: exp(u), turn: 0).evaluate(y.view, gradient: nil, scratch)
      return value.isFinite ? value : .infinity
    }
    let golden = (5.0.squareRoot() - 1) / 2
    var (low, high) = (log(levels.least), log(levels.greatest))
    var (a, b) = (high - golden * (high - low), low + golden * (high - low))
    var (atA, atB) = (try energy(a), try energy(b))
    while high - low > 0.02 {
      if atA <= atB {
        (high, b, atB) = (b, a, atA)
        a = high - golden * (high - low)
        atA = try energy(a)
      } else {
        (low, a, atA) = (a, b, atB)
        b = low + golden * (high - low)
        atB = try energy(b)
      }
    }
    return Estimate(sigma: exp((low + high) / 2), evaluations: evaluations)
  }
}

extension Reconstructor {
  /// An estimate of `tr ∂f(x*)/∂y` at a solution, and its evaluations of the flow: the measurements are moved by draws
  /// of σ, and the solution follows.
  fileprivate func degreesOfFreedom(_ result: ReconstructionResult, sigma: Double, _ scratch: Scratch) throws
    -> (value: Double, evaluations: Int)
  {
    let image = result.index
    guard let map = problem.linearMap(image) else {
      throw SolverError.unsupported("sigma can only be estimated with a linear operator")
    }
    let data = dataTerm(image)
    var random = Philox(seed: options.seed, index: source(image), purpose: .probe)
    var signs = try Tensor<Double>(count: data.observation.count)
    signs.withMemory { $0.setSigns(&random) }
    var moved = data.observation
    moved.withMemory { $0.add(signs.view, times: sigma) }
    let objective = PixelObjective(
      data: DataTerm(map: map, noise: data.noise, observation: moved, encoding: data.encoding), prior: prior,
      gaussian: nil, isotropicCurvature: options.isotropicCurvature)
    let run = try Continuation(
      Evaluator(objective, scratch), path: FixedWeights(ObjectiveWeights(lambda: JointSigma.lambda)),
      settings: PathSettings(
        stopRule: ToleranceRule(epsilon: ToleranceRule.coarseEpsilon),
        maximumEvaluations: RiskRule().probeEvaluations, probes: .none))
    let outcome = try run.run { point in
      point.set(result.image.view)
      data.encoding?.encode(point, into: point)
    }
    guard let sample = outcome.sample else { return (0, outcome.evaluations) }
    return try scratch.scope {
      let change = try scratch.take(data.count)
      let seen = try scratch.take(signs.count)
      change.setDifference(sample.pixels, result.image.view)
      try map.apply(change, into: seen, scratch)
      return (max(signs.view.dot(seen) / sigma, 0), outcome.evaluations)
    }
  }
}
