import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

/// Runs that go on beyond their end, checkpoints as models, and what a run's folder knows.
@Suite struct TrainingContinuationTests {
  let shape = ImageShape(height: 8, width: 8, channels: 1)
  let spec = FlowSpec.glow(levels: 1, steps: 2, hidden: 4)

  private func config(steps: Int, decay: Double = 0) -> TrainingConfig {
    var config = TrainingConfig()
    config.seed = 3
    config.steps = steps
    config.batch = 6
    config.rate.warmup = 3
    config.rate.decayFraction = decay
    config.initializationImages = 20
    config.validation = .init(images: .count(10), every: 5)
    config.samples.every = 0
    config.checkpointEvery = 4
    config.logEvery = 3
    config.about.name = "test"
    return config
  }

  private func training(
    _ config: TrainingConfig, _ folder: TrainingFolder, images: TrainingImages? = nil
  ) -> FlowTraining {
    FlowTraining(
      spec: spec, config: config, images: images ?? trainingImages(60, shape), folder: folder.path, threads: 1
    )
  }

  private func finish(_ training: FlowTraining, resume: Bool = false) throws -> FlowModel {
    guard case .finished(let model) = try training.run(as: Float.self, resume: resume) else {
      throw CancellationError()
    }
    return model
  }

  /// 7, 11: neither a line of the log nor a measurement is due; 12: a line; 10: a measurement; 15: both.
  @Test(arguments: [7, 10, 11, 12, 15]) func aLongerRunHasTheBytesOfOneThatWasAsLongFromTheStart(end: Int)
    throws
  {
    let straight = TrainingFolder()
    _ = try finish(training(config(steps: 17), straight))
    let extended = TrainingFolder()
    _ = try finish(training(config(steps: 5), extended))
    _ = try finish(training(config(steps: end), extended), resume: true)
    #expect(extended.bytes("model.safetensors") != straight.bytes("model.safetensors"))
    _ = try finish(training(config(steps: 17), extended), resume: true)
    for name in ["model.safetensors", "checkpoint.safetensors", "log.jsonl", "settings.yaml"] {
      #expect(extended.bytes(name) == straight.bytes(name), "\(name)")
    }
  }

