import AIPOFlows
import AIPOImaging
import AIPOInterchange
import AIPOKernels
import AIPOTestFiles
import Foundation
import Testing

/// What a checkpoint doesn't hold: by option, from the file's own list of modules, on images, or assumed.
struct OpenSettingTests {
  /// The four images of the cases, and the points.
  private func images(_ areVectors: Bool) throws -> TrainingImages {
    let set = try ImageSet(
      path: TestFiles.casePath(areVectors ? "01-points.npy" : "colour8.npy"),
      plane: areVectors ? .vectors : .image)
    let all = Array(0..<set.count)
    let shape = try set.shape(of: all)
    if areVectors {
      let points: Tensor<Double> = try set.read(all)
      return try TrainingImages(shape: shape, reals: points.elements)
    }
    return try TrainingImages(shape: shape, pixels: try set.bytes(all))
  }

  private func load(path: String, _ options: [String: String], onImages: Bool) throws -> ModelImport {
    var options = options
    options["draws"] = "8"
    guard onImages else { return try ModelImport(path: path, options: options, threads: 1) }
    return try ModelImport(path: path, options: options, images: { try images($0) }, threads: 1)
  }

  private func load(
    _ name: String, _ options: [String: String] = [:], onImages: Bool = false
  ) throws -> ModelImport {
    try load(path: TestFiles.casePath(name), options, onImages: onImages)
  }

  /// log p in float64, of points as they are, of pixels at the middles of the model's bins.
  private func logProb(_ model: FlowModel) throws -> [Double] {
    let images = try images(model.imageShape.height == 1)
    let values = images.reals.isEmpty ? images.pixels.map { model.dequantization.middle($0) } : images.reals
    let s = images.shape
    let x = try Tensor<Double>(shape: [images.count, s.height, s.width, s.channels], elements: values)
    return try model.makeFlow(Double.self, threads: 1).logProb(x)
  }

  private func meanLogProb(_ model: FlowModel) throws -> Double {
    let values = try logProb(model)
    return values.reduce(0, +) / Double(values.count)
  }

