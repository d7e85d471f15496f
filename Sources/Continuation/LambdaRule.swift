/// What is known about one tried λ of one image.
public struct LambdaTrial: Sendable {
  public let lambda: Double
  /// ‖y − f(x*(λ))‖².
  public let residualSquare: Double
  /// Estimate of `tr ∂f(x*)/∂y`, by one random probe that is the same for every λ.
  public let degreesOfFreedom: Double
  /// σ² and m.
  public let variance: Double
  public let measurements: Int

  public init(
    lambda: Double, residualSquare: Double, degreesOfFreedom: Double, variance: Double, measurements: Int
  ) {
    self.lambda = lambda
    self.residualSquare = residualSquare
    self.degreesOfFreedom = degreesOfFreedom
    self.variance = variance
    self.measurements = measurements
  }

  /// `‖r‖² − σ²(m − df)`: what a fit with df degrees of freedom leaves is `E‖r‖² = σ²(m − df)`, so a
  /// positive value says over-smoothing.
  public var discrepancy: Double {
    residualSquare - variance * (Double(measurements) - degreesOfFreedom)
  }

  /// Stein's unbiased estimate of the squared error of the fitted measurements,
  /// `‖r‖² + 2σ²df − mσ²`.
  public var risk: Double { residualSquare + variance * (2 * degreesOfFreedom - Double(measurements)) }
}

public enum LambdaDecision: Sendable, Equatable {
  case attempt(Double)
  /// One of the tried values, or any between them.
  case settle(Double)
}

/// Chooses λ for a known σ without the truth, image by image.
public protocol LambdaRule: Sendable {
  /// The λ at the end of the path.
  var first: Double { get }
  /// Hessian products spent on one estimate of the degrees of freedom.
  var probeSteps: Int { get }
  /// `trials` in the order tried, one at least.
  func decide(_ trials: [LambdaTrial]) -> LambdaDecision
}

/// Goes down a ladder of λ from 1 and settles where Stein's unbiased risk is least: the point where the
/// residual and the degrees of freedom balance, `d(‖r‖² + 2σ²df)/dλ = 0`. All trials share one probe, so
/// the noise of the estimate and of ‖e‖² largely cancels between them, which a comparison of ‖r‖² with σ²(m
/// − df) at one λ doesn't allow.
public struct RiskRule: LambdaRule {
  public let ladder: [Double]
  public let probeSteps: Int
  public var first: Double { ladder[0] }

  /// `ladder`: decreasing values of (0, 1].
  public init(ladder: [Double] = [1, 0.7, 0.5, 0.35, 0.25], probeSteps: Int = 5) {
    precondition(!ladder.isEmpty && ladder.allSatisfy { $0 > 0 && $0.isFinite })
    self.ladder = ladder
    self.probeSteps = probeSteps
  }

  public func decide(_ trials: [LambdaTrial]) -> LambdaDecision {
    let best = trials.min { $0.risk < $1.risk }!
    let rises = trials.count > 1 && trials[trials.count - 1].risk > trials[trials.count - 2].risk
    if rises || trials.count >= ladder.count { return .settle(best.lambda) }
    return .attempt(ladder[trials.count])
  }
}
