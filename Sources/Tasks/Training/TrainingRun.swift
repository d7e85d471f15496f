import AIPOFlows
import AIPOImaging
import AIPOKernels

/// Sees a training's events.
public protocol TrainingObserver {
  mutating func observe<Scalar>(_ event: TrainingEvent<Scalar>) throws
}

/// Sees nothing.
public struct NoTrainingObserver: TrainingObserver {
  public init() {}
  public func observe<Scalar>(_: TrainingEvent<Scalar>) {}
}

/// A training from files to a folder: reads the images that its settings name, trains, and draws what comes of it:
/// `loss.svg`, sheets of samples, and of vectors of two values the density.
public struct TrainingRun {
  /// With a flow.
  public let config: TrainingConfig
  public let folder: RunFolder
  private let resumes: Bool
  private let ranks: any Ranks

  /// Checks that the folder can be used; it is made by `run`. `resumes` goes on with what is in it. `ranks` train together, in
  /// a folder that all of them see; the first one writes.
  public init(_ config: TrainingConfig, out: String, resumes: Bool = false, ranks: any Ranks = OneRank())
    throws
  {
    try ranks.requireSame([("program", try AIPOVersion.build())])
    folder =
      ranks.isFirst
      ? try RunFolder(
        path: out, file: "log.jsonl", remedy: "name another or go on with --resume", isOwn: { _ in resumes })
      : RunFolder(ofAnotherRank: out)
    self.ranks = ranks
    self.config = Self.withFlow(config)
    self.resumes = resumes
    if case .pixels(let stride) = config.stride, let patch = PixelSize(config.patch),
      stride > min(patch.height, patch.width)
    {
      throw TaskError(.data, "stride is \(stride), which leaves gaps between patches of \(patch)")
    }
  }

  /// The settings with the usual flow where they name none.
  public static func withFlow(_ config: TrainingConfig) -> TrainingConfig {
    var config = config
    config.flow =
      config.flow
      ?? (config.dequantization.isNone
        ? .vector(couplings: 8, hidden: [64, 64])
        : .glow(
          levels: 2, steps: 8, hidden: 64, transform: .affine(AffineTransform(.sigmoid, bias: 0.1))))
    return config
  }

  /// A Glow of blocks of 4×4 pixels that knows its noise level.
  private static var blocks: FlowSpec {
    let net = NetSpec(hidden: 64, activation: .silu)
    return FlowSpec(
      condition: Condition(),
      layers: [
        .squeeze(.interleaved), .squeeze(.interleaved), .whitening(.pixel),
        .repeated(8, [.actnorm, .conv1x1(.plu), .coupling(CouplingSpec(net: net))]),
      ])
  }

  /// The settings for patches where nothing else is said: a prior of small patches that knows its noise level, out of one
  /// picture or a few, in minutes. The recipe `one-picture` says the same.
  public static func ofPatches(_ patch: PixelSize) -> TrainingConfig {
    var config = TrainingConfig()
    config.patch = patch.description
    // Nets that see all of a larger patch are slow to learn.
    let isSmall = patch.height * patch.width <= 256
    config.flow = isSmall ? .dense(couplings: 8, hidden: [256, 256]).conditioned(whitening: .dense) : blocks
    config.dequantization = Dequantization(bits: 8)
    config.augmentation = Augmentation(flip: true, turn: patch.height == patch.width)
    config.steps = 3000
    config.batch = isSmall ? 512 : 32
    config.rate.peak = 1e-3
    config.rate.warmup = 100
    config.rate.decayFraction = 0.5
    config.clip = 5000
    config.averageDecay = 0.995
    return config
  }

  /// The settings of a run: those of the folder that goes on, else those of a YAML or a shipped recipe, with images and keys
  /// on top. A flag is what an error calls the key by.
  package static func settings(
    continuing folder: String?, config: String?, data: String?,
    overrides: [(key: String, flag: String, value: String?)]
  ) throws -> TrainingConfig {
    let previous = try folder.flatMap { try FlowTraining.settings(in: $0) }
    let patch = overrides.first { $0.key == "patch" }?.value
    var result = previous ?? TrainingConfig()
    if let config {
      result = try TrainingConfig(path: ModelLocator.recipe(named: config))
    } else if previous == nil, let size = patch.flatMap({ PixelSize($0) }) {
      result = ofPatches(size)
    }
    if let data {
      if previous == nil || config != nil {
        result.replaceImages(with: data)
      } else {
        result.data.images = data
      }
    }
    if let previous { result.completeData(from: previous) }
    for case (let key, let flag, .some(let value)) in overrides { try result.set(key, to: value, flag: flag) }
    result = withFlow(result)
    if let previous { try result.requireSameRun(as: previous) }
    return result
  }

