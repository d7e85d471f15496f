import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Estimates the deviation σ of Gaussian noise from the measurements of one image, by maximum likelihood under a
/// Gaussian prior: `y ~ N(Aμ, A C Aᵀ + σ²I)`. One eigendecomposition an operator, none an image.
///
/// In the eigenbasis of A C Aᵀ = U diag(λ) Uᵀ, with r = Uᵀ(y − Aμ), it is the s = σ² that minimises
/// `½ Σᵢ (log(λᵢ + s) + rᵢ²/(λᵢ + s))`: the directions in which images hardly vary tell the noise.
public struct NoiseEstimate: Sendable {
  /// The most measurements for which the decomposition is made.
  public static let limit = 4096

  /// The least σ that is given: the deviation of rounding to 8 bits. Where the noise is weaker than what the Gaussian
  /// leaves unexplained, as with few measurements of a clean image, the likelihood can't tell it.
  public static let floor = 1 / (256 * 12.0.squareRoot())

  private let linearOperator: any LinearOperator
  private let expected: [Double]
  private let values: [Double]
  private let vectors: Matrix

  /// Throws `invalidWeight` where there are no measurements or more than `limit`, or where a factorisation fails.
  public init(_ density: GaussianDensity, linearOperator: any LinearOperator) throws(ProblemError) {
    let m = linearOperator.outputCount
    guard m > 0, m <= Self.limit else {
      throw .invalidWeight(what: "number of measurements to estimate sigma from", value: Double(m))
    }
    let spread = try Self.covariance(density, linearOperator)
    let (values, vectors) = try algebra { () throws(LinearAlgebraError) in try spread.symmetricEigen() }
    self.linearOperator = linearOperator
    self.values = values.map { max($0, 0) }
    self.vectors = vectors
    expected = linearOperator.apply(density.mean)
  }

  /// σ for the measurements of one image, between `floor` and 1e3.
  public func sigma(_ y: [Double]) -> Double {
    let residual = zip(y, expected).map { $0 - $1 }
    let squares = vectors.transposedTimes(residual).map { $0 * $0 }
    func cost(_ logVariance: Double) -> Double {
      let s = exp(logVariance)
      var sum = 0.0
      for (value, square) in zip(values, squares) { sum += log(value + s) + square / (value + s) }
      return sum
    }
    // The cost may have several minima: a grid finds the lowest one's valley, golden sections its bottom.
    let (low, high) = (2 * log(Self.floor), log(1e6))
    let count = 240
    let width = (high - low) / Double(count)
    let best = (0...count).min { cost(low + Double($0) * width) < cost(low + Double($1) * width) } ?? 0
    var a = max(low, low + Double(best - 1) * width)
    var b = min(high, low + Double(best + 1) * width)
    let golden = (5.0.squareRoot() - 1) / 2
    while b - a > 1e-6 {
      let (left, right) = (b - golden * (b - a), a + golden * (b - a))
      if cost(left) < cost(right) { b = right } else { a = left }
    }
    return exp((a + b) / 4)
  }

  /// `A C Aᵀ`.
  private static func covariance(_ density: GaussianDensity, _ a: any LinearOperator) throws(ProblemError)
    -> Matrix
  {
    switch (density.covariance, a.form) {
    case (.dense(let c), .selection(let kept)):
      return try algebra { () throws(LinearAlgebraError) in
        try Matrix(rows: kept.count, columns: kept.count) { c[kept[$0], kept[$1]] }
      }
    case (.lowRank(let factor, let diagonal), .selection(let kept)):
      return try algebra { () throws(LinearAlgebraError) in
        let rows = try Matrix(rows: kept.count, columns: factor.columns) { factor[kept[$0], $1] }
        var result = try rows.timesTransposed(rows)
        for (k, i) in kept.enumerated() { result[k, k] += diagonal[i] }
        return result
      }
    case (.dense(let c), _):
      let matrix = try a.matrix()
      return try algebra { () throws(LinearAlgebraError) in try matrix.times(c).timesTransposed(matrix) }
    case (.lowRank(let factor, let diagonal), _):
      let matrix = try a.matrix()
      return try algebra { () throws(LinearAlgebraError) in
        let rows = try matrix.times(factor)
        var result = try rows.timesTransposed(rows)
        let weighted = try Matrix(rows: matrix.rows, columns: matrix.columns) {
          matrix[$0, $1] * diagonal[$1]
        }
        result.add(try weighted.timesTransposed(matrix), scaledBy: 1)
        return result
      }
    }
  }
}
