import AIPOFlows
import AIPOKernels

extension GaussianDensity {
  /// The Gaussian of the images that a model was trained on; nil where the model holds none.
  ///
  /// Throws where the covariance isn't positive definite, or its shape isn't the model's.
  public static func ofTrainingImages(_ model: FlowModel) throws(ProblemError) -> GaussianDensity? {
    guard let statistics = model.statistics else { return nil }
    return try GaussianDensity(imageShape: model.imageShape, statistics: statistics)
  }

  /// The Gaussian of images with these statistics, as `ImageStatistics.fit` finds them in images of one's own.
  ///
  /// Throws where the covariance isn't positive definite, or its shape isn't the images'.
  public convenience init(imageShape: ImageShape, statistics: ImageStatistics) throws(ProblemError) {
    let d = statistics.dimensions
    let covariance: GaussianCovariance =
      switch statistics.covariance {
      case .full(let triangle):
        .dense(
          try algebra { () throws(LinearAlgebraError) in
            try Matrix(rows: d, columns: d) { i, j in
              let (row, column) = i >= j ? (i, j) : (j, i)
              return Double(triangle[row * (row + 1) / 2 + column])
            }
          })
      case .lowRank(let factors, let diagonal):
        .lowRank(
          factor: try algebra { () throws(LinearAlgebraError) in
            try Matrix(rows: d, columns: factors.count / max(d, 1)) { Double(factors[$1 * d + $0]) }
          }, diagonal: diagonal.map { Double($0) })
      }
    try self.init(imageShape: imageShape, mean: statistics.mean.map { Double($0) }, covariance: covariance)
  }
}