  /// The images of the settings, and what looks like a mistake about them.
  public struct Images {
    public let training: TrainingImages
    /// Those that the finished model is measured on; nil for none.
    public let test: TrainingImages?
    public let advices: [Advice]
  }

  /// Reads the images. `progress` is told of each that this rank reads, with how many there are. Those that the settings'
  /// `data.stream` is about go to files in the folder, which is made for them.
  ///
  /// Throws `TaskError` where no images are named, `FileError` where they can't be read or don't fit, or where the folder is in use
  /// or can't be written, and `RankError`.
  public func readImages(progress: (_ read: Int, _ count: Int) throws -> Void = { _, _ in }) throws -> Images
  {
    guard !config.data.images.isEmpty else {
      throw TaskError(
        .usage,
        resumes
          ? "\(folder.path) holds no run to go on with (no settings.yaml); begin one with --data"
          : "no training images: name them by --data or by data.images in the YAML")
    }
    // Until all is read, no other run may take the folder.
    var lock: FolderLock?
    do {
      let (training, advices) = try read(config.data.images, as: "images", &lock, progress)
      guard !config.data.test.isEmpty else { return Images(training: training, test: nil, advices: advices) }
      let (test, more) = try read(config.data.test, as: "test", &lock, progress)
      return Images(training: training, test: test, advices: advices + more)
    } catch {
      let wasStreaming = lock != nil
      lock = nil
      if wasStreaming { folder.removeIfUntouched() }
      throw error
    }
  }

  /// Where a set of so many bytes goes if not to memory.
  private func place(_ name: String, bytes: Int, _ lock: inout FolderLock?) throws -> PictureFiles.Place? {
    let isDue = config.data.stream.isDue(bytes: bytes, neighbours: ranks.neighbours)
    guard try ranks.any(isDue, patience: ranks.usualPatience) else { return nil }
    if ranks.isFirst, lock == nil {
      try folder.create()
      lock = try FolderLock(folder: folder.path)
      AtomicFile.removeLeftovers(inFolder: folder.path)
    }
    try ranks.wait()
    return PictureFiles.Place(folder: folder.path, name: name, ranks: ranks)
  }

  private func read(
    _ path: String, as name: String, _ lock: inout FolderLock?, _ progress: (Int, Int) throws -> Void
  ) throws -> (TrainingImages, [Advice]) {
    let isReal = config.dequantization.isNone
    let set = try ImageSet(
      path: path, plane: isReal ? .vectors : .image, layout: ImageLayout(rawValue: config.data.layout))
    let transform = ImageTransform(
      range: ValueRange(config.data.range), crop: PixelSize(config.data.crop),
      resize: PixelSize(config.data.resize), channels: config.data.channels)
    let images = try TrainingImages(
      reading: set, indices: 0..<set.count, transform: transform, patch: PixelSize(config.patch),
      areReal: isReal, streaming: { try place(name, bytes: $0, &lock) },
      accept: { try FlowTraining.require(spec, config, take: $0) },
      progress: { try progress($0, set.count) })
    let scale =
      isReal ? [] : try set.advice(0..<set.count, transform: transform, clippedFor: "training")
    return (images, set.advice + scale)
  }

  private var spec: FlowSpec {
    guard let spec = config.flow else { preconditionFailure("the flow was set") }
    return spec
  }

  /// Trains, from the start or on from the folder's checkpoint, in the settings' precision. Whatever threads and ranks, and
  /// however often it was stopped, the model is the same to the byte.
  public func run(
    on images: Images, threads: Int = ThreadPool.availableCores, resumePoint: ResumePoint? = nil,
    observer: some TrainingObserver = NoTrainingObserver(), isCancelled: () -> Bool = { false }
  ) throws -> FlowTraining.Outcome {
    if ranks.isFirst { try folder.create() }
    let training = FlowTraining(
      spec: spec, config: config, images: images.training, test: images.test, folder: folder.path,
      threads: threads, ranks: ranks)
    let pictures = TrainingPictures(folder: folder.path)
    var observer = observer
    func run<Scalar: KernelScalar>(_: Scalar.Type) throws -> FlowTraining.Outcome {
      try training.run(
        as: Scalar.self, resume: resumes, resumePoint: resumePoint,
        observe: { event in
          guard ranks.isFirst else { return }
          try pictures.observe(event)
          try observer.observe(event)
        }, isCancelled: isCancelled)
    }
    do {
      let outcome =
        switch config.precision {
        case .float32: try run(Float.self)
        case .float64: try run(Double.self)
        }
      if ranks.isFirst { try pictures.drawLoss() }
      return outcome
    } catch {
      if ranks.isFirst { folder.removeIfUntouched() }
      throw error
    }
  }
}
