import AIPOFlows
import AIPOKernels

extension GaussianDensity {
  /// The Gaussian of the images that a model was trained on; nil where the model holds none.
  ///
  /// Throws where the covariance isn't positive definite, or its shape isn't the model's.
  public static func ofTrainingImages(_ model: FlowModel) throws(ProblemError) -> GaussianDensity? {
    guard let statistics = model.statistics, case .full = statistics.covariance else { return nil }
    return try GaussianDensity(imageShape: model.imageShape, statistics: statistics)
  }

  /// The Gaussian of images with these statistics, as `ImageStatistics.fit` finds them in images of one's own.
  ///
  /// Throws where the covariance isn't positive definite, or its shape isn't the images'.
  public convenience init(imageShape: ImageShape, statistics: ImageStatistics) throws(ProblemError) {
    let d = statistics.mean.count
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
      case .stationary:
        throw .shapeMismatch(what: "covariance of the Gaussian prior", found: [], expected: [d, d])
      }
    try self.init(imageShape: imageShape, mean: statistics.mean.map { Double($0) }, covariance: covariance)
  }
}
