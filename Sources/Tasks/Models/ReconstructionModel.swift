import AIPOFlows
import AIPOKernels
import AIPOPriors

/// A model, loaded to reconstruct by: its flow as a prior and the Gaussian of its training images, at any size.
public final class ReconstructionModel: @unchecked Sendable {
  public let source: ModelSource
  /// The images that it was chosen for, where none was named.
  public let chosenFor: ImageShape?
  public let model: FlowModel
  public let precision: Precision
  package let pool: ThreadPool
  private let makePrior: (ImageShape, any Ranks) throws -> any Prior
  private let lock = Lock()
  private var gaussians: [ImageShape: GaussianPrior?] = [:]
  /// Of the image that ranks share.
  private var ownGaussian: (strips: Strips, gaussian: GaussianPrior?)?
  private var priors: [ImageShape: any Prior] = [:]

  /// - `path`: of the model file; nil for the one that ``ModelLocator`` finds.
  /// - `image`: the images that it is for, which tell it what to look for.
  public convenience init(
    _ path: String? = nil, for image: ImageShape? = nil, precision: Precision = .float32,
    threads: Int = ThreadPool.availableCores
  ) throws {
    let chosenFor = ModelLocator.chooses(named: path) ? image : nil
    let path = try ModelLocator.path(named: path, for: image)
    switch precision {
    case .float32: self.init(try LoadedModel<Float>(path, threads: threads), precision, chosenFor)
    case .float64: self.init(try LoadedModel<Double>(path, threads: threads), precision, chosenFor)
    }
  }

  private init<Scalar: KernelScalar>(
    _ loaded: LoadedModel<Scalar>, _ precision: Precision, _ chosenFor: ImageShape?
  ) {
    let (model, flow) = (loaded.model, loaded.flow)
    source = loaded.source
    self.chosenFor = chosenFor
    self.model = model
    self.precision = precision
    pool = flow.pool
    makePrior = { try model.prior(flow, at: $0, ranks: $1) }
  }

  /// Which model it is, and why, for a line.
  public var words: String {
    "model \(source.path), \(model.imageShape), \(model.parameterCount) parameters"
      + (chosenFor.map { "; none was named, and it is the one for images of \($0)" } ?? "")
  }

  /// Whether there is a prior for images of a shape: of any height and width, unless the flow is for one size alone and
  /// sees no patches.
  func accepts(_ image: ImageShape) -> Bool {
    image == model.imageShape
      || image.channels == model.imageShape.channels && !model.imageShape.isVector
        && (model.spec.reasonForOneSize == nil || model.patchStride != nil)
  }

  /// What to say of images of another shape than those that the model was trained on, unless these were patches.
  func advice(for image: ImageShape, isMeasured: Bool) -> Advice? {
    let trained = model.imageShape
    guard image != trained, !model.isOfPatches
    else {
      return nil
    }
    let size = "\(trained.height)x\(trained.width)"
    return Advice(
      "size",
      "images are \(image), and the model was trained on whole images of \(trained): what it knows of them holds for that "
        + "size; \(isMeasured ? "--crop \(size)" : "--resize \(size) or --crop \(size)") may help, or a model that "
        + "was trained on patches")
  }

  /// The flow as a prior for images of a shape; with several ranks for those rows of one that are this rank's.
  package func prior(at image: ImageShape, ranks: any Ranks = OneRank()) throws -> any Prior {
    try lock.withLock {
      if ranks.count > 1 { return try makePrior(image, ranks) }
      if let known = priors[image] { return known }
      let made = try makePrior(image, ranks)
      priors[image] = made
      return made
    }
  }

  /// The Gaussian of the training images for images of a shape; nil where the model holds none. With `strips` its part for those
  /// rows of such an image that are this rank's.
  package func gaussian(at image: ImageShape, _ strips: Strips? = nil) throws -> GaussianPrior? {
    try lock.withLock {
      if let strips, let ownGaussian, ownGaussian.strips === strips { return ownGaussian.gaussian }
      if strips == nil, let known = gaussians[image] { return known }
      do {
        let made = try GaussianPrior.ofTrainingImages(model, at: image, strips: strips)
        if let strips { ownGaussian = (strips, made) } else { gaussians[image] = made }
        return made
      } catch let error as RankError {
        throw error
      } catch {
        throw TaskError(.data, "\(source.path): the covariance of the training images is unusable: \(error)")
      }
    }
  }
}
