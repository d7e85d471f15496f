import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// Independent Laplace noise of deviation σ, so of scale b = σ/√2, its tip rounded within δ (Huber's density): of
/// r = y − f(x),
///
///     −log p = |r|/b + log Z                    for |r| ≥ δ
///              r²/(2δb) + δ/(2b) + log Z        for |r| < δ
///
/// The most probable image under Laplace's own density, δ → 0, repeats the measurement wherever the prior pulls
/// with less than 1/b, noise and all. With δ = b the curvature at the tip is Laplace's Fisher information 1/b²:
/// there the estimate averages as it should, and outside it gives no more weight to a large residual than
/// Laplace's density does. Draws are Laplace's.
///
/// Z is the exact normaliser.
public struct LaplaceNoise: IndependentNoise {
  public let sigma: Double
  /// b and δ.
  private let b: Double
  private let tip: Double
  private let logNormalizer: Double

  public static let tipRange = 1e-3...10.0

  /// σ as for Gaussian noise; `tip` is δ/b, in `tipRange`.
  public init(sigma: Double, tip ratio: Double = 1) throws(ProblemError) {
    _ = try GaussianNoise(sigma: sigma)
    try requireParameter("the tip's radius", ratio, in: Self.tipRange)
    self.sigma = sigma
    b = sigma / 2.0.squareRoot()
    tip = ratio * b
    // Z/b: both tails, and the normal piece between them.
    let middle = (2 * Double.pi * ratio).squareRoot() * erf((ratio / 2).squareRoot()) * exp(-ratio / 2)
    logNormalizer = log(b) + log(2 * exp(-ratio) + middle)
  }

  public func negativeLogLikelihood(_ y: Double, prediction: Double) -> (value: Double, derivative: Double) {
    let r = prediction - y
    guard r.magnitude < tip else {
      return (r.magnitude / b + logNormalizer, (r < 0 ? -1 : 1) / b)
    }
    return (r * r / (2 * tip * b) + tip / (2 * b) + logNormalizer, r / (tip * b))
  }

  public func sample(prediction: Double, random: inout Philox) -> Double {
    let r = -b * log(1 - random.uniform())
    return prediction + (random.next() & 1 == 0 ? r : -r)
  }

  public func matched(_ y: Vector) -> GaussianNoise {
    GaussianNoise(checked: .isotropic(variance: sigma * sigma))
  }

  public var scale: Double? { sigma }

  /// The mean of |y − f(x)| over b, its expectation.
  public func misfit(_ y: Vector, prediction: Vector, _ scratch: Scratch) throws -> Double {
    guard y.count > 0 else { return 0 }
    return try scratch.scope {
      let residual = try scratch.take(y.count)
      residual.setDifference(y, prediction, scratch.pool)
      return residual.total(scratch.pool) { $0.magnitude } / (b * Double(y.count))
    }
  }

  public var hasBoundedScore: Bool { true }

  /// By the Fisher information 1/b².
  public func curvature(_ y: Vector) -> GaussianNoise {
    GaussianNoise(checked: .isotropic(variance: b * b))
  }
}
