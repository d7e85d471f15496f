/// What can stop a training: the data, the settings of a run that is resumed, or a flow that diverges.
public enum TrainingError: Error, Equatable, CustomStringConvertible {
  /// The data has fewer images than are needed.
  case tooFewImages(found: Int, needed: Int, purpose: String)
  /// Images of a size that the flow can't halve as often as it has to.
  case size(found: String, accepted: String, remedy: String)
  /// Images that can't be turned by a quarter.
  case notSquare(String)
  /// All images are kept back for validation.
  case nothingToTrainOn(images: Int, kept: Int)
  /// A picture is smaller than the patches to cut out of it, or has other channels.
  case patch(picture: Int, found: String, patch: String)
  /// A list of pixels isn't a whole number of images.
  case pixelCount(found: Int, shape: String)
  /// A pixel is NaN, infinite or outside [0, 1].
  case invalidPixel(value: Double, image: Int, position: Int)
  /// Every pixel of every image has the same value, so there is nothing to learn.
  case constantData(value: Double, images: Int)
  /// Real-valued data with dequantisation, or 8-bit data without.
  case dequantization(bits: Int)
  /// A real number that is NaN or infinite.
  case nonFinite(value: Double, image: Int, position: Int)
  /// Images of another shape than the flow's.
  case imageShape(found: String, expected: String)
  /// So many steps in a row were rolled back.
  case diverged(step: Int, attempts: Int, reason: String)
  /// After so many steps the averaged parameters make no density.
  case unusable(step: Int, reason: String)
  /// A run is resumed to end before the steps that it has made.
  case stepsMade(Int, asked: Int)
  /// A run is resumed with other settings or data than it was started with.
  case resumed(what: String, found: String, expected: String)
  /// The flow's density of a validation or test image isn't finite.
  case nonFiniteDensity(image: Int, value: Double)

  public var description: String {
    switch self {
    case .tooFewImages(let found, let needed, let purpose):
      "\(found) images are too few for \(purpose), which needs \(needed)"
    case .size(let found, let accepted, let remedy):
      "the flow takes \(accepted), found images of \(found): give \(remedy), or a flow of fewer levels"
    case .notSquare(let found):
      "augmentation.turn needs square images, found \(found): give a square --patch or --resize, or leave it out"
    case .nothingToTrainOn(let images, let kept):
      "\(kept) of \(images) images are to be kept back for validation, which leaves none to train on;"
        + " keep back fewer (--validation \(images / 10))"
    case .patch(let picture, let found, let patch):
      "picture \(picture) is \(found), expected at least \(patch) and as many channels, to cut patches out of it"
    case .pixelCount(let found, let shape):
      "\(found) pixels are no whole number of images of shape \(shape)"
    case .invalidPixel(let value, let image, let position):
      "image \(image) holds \(value) at position \(position), expected a number from 0 to 1"
    case .constantData(let value, let images):
      "every value of the \(images) training images is \(JSONText.number(value)): there is nothing to learn;"
        + " look whether these are the pictures that were meant"
    case .dequantization(let bits):
      bits == 0
        ? "8-bit data need dequantisation, found bits: none"
        : "real-valued data need bits: none, found \(bits)"
    case .nonFinite(let value, let image, let position):
      "image \(image) holds \(value) at position \(position), expected a finite number"
    case .imageShape(let found, let expected): "images are \(found), expected \(expected)"
    case .diverged(let step, let attempts, let reason):
      "training diverged at step \(step): \(attempts) steps in a row were rolled back (\(reason)); \(Self.slower)"
    case .unusable(let step, let reason):
      "training diverged at step \(step): \(reason); \(Self.slower)"
    case .stepsMade(let made, let asked):
      "the run has made \(made) steps, found steps \(asked); it goes on with more, or with those it began with"
    case .resumed("data", let found, let expected):
      "the run to resume had data \(expected), found \(found): go on with the same images, or begin a run"
        + " in another folder"
    case .resumed(let what, let found, let expected):
      "the run to resume had \(what) \(expected), found \(found): leave the setting out to go on, or begin a run"
        + " in another folder"
    case .nonFiniteDensity(let image, let value):
      "the log-density of image \(image) is \(value), expected a finite number"
    }
  }

  private static let slower =
    "begin anew in another folder with a lower rate (--rate, a third of what it was) or clip"
}
