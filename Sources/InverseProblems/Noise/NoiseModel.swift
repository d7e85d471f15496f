import AIPOKernels

/// The law of the measurements given the noiseless ones, `p(y | f(x))`; the data term is its negative log.
///
/// A model serves any number of measurements unless it knows a number of its own (one deviation a measurement).
public protocol NoiseModel: Sendable {
  /// `−log p(y | prediction)` in nats with all constants, and its gradient in the prediction. Not finite where
  /// the density isn't.
  func negativeLogLikelihood(_ y: [Double], prediction: [Double]) throws(ProblemError)
    -> (value: Double, gradient: [Double])

  /// A draw of y.
  func sample(prediction: [Double], random: inout Philox) throws(ProblemError) -> [Double]

  /// The Gaussian noise of the same mean and covariance, as far as y tells them: closed forms take it in place
  /// of this noise.
  func matched(_ y: [Double]) -> GaussianNoise

  /// The Gaussian noise whose constant second derivative, `Σ⁻¹`, is typical of this noise's: preconditioners
  /// take it. By default the matched one.
  func curvature(_ y: [Double]) -> GaussianNoise

  /// Whether `matched` and `curvature` differ from one y to another.
  var dependsOnSignal: Bool { get }

  /// Whether the score `∂(−log p)/∂f` of a measurement is bounded, however far off it is.
  var hasBoundedScore: Bool { get }

  /// σ, where the law has one.
  var scale: Double? { get }

  /// How much larger `y − prediction` is than the law leads to expect: about 1 where the prediction is what was
  /// measured, below 1 where it follows y closer. An average over the measurements, of which those that a law
  /// takes for outliers don't count.
  func misfit(_ y: [Double], prediction: [Double]) -> Double

  /// The law of the measurements at these positions alone.
  func restricted(to positions: [Int]) throws(ProblemError) -> any NoiseModel

  /// Throws where y can't be measurements of this law.
  func check(_ y: [Double]) throws(ProblemError)
}

extension NoiseModel {
  public func curvature(_ y: [Double]) -> GaussianNoise { matched(y) }
  public var dependsOnSignal: Bool { false }
  public var hasBoundedScore: Bool { false }
  public var scale: Double? { nil }

  /// By the Gaussian noise of the same covariance.
  public func misfit(_ y: [Double], prediction: [Double]) -> Double {
    matched(y).misfit(y, prediction: prediction)
  }

  public func restricted(to positions: [Int]) throws(ProblemError) -> any NoiseModel { self }
  public func check(_ y: [Double]) throws(ProblemError) {}

  /// Whether it is Gaussian noise of mean 0 and covariance σ²I.
  public var isWhiteGaussian: Bool {
    guard let gaussian = self as? GaussianNoise, gaussian.mean.isEmpty else { return false }
    if case .isotropic = gaussian.covariance { return true }
    return false
  }
}

/// A law under which the measurements are independent and alike: a user's own needs one measurement's density
/// and a draw.
public protocol IndependentNoise: NoiseModel {
  /// `−log p(y | prediction)` of one measurement, and its derivative in the prediction.
  func negativeLogLikelihood(_ y: Double, prediction: Double) -> (value: Double, derivative: Double)

  /// A draw of one measurement.
  func sample(prediction: Double, random: inout Philox) -> Double
}

extension IndependentNoise {
  public func negativeLogLikelihood(_ y: [Double], prediction: [Double])
    -> (value: Double, gradient: [Double])
  {
    precondition(y.count == prediction.count)
    var sum = 0.0
    var gradient = prediction
    for i in gradient.indices {
      let (value, derivative) = negativeLogLikelihood(y[i], prediction: prediction[i])
      sum += value
      gradient[i] = derivative
    }
    return (sum, gradient)
  }

  public func sample(prediction: [Double], random: inout Philox) -> [Double] {
    prediction.map { sample(prediction: $0, random: &random) }
  }
}

/// Throws `invalidParameter` for what isn't a number in a range.
func requireParameter(_ name: String, _ value: Double, in range: ClosedRange<Double>) throws(ProblemError) {
  guard range.contains(value) else {
    throw .invalidParameter(
      name: name, value: value, expected: "a number from \(range.lowerBound) to \(range.upperBound)")
  }
}
