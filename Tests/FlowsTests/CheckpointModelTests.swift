import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

@Suite struct CheckpointModelTests {
  let shape = ImageShape(height: 4, width: 4, channels: 1)

  private func model<Scalar: KernelScalar>(_: Scalar.Type) throws -> FlowModel {
    let spec = FlowSpec.glow(levels: 1, steps: 2, hidden: 3)
    let flow = try Flow<Scalar>(spec: spec, imageShape: shape, seed: 4)
    var random = Philox(seed: 9, purpose: .test)
    try flow.setParameters(flow.parameters.map { $0 + Scalar(0.05 * random.normal()) })
    var model = FlowModel(
      spec: spec, imageShape: shape, dequantization: Dequantization(bits: 8), tensors: flow.namedTensors,
      statistics: ImageStatistics(
        mean: (0..<16).map { Float($0) / 16 }, covariance: .full(lowerTriangle: (0..<136).map { Float($0) })))
    model.requantization = Requantization(
      means: (0..<256).map { (Double($0) + 0.5) / 256 }, slopes: (0..<256).map { Double($0 + 6) / 262 })
    model.name = "a \"name\"\nof two lines"
    model.figures.validation = Evaluation(bitsPerDim: 1.0 / 3, standardError: 1e-17, images: 3)
    return model
  }

