import AIPOPlatform

/// What is known about one tried λ of one image.
public struct LambdaTrial: Sendable {
  public let lambda: Double
  /// `−log p(y | f(x*(λ)))`.
  public let recon: Double
  /// Estimate of the degrees of freedom, by one random probe that is the same for every λ.
  public let degreesOfFreedom: Double
  /// m.
  public let measurements: Int
  /// Deviation of the noise with which a single value shows through the measurements, on [0, 1]: that of a measurement
  /// over the root of the mean diagonal element of AᵀA.
  public let sigma: Double

  public init(
    lambda: Double, recon: Double, degreesOfFreedom: Double, measurements: Int = 0, sigma: Double = 0.1
  ) {
    self.lambda = lambda
    self.recon = recon
    self.degreesOfFreedom = degreesOfFreedom
    self.measurements = measurements
    self.sigma = sigma
  }

  /// `L_recon + df`, which estimates the data term that new measurements of the same image would have. For
  /// Gaussian noise it is Stein's unbiased estimate of the squared error of the fitted measurements,
  /// `‖r‖² + 2σ²df − mσ²`, over 2σ² and up to a constant.
  public var risk: Double { recon + degreesOfFreedom }
}

public enum LambdaDecision: Sendable, Equatable {
  case attempt(Double)
  /// One of the tried values, or any between them.
  case settle(Double)
}

/// Chooses λ for a known noise model without the truth, image by image.
public protocol LambdaRule: Sendable {
  /// The λ at the end of the path.
  var first: Double { get }
  /// Evaluations spent on one estimate of the degrees of freedom.
  var probeEvaluations: Int { get }
  /// `trials` in the order tried, one at least.
  func decide(_ trials: [LambdaTrial]) -> LambdaDecision
  /// The rule where the data see sums of values, through which a single value shows with noise of this deviation; nil
  /// where the exact λ = 1 should stay.
  func ofSums(sigma: Double) -> (any LambdaRule)?
}

extension LambdaRule {
  public func ofSums(sigma: Double) -> (any LambdaRule)? { self }
}

/// Walks on a ladder of λ, from a middle rung towards the side where Stein's unbiased risk falls, and settles
/// where it is least: there the residual and the degrees of freedom balance, `d(L_recon + df)/dλ = 0`. Between the
/// rungs the minimum is that of a parabola in log λ.
///
/// All trials share one probe, so the noise of the estimate and of L_recon largely cancels between them, which
/// a comparison of the residual with σ²(m − df) at one λ doesn't allow. What is left of it is larger than what tells
/// one image's best λ from another's, so the risk is raised by `pull·m·ln²(λ/λ_σ)`, `λ_σ = min(usual·√(0.1/σ), 1)`.
public struct RiskRule: LambdaRule {
  public let ladder: [Double]
  public let start: Int
  public let probeEvaluations: Int
  /// The λ that is best for most images under noise of deviation 0.1, and how many nats a measurement hold the
  /// choice near λ_σ.
  public let usual: Double
  public let pull: Double
  public var first: Double { ladder[start] }

  /// `ladder`: decreasing values of (0, 1]; `start`: the place of the first in it.
  public init(
    ladder: [Double] = [1, 0.7, 0.5, 0.35, 0.25], start: Int = 2, probeEvaluations: Int = 16,
    usual: Double = 0.47, pull: Double = 0.15
  ) {
    precondition(ladder.indices.contains(start) && ladder.allSatisfy { $0 > 0 && $0.isFinite })
    precondition(zip(ladder, ladder.dropFirst()).allSatisfy { $0 > $1 })
    self.ladder = ladder
    self.start = start
    self.probeEvaluations = probeEvaluations
    self.usual = usual
    self.pull = pull
  }

  /// λ_σ of sums from which on λ = 1 stays: what the choice could bring is less than what it may lose.
  private static let leastGain = 0.7

  /// λ_σ
  private func usual(at sigma: Double) -> Double { min(usual * (0.1 / sigma).squareRoot(), 1) }

  /// The same on a longer ladder, from the rung nearest to λ_σ.
  public func ofSums(sigma: Double) -> (any LambdaRule)? {
    let usual = usual(at: sigma)
    guard usual < Self.leastGain, let last = ladder.last else { return nil }
    let longer = ladder + (1...3).map { last * pow(0.5, 0.5 * Double($0)) }
    let start = longer.indices.min {
      log(longer[$0] / usual).magnitude < log(longer[$1] / usual).magnitude
    }!
    return RiskRule(
      ladder: longer, start: start, probeEvaluations: probeEvaluations, usual: self.usual, pull: pull)
  }

  private func cost(_ trial: LambdaTrial) -> Double {
    let distance = log(trial.lambda / usual(at: trial.sigma))
    return trial.risk + pull * Double(trial.measurements) * distance * distance
  }

  public func decide(_ trials: [LambdaTrial]) -> LambdaDecision {
    let sorted = trials.sorted { $0.lambda > $1.lambda }
    let best = sorted.indices.min { cost(sorted[$0]) < cost(sorted[$1]) }!
    guard let rung = ladder.firstIndex(of: sorted[best].lambda) else { return .settle(sorted[best].lambda) }
    // The best rung's neighbours, the smaller λ first.
    if best == sorted.count - 1, rung + 1 < ladder.count { return .attempt(ladder[rung + 1]) }
    if best == 0, rung > 0 { return .attempt(ladder[rung - 1]) }
    guard best > 0, best < sorted.count - 1 else { return .settle(sorted[best].lambda) }
    return .settle(vertex(sorted[best - 1], sorted[best], sorted[best + 1]))
  }

  /// Where the parabola through three costs over log λ is least, given that the middle one is.
  private func vertex(_ a: LambdaTrial, _ b: LambdaTrial, _ c: LambdaTrial) -> Double {
    let (u, w) = (log(a.lambda / b.lambda), log(c.lambda / b.lambda))
    let (p, q) = (cost(a) - cost(b), cost(c) - cost(b))
    let bend = (p / u - q / w) / (u - w)
    let slope = p / u - bend * u
    guard bend > 0 else { return b.lambda }
    return b.lambda * exp(min(max(-slope / (2 * bend), w), u))
  }
}
