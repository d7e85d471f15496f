import AIPO
import AIPOImaging
import ArgumentParser

/// `aipo train`: a flow of one's own.
struct Train: Verb {
  static let configuration = CommandConfiguration(
    abstract: "Train a flow on images.",
    discussion: """
      Writes model.safetensors, checkpoint.safetensors, log.jsonl, loss.svg and
      sample sheets to a folder. A run that was stopped or killed goes on with
      --resume and gives the same model, byte for byte, as one that never was.
      The settings come from one YAML; --print-config shows every key with its
      default, and flags override it.

      With bits: none in the YAML values are real numbers and aren't dequantised,
      and an NPY of shape [n, d] is n vectors of d values; the flow is then one
      for vectors, as flow: {vector: {couplings: 8, hidden: [64, 64]}}. Of two
      values pictures of the density are drawn.

      Examples:
        aipo train --data photos/ --resize 32x32 --config glow.yaml --out run
        aipo train --config glow.yaml --out run --resume
      """)

  @Option(
    help: ArgumentHelp(
      "Training images: IDX, NPY, gzip of these, or a folder of PNG and JPEG. (default: data.images of the YAML)",
      valueName: "images"), completion: .file())
  var data: String?

  @Option(
    help: ArgumentHelp(
      "Images to measure the finished model on. (default: data.test of the YAML, else none)",
      valueName: "images"), completion: .file())
  var test: String?

