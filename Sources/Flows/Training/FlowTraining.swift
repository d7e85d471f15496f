import AIPOKernels
import AIPOPlatform

extension Flow: TrainableFlow {
  /// As many flows on one thread each, of nets of their own; nil where the net was built from layers.
  public func lanes(_ count: Int, images: Int) throws -> [Flow]? {
    let free = MemoryLimit.available(beside: 0)
    guard let spec,
      let plan = try? FlowPlan.make(
        net, route, memory: gradientMemory, available: free, purpose: .parameterGradient, count: images,
        threads: 1),
      count * (plan.bytes + parameterCount * MemoryLayout<Scalar>.stride) <= free
    else { return nil }
    let tensors = namedTensors
    return try (0..<count).map { _ in
      let one = ThreadPool(threads: 1)
      let lane = try Flow(
        net: FlowNet(spec: spec, imageShape: net.imageShape, tensors: tensors, pool: one),
        imageShape: imageShape,
        pool: one)
      lane.gradientMemory = gradientMemory
      return lane
    }
  }
}

/// One training of a flow, from images to a model file.
public struct FlowTraining: Sendable {
  public var spec: FlowSpec
  public var config: TrainingConfig
  /// Images to train and to validate on.
  public var images: TrainingImages
  /// Images that the finished model is measured on, and nothing else.
  public var test: TrainingImages?
  /// An existing folder for `model.safetensors`, `checkpoint.safetensors`, `settings.yaml` and `log.jsonl`.
  public var folder: String
  public var threads: Int
  /// Who trains with this process; they share the folder.
  public var ranks: any Ranks

  public enum Outcome: Sendable {
    /// The model was written to `modelPath`.
    case finished(FlowModel)
    case cancelled(step: Int)
  }

  public init(
    spec: FlowSpec, config: TrainingConfig, images: TrainingImages, test: TrainingImages? = nil,
    folder: String, threads: Int, ranks: any Ranks = OneRank()
  ) {
    self.spec = spec
    self.config = config
    self.images = images
    self.test = test
    self.folder = folder
    self.threads = threads
    self.ranks = ranks
  }

  public static func modelPath(in folder: String) -> String { folder + "/model.safetensors" }

  public static func checkpointPath(in folder: String) -> String {
    Trainer<Flow<Float>>.checkpointPath(in: folder)
  }

