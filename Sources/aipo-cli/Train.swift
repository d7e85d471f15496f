import AIPO
import ArgumentParser

/// `aipo train`: a flow of one's own.
struct Train: Verb {
  static let worksOverRanks = true
  static let configuration = CommandConfiguration(
    abstract: "Train a flow on images.",
    discussion: """
      Writes model.safetensors, checkpoint.safetensors, settings.yaml, log.jsonl,
      loss.svg and sample sheets to a folder. The settings come from one YAML;
      --print-config shows every key with its default, and flags override it.
      A tenth of the images is kept back and measures how well the flow does.

      A run that was stopped or killed goes on with --resume, which needs no
      other flag but --out, and gives the same model, byte for byte, as one that
      never was. With --steps it goes on beyond its end: the same bytes again as
      far as the steps made had the rate that the longer run has there. The rate
      decays over the last steps (decay.fraction of them), so that a run which
      had ended comes back to the full rate before it decays anew; with
      decay: {fraction: 0} there is no difference.

      checkpoint.safetensors is a model, too: the one that would come out if the
      training ended there. Every verb takes it by --model.

      With --patch HxW the images may have any sizes that are at least as large;
      patches are cut out of them at random, anew in each step. One picture is
      enough: a tenth of it is kept back. The model is a prior for pictures of
      any size, which reconstruct sees in patches (the key stride says how). With
      no --config it also knows its noise level, and takes minutes to train.

      With bits: none in the YAML values are real numbers and aren't dequantised,
      and an NPY of shape [n, d] is n vectors of d values; the flow is then one
      for vectors, as flow: {vector: {couplings: 8, hidden: [64, 64]}}. Of two
      values pictures of the density are drawn.

      Examples:
        aipo train --data picture.png --patch 12x12 --out run
        aipo train --data photos/ --patch 32x32 --config patches --out run
        aipo train --data faces/ --resize 64x64 --config colour-64 --out run
        aipo train --out run --resume --steps 20000
      """)

  @Option(
    help: ArgumentHelp(
      "Training images: a picture (PNG, JPEG, TIFF, WebP), a folder of them with its sub-folders, or an array (NPY, IDX, HDF5, MAT, NIfTI). (default: data.images of the YAML)",
      valueName: "images"), completion: .file())
  var data: String?

  @Option(
    help: ArgumentHelp(
      "Images to measure the finished model on. (default: data.test of the YAML, else none)",
      valueName: "images"), completion: .file())
  var test: String?

  @Option(
    help: ArgumentHelp(
      "The settings: a YAML, or the name of a shipped recipe (\(ModelLocator.recipeNames)). (default: with --patch as one-picture; else a Glow of 2 levels, 8 steps and 64 channels, or 8 couplings for vectors, and everything else as --print-config shows)",
      valueName: "yaml"), completion: .file(extensions: ["yaml", "yml"]))
  var config: String?

  @Option(help: ArgumentHelp("The run's folder.", valueName: "folder"), completion: .directory)
  var out: String?

  @Flag(
    help: "Go on with the folder's run, its settings and its images; start anew where there is no checkpoint."
  )
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

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Images kept back to measure on: a number, or a share as 0.1. (default: validation.images of the YAML, else a tenth, 2000 at most)",
      valueName: "n|share"))
  var validation: String?

  @Option(
    help: ArgumentHelp(
      "Train on patches of this size, cut at random out of images that are at least as large. (default: patch of the YAML, else whole images)",
      valueName: "HxW"))
  var patch: String?

  @Flag(help: "Print the settings as YAML, each key explained, and stop.")
  var printConfig = false

  @OptionGroup var reading: ReadingOptions
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
    let (folder, common) = (out ?? "", common)
    @Sendable func tell(_ end: TrainingEnd) throws {
      ProgressLine.clearCurrent()
      try common.tell(end.text, end.json)
    }
    Interrupt.whenOverdue { _ in try? tell(TrainingEnd(stopped: nil, of: 0, in: folder)) }
    let config = try configuration()
    if printConfig {
      let yaml = config.yaml(explained: true, data: true)
      if !common.json { try Console.output(yaml) }
      try common.tell(nil, ["config": .string(yaml)])
      return .done
    }
    let run = try TrainingRun(config, out: folder, resumes: resume, ranks: Job.ranks)
    let steps = config.steps
    let images = try images(of: run)
    // A step may take longer than somebody who wants to stop cares to wait.
    let resumePoint = ResumePoint()
    Interrupt.whenOverdue { isUrgent in
      if !isUrgent, Job.ranks.isFirst { try? resumePoint.save() }
      try? tell(TrainingEnd(stopped: resumePoint.savedStep, of: steps, in: folder))
    }
    let progress = ProgressLine("train", total: steps, unit: "steps", options: common)
    var teller = TrainingTeller()
    (teller.tell, teller.warn, teller.remark) = (common.print, common.warn, { common.remark($0) })
    teller.update = { step, words, isFirst in
      // Wherever a resumed run goes on, the clock starts there.
      if isFirst { progress.begin(at: Double(step)) }
      progress.update(Double(step), words)
    }
    let outcome = try run.run(
      on: images, threads: common.threadCount, resumePoint: resumePoint, observer: teller,
      isCancelled: { Interrupt.requested })
    progress.finish()
    switch outcome {
    case .cancelled:
      try tell(TrainingEnd(stopped: resumePoint.savedStep, of: steps, in: folder))
      return Interrupt.status ?? .interrupted
    case .finished(let model):
      let end = TrainingEnd(model, in: folder)
      common.warn(model.trainingAdvice)
      try common.tell(end.text, end.json.adding(TypedCommand.provenance))
      return Interrupt.status ?? .done
    }
  }

  /// The run's settings, where it has any yet, or the YAML's, with the flags on top.
  private func configuration() throws -> TrainingConfig {
    let (layout, images) = (try reading.reading().layout, try reading.reading().transform)
    let channels = images.channels == .stored ? nil : images.channels.rawValue
    return try TrainingRun.settings(
      continuing: resume ? out : nil, config: config, data: data,
      overrides: [
        ("steps", "--steps", steps), ("batch", "--batch", batch), ("rate", "--rate", rate),
        ("checkpoint-every", "--checkpoint-every", checkpointEvery), ("patch", "--patch", patch),
        ("validation.images", "--validation", validation),
        ("seed", "--seed", common.givenSeed.map { "\($0)" }),
        ("precision", "--precision", common.givenPrecision?.rawValue),
        ("data.test", "--test", test), ("data.range", "--range", images.range?.description),
        ("data.layout", "--layout", layout?.rawValue),
        ("data.resize", "--resize", images.resize?.description),
        ("data.crop", "--crop", images.crop?.description),
        ("data.channels", reading.grey ? "--grey" : "--colour", channels),
      ])
  }

  private func images(of run: TrainingRun) throws -> TrainingRun.Images {
    var progress: ProgressLine?
    let images = try run.readImages { read, count in
      if read == 1 { progress = ProgressLine("read", total: count, unit: "images", options: common) }
      progress?.update(Double(read))
    }
    progress?.finish()
    common.remark("\(counted(images.training.count, "image")), \(images.training.shape)")
    common.warn(images.advices)
    return images
  }
}