  private func expect(_ found: [Double], _ right: [Double], sourceLocation: SourceLocation = #_sourceLocation)
  {
    let worst = zip(found, right).map { abs($0 - $1) }.max() ?? .infinity
    #expect(worst < 1e-3, "\(found)", sourceLocation: sourceLocation)
  }

  private func reason(_ found: ModelImport, _ option: String) -> String? {
    found.settings.first { $0.option == option }.map { "\($0.value): \($0.reason)" }
  }

  // MARK: Swaps without tensors

  /// normflows' README; its figures are those of the program.
  @Test(arguments: [false, true]) func readme(onImages: Bool) throws {
    let found = try load("01-readme-realnvp.pt", onImages: onImages)
    #expect(abs(try meanLogProb(found.model) + 0.545) < 1e-3)
    #expect(reason(found, "permutation") == "swap-every: told by the file's list of modules")
    #expect(reason(found, "scale-map")?.hasPrefix(onImages ? "exp: chosen" : "exp: assumed") == true)
    #expect(found.warnings.isEmpty)
    let draws = try found.model.makeFlow(Double.self, threads: 1).sample(indices: 0..<4000, seed: 1).elements
    var mean = [0.0, 0.0]
    for k in draws.indices { mean[k % 2] += draws[k] / 4000 }
    #expect(abs(mean[0] - 2.96) < 0.1, "\(mean)")
    #expect(abs(mean[1] + 0.97) < 0.1, "\(mean)")
  }

  /// The same without the list of modules, as a dictionary of one's own or safetensors has it.
  @Test func readmeAsSafetensors() throws {
    let path = FileManager.default.temporaryDirectory.appending(component: "aipo-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Wrapped.tensors(of: TestFiles.casePath("01-readme-realnvp.pt")).save(path: path)
    func mean(_ options: [String: String], onImages: Bool = false) throws -> (Double, ModelImport) {
      let found = try load(path: path, options, onImages: onImages)
      return (try meanLogProb(found.model), found)
    }
    let assumed = try mean([:])
    #expect(abs(assumed.0 + 0.545) < 1e-3)
    #expect(reason(assumed.1, "permutation") == "swap-every: assumed")
    let chosen = try mean([:], onImages: true)
    #expect(abs(chosen.0 + 0.545) < 1e-3)
    #expect(reason(chosen.1, "permutation")?.hasPrefix("swap-every: chosen by log p") == true)
    // What the program did when it knew of no swap at the end.
    let wrong = try mean(["permutation": "swap-between", "scale-map": "exp"], onImages: true)
    #expect(wrong.0 < -400)
    #expect(wrong.1.warnings.count == 1 && wrong.1.warnings[0].contains("improbable"), "\(wrong.1.warnings)")
  }

  // MARK: GlowBlocks

  private static let plain = [25.193, 64.335, 62.269, 26.307]
  private static let logit = [46.816, 66.434, 63.915, 41.897]

  @Test(arguments: [false, true]) func logitTransform(onImages: Bool) throws {
    expect(try logProb(try load("02-normflows-plain.pt", onImages: onImages).model), Self.plain)
    let found = try load("02-normflows-logit.pt", onImages: onImages)
    expect(try logProb(found.model), Self.logit)
    #expect(reason(found, "transform")?.hasPrefix("logit: ") == true && found.warnings.isEmpty)
    let options = found.settings.map(\.option)
    #expect(options == ["scale-map", "split", "transform", "leaky", "alpha", "bits", "size"])
  }

  @Test func withoutTheLogitItIsImprobable() throws {
    let found = try load("02-normflows-logit.pt", ["transform": "none"], onImages: true)
    #expect(found.warnings.count == 1 && found.warnings[0].contains("uniform noise 0.0"), "\(found.warnings)")
    let plain = try load("02-normflows-logit.pt", ["transform": "none"])
    #expect(try logProb(plain.model).allSatisfy { $0 < -290 })
    #expect(plain.warnings.isEmpty)
  }

  @Test func givenSettingsThatNothingDependsOn() throws {
    let found = try load("02-normflows-plain.pt", ["alpha": "0.1", "split": "channel-inv"])
    #expect(reason(found, "alpha")?.contains("nothing in this file depends on it") == true)
    #expect(reason(found, "split") == "channel-inv: given")
    #expect(abs(try logProb(found.model)[0] - Self.plain[0]) > 0.1)
  }

  @Test func uninitialisedActnorms() throws {
    let error = #expect(throws: FileError.self) { try load("03-normflows-actnorm-uninitialised.pt") }
    #expect(error?.description.contains("data_dep_init_done is 0") == true)
  }

  /// The flag of glow-pytorch means the same.
  @Test func uninitialisedActnormsOfGlowPytorch() throws {
    let path = FileManager.default.temporaryDirectory.appending(component: "aipo-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    let test = try #require(ParityTests.cases.first { $0.name == "glow-pytorch-additive" })
    let exported = try ModelExport.tensors(of: try test.load().model, as: .glowPytorch)
    let tensors = exported.tensors.map { tensor in
      tensor.name == "blocks.1.flows.0.actnorm.initialized"
        ? NamedTensor(name: tensor.name, shape: [], values: .uint8([0])) : tensor
    }
    try Safetensors(tensors: tensors).save(path: path)
    let error = #expect(throws: FileError.self) { try ModelImport(path: path, threads: 1) }
    #expect(error?.description.contains("blocks.1.flows.0.actnorm.initialized is 0") == true)
  }

  // MARK: GlowIP

  @Test func glowIPDefaults() throws {
    let assumed = try load("08-glowip-default-5-bits.pt", ["size": "8x8"])
    #expect(reason(assumed, "bits") == "5: assumed" && reason(assumed, "last-bias") == "1: assumed")
    let found = try load("08-glowip-default-5-bits.pt", onImages: true)
    expect(try logProb(found.model), [7.893, 51.571, 56.557, 20.982])
    #expect(found.model.dequantization.bits == 5)
    #expect(reason(found, "last-bias")?.hasPrefix("0: chosen") == true)
  }

  // MARK: The documentation

  /// The page lists every setting of every dialect with the values that are declared.
  @Test func documentationHasThem() throws {
    let page = URL(filePath: #filePath).deletingLastPathComponent().appending(
      path: "../../docs/interchange.md")
    let lines = try String(contentsOf: page, encoding: .utf8).split(separator: "\n")
    for dialect in Dialect.allCases {
      for setting in dialect.openSettings {
        let name = setting.option.rawValue
        let row = try #require(lines.first { $0.hasPrefix("| `\(name)` |") }, "\(name)")
        for value in setting.values where Double(value) == nil {
          #expect(row.contains("`\(value)`"), "\(name) \(value)")
        }
        for value in setting.values where Double(value) != nil {
          #expect(row.contains(value), "\(name) \(value)")
        }
      }
    }
  }
}
