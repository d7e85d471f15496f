import AIPOProblems

/// How to solve.
public enum ReconstructionMethod: String, Sendable, Codable, CaseIterable {
  /// Follow a path from an easy objective to the target.
  case aipo
  /// The same objective, corrector and budget, with λ at its target from the start.
  case fixed
  /// The closed-form solution under the Gaussian prior at λ = 1.
  case gaussian
  /// Descent over latents without the log-determinant, from ε = 0 or the lowest from several draws.
  case latent
  /// The lowest of several descents as `fixed`, from random starts.
  case restarts
  /// Least squares with total variation; no flow.
  case tv
  /// Least squares with the ℓ₁ norm of the cosine transform; no flow.
  case lasso

  /// Whether the flow takes part in what is solved.
  public var usesFlow: Bool {
    switch self {
    case .aipo, .fixed, .latent, .restarts: true
    case .gaussian, .tv, .lasso: false
    }
  }
}

/// λ at the target.
public enum LambdaChoice: Sendable, Hashable {
  case value(Double)
  /// Chosen image by image for a known σ, without the truth: `RiskRule`, in pixel space and where the data see every
  /// value by itself; 1 elsewhere.
  case auto
}

public enum SolutionSpace: String, Sendable, Codable, CaseIterable {
  /// Pixels.
  case x
  /// Latents, with the log-determinant in full.
  case z
}

public enum MinimizerChoice: String, Sendable, Codable, CaseIterable {
  case lbfgs, adam, gd, newton

  /// A minimizer with its defaults.
  public func makeMinimizer() -> any Minimizer {
    switch self {
    case .lbfgs: LBFGS()
    case .adam: AdamDescent()
    case .gd: GradientDescent()
    case .newton: TrustRegionNewton()
    }
  }
}

public enum PredictorChoice: String, Sendable, Codable, CaseIterable {
  case none, secant, tangent

  /// The predictor with its defaults.
  public var predictor: any Predictor {
    switch self {
    case .none: NoPredictor()
    case .secant: SecantPredictor()
    case .tangent: TangentPredictor()
    }
  }
}

/// Where the first corrector starts.
public enum StartChoice: String, Sendable, Codable, CaseIterable {
  /// `observed` where the data see every value by itself, else `gaussian`. Without a Gaussian `observed`, or `zero` for a
  /// non-linear map.
  case auto
  /// A⁺y, as far as the noise lets it be seen: `LinearMap.leastSquares`.
  case observed
  /// What a direct formula makes of the measurements, `Map.estimate`: filtered back projection, zero-filled or gridded k-space.
  /// `observed` where there is none.
  case direct
  /// G(0).
  case zero
  /// Uniform pixels.
  case random
  /// A draw of the prior.
  case prior
  /// The closed-form solution under the Gaussian prior; of a map that isn't linear the lowest of several minima.
  case gaussian

  /// Whether it is the same whatever was measured.
  var ignoresData: Bool {
    switch self {
    case .zero, .random, .prior: true
    case .auto, .observed, .direct, .gaussian: false
    }
  }
}

/// Options of a reconstruction. The defaults are those of the command line.
public struct ReconstructionOptions: Sendable {
  public var method = ReconstructionMethod.aipo
  public var path = PathChoice.auto
  /// How the path in the prior's noise level is walked; nil: `SmoothPath.usual`.
  public var smooth: SmoothPath?
  public var lambda = LambdaChoice.auto
  /// t at the target, in (0, 1]: its prior is `(1 − t) R_gauss + t R_flow`. Nil: `usualFlowShare`, or
  /// `flowShareOfMissing` where pixels are missing, if λ is chosen, too, and there is a Gaussian; else 1.
  public var flowShare: Double?
  public var space = SolutionSpace.x
  public var start = StartChoice.auto
  /// Makes the minimizer of an image.
  public var minimizer: @Sendable () -> any Minimizer = { LBFGS() }
  public var predictor: any Predictor = SecantPredictor()
  public var stepControl: any StepControl = AdaptiveStep()
  public var stopRule: any StopRule = ToleranceRule()
  public var lambdaRule: any LambdaRule = RiskRule()
  /// The curvature by probes, the seed apart: that is the run's.
  public var probes = CurvatureProbes()
  /// The second derivative of −log p(x) taken before it is probed, per squared pixel of [0, 1].
  public var isotropicCurvature = 1e4
  /// Where pixels can be expected to lie: the middles of the darkest and the brightest bin of the prior's
  /// dequantisation, say.
  public var domain: ClosedRange<Double>?
  /// Evaluations of the flow an image.
  public var maximumEvaluations = 1000
  /// Descents of `restarts` (8 where nil) and of `latent` (1 from ε = 0 where nil); they share the budget. Starts of a problem
  /// that isn't linear (6 where nil), whose descents under the Gaussian spend none of it.
  public var restarts: Int?
  /// The weight of the penalty of `tv` and `lasso`.
  public var penalty = PenaltyWeight.auto
  public var seed: UInt64 = 0
  /// The images' indices in their source, which key random starts; 0, 1, … where empty.
  public var sourceIndices: [Int] = []
  public init() {}

  /// A flow's density is too sure of itself where the data leave much open, which some of a Gaussian's mends.
  public static let usualFlowShare = 0.8
  /// The same where some pixels are seen and nothing of the others.
  public static let flowShareOfMissing = 0.6

  /// The most descents.
  public static let restartLimit = 100

  var restartCount: Int { restarts ?? (method == .restarts ? 8 : 1) }

  func check(count: Int) throws(SolverError) {
    if case .value(let lambda) = lambda, !(lambda > 0) || !lambda.isFinite {
      throw .invalidOption(name: "lambda", found: "\(lambda)", expected: "a finite number above 0")
    }
    if let share = flowShare {
      if !(share > 0 && share <= 1) {
        throw .invalidOption(name: "flow share", found: "\(share)", expected: "a number above 0, at most 1")
      }
      if share < 1, method == .aipo, path == .theorem {
        throw .unsupported("the theorem's path is that of the flow's density alone: its flow share is 1")
      }
    }
    if maximumEvaluations < 1 {
      throw .invalidOption(
        name: "maximum evaluations", found: "\(maximumEvaluations)", expected: "at least 1")
    }
    if let restarts, !(1...Self.restartLimit).contains(restarts) {
      throw .invalidOption(name: "restarts", found: "\(restarts)", expected: "1 to \(Self.restartLimit)")
    }
    if case .value(let weight) = penalty, !(weight > 0) || !weight.isFinite {
      throw .invalidOption(name: "penalty", found: "\(weight)", expected: "a finite number above 0")
    }
    if !sourceIndices.isEmpty, sourceIndices.count != count {
      throw .invalidOption(
        name: "source indices", found: "\(sourceIndices.count)", expected: "one an image, \(count)")
    }
    if !(isotropicCurvature > 0) || !isotropicCurvature.isFinite {
      throw .invalidOption(
        name: "isotropic curvature", found: "\(isotropicCurvature)", expected: "a finite number above 0")
    }
    if probes.count < 0 {
      throw .invalidOption(name: "probes", found: "\(probes.count)", expected: "at least 0")
    }
    try path.check()
  }
}