  @Test func ratesAgreeBeforeEitherRunDecays() {
    var rate = RateSchedule()
    rate.warmup = 4
    for (fraction, final) in [(0.3, 0.01), (0, 0.01), (0.5, 1), (1, 0.1)] {
      rate.decayFraction = fraction
      rate.final = final
      for (a, b) in [(40, 40), (40, 60), (60, 40), (10, 200)] {
        for step in 0...min(a, b) {
          let same = (0..<step).allSatisfy { rate.rate(step: $0, steps: a) == rate.rate(step: $0, steps: b) }
          // At the decay's first step the rate is the peak still.
          let first = Double(step - 1) == (1 - fraction) * Double(min(a, b))
          #expect(
            rate.agrees(before: step, inRunsOf: a, and: b) == same || first, "\(fraction) \(a) \(b) \(step)")
        }
      }
    }
  }

  @Test func aRunThatHadDecayedSaysSo() throws {
    func start(_ steps: [Int], decay: Double) throws -> TrainingStart? {
      let folder = TrainingFolder()
      var start: TrainingStart?
      for count in steps {
        _ = try training(config(steps: count, decay: decay), folder).run(as: Float.self, resume: true) {
          if case .begun(let found) = $0 { start = found }
        }
      }
      return start
    }
    let decayed = try #require(try start([6, 12], decay: 0.5))
    #expect(decayed.step == 6 && decayed.steps == 12 && decayed.hasOtherRates && decayed.rate == 1e-3)
    #expect(decayed.split.training.count == 50 && decayed.split.validation.count == 10)
    #expect(try start([6, 12], decay: 0)?.hasOtherRates == false)
    #expect(try start([6, 6], decay: 0.5)?.hasOtherRates == false)
    #expect(throws: TrainingError.stepsMade(6, asked: 5)) { try start([6, 5], decay: 0) }
  }

  @Test func everyCheckpointIsTheModelOfARunThatEndsThere() throws {
    for averageDecay in [0.999, 0] {
      let stopped = TrainingFolder()
      var long = config(steps: 30)
      long.averageDecay = averageDecay
      var asked = 0
      let outcome = try training(long, stopped).run(
        as: Float.self, resume: false,
        isCancelled: {
          asked += 1
          return asked > 12
        })
      guard case .cancelled(let step) = outcome else {
        Issue.record("not stopped")
        return
      }
      #expect(step > 3 && stopped.bytes("model.safetensors").isEmpty)
      let found = try FlowModel.load(path: FlowTraining.checkpointPath(in: stopped.path))
      var short = config(steps: step)
      short.averageDecay = averageDecay
      let ended = TrainingFolder()
      _ = try finish(training(short, ended))
      let expected = try FlowModel.load(path: FlowTraining.modelPath(in: ended.path))
      let byName = { (tensors: [NamedTensor]) in tensors.sorted { $0.name < $1.name } }
      #expect(byName(found.tensors) == byName(expected.tensors) && found.spec == expected.spec)
      #expect(found.statistics == expected.statistics && found.requantization == expected.requantization)
      #expect(found.imageShape == shape && found.dequantization == expected.dequantization)
      #expect(found.name == "test" && found.figures.steps == step)
      let flow = try found.makeFlow(Float.self, threads: 1)
      #expect(try flow.sample(indices: 0..<2, temperature: 0.5, seed: 1).shape == [2, 8, 8, 1])
    }
  }

  @Test func theFolderKnowsItsRun() throws {
    let folder = TrainingFolder()
    #expect(try FlowTraining.settings(in: folder.path) == nil)
    var begun = config(steps: 4)
    begun.data.images = "pictures"
    begun.data.test = "/somewhere/test.idx"
    _ = try finish(training(begun, folder))
    let known = try #require(try FlowTraining.settings(in: folder.path))
    #expect(known.flow == spec && known.steps == 4)
    #expect(known.data.images == FileManager.default.currentDirectoryPath + "/pictures")
    #expect(known.data.test == "/somewhere/test.idx")
    var other = known
    other.steps = 9
    other.checkpointEvery = 1
    other.data.images = "moved"
    try other.requireSameRun(as: known)
    other.rate.peak = 0.5
    #expect(throws: TrainingError.resumed(what: "rate", found: "0.5", expected: "0.001")) {
      try other.requireSameRun(as: known)
    }
    var open = TrainingConfig()
    open.data.crop = "4x4"
    open.completeData(from: known)
    #expect(open.data.test == "/somewhere/test.idx" && open.data.crop == "4x4")
  }

  @Test func patchesAreTrainedOnAndResumedTheSame() throws {
    let sizes = (0..<12).map { ImageShape(height: 8 + $0 % 3, width: 8 + $0 % 5, channels: 1) }
    let pixels = trainingImages(
      1, ImageShape(height: 1, width: sizes.reduce(0) { $0 + $1.count }, channels: 1)
    ).pixels
    let images = try TrainingImages(patch: shape, of: sizes, pixels: pixels)
    var config = config(steps: 9)
    config.patch = "8x8"
    config.validation.images = .share(0.25)
    let straight = TrainingFolder()
    let model = try finish(training(config, straight, images: images))
    #expect(model.imageShape == shape && model.figures.trainingImages == 9)
    #expect(model.figures.validation?.images == 3)
    #expect(try TrainingConfig(yaml: model.recipe, path: "recipe").patch == "8x8")
    let stopped = TrainingFolder()
    for stop in [3, 6] {
      var asked = 0
      _ = try training(config, stopped, images: images).run(
        as: Float.self, resume: true,
        isCancelled: {
          asked += 1
          return asked > stop
        })
    }
    _ = try finish(training(config, stopped, images: images), resume: true)
    #expect(stopped.bytes("model.safetensors") == straight.bytes("model.safetensors"))
    #expect(stopped.bytes("log.jsonl") == straight.bytes("log.jsonl"))
  }

  @Test func oneValidationImageHasNoStandardError() throws {
    let folder = TrainingFolder()
    var config = config(steps: 5)
    config.validation.images = .count(1)
    let model = try finish(training(config, folder))
    let validation = try #require(model.figures.validation)
    #expect(validation.images == 1 && validation.standardError == nil && validation.bitsPerDim.isFinite)
    #expect(String(decoding: folder.bytes("log.jsonl"), as: UTF8.self).contains("\"standardError\":null"))
    #expect(try FlowModel.load(path: folder.path + "/model.safetensors").figures.validation == validation)
  }

  @Test func aTenthIsKeptBackUnlessTold() throws {
    let rows: [(text: String, of: Int, kept: Int?)] = [
      ("auto", 60, 6), ("auto", 9, 0), ("auto", 19, 1), ("auto", 60_000, 2000), ("0", 60, 0), ("7", 60, 7),
      ("1_000", 5000, 1000), ("0.25", 60, 15), ("0.1", 25, 3), ("0.29", 100, 29), ("0.0", 60, 0),
      ("1.0", 60, nil),
      ("-1", 60, nil), ("nan", 60, nil), ("some", 60, nil), ("", 60, nil),
    ]
    for row in rows {
      let holdOut = HoldOut(row.text)
      #expect(holdOut?.count(of: row.of) == row.kept, "\(row)")
      if let holdOut { #expect(HoldOut(holdOut.description) == holdOut) }
    }
    let split = try TrainingSplit(images: trainingImages(60, shape), config: TrainingConfig())
    #expect(split.training.count == 54 && split.validation.count == 6)
    var config = TrainingConfig()
    config.validation.images = .count(60)
    let error = #expect(throws: TrainingError.nothingToTrainOn(images: 60, kept: 60)) {
      try TrainingSplit(images: trainingImages(60, shape), config: config)
    }
    #expect(error?.description.contains("--validation 6") == true)
  }
}
