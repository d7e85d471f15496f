import AIPOKernels

/// Mean and covariance of the images that a model was trained on, with the variance of their
/// dequantisation noise: the Gaussian that solvers start from.
public struct ImageStatistics: Sendable, Equatable {
  /// `[d]`, on [0, 1].
  public var mean: [Float]
  public var covariance: Covariance

  public enum Covariance: Sendable, Equatable {
    /// The lower triangle row by row, `[d(d+1)/2]`: `C[i][j]` is element `i(i+1)/2 + j`, j ≤ i.
    case full(lowerTriangle: [Float])
    /// `C = FᵀF + diag(v)` with F `[r, d]` row-major and v `[d]` > 0.
    case lowRank(factors: [Float], diagonal: [Float])
  }

  /// Larger images have a low-rank covariance.
  public static let fullLimit = 4096

  public init(mean: [Float], covariance: Covariance) {
    self.mean = mean
    self.covariance = covariance
  }

  /// Values in an image.
  public var dimensions: Int { mean.count }

  /// The variance of value i.
  func variance(of i: Int) -> Double {
    switch covariance {
    case .full(let triangle): return Double(triangle[i * (i + 3) / 2])
    case .lowRank(let factors, let diagonal):
      let d = mean.count
      return stride(from: i, to: factors.count, by: d).reduce(Double(diagonal[i])) {
        $0 + Double(factors[$1]) * Double(factors[$1])
      }
    }
  }

  /// The covariance as `[d·d]`, row-major, in double.
  public var covarianceMatrix: [Double] {
    let d = mean.count
    var result = [Double](repeating: 0, count: d * d)
    switch covariance {
    case .full(let triangle):
      for i in 0..<d {
        for j in 0...i {
          let value = Double(triangle[i * (i + 1) / 2 + j])
          result[i * d + j] = value
          result[j * d + i] = value
        }
      }
    case .lowRank(let factors, let diagonal):
      for k in 0..<(factors.count / max(d, 1)) {
        for i in 0..<d {
          let f = Double(factors[k * d + i])
          for j in 0..<d { result[i * d + j] += f * Double(factors[k * d + j]) }
        }
      }
      for i in 0..<d { result[i * d + i] += Double(diagonal[i]) }
    }
    return result
  }
}
