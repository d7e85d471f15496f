import AIPOKernels

/// The covariance C of a Gaussian over images, with what its products and its inverse's take.
public enum GaussianCovariance: Sendable {
  /// C, C⁻¹ and the Cholesky factor of C, d × d each.
  case dense(Matrix, inverse: Matrix, factor: Cholesky)
  /// Alike in all places, by Fourier transforms.
  case stationary(StationaryCovariance)

  /// Throws where C isn't positive definite.
  public init(_ matrix: Matrix) throws(LinearAlgebraError) {
    let factor = try Cholesky(matrix)
    guard factor.logDeterminant.isFinite else { throw .notPositiveDefinite(order: matrix.rows) }
    self = .dense(matrix, inverse: try factor.inverse(), factor: factor)
  }

  /// d, over ranks of the whole image.
  public var order: Int {
    switch self {
    case .dense(let matrix, _, _): matrix.rows
    case .stationary(let covariance): covariance.order
    }
  }

  public var logDeterminant: Double {
    switch self {
    case .dense(_, _, let factor): factor.logDeterminant
    case .stationary(let covariance): covariance.logDeterminant
    }
  }

  /// The diagonal of C⁻¹.
  public func inverseDiagonal() throws(TensorError) -> Tensor<Double> {
    switch self {
    case .dense(_, let inverse, _): return try Tensor((0..<inverse.rows).map { inverse[$0, $0] })
    case .stationary(let covariance):
      // The mean over channels.
      var result = try Tensor<Double>(count: covariance.shape.count)
      result.withMemory { $0.set(covariance.trace { 1 / $0 } / Double(order)) }
      return result
    }
  }

  /// `y ← C⁻¹x`. y isn't x.
  public func multiplyInverse(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    switch self {
    case .dense(_, let inverse, _): inverse.multiplySymmetric(x, into: y)
    case .stationary(let covariance): try covariance.apply({ 1 / $0 }, x, into: y, scratch)
    }
  }

  /// `x ← Rx` of a root, C = RRᵀ.
  public func multiplyRoot(_ x: Vector, _ scratch: Scratch) throws {
    switch self {
    case .dense(_, _, let factor): factor.multiplyFactor(x)
    case .stationary(let covariance): try covariance.apply({ $0.squareRoot() }, x, into: x, scratch)
    }
  }
}
