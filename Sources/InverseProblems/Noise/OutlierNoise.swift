import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Independent Gaussian noise in which a share of the measurements tells nothing of the image: a mixture of a
/// Gaussian and a uniform density on [a, b],
///
///     −log p = −log((1 − share)·N(y; f(x), σ²) + share·[a ≤ y ≤ b]/(b − a))
///
/// Draws are salt and pepper: an outlier is a or b, each with probability ½.
public struct OutlierNoise: IndependentNoise {
  public let sigma: Double
  public let share: Double
  /// [a, b].
  public let range: ClosedRange<Double>

  public static let shareRange = 0.0...0.999

  /// σ as for Gaussian noise; the range must have a finite width above 0.
  public init(sigma: Double, share: Double, range: ClosedRange<Double> = 0...1) throws(ProblemError) {
    _ = try GaussianNoise(sigma: sigma)
    try requireParameter("the share of outliers", share, in: Self.shareRange)
    let width = range.upperBound - range.lowerBound
    guard width > 0, width.isFinite else {
      throw .invalidParameter(
        name: "the width of the outliers' range", value: width, expected: "a finite number above 0")
    }
    self.sigma = sigma
    self.share = share
    self.range = range
  }

  private var width: Double { range.upperBound - range.lowerBound }

  public func negativeLogLikelihood(_ y: Double, prediction: Double) -> (value: Double, derivative: Double) {
    let r = (prediction - y) / sigma
    let inlier = log1p(-share) - 0.5 * r * r - log(sigma) - 0.5 * log(2 * Double.pi)
    guard range.contains(y), share > 0 else { return (-inlier, r / sigma) }
    let outlier = log(share / width)
    let top = max(inlier, outlier)
    let sum = exp(inlier - top) + exp(outlier - top)
    // The Gaussian's pull, weighted by the probability that this is no outlier.
    return (-top - log(sum), exp(inlier - top) / sum * r / sigma)
  }

  public func sample(prediction: Double, random: inout Philox) -> Double {
    let noise = random.normal()
    let draw = random.uniform()
    guard draw < share else { return prediction + sigma * noise }
    return draw < share / 2 ? range.lowerBound : range.upperBound
  }

  public var scale: Double? { sigma }

  /// Root mean square of the residuals over σ without the largest, which are as many as outliers may be: their
  /// expected number and three deviations of it. 0 where none is left.
  public func misfit(_ y: [Double], prediction: [Double]) -> Double {
    let squares = y.indices.map { pow((y[$0] - prediction[$0]) / sigma, 2) }.sorted()
    let count = Double(squares.count)
    let outliers = (share * count + 3 * (share * (1 - share) * count).squareRoot()).rounded(.up)
    let inliers = squares.prefix(max(squares.count - Int(outliers), 0))
    return inliers.isEmpty ? 0 : (inliers.reduce(0, +) / Double(inliers.count)).squareRoot()
  }

  /// An outlier is off by (b − a)²/3 in the mean square, where f(x) is anywhere in the range.
  public func matched(_ y: [Double]) -> GaussianNoise {
    GaussianNoise(checked: .isotropic(variance: (1 - share) * sigma * sigma + share * width * width / 3))
  }

  /// That of a measurement that is no outlier.
  public func curvature(_ y: [Double]) -> GaussianNoise {
    GaussianNoise(checked: .isotropic(variance: sigma * sigma))
  }
}
