import AIPOFlows
import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The covariance of a Gaussian over images of d values.
public enum GaussianCovariance: Sendable, Equatable {
  /// d × d, symmetric positive definite.
  case dense(Matrix)
  /// `U Uᵀ + diag(v)` with a d × r factor and v > 0: for images too large for d × d.
  case lowRank(factor: Matrix, diagonal: [Double])
}

/// N(μ, C) over images on [0, 1], in double precision: a prior with closed-form solutions.
public final class GaussianDensity: Sendable {
  public let imageShape: ImageShape
  public let mean: [Double]
  public let covariance: GaussianCovariance
  /// `−log p(μ) = ½(d log 2π + log det C)`.
  public let negativeLogPeak: Double

  enum Inverse: Sendable {
    /// C⁻¹ and the Cholesky factor of C.
    case dense(precision: Matrix, factor: Cholesky)
    /// `C⁻¹ = diag(1/v) − W Wᵀ`.
    case lowRank(factor: Matrix, reciprocal: [Double])
  }
  let inverse: Inverse

  /// Throws where shapes differ, values aren't finite or C isn't positive definite.
  public init(imageShape: ImageShape, mean: [Double], covariance: GaussianCovariance)
    throws(ProblemError)
  {
    let d = imageShape.count
    guard mean.count == d else {
      throw .shapeMismatch(what: "mean of the Gaussian prior", found: [mean.count], expected: [d])
    }
    if let bad = mean.firstIndex(where: { !$0.isFinite }) {
      throw .nonFinite(what: "mean of the Gaussian prior", image: 0, position: bad, value: mean[bad])
    }
    self.imageShape = imageShape
    self.mean = mean
    self.covariance = covariance
    var logDeterminant = 0.0
    switch covariance {
    case .dense(let matrix):
      guard matrix.rows == d, matrix.columns == d else {
        throw .shapeMismatch(
          what: "covariance of the Gaussian prior", found: [matrix.rows, matrix.columns],
          expected: [d, d])
      }
      let (precision, factor) = try algebra { () throws(LinearAlgebraError) in
        let factor = try Cholesky(matrix)
        return (try factor.inverse(), factor)
      }
      logDeterminant = factor.logDeterminant
      inverse = .dense(precision: precision, factor: factor)
    case .lowRank(let factor, let diagonal):
      guard factor.rows == d, diagonal.count == d else {
        throw .shapeMismatch(
          what: "covariance factor of the Gaussian prior", found: [factor.rows, diagonal.count],
          expected: [d, d])
      }
      if let bad = diagonal.firstIndex(where: { !($0 > 0) || !$0.isFinite }) {
        throw .nonFinite(
          what: "covariance diagonal of the Gaussian prior", image: 0, position: bad,
          value: diagonal[bad])
      }
      // C⁻¹ = D⁻¹ − D⁻¹U (I + UᵀD⁻¹U)⁻¹ UᵀD⁻¹ and det C = det D · det(I + UᵀD⁻¹U).
      let (core, root) = try algebra { () throws(LinearAlgebraError) in
        let scaled = try Matrix(rows: d, columns: factor.columns) { factor[$0, $1] / diagonal[$0] }
        var core = try factor.transposedTimes(scaled)
        core.addToDiagonal(1)
        let cholesky = try Cholesky(core)
        return (cholesky, cholesky.rightSolveTransposed(scaled))
      }
      logDeterminant = core.logDeterminant + diagonal.reduce(0.0) { $0 + log($1) }
      inverse = .lowRank(factor: root, reciprocal: diagonal.map { 1 / $0 })
    }
    guard logDeterminant.isFinite else {
      throw .algebra(.notPositiveDefinite(order: d))
    }
    negativeLogPeak = 0.5 * (Double(d) * log(2 * Double.pi) + logDeterminant)
  }

  /// `C⁻¹v`.
  public func precisionTimes(_ v: [Double]) -> [Double] {
    switch inverse {
    case .dense(let precision, _): return precision.symmetricTimes(v)
    case .lowRank(let factor, let reciprocal):
      let inner = factor.times(factor.transposedTimes(v))
      return v.indices.map { reciprocal[$0] * v[$0] - inner[$0] }
    }
  }

  /// The diagonal of C⁻¹.
  public var precisionDiagonal: [Double] {
    switch inverse {
    case .dense(let precision, _): return mean.indices.map { precision[$0, $0] }
    case .lowRank(let factor, let reciprocal):
      return reciprocal.indices.map { i in
        (0..<factor.columns).reduce(reciprocal[i]) { $0 - factor[i, $1] * factor[i, $1] }
      }
    }
  }

