import AIPOKernels

extension Flow: TrainableFlow {}

/// One training of a flow, from images to a model file.
public struct FlowTraining: Sendable {
  public var spec: FlowSpec
  public var config: TrainingConfig
  /// Images to train and to validate on.
  public var images: TrainingImages
  /// Images that the finished model is measured on, and nothing else.
  public var test: TrainingImages?
  /// An existing folder for `model.safetensors`, `checkpoint.safetensors` and `log.jsonl`.
  public var folder: String
  public var threads: Int

  public enum Outcome: Sendable {
    /// The model was written to `modelPath`.
    case finished(FlowModel)
    case cancelled(step: Int)
  }

  public init(
    spec: FlowSpec, config: TrainingConfig, images: TrainingImages, test: TrainingImages? = nil,
    folder: String, threads: Int
  ) {
    self.spec = spec
    self.config = config
    self.images = images
    self.test = test
    self.folder = folder
    self.threads = threads
  }

  public static func modelPath(in folder: String) -> String { folder + "/model.safetensors" }

  /// Trains from the start, or on from the folder's checkpoint if there is one and `resume`; writes the model.
  ///
  /// The model file's bytes depend on spec, config, images and test images alone, however often the run was
  /// stopped or killed in between, and on no thread count.
  ///
  /// `resumePoint` is kept up with the steps. Throws what `Trainer` throws, and `FileError` where the folder is in
  /// use or can't be written.
  public func run<Scalar: KernelScalar>(
    as: Scalar.Type, resume: Bool, resumePoint: ResumePoint? = nil,
    observe: (TrainingEvent<Scalar>) throws -> Void = { _ in },
    isCancelled: () -> Bool = { false }
  ) throws -> Outcome {
    let lock = try FolderLock(folder: folder)
    defer { withExtendedLifetime(lock) {} }
    AtomicFile.removeLeftovers(inFolder: folder)
    if let test, test.shape != images.shape {
      throw TrainingError.imageShape(found: "\(test.shape)", expected: "\(images.shape)")
    }
    let flow = try Flow<Scalar>(
      spec: spec, imageShape: images.shape, seed: config.seed, pool: ThreadPool(threads: threads))
    let trainer = try Trainer(
      flow: flow, images: images, config: config, folder: folder, resume: resume,
      settings: ["flow": FlowModel.json(spec)], resumePoint: resumePoint)
    guard case .finished = try trainer.run(observe: observe, isCancelled: isCancelled) else {
      return .cancelled(step: trainer.step)
    }
    var recipe = config
    recipe.flow = spec
    var model = FlowModel(
      spec: spec, imageShape: images.shape, dequantization: config.dequantization, tensors: flow.namedTensors,
      statistics: try ImageStatistics.fit(
        images, indices: trainer.split.training, dequantization: config.dequantization,
        rank: config.statistics.rank))
    model.requantization = Requantization.fit(
      images, indices: trainer.split.training, dequantization: config.dequantization)
    model.recipe = recipe.yaml()
    model.name = config.about.name
    model.provenance = config.about.provenance
    model.licence = config.about.licence
    model.figures = ModelFigures(
      steps: config.steps, imagesSeen: config.steps * config.batch, rollbacks: trainer.rollbacks,
      trainingImages: trainer.split.training.count, validation: trainer.validation)
    if let test {
      do {
        model.figures.test = try Evaluation.measure(
          flow, on: test, dequantization: config.dequantization, batch: config.batch,
          isCancelled: isCancelled)
      } catch is CancellationError { return .cancelled(step: trainer.step) }
    }
    try model.save(path: Self.modelPath(in: folder))
    return .finished(model)
  }
}
