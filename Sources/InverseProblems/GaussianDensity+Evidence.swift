import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

extension GaussianDensity {
  /// The deviation σ of white noise under which the measurements of an image are the most probable,
  ///
  ///     y ~ N(Aμ, ACAᵀ + σ²I)
  ///
  /// at least `NoiseEstimate.floor` and at most the measurements' own root mean square. By the eigenvalues of
  /// ACAᵀ, m × m. An image that the Gaussian doesn't know well looks noisier than it is, one that it knows too
  /// well less: the estimate is a first guess.
  public func evidenceSigma(_ y: [Double], linearOperator a: any LinearOperator) throws(ProblemError)
    -> Double
  {
    let residual = adding(y, a.apply(mean), scaledBy: -1)
    let matrix = try a.matrix()
    let (values, vectors) = try algebra { () throws(LinearAlgebraError) in
      try projected(matrix).symmetricEigen()
    }
    let squares = vectors.transposedTimes(residual).map { $0 * $0 }
    func cost(_ logSigma: Double) -> Double {
      let variance = exp(2 * logSigma)
      return values.indices.reduce(0.0) {
        let total = max(values[$1], 0) + variance
        return $0 + log(total) + squares[$1] / total
      }
    }
    let least = log(NoiseEstimate.floor)
    let greatest = max(0.5 * log(dot(y, y) / Double(max(y.count, 1)) + 1e-300), least)
    // There can be several minima: the lowest of a grid, and between its neighbours.
    let count = 60
    let step = (greatest - least) / Double(count)
    let best = (0...count).map { least + Double($0) * step }.min { cost($0) < cost($1) } ?? least
    var (low, high) = (max(best - step, least), min(best + step, greatest))
    for _ in 0..<40 {
      let third = (high - low) / 3
      if cost(low + third) < cost(high - third) { high -= third } else { low += third }
    }
    return exp(0.5 * (low + high))
  }

  /// `ACAᵀ`.
  private func projected(_ a: Matrix) throws(LinearAlgebraError) -> Matrix {
    switch covariance {
    case .dense(let c): return try a.times(c).timesTransposed(a)
    case .lowRank(let factor, let diagonal):
      let wide = try a.times(factor)
      var result = try wide.timesTransposed(wide)
      let scaled = try Matrix(rows: a.rows, columns: a.columns) { a[$0, $1] * diagonal[$1] }
      result.add(try scaled.timesTransposed(a), scaledBy: 1)
      return result
    }
  }
}