  @Option(
    help: ArgumentHelp(
      "The settings. (default: a Glow of 2 levels, 8 steps and 64 channels, or 8 couplings for vectors; everything else as --print-config shows)",
      valueName: "yaml"), completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  @Option(help: ArgumentHelp("The run's folder.", valueName: "folder"), completion: .directory)
  var out: String?

  @Flag(help: "Go on at the folder's checkpoint; start anew where there is none.")
  var resume = false

  @Option(parsing: .unconditional, help: Self.setting("Updates of the parameters", \.steps, "steps", "n"))
  var steps: String?

  @Option(parsing: .unconditional, help: Self.setting("Images a step", \.batch, "batch", "n"))
  var batch: String?

  @Option(parsing: .unconditional, help: Self.setting("Learning rate", \.rate.peak, "rate", "r"))
  var rate: String?

  @Option(
    parsing: .unconditional,
    help: Self.setting("Steps between checkpoints", \.checkpointEvery, "checkpoint-every", "n"))
  var checkpointEvery: String?

  @Flag(help: "Print the settings as YAML, each key explained, and stop.")
  var printConfig = false

  @OptionGroup var size: SizeOptions
  @OptionGroup var common: CommonOptions

  /// Help for a flag that overrides a key of the YAML.
  private static func setting<Value>(
    _ text: String, _ field: KeyPath<TrainingConfig, Value>, _ key: String, _ valueName: String
  ) -> ArgumentHelp {
    let value = TrainingConfig()[keyPath: field]
    return ArgumentHelp("\(text). (default: \(key) of the YAML, else \(value))", valueName: valueName)
  }

  func validate() throws {
    if out == nil, !printConfig { throw ValidationError("--out is needed: the run's folder") }
  }

  func perform() throws -> ExitStatus {
    let config = try configuration()
    if printConfig {
      let yaml = config.yaml(explained: true, data: true)
      if !common.json { try Console.output(yaml) }
      try common.printJSON(.object([("config", .string(yaml))]))
      return .done
    }
    let folder = try RunFolder(
      path: out ?? "", file: "log.jsonl", remedy: "name another or go on with --resume",
      isOwn: { _ in resume })
    try WorkingMemory.require(common)
    Interrupt.install()
    let data = try images(config.data.images, config, what: "--data")
    let test = config.data.test.isEmpty ? nil : try images(config.data.test, config, what: "--test")
    return switch config.precision {
    case .float32: try train(Float.self, config, data, test, folder)
    case .float64: try train(Double.self, config, data, test, folder)
    }
  }

  /// The YAML's settings with the flags on top.
  private func configuration() throws -> TrainingConfig {
    var result = TrainingConfig()
    if let config {
      let bytes = try InputFile.bytes(path: config, limit: ConfigDocument.sizeLimit)
      result = try TrainingConfig(yaml: String(decoding: bytes, as: UTF8.self), path: config)
    }
    if result.flow == nil {
      result.flow =
        result.dequantization.isNone
        ? .vector(couplings: 8, hidden: [64, 64]) : .glow(levels: 2, steps: 8, hidden: 64)
    }
    let flags: [(key: String, flag: String, value: String?)] = [
      ("steps", "--steps", steps), ("batch", "--batch", batch), ("rate", "--rate", rate),
      ("checkpoint-every", "--checkpoint-every", checkpointEvery),
      ("seed", "--seed", common.givenSeed.map { "\($0)" }),
      ("precision", "--precision", common.givenPrecision?.rawValue), ("data.images", "--data", data),
      ("data.test", "--test", test), ("data.resize", "--resize", size.resize?.description),
      ("data.crop", "--crop", size.crop?.description),
    ]
    for case (let key, let flag, .some(let value)) in flags { try result.set(key, to: value, flag: flag) }
    return result
  }

  private func images(_ path: String, _ config: TrainingConfig, what: String) throws -> TrainingImages {
    guard !path.isEmpty else {
      throw CommandFailure(.usage, "no training images: name them by --data or by data.images in the YAML")
    }
    let isReal = config.dequantization.isNone
    let set = try AIPOImaging.ImageSet(path: path, plane: isReal ? .vectors : .image)
    let transform = ImageTransform(
      crop: PixelSize(config.data.crop), resize: PixelSize(config.data.resize), grey: size.grey)
    let shape = try set.shape(of: 0..<set.count, transform: transform)
    common.remark("\(what): \(set.count) images of \(shape)")
    if isReal {
      return try TrainingImages(
        shape: shape, reals: set.read(0..<set.count, as: Double.self, transform: transform).elements)
    }
    return try TrainingImages(shape: shape, pixels: set.bytes(0..<set.count, transform: transform))
  }

  private func train<Scalar: KernelScalar>(
    _: Scalar.Type, _ config: TrainingConfig, _ images: TrainingImages, _ test: TrainingImages?,
    _ folder: RunFolder
  ) throws -> ExitStatus {
    guard let spec = config.flow else { preconditionFailure("the flow was set") }
    try folder.create()
    let training = FlowTraining(
      spec: spec, config: config, images: images, test: test, folder: folder.path, threads: common.threadCount
    )
    let progress = ProgressLine("train", total: config.steps, unit: "steps", options: common)
    var monitor = TrainingMonitor(progress: progress, folder: folder, common: common)
    let outcome: FlowTraining.Outcome
    // A step may take longer than somebody who wants to stop cares to wait.
    let resumePoint = ResumePoint()
    Interrupt.whenOverdue { try? resumePoint.save() }
    do {
      outcome = try training.run(
        as: Scalar.self, resume: resume, resumePoint: resumePoint, observe: { try monitor.observe($0) },
        isCancelled: { Interrupt.requested })
    } catch {
      folder.removeIfUntouched()
      throw error
    }
    progress.finish()
    try monitor.drawLoss()
    switch outcome {
    case .cancelled(let step):
      try common.print("stopped after step \(step) of \(config.steps); --resume goes on")
      try common.printJSON(
        .object([("out", .string(folder.path)), ("finished", .bool(false)), ("step", .int(step))]))
      return Interrupt.status ?? .interrupted
    case .finished(let model):
      try report(model, folder)
      return Interrupt.status ?? .done
    }
  }

  private func report(_ model: FlowModel, _ folder: RunFolder) throws {
    let path = FlowTraining.modelPath(in: folder.path)
    var lines = [path]
    for (name, value) in [("validation", model.figures.validation), ("test", model.figures.test)] {
      guard let value else { continue }
      lines.append(
        "\(name): \(fixed(value.bitsPerDim, 4)) ± \(fixed(value.standardError, 4)) bits/dim "
          + "on \(value.images) images")
    }
    try common.print(lines.joined(separator: "\n"))
    try common.printJSON(
      .object(
        [
          ("out", .string(folder.path)), ("finished", .bool(true)), ("model", .string(path)),
          ("checksum", .string(model.checksum ?? "")), ("figures", .object(Info.figures(model.figures))),
        ]
          + [
            ("version", .string(ProgramVersion.number)), ("kernels", .string(ProgramVersion.kernels)),
            ("command", .string(Provenance.command)),
          ]))
  }
}