  /// Trains from the start, or on from the folder's checkpoint if there is one and `resume`; writes the model.
  ///
  /// The model file's bytes depend on spec, config, images and test images alone, however often the run was
  /// stopped or killed in between, and on no count of threads or ranks. A run that is resumed with other `steps` has the bytes of
  /// one that was begun with them where the steps made have the same rates in both, which is before either decays.
  /// A checkpoint is a model, too.
  ///
  /// `resumePoint` is kept up with the steps. Throws what `Trainer` throws, and `FileError` where the folder is in
  /// use or can't be written, or images can't be read.
  public func run<Scalar: KernelScalar>(
    as: Scalar.Type, resume: Bool, resumePoint: ResumePoint? = nil,
    observe: (TrainingEvent<Scalar>) throws -> Void = { _ in },
    isCancelled: () -> Bool = { false }
  ) throws -> Outcome {
    let lock = ranks.isFirst ? try FolderLock(folder: folder) : nil
    defer { withExtendedLifetime(lock) {} }
    if ranks.isFirst {
      AtomicFile.removeLeftovers(inFolder: folder, except: images.fileNames + (test?.fileNames ?? []))
    }
    if let test, test.shape != images.shape {
      throw TrainingError.imageShape(found: "\(test.shape)", expected: "\(images.shape)")
    }
    try Self.require(spec, config, take: images.shape)
    let images = images.divided(for: config)
    let flow = try Flow<Scalar>(
      spec: spec, imageShape: images.shape, seed: config.seed, pool: ThreadPool(threads: threads))
    let split = try TrainingSplit(images: images, config: config)
    // Of larger pictures, the statistics are those of as many patches as tell a covariance.
    let patches = images.subset(split.training).fixedPatches(
      atMost: 8192, overlapping: 4, seed: config.seed)
    var model = try description(split, patches)
    if let statistics = model.statistics { try flow.whiten(statistics) }
    let previous = resume ? try Self.settings(in: folder) : nil
    let trainer = try Trainer(
      flow: flow, images: images, config: config, folder: folder, resume: resume,
      settings: ["flow": FlowModel.json(spec)], model: try model.safetensors(), resumePoint: resumePoint,
      ranks: ranks)
    if ranks.isFirst { try writeSettings() }
    let hasOtherRates =
      previous.map { !config.rate.agrees(before: trainer.step, inRunsOf: $0.steps, and: config.steps) }
      ?? false
    try observe(
      .begun(
        TrainingStart(
          step: trainer.step, steps: config.steps, split: split, shape: images.shape,
          isPatched: !config.patch.isEmpty, hasOtherRates: hasOtherRates,
          rate: config.rate.rate(step: trainer.step, steps: config.steps),
          advice: TrainingAdvice.few(patches.count))))
    guard case .finished = try trainer.run(observe: observe, isCancelled: isCancelled) else {
      return .cancelled(step: trainer.step)
    }
    model.tensors = flow.namedTensors
    model.figures.steps = config.steps
    model.figures.imagesSeen = config.steps * config.batch
    model.figures.rollbacks = trainer.rollbacks
    model.figures.validation = trainer.validation
    // The others have done their part.
    guard ranks.isFirst else { return .finished(model) }
    do {
      try model.figures.measureDistributions(
        of: flow, on: images, split, dequantization: config.dequantization, isCancelled: isCancelled)
      if let condition = flow.condition, !split.validation.isEmpty {
        model.figures.noise = try NoiseFigure.measure(
          flow, condition, statistics: model.statistics, on: images.subset(split.validation),
          dequantization: config.dequantization, seed: config.seed, isCancelled: isCancelled)
      }
      if let test {
        model.figures.test = try Evaluation.measure(
          flow, on: test, dequantization: config.dequantization, batch: config.batch,
          isCancelled: isCancelled)
      }
    } catch is CancellationError { return .cancelled(step: trainer.step) }
    // Pictures of any size have a stationary covariance alone, which takes less room.
    if model.isOfPatches, let stationary = model.statistics?.stationary(images.shape) {
      model.statistics = stationary
    }
    try model.save(path: Self.modelPath(in: folder))
    return .finished(model)
  }

  /// The model but for its flow.
  private func description(_ split: TrainingSplit, _ patches: TrainingImages) throws -> FlowModel {
    let all = Array(0..<patches.count)
    var model = FlowModel(
      spec: spec, imageShape: images.shape, dequantization: config.dequantization, tensors: [],
      statistics: try ImageStatistics.fit(
        patches, indices: all, dequantization: config.dequantization
      )?.augmented(config.augmentation, images.shape))
    model.requantization = try Requantization.fit(
      patches, indices: all, dequantization: config.dequantization)
    model.kind = PriorKind(config, spec, images.shape)
    model.seesMirrorImages = config.augmentation.flip
    model.recipe = settings.yaml()
    model.name = config.about.name
    model.provenance = config.about.provenance
    model.licence = config.about.licence
    model.figures.trainingImages = split.training.count
    return model
  }

  // MARK: The run's settings

  private var settings: TrainingConfig {
    var settings = config
    settings.flow = spec
    return settings
  }

  private static func settingsPath(in folder: String) -> String { folder + "/settings.yaml" }

  /// What the run in a folder was begun with, paths of its images included; nil where there is none.
  ///
  /// Throws `ConfigError` where the file isn't what a run writes, `FileError` where it can't be read.
  public static func settings(in folder: String) throws -> TrainingConfig? {
    let path = settingsPath(in: folder)
    guard access(path, F_OK) == 0 else { return nil }
    return try TrainingConfig(path: path)
  }

  private func writeSettings() throws(FileError) {
    var settings = settings
    settings.data.images = Self.absolute(settings.data.images)
    settings.data.test = Self.absolute(settings.data.test)
    try AtomicFile.write(settings.yaml(data: true), to: Self.settingsPath(in: folder))
  }

  /// A path that means the same in every working folder.
  private static func absolute(_ path: String) -> String {
    guard !path.isEmpty, !path.hasPrefix("/"), let here = getcwd(nil, 0) else { return path }
    defer { free(here) }
    return String(cString: here) + "/" + path
  }
}
