import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

@Suite struct TrainingTests {
  let shape = ImageShape(height: 4, width: 3, channels: 1)

  var config: TrainingConfig {
    var config = TrainingConfig()
    config.seed = 11
    config.steps = 60
    config.batch = 8
    // A call of the density's gradient is a step.
    config.shares = 1
    config.rate.peak = 0.03
    config.rate.warmup = 5
    config.augmentation = Augmentation(flip: true, shift: 1)
    config.initializationImages = 16
    config.validation = .init(images: .count(10), every: 7)
    config.samples = .init(every: 20, count: 4, temperature: 1)
    config.checkpointEvery = 9
    config.logEvery = 4
    return config
  }

  struct Result: Equatable {
    var parameters: [UInt32]
    var log: [UInt8]
    var checkpoint: [UInt8]
    var rollbacks: Int
  }

  private func finish(_ trainer: Trainer<TrainingGaussian<Float>>, _ folder: TrainingFolder) throws -> Result
  {
    #expect(try trainer.run() == .finished)
    return Result(
      parameters: trainer.flow.parameters.map(\.bitPattern), log: folder.bytes("log.jsonl"),
      checkpoint: folder.bytes("checkpoint.safetensors"), rollbacks: trainer.rollbacks)
  }

  private func straight(failing: Set<Int> = []) throws -> Result {
    let folder = TrainingFolder()
    let flow = TrainingGaussian<Float>(shape)
    flow.failing = failing
    let trainer = try Trainer(
      flow: flow, images: trainingImages(50, shape), config: config, folder: folder.path, resume: false)
    return try finish(trainer, folder)
  }

  @Test func learnsTheMaximumLikelihoodGaussian() throws {
    let folder = TrainingFolder()
    let images = trainingImages(400, shape)
    let flow = TrainingGaussian<Double>(shape)
    var config = config
    config.steps = 1500
    config.augmentation = Augmentation()
    config.averageDecay = 0.99
    config.validation.images = .count(100)
    let trainer = try Trainer(flow: flow, images: images, config: config, folder: folder.path, resume: false)
    #expect(try trainer.run() == .finished)
    let split = try TrainingSplit(images: images, config: config)
    #expect(Set(split.training).isDisjoint(with: split.validation))
    #expect(split.training.count == 300 && trainer.split == split)
    let d = shape.count
    let best = TrainingGaussian<Double>(shape)
    for i in 0..<d {
      let values = split.training.map { config.dequantization.middle(images.pixels[$0 * d + i]) }
      let mean = values.reduce(0, +) / 300
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 300
      best.parameters[i] = mean
      best.parameters[d + i] = 0.5 * log(variance + config.dequantization.noiseVariance)
      #expect(abs(flow.parameters[i] - mean) < 0.01)
      #expect(abs(flow.parameters[d + i] - best.parameters[d + i]) < 0.05)
    }
    let validation = images.subset(split.validation)
    let expected = try Evaluation.measure(
      best, on: validation, dequantization: config.dequantization, seed: config.seed)
    let reached = try #require(trainer.validation)
    #expect(reached.images == 100)
    #expect(abs(reached.bitsPerDim - expected.bitsPerDim) < 0.01)
  }

  @Test(arguments: [[1], [9, 10], [13, 14, 15, 40], [0, 27, 59], [7, 20, 28]])
  func resumedRunGivesTheSameBytes(stops: [Int]) throws {
    for failing in [[], [12, 13]] as [Set<Int>] {
      let expected = try straight(failing: failing)
      #expect(expected.rollbacks == failing.count)
      let folder = TrainingFolder()
      for stop in stops {
        let flow = TrainingGaussian<Float>(shape)
        let trainer = try Trainer(
          flow: flow, images: trainingImages(50, shape), config: config, folder: folder.path, resume: true)
        let start = trainer.step
        flow.failing = Set(failing.map { $0 - start })
        #expect(try trainer.run(isCancelled: { trainer.step >= stop }) == .cancelled(step: stop))
      }
      let flow = TrainingGaussian<Float>(shape)
      let trainer = try Trainer(
        flow: flow, images: trainingImages(50, shape), config: config, folder: folder.path, resume: true)
      flow.failing = Set(failing.map { $0 - trainer.step })
      #expect(try finish(trainer, folder) == expected)
    }
  }

