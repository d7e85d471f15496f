import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// Independent noise σt with t of Student's distribution with ν degrees of freedom:
///
///     −log p = (ν+1)/2 · log(1 + r²/(νσ²)) + log Γ(ν/2) − log Γ((ν+1)/2) + ½ log πνσ²,   r = y − f(x)
///
/// σ is the scale; the deviation is σ√(ν/(ν−2)) for ν > 2 and infinite below.
public struct StudentNoise: IndependentNoise {
  public let sigma: Double
  public let degreesOfFreedom: Double
  private let constant: Double

  public static let degreesRange = 0.1...1e6

  /// σ as for Gaussian noise, ν in `degreesRange`.
  public init(sigma: Double, degreesOfFreedom nu: Double) throws(ProblemError) {
    _ = try GaussianNoise(sigma: sigma)
    try requireParameter("nu", nu, in: Self.degreesRange)
    self.sigma = sigma
    degreesOfFreedom = nu
    constant = lgamma(nu / 2) - lgamma((nu + 1) / 2) + 0.5 * log(Double.pi * nu) + log(sigma)
  }

  public func negativeLogLikelihood(_ y: Double, prediction: Double) -> (value: Double, derivative: Double) {
    let r = (prediction - y) / sigma
    let nu = degreesOfFreedom
    return ((nu + 1) / 2 * log1p(r * r / nu) + constant, (nu + 1) * r / ((nu + r * r) * sigma))
  }

  /// `N / √(χ²_ν/ν)`.
  public func sample(prediction: Double, random: inout Philox) -> Double {
    let square = 2 * random.gamma(shape: degreesOfFreedom / 2)
    return prediction + sigma * random.normal() / (square / degreesOfFreedom).squareRoot()
  }

  /// Of variance σ²ν/(ν−2), at most 10σ², which stands for an infinite one.
  public func matched(_ y: Vector) -> GaussianNoise {
    let nu = degreesOfFreedom
    let ratio = nu > 2 ? min(nu / (nu - 2), 10) : 10
    return GaussianNoise(checked: .isotropic(variance: ratio * sigma * sigma))
  }

  public var scale: Double? { sigma }

  /// The scale s that is most probable for the residuals, over σ: the root of `mean((ν+1) r²/(νs² + r²)) = 1`; 0
  /// where most residuals are.
  public func misfit(_ y: Vector, prediction: Vector, _ scratch: Scratch) throws -> Double {
    let (nu, sigma) = (degreesOfFreedom, sigma)
    return try scratch.scope {
      let squares = try scratch.take(y.count)
      squares.setEach(scratch.pool, y, prediction) { min(pow(($0 - $1) / sigma, 2), 1e300) }
      /// Falls in s.
      func excess(_ logScale: Double) -> Double {
        let variance = exp(2 * logScale)
        return squares.total(scratch.pool) { (nu + 1) * $0 / (nu * variance + $0) } - Double(y.count)
      }
      var (low, high) = (-20.0, 350.0)
      guard excess(low) > 0 else { return 0 }
      for _ in 0..<40 {
        let middle = (low + high) / 2
        if excess(middle) > 0 { low = middle } else { high = middle }
      }
      return exp(low)
    }
  }

  public var hasBoundedScore: Bool { true }

  /// By the Fisher information (ν+1)/((ν+3)σ²).
  public func curvature(_ y: Vector) -> GaussianNoise {
    let ratio = (degreesOfFreedom + 3) / (degreesOfFreedom + 1)
    return GaussianNoise(checked: .isotropic(variance: ratio * sigma * sigma))
  }
}
