import AIPOFlows
import AIPOInverseProblems
import AIPOKernels

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
  public static func estimate<Scalar: KernelScalar>(
    _ problem: InverseProblem, prior: any ImagePrior<Scalar>, gaussian: GaussianDensity?,
    options: ReconstructionOptions, rounds: Int = 3
  ) throws(SolverError) -> [Estimate] {
    var options = options
    options.method = .aipo
    options.path = .auto
    options.space = .x
    options.lambda = .value(lambda)
    options.maximumEvaluations = 80
    options.stopRule = ToleranceRule(epsilon: 3)
    var sigmas = (0..<problem.count).map { problem.noise($0).matched(problem.observations[$0]).sigma }
    var spent = [Int](repeating: 0, count: problem.count)
    for _ in 0..<rounds {
      let current = try solver { try problem.replacing(noises: sigmas.map { try GaussianNoise(sigma: $0) }) }
      let solved = try Reconstructor(
        problem: current, prior: prior, gaussian: gaussian, options: options
      ).run()
      let images = solved.map { $0.image.elements.map { Double($0) } }
      let freedoms = try solver {
        try freedom(
          current, prior: prior, points: images.map(problem.values), sigmas: sigmas, options: options,
          spent: &spent)
      }
      var change = 0.0
      for (i, result) in solved.enumerated() {
        spent[i] += result.evaluations
        guard result.objective != nil, let linear = problem.linearOperator(i) else { continue }
        let y = problem.observations[i]
        let residual = adding(y, linear.apply(images[i]), scaledBy: -1)
        let m = Double(y.count)
        let variance = dot(residual, residual) / max(m - freedoms[i], leastShare * m)
        let next = max(variance.squareRoot(), NoiseEstimate.floor)
        change = max(change, (next / sigmas[i] - 1).magnitude)
        if next.isFinite { sigmas[i] = next }
      }
      if change < 0.01 { break }
    }
    return zip(sigmas, spent).map { Estimate(sigma: $0, evaluations: $1) }
  }

  /// Estimates of `tr ∂f(x*)/∂y` at the solutions.
  private static func freedom<Scalar: KernelScalar>(
    _ problem: InverseProblem, prior: any ImagePrior<Scalar>, points: [[Double]], sigmas: [Double],
    options: ReconstructionOptions, spent: inout [Int]
  ) throws -> [Double] {
    let signs = points.indices.map { i -> [Double] in
      let source = options.sourceIndices.isEmpty ? i : options.sourceIndices[i]
      var random = Philox(seed: options.seed, index: UInt64(source), purpose: .probe)
      return problem.observations[i].map { _ in random.next() & 1 == 0 ? 1.0 : -1.0 }
    }
    let moved = try problem.replacing(
      observations: signs.indices.map { adding(problem.observations[$0], signs[$0], scaledBy: sigmas[$0]) })
    let objective = try PixelObjective(
      problem: moved, prior: prior, gaussian: nil, isotropicCurvature: options.isotropicCurvature)
    var machine = PathMachine(
      objective: objective, starts: points, path: FixedWeights(ObjectiveWeights(lambda: lambda)),
      settings: PathSettings(
        stopRule: ToleranceRule(epsilon: 3), maximumEvaluations: RiskRule().probeEvaluations, probes: .none))
    while try machine.next() != nil {}
    return try machine.outcomes.enumerated().map { i, outcome in
      spent[i] += outcome.evaluations
      guard let linear = problem.linearOperator(i) else {
        throw SolverError.unsupported("sigma can only be estimated with a linear operator")
      }
      let change = linear.apply(
        adding(problem.pixels(outcome.point), problem.pixels(points[i]), scaledBy: -1))
      return max(dot(signs[i], change) / sigmas[i], 0)
    }
  }
}