  @Test func readsBackExactlyInBothPrecisions() throws {
    func check<Scalar: KernelScalar>(_: Scalar.Type) throws {
      let folder = TrainingFolder()
      var model = try model(Scalar.self)
      try model.save(path: folder.path + "/m.safetensors")
      let back = try FlowModel.load(path: folder.path + "/m.safetensors")
      #expect(back.dtypeName == Scalar.dtypeName)
      #expect(back.checksum == model.checksum && back.checksum?.count == 64)
      #expect(Set(back.tensors.map(\.name)) == Set(model.tensors.map(\.name)))
      for tensor in model.tensors { #expect(back.tensors.first { $0.name == tensor.name } == tensor) }
      let levels = try #require(back.requantization)
      for x in [0.001, 0.3, 0.9991] {
        #expect(abs(levels.pixel(x) - model.requantization!.pixel(x)) < 1e-7)
      }
      #expect(back.statistics == model.statistics && back.figures == model.figures && back.name == model.name)
      let flow = try back.makeFlow(Scalar.self, threads: 1)
      #expect(flow.namedTensors == model.tensors)
    }
    try check(Float.self)
    try check(Double.self)
  }

  @Test func stationaryStatisticsReadBack() throws {
    let folder = TrainingFolder()
    var model = try model(Float.self)
    model.statistics = ImageStatistics(
      mean: [0.25],
      covariance: .stationary(
        LagCovariance(channels: 1, lagY: 2, lagX: 1, values: (0..<15).map { 0.01 * Float($0) })))
    try model.save(path: folder.path + "/m.safetensors")
    #expect(try FlowModel.load(path: folder.path + "/m.safetensors").statistics == model.statistics)
    model.statistics = nil
    try model.save(path: folder.path + "/m.safetensors")
    #expect(try FlowModel.load(path: folder.path + "/m.safetensors").statistics == nil)
  }

  @Test(arguments: [PriorKind.images, .pictures, .patches(stride: 3)]) func kindReadsBack(_ kind: PriorKind)
    throws
  {
    let folder = TrainingFolder()
    var model = try model(Float.self)
    (model.kind, model.seesMirrorImages) = (kind, kind == .pictures)
    try model.save(path: folder.path + "/m.safetensors")
    let back = try FlowModel.load(path: folder.path + "/m.safetensors")
    #expect(back.kind == kind && back.seesMirrorImages == (kind == .pictures))
    #expect(back.patchStride == (kind == .patches(stride: 3) ? 3 : nil))
  }

  /// Of version 1 the recipe tells.
  @Test func theFirstVersionIsRead() throws {
    let folder = TrainingFolder()
    var model = try model(Float.self)
    var config = TrainingConfig()
    config.patch = "4x4"
    config.stride = .pixels(3)
    config.augmentation.flip = true
    for (recipe, kind) in [(config.yaml(), PriorKind.patches(stride: 3)), ("", .images)] {
      model.recipe = recipe
      var file = try model.safetensors()
      file.metadata["version"] = "1"
      file.metadata["prior"] = nil
      file.metadata["mirrored"] = nil
      try file.save(path: folder.path + "/m.safetensors")
      let back = try FlowModel.load(path: folder.path + "/m.safetensors")
      #expect(back.kind == kind && back.seesMirrorImages == !recipe.isEmpty)
    }
  }

  /// What is done to a good file, and a word that the error must have.
  static let damages: [(word: String, change: @Sendable (inout Safetensors) -> Void)] = [
    ("format", { $0.metadata["format"] = nil }),
    ("format", { $0.metadata["format"] = "pt" }),
    ("version", { $0.metadata["version"] = "99" }),
    (
      "recipe",
      {
        $0.metadata["version"] = "1"
        $0.metadata["prior"] = nil
        $0.metadata["recipe"] = "patch: 4x4\nunheard-of: 3\n"
      }
    ),
    ("prior", { $0.metadata["prior"] = nil }),
    ("prior", { $0.metadata["prior"] = "{\"kind\":\"shapes\"}" }),
    ("prior", { $0.metadata["prior"] = "{\"kind\":\"patches\"}" }),
    ("prior", { $0.metadata["prior"] = "{\"kind\":\"patches\",\"stride\":0}" }),
    ("mirrored", { $0.metadata["mirrored"] = "1" }),
    ("spec", { $0.metadata["spec"] = nil }),
    ("spec", { $0.metadata["spec"] = "{" }),
    ("spec", { $0.metadata["spec"] = "{\"base\":\"gaussian\",\"layers\":[\"twist\"]}" }),
    ("image", { $0.metadata["image"] = "{\"height\":0,\"width\":4,\"channels\":1}" }),
    ("image", { $0.metadata["image"] = "{\"height\":4}" }),
    ("dequantization", { $0.metadata["dequantization"] = "{\"bits\":40}" }),
    ("figures", { $0.metadata["figures"] = "[]" }),
    ("images.covariance", { $0.tensors.removeAll { $0.name == "images.covariance" } }),
    // What version 0.1 wrote of large images.
    (
      "train the model again",
      { $0.tensors.append(.init(name: "images.factors", shape: [1, 1], scalars: [Float(1)])) }
    ),
    (
      "images.lags",
      { $0.tensors.append(.init(name: "images.lags", shape: [2, 1, 1], scalars: [Float(1), 1])) }
    ),
    (
      "images.mean", { $0.tensors.append(.init(name: "images.lags", shape: [1, 1, 1], scalars: [Float(1)])) }
    ),
    ("images.levels", { $0.metadata["dequantization"] = "{\"bits\":5}" }),
    (
      "images.levels",
      { file in
        file.tensors.removeAll { $0.name == "images.levels" }
        file.tensors.append(
          NamedTensor(name: "images.levels", shape: [2, 256], scalars: [Float](repeating: 0.5, count: 512)))
      }
    ),
    (
      "images.mean",
      { file in
        file.tensors.removeAll { $0.name == "images.mean" }
        file.tensors.append(NamedTensor(name: "images.mean", shape: [3], scalars: [Float(1), 2, 3]))
      }
    ),
    (
      "not finite",
      { file in
        guard case .float32(var values) = file.tensors[0].values else { return }
        values[0] = .nan
        file.tensors[0].values = .float32(values)
      }
    ),
  ]

  @Test(arguments: 0..<damages.count) func badModelIsRefusedInOneLine(k: Int) throws {
    var file = try model(Float.self).safetensors()
    Self.damages[k].change(&file)
    let folder = TrainingFolder()
    let path = folder.path + "/bad.safetensors"
    try file.save(path: path)
    let error = #expect(throws: FileError.self) { try FlowModel.load(path: path) }
    let text = try #require(error?.description)
    #expect(text.hasPrefix(path) && text.contains(Self.damages[k].word), "\(text)")
    #expect(!text.contains("\n"))
  }

  @Test func tensorsThatDoNotFitTheSpecAreRefused() throws {
    let model = try model(Float.self)
    for k in 0..<3 {
      var bad = model
      switch k {
      case 0: bad.tensors.removeFirst()
      case 1: bad.tensors.append(NamedTensor(name: "extra", shape: [1], scalars: [Float(0)]))
      default: bad.spec = .glow(levels: 1, steps: 2, hidden: 4)
      }
      let error = #expect(throws: FileError.self) { try bad.makeFlow(Float.self, threads: 1) }
      #expect(error?.description.contains("\n") == false)
    }
    var bad = model
    bad.tensors[0] = NamedTensor(
      name: bad.tensors[0].name, shape: bad.tensors[0].shape,
      scalars: Array(repeating: Float.nan, count: bad.tensors[0].count))
    #expect(throws: FileError.self) { try bad.save(path: "/tmp/never-written.safetensors") }
    #expect(!FileManager.default.fileExists(atPath: "/tmp/never-written.safetensors"))
  }

  /// 4096 layers of 8192 channels: 300 TB of weights, of which the file holds none.
  @Test func aSpecOfMoreWeightsThanTheFileHolds() throws {
    var bad = try model(Float.self)
    bad.spec = .glow(levels: 1, steps: 1024, hidden: 8192)
    let error = #expect(throws: FileError.self) { try bad.makeFlow(Float.self, threads: 1) }
    #expect(error?.description.contains("all tensors together") == true)
  }

  @Test func truncatedModelIsRefused() throws {
    let bytes = try model(Float.self).safetensors().bytes
    let folder = TrainingFolder()
    for length in stride(from: 0, to: bytes.count, by: 97) {
      _ = FileManager.default.createFile(atPath: folder.path + "/t", contents: Data(bytes[..<length]))
      #expect(throws: FileError.self) { try FlowModel.load(path: folder.path + "/t") }
    }
  }
}
