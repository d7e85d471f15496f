import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

/// Training of real flows, to the model file.
@Suite struct TrainingFlowTests {
  let shape = ImageShape(height: 8, width: 8, channels: 1)

  private func config(steps: Int = 12) -> TrainingConfig {
    var config = TrainingConfig()
    config.seed = 3
    config.steps = steps
    config.batch = 6
    config.rate.warmup = 3
    config.initializationImages = 20
    config.validation = .init(images: .count(10), every: 5)
    config.samples = .init(every: 6, count: 2, temperature: 0.8)
    config.checkpointEvery = 4
    config.logEvery = 2
    config.augmentation.flip = true
    config.about = .init(name: "test", provenance: "drawn", licence: "MIT")
    return config
  }

  private func training(_ spec: FlowSpec, _ folder: TrainingFolder, threads: Int = 1) -> FlowTraining {
    FlowTraining(
      spec: spec, config: config(), images: trainingImages(60, shape),
      test: trainingImages(9, shape, seed: 8),
      folder: folder.path, threads: threads)
  }

  private static var specs: [FlowSpec] {
    [
      .glow(levels: 2, steps: 2, hidden: 4), .realNVP(levels: 2, couplings: 2, hidden: 4, blocks: 1),
      .glow(levels: 1, steps: 1, hidden: 3, base: .learnedGaussian, matrix: .dense),
      FlowSpec.glow(levels: 1, steps: 2, hidden: 4, activation: .silu).conditioned(whitening: .dense),
    ]
  }

  @Test(arguments: 0..<4) func stoppedRunsAndThreadsGiveTheSameModelFile(which: Int) throws {
    let spec = Self.specs[which]
    let straight = TrainingFolder()
    guard case .finished(let model) = try training(spec, straight).run(as: Float.self, resume: false) else {
      Issue.record("not finished")
      return
    }
    let expected = straight.bytes("model.safetensors")
    #expect(model.checksum == SHA256.hexDigest(expected))
    #expect(model.figures.test?.images == 9 && model.figures.validation?.images == 10)
    let stopped = TrainingFolder()
    for stop in [3, 5, 9] {
      var asked = 0
      _ = try training(spec, stopped, threads: 2).run(
        as: Float.self, resume: true,
        isCancelled: {
          asked += 1
          return asked > stop
        })
      #expect(stopped.bytes("model.safetensors").isEmpty)
    }
    _ = try training(spec, stopped, threads: 2).run(as: Float.self, resume: true)
    #expect(stopped.bytes("model.safetensors") == expected)
    #expect(stopped.bytes("log.jsonl") == straight.bytes("log.jsonl"))
    // A finished run that is resumed writes the same model again.
    try FileManager.default.removeItem(atPath: stopped.path + "/model.safetensors")
    _ = try training(spec, stopped).run(as: Float.self, resume: true)
    #expect(stopped.bytes("model.safetensors") == expected)
  }

  /// Shares of a batch side by side: as many as threads, fewer at the end, and more threads than shares.
  @Test(arguments: [2, 3, 5, 9]) func sharesSideBySideGiveTheSameModelFile(threads: Int) throws {
    let (alone, many) = (TrainingFolder(), TrainingFolder())
    _ = try training(Self.specs[0], alone).run(as: Float.self, resume: false)
    _ = try training(Self.specs[0], many, threads: threads).run(as: Float.self, resume: false)
    #expect(many.bytes("model.safetensors") == alone.bytes("model.safetensors"))
  }

  @Test func lanesHaveTheFlowsGradientAndNumbersOfTheirOwn() throws {
    let flow = try Flow<Float>(spec: Self.specs[0], imageShape: shape, seed: 1, pool: ThreadPool(threads: 2))
    let lanes = try #require(try flow.lanes(2, images: 4))
    #expect(lanes.count == 2 && lanes.allSatisfy { $0.net !== flow.net && $0.pool.threads == 1 })
    let images = try flow.sample(indices: 0..<4, temperature: 1, seed: 2)
    var (expected, found) = ([Float](), [Float]())
    let nats = try flow.trainingGradient(images, gradient: &expected)
    #expect(try lanes[1].trainingGradient(images, gradient: &found) == nats)
    #expect(found == expected)
    try lanes[0].setParameters(flow.parameters.map { $0 + 0.5 })
    #expect(lanes[1].parameters == flow.parameters && lanes[0].parameters != flow.parameters)
    // More than memory holds.
    #expect(try flow.lanes(1 << 30, images: 4) == nil)
  }

