import AIPOKernels
import AIPOPlatform
import AIPOPriors

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
  public func misfit(_ y: Vector, prediction: Vector, _ scratch: Scratch) throws -> Double {
    let count = Double(y.count)
    let outliers = (share * count + 3 * (share * (1 - share) * count).squareRoot()).rounded(.up)
    let inliers = y.count - Int(outliers)
    guard inliers > 0 else { return 0 }
    return try scratch.scope {
      let residual = try scratch.take(y.count)
      residual.setDifference(y, prediction, scratch.pool)
      let largest = residual.magnitude(ranked: inliers - 1)
      // Of those that are as large as the largest of them, as many as are left.
      let below = residual.total(scratch.pool) { $0.magnitude < largest ? 1 : 0 }
      let square = residual.total(scratch.pool) { $0.magnitude < largest ? $0 * $0 : 0 }
      let sum = square + (Double(inliers) - below) * largest * largest
      return (sum / Double(inliers)).squareRoot() / sigma
    }
  }

  /// An outlier is off by (b − a)²/3 in the mean square, where f(x) is anywhere in the range.
  public func matched(_ y: Vector) -> GaussianNoise {
    GaussianNoise(checked: .isotropic(variance: (1 - share) * sigma * sigma + share * width * width / 3))
  }

  /// That of a measurement that is no outlier.
  public func curvature(_ y: Vector) -> GaussianNoise {
    GaussianNoise(checked: .isotropic(variance: sigma * sigma))
  }
}
