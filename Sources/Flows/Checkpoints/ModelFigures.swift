/// What was measured of a model and how it came about.
public struct ModelFigures: Codable, Sendable, Hashable {
  /// Steps of the training and images seen in them.
  public var steps: Int?
  public var imagesSeen: Int?
  /// Steps that were undone.
  public var rollbacks: Int?
  /// Images trained on.
  public var trainingImages: Int?
  /// Bits/dim on images kept back from the training data.
  public var validation: Evaluation?
  /// Bits/dim on the test images.
  public var test: Evaluation?
  /// Bits/dim on the validation images with noise, at levels evenly over the logarithm of those learned; of a flow with a
  /// condition alone.
  public var noise: [NoiseFigure]?
  /// How bits/dim are distributed over the images trained on, and over those kept back.
  public var trainingBits: BitsDistribution?
  public var validationBits: BitsDistribution?

  public init(
    steps: Int? = nil, imagesSeen: Int? = nil, rollbacks: Int? = nil, trainingImages: Int? = nil,
    validation: Evaluation? = nil, test: Evaluation? = nil
  ) {
    self.steps = steps
    self.imagesSeen = imagesSeen
    self.rollbacks = rollbacks
    self.trainingImages = trainingImages
    self.validation = validation
    self.test = test
  }
}