  /// What a program leaves that can't wait for a step to end.
  @Test(arguments: [2, 8, 14, 33])
  func aRunLeftAtItsResumePointGivesTheSameBytes(stop: Int) throws {
    struct Left: Error {}
    let expected = try straight()
    let folder = TrainingFolder()
    let resumePoint = ResumePoint()
    try resumePoint.save()
    #expect(folder.bytes("checkpoint.safetensors").isEmpty)
    let trainer = try Trainer(
      flow: TrainingGaussian<Float>(shape), images: trainingImages(50, shape), config: config,
      folder: folder.path, resume: false, resumePoint: resumePoint)
    #expect(throws: Left.self) {
      try trainer.run { event in
        if case .step(stop, _, _, _, _) = event { throw Left() }
      }
    }
    try resumePoint.save()
    let resumed = try Trainer(
      flow: TrainingGaussian<Float>(shape), images: trainingImages(50, shape), config: config,
      folder: folder.path, resume: true)
    // The step that was being made is made again.
    #expect(resumed.step == stop - 1)
    #expect(try finish(resumed, folder) == expected)
  }

  /// What a kill leaves: the last checkpoint, a log that is ahead of it, and half a line.
  @Test(arguments: [1, 8, 14, 21, 33, 47])
  func killedRunGivesTheSameBytes(stop: Int) throws {
    struct Killed: Error {}
    let expected = try straight()
    let folder = TrainingFolder()
    let trainer = try Trainer(
      flow: TrainingGaussian<Float>(shape), images: trainingImages(50, shape), config: config,
      folder: folder.path, resume: false)
    #expect(throws: Killed.self) {
      try trainer.run { event in
        if case .step(stop, _, _, _, _) = event { throw Killed() }
      }
    }
    let handle = try #require(FileHandle(forWritingAtPath: folder.path + "/log.jsonl"))
    try handle.seekToEnd()
    try handle.write(contentsOf: Data("{\"step\":".utf8))
    try handle.close()
    let next = try Trainer(
      flow: TrainingGaussian<Float>(shape), images: trainingImages(50, shape), config: config,
      folder: folder.path, resume: true)
    #expect(next.step == stop / 9 * 9 - (stop % 9 == 0 ? 9 : 0))
    #expect(try finish(next, folder) == expected)
  }

  @Test func cancellingInTheMidstOfAMeasurementGivesTheSameBytes() throws {
    let expected = try straight()
    let folder = TrainingFolder()
    let first = try Trainer(
      flow: TrainingGaussian<Float>(shape), images: trainingImages(50, shape), config: config,
      folder: folder.path, resume: false)
    var asked = 0
    let outcome = try first.run(isCancelled: {
      // Asked before a step, before a measurement and before each of its batches.
      if first.step == 14 { asked += 1 }
      return asked == 3
    })
    #expect(outcome == .cancelled(step: 14))
    let second = try Trainer(
      flow: TrainingGaussian<Float>(shape), images: trainingImages(50, shape), config: config,
      folder: folder.path, resume: true)
    #expect(try finish(second, folder) == expected)
  }

  @Test func checkpointSpacingDoesNotChangeTheResult() throws {
    let expected = try straight()
    let folder = TrainingFolder()
    var config = config
    config.checkpointEvery = 1
    let trainer = try Trainer(
      flow: TrainingGaussian<Float>(shape), images: trainingImages(50, shape), config: config,
      folder: folder.path, resume: false)
    #expect(try finish(trainer, folder).parameters == expected.parameters)
  }

  /// The next step undoes an update that gave no density; a checkpoint that is due before doesn't end the run for it.
  @Test func unusableParametersAtACheckpointAreUndone() throws {
    var seen: [[Float]] = []
    func finish(checkpointEvery: Int, refused: [Float]?, averageDecay: Double = 0.9) throws -> [Float] {
      let folder = TrainingFolder()
      var config = config
      config.checkpointEvery = checkpointEvery
      config.averageDecay = averageDecay
      config.validation.images = .count(0)
      config.samples.every = 0
      let flow = TrainingGaussian<Float>(shape)
      flow.refused = refused
      let trainer = try Trainer(
        flow: flow, images: trainingImages(50, shape), config: config, folder: folder.path, resume: false)
      _ = try trainer.run { if refused == nil, case .step = $0 { seen.append(flow.parameters) } }
      #expect(trainer.rollbacks == (refused == nil ? 0 : 1))
      return flow.parameters
    }
    _ = try finish(checkpointEvery: 100, refused: nil)
    // Those that the 21st step starts from.
    let refused = seen[20]
    #expect(
      try finish(checkpointEvery: 1, refused: refused) == finish(checkpointEvery: 100, refused: refused))
    // Where they are the result, no later step can mend it.
    let last = try finish(checkpointEvery: 100, refused: nil, averageDecay: 0)
    let reason = "the parameter mean is unusable: is refused"
    #expect(throws: TrainingError.unusable(step: 60, reason: reason)) {
      try finish(checkpointEvery: 100, refused: last, averageDecay: 0)
    }
  }

  /// A checkpoint of a program that didn't know a setting yet.
  @Test func aSettingThatCameLaterHadItsDefault() throws {
    let folder = TrainingFolder()
    let images = trainingImages(50, shape)
    func trainer(flip: Bool) throws -> Trainer<TrainingGaussian<Float>> {
      var config = config
      config.augmentation.flip = flip
      return try Trainer(
        flow: TrainingGaussian<Float>(shape), images: images, config: config, folder: folder.path,
        resume: true)
    }
    let first = try trainer(flip: false)
    _ = try first.run(isCancelled: { first.step == 5 })
    let path = folder.path + "/checkpoint.safetensors"
    var file = try Safetensors.load(path: path)
    #expect(file.metadata.removeValue(forKey: "settings.augmentation.flip") == "false")
    try file.save(path: path)
    #expect(try trainer(flip: false).step == 5)
    #expect(throws: TrainingError.resumed(what: "augmentation.flip", found: "true", expected: "false")) {
      try trainer(flip: true)
    }
  }

  @Test func resumingWithOtherSettingsOrDataSaysWhich() throws {
    let folder = TrainingFolder()
    let images = trainingImages(50, shape)
    let first = try Trainer(
      flow: TrainingGaussian<Float>(shape), images: images, config: config, folder: folder.path,
      resume: false)
    _ = try first.run(isCancelled: { first.step == 5 })
    var other = config
    other.batch = 9
    #expect(throws: TrainingError.resumed(what: "batch", found: "9", expected: "8")) {
      try Trainer(
        flow: TrainingGaussian<Float>(shape), images: images, config: other, folder: folder.path,
        resume: true)
    }
    let error = #expect(throws: TrainingError.self) {
      try Trainer(
        flow: TrainingGaussian<Float>(shape), images: trainingImages(50, shape, seed: 6), config: config,
        folder: folder.path, resume: true)
    }
    #expect(error?.description.hasPrefix("the run to resume had data ") == true)
    #expect(throws: FileError.self) {
      try Trainer(
        flow: TrainingGaussian<Double>(shape), images: images, config: config, folder: folder.path,
        resume: true)
    }
  }

  @Test func nonFiniteStepGoesBackToTheStateBeforeTheLastUpdate() throws {
    let folder = TrainingFolder()
    let flow = TrainingGaussian<Float>(shape)
    flow.failing = [20]
    let trainer = try Trainer(
      flow: flow, images: trainingImages(50, shape), config: config, folder: folder.path, resume: false)
    var before: [[Float]] = []
    var after: [Float] = []
    var told: [String] = []
    _ = try trainer.run { event in
      switch event {
      case .step(let step, _, _, _, let rate):
        if step <= 20 { before.append(flow.parameters) }
        if step == 22 {
          after = flow.parameters
          #expect(abs(rate - 0.5 * config.rate.rate(step: 21, steps: 60)) < 1e-12)
        }
      case .rolledBack(let step, let reason, let scale):
        told.append(reason)
        #expect(step == 21 && scale == 0.5)
      default: break
      }
    }
    // Step 20 (counted from 1) started from before[19]; its update was undone, so step 22 starts there.
    #expect(after == before[19])
    #expect(told == ["the loss is nan"])
    #expect(
      String(decoding: folder.bytes("log.jsonl"), as: UTF8.self).contains(
        "\"rolledBack\":\"the loss is nan\""))
    #expect(flow.parameters.allSatisfy { $0.isFinite })
  }

  @Test func failingForeverEndsWithAnError() throws {
    let folder = TrainingFolder()
    let flow = TrainingGaussian<Float>(shape)
    flow.failing = Set(30..<1000)
    let trainer = try Trainer(
      flow: flow, images: trainingImages(50, shape), config: config, folder: folder.path, resume: false)
    #expect(throws: TrainingError.diverged(step: 40, attempts: 10, reason: "the loss is nan")) {
      try trainer.run()
    }
  }

  @Test func explosionsAreJudgedByTheRunningMean() {
    var progress = TrainingProgress()
    let limits = TrainingConfig.Guard()
    for _ in 0..<20 { progress.accept(loss: 3, norm: 10) }
    #expect(progress.fault(loss: 6.9, norm: 9000, limits: limits) == nil)
    #expect(progress.fault(loss: 7.1, norm: 10, limits: limits) != nil)
    #expect(progress.fault(loss: 3, norm: 10001, limits: limits) != nil)
    #expect(progress.fault(loss: 3, norm: .infinity, limits: limits) != nil)
    progress.reject(limits)
    progress.reject(limits)
    #expect(progress.rateScale == 0.25 && progress.failures == 2)
    for _ in 0..<100 { progress.accept(loss: 3, norm: 10) }
    #expect(progress.rateScale == 1 && progress.failures == 0)
  }

  @Test func unfitDataIsRefused() throws {
    let folder = TrainingFolder()
    func train(_ images: TrainingImages) throws {
      _ = try Trainer(
        flow: TrainingGaussian<Float>(shape), images: images, config: config, folder: folder.path,
        resume: false)
    }
    let constant = try TrainingImages(shape: shape, pixels: Array(repeating: 7, count: 20 * shape.count))
    #expect(throws: TrainingError.constantData(value: 7, images: 20)) { try train(constant) }
    #expect(throws: TrainingError.self) { try train(trainingImages(10, shape)) }
    #expect(throws: TrainingError.self) {
      try train(trainingImages(50, ImageShape(height: 3, width: 3, channels: 1)))
    }
    #expect(throws: TrainingError.pixelCount(found: 13, shape: "4x3x1")) {
      try TrainingImages(shape: shape, pixels: Array(repeating: 0, count: 13))
    }
  }

  @Test func floatsAreTakenTo8BitsOrRefused() throws {
    var floats = try Tensor<Float>(shape: [2, 4, 3, 1])
    for (value, text) in [(Float.nan, "nan"), (1.5, "1.5"), (-0.25, "-0.25"), (.infinity, "inf")] {
      floats[flat: 15] = value
      let error = #expect(throws: TrainingError.self) { try TrainingImages(floats) }
      #expect(error?.description == "image 1 holds \(text) at position 3, expected a number from 0 to 1")
    }
    floats[flat: 15] = 1
    floats[flat: 16] = 0.5
    #expect(try TrainingImages(floats).pixels[15...16] == [255, 128])
  }
}
