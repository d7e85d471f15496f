import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The law of the measurements given the noiseless ones, `p(y | f(x))`; the data term is its negative log.
public protocol NoiseModel: Sendable {
  /// `−log p(y | prediction)` in nats with all constants, and its gradient in the prediction.
  func negativeLogLikelihood(_ y: [Double], prediction: [Double]) -> (value: Double, gradient: [Double])

  /// A typical second derivative in one prediction: 1/σ² for Gaussian noise. Preconditioners use it.
  var curvature: Double { get }
}

/// Independent Gaussian noise of deviation σ:
/// `‖y − f(x)‖² / (2σ²) + (m/2) log 2πσ²`, so that λ = 1 is the exact MAP weight.
public struct GaussianNoise: NoiseModel, Hashable {
  public let sigma: Double

  /// σ must be finite and above 0, and σ² and 1/σ² must be representable.
  public init(sigma: Double) throws(ProblemError) {
    guard sigma.isFinite, sigma > 0, (sigma * sigma).isNormal, (1 / (sigma * sigma)).isFinite else {
      throw .invalidSigma(sigma)
    }
    self.sigma = sigma
  }

  public var variance: Double { sigma * sigma }
  public var curvature: Double { 1 / variance }

  public func negativeLogLikelihood(_ y: [Double], prediction: [Double])
    -> (value: Double, gradient: [Double])
  {
    precondition(y.count == prediction.count)
    var square = 0.0
    var gradient = prediction
    let weight = curvature
    for i in gradient.indices {
      let r = prediction[i] - y[i]
      square += r * r
      gradient[i] = r * weight
    }
    let constant = 0.5 * Double(y.count) * (log(2 * Double.pi) + 2 * log(sigma))
    return (0.5 * square * weight + constant, gradient)
  }
}
