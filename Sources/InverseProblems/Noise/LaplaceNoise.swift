import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Independent Laplace noise of deviation σ, so of scale b = σ/√2, with its tip rounded so that descent can
/// settle there: of r = y − f(x),
///
///     −log p = |r|/b + log Z                    for |r| ≥ δ = b/20
///              r²/(2δb) + δ/(2b) + log Z        for |r| < δ
///
/// Z is the exact normaliser, 2b less 0.04 %: the density is Laplace's but for its tip, which is up to 2.5 %
/// lower.
public struct LaplaceNoise: IndependentNoise {
  public let sigma: Double
  /// b and δ.
  private let scale: Double
  private let tip: Double
  private let logNormalizer: Double

  /// σ as for Gaussian noise.
  public init(sigma: Double) throws(ProblemError) {
    _ = try GaussianNoise(sigma: sigma)
    self.sigma = sigma
    scale = sigma / 2.0.squareRoot()
    let ratio = 0.05
    tip = ratio * scale
    // Z/b: both tails, and the normal piece between them.
    let middle = (2 * Double.pi * ratio).squareRoot() * erf((ratio / 2).squareRoot()) * exp(-ratio / 2)
    logNormalizer = log(scale) + log(2 * exp(-ratio) + middle)
  }

  public func negativeLogLikelihood(_ y: Double, prediction: Double) -> (value: Double, derivative: Double) {
    let r = prediction - y
    guard r.magnitude < tip else {
      return (r.magnitude / scale + logNormalizer, (r < 0 ? -1 : 1) / scale)
    }
    return (r * r / (2 * tip * scale) + tip / (2 * scale) + logNormalizer, r / (tip * scale))
  }

  public func sample(prediction: Double, random: inout Philox) -> Double {
    // A Laplace draw, refused where the rounded tip is lower.
    while true {
      let r = -scale * log(1 - random.uniform())
      let sign = random.next() & 1 == 0 ? 1.0 : -1.0
      let accepted =
        r >= tip || random.uniform() < exp(r / scale - r * r / (2 * tip * scale) - tip / (2 * scale))
      if accepted { return prediction + sign * r }
    }
  }

  public func matched(_ y: [Double]) -> GaussianNoise {
    GaussianNoise(checked: .isotropic(variance: sigma * sigma))
  }

  /// By the Fisher information 1/b².
  public func curvature(_ y: [Double]) -> GaussianNoise {
    GaussianNoise(checked: .isotropic(variance: scale * scale))
  }
}