  /// `−log N(x; μ, C)` in nats and its gradient `C⁻¹(x − μ)`.
  public func negativeLogProb(_ x: [Double]) -> (value: Double, gradient: [Double]) {
    let offset = adding(x, mean, scaledBy: -1)
    let gradient = precisionTimes(offset)
    return (0.5 * dot(offset, gradient) + negativeLogPeak, gradient)
  }

  /// A draw `μ + C^½ ε`, keyed by the image's index.
  public func sample(seed: UInt64, index: Int, purpose: RandomPurpose = .sample) -> [Double] {
    var random = Philox(seed: seed, index: UInt64(index), purpose: purpose)
    var x = mean
    switch (covariance, inverse) {
    case (_, .dense(_, let factor)):
      x = adding(x, factor.factorTimes(x.indices.map { _ in random.normal() }), scaledBy: 1)
    case (.lowRank(let factor, let diagonal), _):
      for i in x.indices { x[i] += diagonal[i].squareRoot() * random.normal() }
      x = adding(x, factor.times((0..<factor.columns).map { _ in random.normal() }), scaledBy: 1)
    case (.dense, .lowRank): preconditionFailure("covariance and its inverse are made together")
    }
    return x
  }

  /// `H⁻¹` for `H = dataWeight·AᵀA + λC⁻¹`, the curvature of the objective under this prior. Where H would
  /// need a matrix of more than d = 4096, C⁻¹ is taken as its diagonal.
  public func curvatureSolver(
    for linearOperator: any LinearOperator, dataWeight: Double, lambda: Double
  ) throws(ProblemError) -> any CurvatureSolver {
    let d = imageShape.count
    switch inverse {
    case .dense(let precision, _) where d <= 4096:
      return try algebra { () throws(LinearAlgebraError) in
        var h = precision
        h.scale(by: lambda)
        switch linearOperator.form {
        case .selection(let positions, let scale):
          for (k, i) in positions.enumerated() { h[i, i] += dataWeight * scale[k] * scale[k] }
        case .dense(let a): h.add(try a.transposedTimes(a), scaledBy: dataWeight)
        case .general:
          for j in 0..<d {
            var basis = [Double](repeating: 0, count: d)
            basis[j] = 1
            let column = linearOperator.adjoint(linearOperator.apply(basis))
            for i in 0..<d { h[i, j] += dataWeight * column[i] }
          }
        }
        return InverseCurvature(inverse: try Cholesky(h).inverse())
      }
    case .lowRank(let factor, let reciprocal):
      guard case .selection(let positions, let scale) = linearOperator.form else { break }
      return try algebra { () throws(LinearAlgebraError) in
        var diagonal = reciprocal.map { lambda * $0 }
        for (k, i) in positions.enumerated() { diagonal[i] += dataWeight * scale[k] * scale[k] }
        var scaled = factor
        scaled.scale(by: lambda.squareRoot())
        return try LowRankCurvature(diagonal: diagonal, factor: scaled)
      }
    default: break
    }
    return try linearOperator.curvatureSolver(
      dataWeight: dataWeight, damping: precisionDiagonal.map { lambda * $0 })
  }
}

/// `GaussianDensity` as a prior in the scalar type of a flow.
public struct GaussianPrior<Scalar: KernelScalar>: ImagePrior {
  public let density: GaussianDensity
  public var imageShape: ImageShape { density.imageShape }

  public init(_ density: GaussianDensity) { self.density = density }

  public func evaluate(_ x: Tensor<Scalar>) throws -> [Double] {
    try evaluateWithGradient(x).logProb
  }

  public func evaluateWithGradient(_ x: Tensor<Scalar>) throws
    -> (logProb: [Double], gradient: Tensor<Scalar>)
  {
    guard x.rowLength == imageShape.count || x.count == 0 else {
      throw TensorError.shapeMismatch(
        what: "image batch", found: x.shape,
        expected: [x.shape.first ?? 0, imageShape.height, imageShape.width, imageShape.channels])
    }
    let d = imageShape.count
    var gradient = try Tensor<Scalar>(shape: x.shape)
    var logProb: [Double] = []
    for i in 0..<(x.count / d) {
      let row = x.withUnsafeBufferPointer { $0[(i * d)..<((i + 1) * d)].map { Double($0) } }
      let (value, slope) = density.negativeLogProb(row)
      logProb.append(-value)
      gradient.withUnsafeMutableBufferPointer { g in
        for k in 0..<d { g[i * d + k] = Scalar(-slope[k]) }
      }
    }
    return (logProb, gradient)
  }
}
