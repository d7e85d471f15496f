import AIPOFlows
import AIPOKernels
import AIPOPlatform

/// N(μ, C) over images on [0, 1], in double precision: a prior with closed-form solutions. Over ranks each has a strip of the
/// image's rows, where C is stationary; `imageShape` is that of the strip.
public final class GaussianPrior: Prior {
  public let imageShape: ImageShape
  /// μ
  public let mean: Tensor<Double>
  public let covariance: GaussianCovariance
  /// The diagonal of C⁻¹; of a stationary C, its mean.
  public let precisionDiagonal: Tensor<Double>
  /// `−log p(μ) = ½(d log 2π + log det C)`.
  public let negativeLogPeak: Double

  /// Throws where shapes differ, values aren't finite or C isn't positive definite.
  public convenience init(imageShape: ImageShape, mean: [Double], covariance: Matrix) throws(ProblemError) {
    let d = imageShape.count
    guard covariance.rows == d, covariance.columns == d else {
      throw .shapeMismatch(
        what: "covariance of the Gaussian prior", found: [covariance.rows, covariance.columns],
        expected: [d, d])
    }
    try self.init(
      imageShape, mean: mean,
      covariance: try algebra { () throws(LinearAlgebraError) in try GaussianCovariance(covariance) })
  }

  /// Images of one mean a channel and a covariance that is alike in all places. Throws where there isn't one mean a channel
  /// or it isn't finite.
  public convenience init(channelMeans: [Double], covariance: StationaryCovariance) throws(ProblemError) {
    let shape = covariance.shape
    guard channelMeans.count == shape.channels else {
      throw .shapeMismatch(
        what: "means of the Gaussian prior's channels", found: [channelMeans.count],
        expected: [shape.channels])
    }
    try self.init(
      shape, mean: (0..<shape.count).map { channelMeans[$0 % shape.channels] },
      covariance: .stationary(covariance))
  }

  private init(_ shape: ImageShape, mean: [Double], covariance: GaussianCovariance) throws(ProblemError) {
    guard mean.count == shape.count else {
      throw .shapeMismatch(what: "mean of the Gaussian prior", found: [mean.count], expected: [shape.count])
    }
    if let bad = mean.firstIndex(where: { !$0.isFinite }) {
      throw .nonFinite(what: "mean of the Gaussian prior", image: 0, position: bad, value: mean[bad])
    }
    imageShape = shape
    self.covariance = covariance
    negativeLogPeak = 0.5 * (Double(covariance.order) * log(2 * Double.pi) + covariance.logDeterminant)
    do {
      self.mean = try Tensor(mean)
      precisionDiagonal = try covariance.inverseDiagonal()
    } catch {
      throw .memory(error)
    }
  }

  /// `−log N(x; μ, C)` in nats and its gradient `C⁻¹(x − μ)`.
  public func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let offset = try scratch.take(count)
      let slope = try gradient ?? scratch.take(count)
      offset.setDifference(x, mean.view, scratch.pool)
      try covariance.multiplyInverse(offset, into: slope, scratch)
      return 0.5 * offset.dot(slope, scratch.pool) + negativeLogPeak
    }
  }

  /// A draw `μ + C^½ ε`, keyed by the image's index.
  public func sample(
    seed: UInt64, index: Int, purpose: RandomPurpose = .sample, into x: Vector, _ scratch: Scratch
  ) throws {
    var random = Philox(seed: seed, index: UInt64(index), purpose: purpose)
    try draw(into: x, &random, scratch)
  }
}