  @Test func trainingLowersTheLoss() throws {
    let folder = TrainingFolder()
    var training = training(.glow(levels: 2, steps: 2, hidden: 8), folder)
    training.config.steps = 200
    training.config.rate.peak = 0.003
    var losses: [Double] = []
    _ = try training.run(as: Double.self, resume: false) { event in
      if case .step(_, _, let loss, _, _) = event { losses.append(loss) }
    }
    #expect(losses.count == 200)
    let first = losses.prefix(20).reduce(0, +) / 20
    let last = losses.suffix(20).reduce(0, +) / 20
    #expect(last < first - 0.2)
  }

  @Test(arguments: [0, 3]) func modelFileReadsBackExactly(which: Int) throws {
    let folder = TrainingFolder()
    _ = try training(Self.specs[which], folder).run(as: Float.self, resume: false)
    let path = folder.path + "/model.safetensors"
    let model = try FlowModel.load(path: path)
    #expect(model.spec == Self.specs[which] && model.imageShape == shape)
    #expect(model.dequantization == Dequantization(bits: 5))
    #expect((model.name, model.provenance, model.licence) == ("test", "drawn", "MIT"))
    #expect(model.figures.steps == 12 && model.figures.imagesSeen == 72)
    var copy = model
    try copy.save(path: folder.path + "/copy.safetensors")
    #expect(folder.bytes("copy.safetensors") == folder.bytes("model.safetensors"))
    #expect(copy.checksum == model.checksum)
    // The recipe is a config that gives the same model.
    let again = TrainingFolder()
    let config = try TrainingConfig(yaml: model.recipe, path: "recipe")
    var repeated = training(try #require(config.flow), again)
    repeated.config = config
    _ = try repeated.run(as: Float.self, resume: false)
    #expect(again.bytes("model.safetensors") == folder.bytes("model.safetensors"))
    // The flow in it gives the density that was measured.
    let flow = try model.makeFlow(Float.self, threads: 1)
    let measured = try Evaluation.measure(
      flow, on: trainingImages(9, shape, seed: 8), dequantization: model.dequantization)
    #expect(measured == model.figures.test)
  }

  @Test func folderInUseIsRefused() throws {
    let folder = TrainingFolder()
    let lock = try FolderLock(folder: folder.path)
    #expect(throws: FileError.self) {
      try training(Self.specs[0], folder).run(as: Float.self, resume: false)
    }
    withExtendedLifetime(lock) {}
  }

  @Test func singularParametersAreRolledBack() throws {
    let folder = TrainingFolder()
    let flow = try Flow<Float>(spec: Self.specs[2], imageShape: shape, seed: 1)
    let trainer = try Trainer(
      flow: SingularOnce(flow), images: trainingImages(60, shape), config: config(), folder: folder.path,
      resume: false)
    #expect(try trainer.run() == .finished)
    #expect(trainer.rollbacks == 1)
    #expect(flow.parameters.allSatisfy { $0.isFinite })
  }

  /// A flow that refuses its parameters once.
  private final class SingularOnce: TrainableFlow {
    let flow: Flow<Float>
    private var calls = 0

    init(_ flow: Flow<Float>) { self.flow = flow }

    var imageShape: ImageShape { flow.imageShape }
    var parameterCount: Int { flow.parameterCount }
    var parameters: [Float] { flow.parameters }
    var namedTensors: [NamedTensor] { flow.namedTensors }
    func load(_ tensors: [NamedTensor]) throws { try flow.load(tensors) }
    func initialize(from batch: Tensor<Float>) throws { try flow.initialize(from: batch) }
    func logProb(_ x: Tensor<Float>) throws -> [Double] { try flow.logProb(x) }

    func setParameters(_ values: [Float]) throws {
      calls += 1
      if calls == 5 { throw FlowError.unusableParameters(name: "w", reason: "is singular") }
      try flow.setParameters(values)
    }

    func trainingGradient(_ x: Tensor<Float>, gradient: inout [Float]) throws -> [Double] {
      try flow.trainingGradient(x, gradient: &gradient)
    }

    func sample(indices: Range<Int>, temperature: Double, seed: UInt64) throws -> Tensor<Float> {
      try flow.sample(indices: indices, temperature: temperature, seed: seed)
    }
  }
}
