import AIPOFlows
import AIPOKernels

extension GaussianPrior {
  /// The Gaussian of the images that a model was trained on, for images of a shape: of the training's shape as the file
  /// holds it, of another one a stationary Gaussian. Nil where the model holds no statistics, or those of vectors of another
  /// length.
  ///
  /// Over ranks, `image` is the shape of the whole image, and each has its own strip of the Gaussian, which is stationary.
  ///
  /// Throws where the covariance isn't positive definite.
  public static func ofTrainingImages(
    _ model: FlowModel, at image: ImageShape? = nil, strips: Strips? = nil
  ) throws -> GaussianPrior? {
    guard let statistics = model.statistics else { return nil }
    let shape = image ?? model.imageShape
    if shape == model.imageShape, strips == nil {
      return try GaussianPrior(imageShape: shape, statistics: statistics)
    }
    guard shape.channels == model.imageShape.channels,
      let stationary = statistics.stationary(model.imageShape)
    else { return nil }
    return try GaussianPrior(imageShape: shape, statistics: stationary, strips: strips)
  }

  /// The Gaussian of images with these statistics, as `ImageStatistics.fit` finds them in images of one's own. A stationary
  /// covariance is one of images of any size.
  ///
  /// Throws where the covariance isn't positive definite, or the images have another shape or other channels.
  ///
  /// `strips`: where ranks share an image of this shape, under a stationary covariance.
  public convenience init(imageShape: ImageShape, statistics: ImageStatistics, strips: Strips? = nil) throws {
    let mean = statistics.mean.map { Double($0) }
    switch statistics.covariance {
    case .full:
      precondition(strips == nil, "a covariance of whole images can't be shared")
      let matrix = try algebra { () throws(LinearAlgebraError) in try statistics.matrix()! }
      try self.init(imageShape: imageShape, mean: mean, covariance: matrix)
    case .stationary(let lags):
      guard lags.channels == imageShape.channels else {
        throw ProblemError.shapeMismatch(
          what: "channels of the Gaussian prior", found: [lags.channels], expected: [imageShape.channels])
      }
      let own = ImageShape(
        height: strips?.rows().count ?? imageShape.height, width: imageShape.width,
        channels: imageShape.channels)
      try self.init(
        channelMeans: mean, covariance: try StationaryCovariance(own, lags: lags, strips: strips, Scratch()))
    }
  }
}
