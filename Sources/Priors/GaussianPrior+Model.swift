import AIPOFlows
import AIPOKernels

extension GaussianPrior {
  /// The Gaussian of the images that a model was trained on; nil where the model holds none for images of this shape.
  ///
  /// Throws where the covariance isn't positive definite, or its shape isn't the model's.
  public static func ofTrainingImages(_ model: FlowModel, at image: ImageShape? = nil) throws(ProblemError)
    -> GaussianPrior?
  {
    guard let statistics = model.statistics, image ?? model.imageShape == model.imageShape else { return nil }
    return try GaussianPrior(imageShape: model.imageShape, statistics: statistics)
  }

  /// The Gaussian of images with these statistics, as `ImageStatistics.fit` finds them in images of one's own.
  ///
  /// Throws where the covariance isn't positive definite, or its shape isn't the images'.
  public convenience init(imageShape: ImageShape, statistics: ImageStatistics) throws(ProblemError) {
    let covariance = try algebra { () throws(LinearAlgebraError) in try statistics.matrix() }
    guard let covariance else {
      let d = imageShape.count
      throw .shapeMismatch(what: "covariance of the Gaussian prior", found: [], expected: [d, d])
    }
    try self.init(imageShape: imageShape, mean: statistics.mean.map { Double($0) }, covariance: covariance)
  }
}
