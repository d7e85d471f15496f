import AIPOProblems

/// What the theorem about the path asks for, from estimates of its constants along the path of one image.
///
/// Where `∇²L ⪰ mI` along the path, and `∇²L ⪯ ℓI` and is M-Lipschitz within `r = m/(2M)` of it, and
/// `‖∇R‖ ≤ Γ` there, a λ-step of at most `rm/(2Γ)` keeps each start in the basin of the next solution, and
/// `⌈(2ℓ/m) ln 2⌉` steps of gradient descent of length 1/ℓ bring it back to within r/2.
///
/// The constants are the extremes that were seen at some places of the path, not bounds.
/// Source: T. Liu et al., *Optimization for Amortized Inverse Problems*, ICML 2023.
public struct TheoremPlan: Sendable, Hashable, Codable, CustomStringConvertible {
  /// m and ℓ, per squared unit of a pixel.
  public let leastCurvature: Double
  public let greatestCurvature: Double
  /// M.
  public let hessianLipschitz: Double
  /// Γ.
  public let priorGradient: Double
  /// Λ.
  public let lambda: Double
  /// Evaluations of the flow that the estimates took.
  public let evaluations: Int

  /// r.
  public var radius: Double { leastCurvature / (2 * hessianLipschitz) }

  /// λ-steps, equally long.
  public var lambdaSteps: Double {
    max((2 * priorGradient * lambda / (radius * leastCurvature)).rounded(.up), 1)
  }

  /// Steps of gradient descent at each λ.
  public var gradientSteps: Double {
    max((2 * greatestCurvature / leastCurvature * 0.6931471805599453).rounded(.up), 1)
  }

  public var description: String {
    func whole(_ steps: Double) -> String { steps < 1e15 ? "\(Int(steps))" : "\(steps)" }
    return "\(whole(lambdaSteps)) λ-steps of \(whole(gradientSteps)) gradient steps (m = \(leastCurvature), "
      + "ℓ = \(greatestCurvature), M = \(hessianLipschitz), Γ = \(priorGradient))"
  }

  /// Why the theorem's run can't be made, if it can't: nothing follows where m isn't above 0, and the bound may be
  /// beyond any budget.
  func obstacle(maximumEvaluations: Int) -> PathStop? {
    guard leastCurvature > 0 else { return .notConvex }
    // One evaluation more a λ-step tells the gradient at its start.
    let needed = Double(evaluations) + lambdaSteps * (gradientSteps + 1)
    return needed <= Double(maximumEvaluations) ? nil : .theoremBound
  }

  /// What makes a continuation by plain gradient descent do as the theorem says; the last solve goes on to the tolerance.
  func settings(stopRule: any StopRule, maximumEvaluations: Int, seed: UInt64) -> PathSettings {
    PathSettings(
      predictor: NoPredictor(), stepControl: EqualSteps(length: 1 / lambdaSteps),
      stopRule: CountedSteps(count: Int(gradientSteps), final: stopRule),
      maximumEvaluations: maximumEvaluations - evaluations, pathShare: 1, probes: .none, seed: seed)
  }
}
