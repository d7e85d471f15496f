import AIPOKernels
import AIPOPriors

/// The law of the measurements given the noiseless ones, `p(y | f(x))`; the data term is its negative log.
///
/// A model serves any number of measurements unless it knows a number of its own (one deviation a measurement).
public protocol NoiseModel: Sendable {
  /// `−log p(y | prediction)` in nats with all constants, and its gradient in the prediction. `gradient` may be
  /// `prediction`. Not finite where the density isn't.
  func negativeLogLikelihood(_ y: Vector, prediction: Vector, gradient: Vector, _ scratch: Scratch) throws
    -> Double

  /// `y ←` a draw. y may be `prediction`.
  func sample(prediction: Vector, into y: Vector, random: inout Philox, _ scratch: Scratch) throws

  /// The Gaussian noise of the same mean and covariance, as far as y tells them: closed forms take it in place
  /// of this noise.
  func matched(_ y: Vector) throws(ProblemError) -> GaussianNoise

  /// The Gaussian noise whose constant second derivative, `Σ⁻¹`, is typical of this noise's: preconditioners
  /// take it. By default the matched one.
  func curvature(_ y: Vector) throws(ProblemError) -> GaussianNoise

  /// Whether `matched` and `curvature` differ from one y to another.
  var dependsOnSignal: Bool { get }

  /// Whether the score `∂(−log p)/∂f` of a measurement is bounded, however far off it is.
  var hasBoundedScore: Bool { get }

  /// σ, where the law has one.
  var scale: Double? { get }

  /// How much larger `y − prediction` is than the law leads to expect: about 1 where the prediction is what was
  /// measured, below 1 where it follows y closer. An average over the measurements, of which those that a law
  /// takes for outliers don't count.
  func misfit(_ y: Vector, prediction: Vector, _ scratch: Scratch) throws -> Double

  /// The law of the measurements at these positions alone.
  func restricted(to positions: [Int]) throws(ProblemError) -> any NoiseModel

  /// Throws where y can't be measurements of this law.
  func check(_ y: Vector) throws(ProblemError)
}

extension NoiseModel {
  public func curvature(_ y: Vector) throws(ProblemError) -> GaussianNoise { try matched(y) }
  public var dependsOnSignal: Bool { false }
  public var hasBoundedScore: Bool { false }
  public var scale: Double? { nil }

  /// By the Gaussian noise of the same covariance.
  public func misfit(_ y: Vector, prediction: Vector, _ scratch: Scratch) throws -> Double {
    try matched(y).misfit(y, prediction: prediction, scratch)
  }

  public func restricted(to positions: [Int]) throws(ProblemError) -> any NoiseModel { self }
  public func check(_ y: Vector) throws(ProblemError) {}
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
  public func negativeLogLikelihood(_ y: Vector, prediction: Vector, gradient: Vector, _ scratch: Scratch)
    -> Double
  {
    precondition(y.count == prediction.count && gradient.count == y.count)
    return gradient.setEachSumming(y, prediction, scratch.pool) {
      let (value, derivative) = negativeLogLikelihood($0, prediction: $1)
      return (derivative, value)
    }
  }

  public func sample(prediction: Vector, into y: Vector, random: inout Philox, _ scratch: Scratch) {
    for i in 0..<y.count { y[i] = sample(prediction: prediction[i], random: &random) }
  }
}

/// Throws `invalidParameter` for what isn't a number in a range.
func requireParameter(_ name: String, _ value: Double, in range: ClosedRange<Double>) throws(ProblemError) {
  guard range.contains(value) else {
    throw .invalidParameter(
      name: name, value: value,
      expected:
        "a number from \(ProblemError.number(range.lowerBound)) to \(ProblemError.number(range.upperBound))")
  }
}
