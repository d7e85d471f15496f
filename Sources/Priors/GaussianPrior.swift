import AIPOFlows
import AIPOKernels
import AIPOPlatform

/// N(μ, C) over images on [0, 1], in double precision: a prior with closed-form solutions.
public final class GaussianPrior: Prior {
  public let imageShape: ImageShape
  /// μ
  public let mean: Tensor<Double>
  /// C, d × d.
  public let covariance: Matrix
  /// C⁻¹
  public let precision: Matrix
  /// The diagonal of C⁻¹.
  public let precisionDiagonal: Tensor<Double>
  /// `−log p(μ) = ½(d log 2π + log det C)`.
  public let negativeLogPeak: Double
  private let factor: Cholesky

  /// Throws where shapes differ, values aren't finite or C isn't positive definite.
  public init(imageShape: ImageShape, mean: [Double], covariance: Matrix) throws(ProblemError) {
    let d = imageShape.count
    guard mean.count == d else {
      throw .shapeMismatch(what: "mean of the Gaussian prior", found: [mean.count], expected: [d])
    }
    if let bad = mean.firstIndex(where: { !$0.isFinite }) {
      throw .nonFinite(what: "mean of the Gaussian prior", image: 0, position: bad, value: mean[bad])
    }
    guard covariance.rows == d, covariance.columns == d else {
      throw .shapeMismatch(
        what: "covariance of the Gaussian prior", found: [covariance.rows, covariance.columns],
        expected: [d, d])
    }
    self.imageShape = imageShape
    self.covariance = covariance
    let (factor, precision) = try algebra { () throws(LinearAlgebraError) in
      let factor = try Cholesky(covariance)
      return (factor, try factor.inverse())
    }
    self.factor = factor
    self.precision = precision
    guard factor.logDeterminant.isFinite else { throw .algebra(.notPositiveDefinite(order: d)) }
    negativeLogPeak = 0.5 * (Double(d) * log(2 * Double.pi) + factor.logDeterminant)
    do {
      self.mean = try Tensor(mean)
      precisionDiagonal = try Tensor((0..<d).map { precision[$0, $0] })
    } catch {
      throw .memory(error)
    }
  }

  /// `y ← C⁻¹v`
  public func multiplyPrecision(_ v: Vector, into y: Vector, _ scratch: Scratch) throws {
    precision.multiplySymmetric(v, into: y)
  }

  /// `−log N(x; μ, C)` in nats and its gradient `C⁻¹(x − μ)`.
  public func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let offset = try scratch.take(count)
      let slope = try gradient ?? scratch.take(count)
      offset.setDifference(x, mean.view, scratch.pool)
      try multiplyPrecision(offset, into: slope, scratch)
      return 0.5 * offset.dot(slope, scratch.pool) + negativeLogPeak
    }
  }

  /// A draw `μ + C^½ ε`, keyed by the image's index.
  public func sample(seed: UInt64, index: Int, purpose: RandomPurpose = .sample, into x: Vector) {
    var random = Philox(seed: seed, index: UInt64(index), purpose: purpose)
    for i in 0..<count { x[i] = random.normal() }
    factor.multiplyFactor(x)
    x.add(mean.view)
  }
}
