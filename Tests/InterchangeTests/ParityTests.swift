import AIPOFlows
import AIPOImaging
import AIPOInterchange
import AIPOKernels
import Foundation
import Testing

/// Checkpoints of the real programs with random parameters give what the programs give. The files come from
/// `Tests/Parity/make_fixtures.py`.
struct ParityTests {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(component: "Fixtures")

  struct Case: Decodable, Sendable, CustomTestStringConvertible {
    var name: String
    var file: String
    var dialect: String
    var options: [String: String]
    var dtype: String
    var testDescription: String { name }

    var path: String { ParityTests.folder.appending(component: file).path }

    func load() throws -> ModelImport {
      try ModelImport(
        path: path, dialect: Dialect(rawValue: dialect),
        options: options.merging(["draws": "8"]) { first, _ in first }, threads: 1)
    }

    /// x as `[n, h, w, c]`, latents and log p, in double.
    func expected() throws -> (x: Tensor<Double>, latents: Tensor<Double>, logProb: Tensor<Double>) {
      let arrays = try NPZFile.read(
        ParityTests.folder.appending(component: name + ".npz").path, as: Double.self)
      func array(_ name: String) throws -> Tensor<Double> {
        try #require(arrays.first { $0.name == name }?.array)
      }
      var x = try array("x")
      if x.shape.count == 2 { x = x.reshaped([x.shape[0], 1, 1, x.shape[1]]) }
      return (x, try array("latents"), try array("logprob"))
    }
  }

  static let cases: [Case] = {
    guard let data = try? Data(contentsOf: folder.appending(component: "cases.json")),
      let cases = try? JSONDecoder().decode([Case].self, from: data)
    else { return [] }
    return cases
  }()

  @Test func thereAreCases() { #expect(Self.cases.count >= 16) }

  private func close(_ found: [Double], _ expected: [Double], _ tolerance: Double, _ what: String) {
    let scale = expected.reduce(1) { max($0, abs($1)) }
    let worst = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
    #expect(found.count == expected.count && worst <= tolerance * scale, "\(what): \(worst) of \(scale)")
  }

  private func compare<Scalar: KernelScalar>(
    _ model: FlowModel, _ test: Case, _: Scalar.Type, _ tolerance: Double
  ) throws {
    let (x, latents, logProb) = try test.expected()
    let flow: Flow<Scalar> = try model.makeFlow(threads: 1)
    let own = try x.converted(to: Scalar.self)
    close(try flow.encode(own).latents.elements.map { Double($0) }, latents.elements, tolerance, "latents")
    close(try flow.logProb(own), logProb.elements, tolerance, "log p")
    let back = try flow.decode(try latents.converted(to: Scalar.self)).images
    close(back.elements.map { Double($0) }, x.elements, tolerance, "x of the latents")
  }

  @Test(arguments: cases)
  func sameNumbers(_ test: Case) throws {
    let imported = try test.load()
    #expect(imported.model.dtypeName == (test.dtype == "float64" ? "F64" : "F32"))
    // The library's results are of the parameters as they are: folding rounds those of single precision.
    try compare(imported.model, test, Double.self, test.dtype == "float64" ? 1e-10 : 1e-4)
    try compare(imported.model, test, Float.self, 1e-4)
  }

  @Test(arguments: cases)
  func dialectIsFound(_ test: Case) throws {
    var options = test.options
    options["draws"] = "4"
    #expect(try ModelImport(path: test.path, options: options, threads: 1).dialect.rawValue == test.dialect)
  }

  /// The model's file has it all, and a gradient of every parameter is there to train on.
  @Test(arguments: cases)
  func likeANativeOne(_ test: Case) throws {
    var model = try test.load().model
    #expect(model.statistics != nil && model.provenance.contains(test.dialect))
    let path = FileManager.default.temporaryDirectory.appending(component: "aipo-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try model.save(path: path)
    let flow: Flow<Double> = try FlowModel.load(path: path).makeFlow(threads: 1)
    let x = try test.expected().x
    var gradient: [Double] = []
    let before = try flow.trainingGradient(x, gradient: &gradient).reduce(0, +)
    #expect(gradient.count == flow.parameterCount && gradient.contains { $0 != 0 })
    let squares = gradient.reduce(0) { $0 + $1 * $1 }
    let step = 1e-6 / squares.squareRoot()
    try flow.setParameters(zip(flow.parameters, gradient).map { $0 - step * $1 })
    let after = -(try flow.logProb(x).reduce(0, +))
    // The mean over the batch falls by step·‖g‖².
    let slope = (before - after) / Double(x.shape[0]) / (step * squares)
    #expect(abs(slope - 1) < 1e-3, "\(slope)")
  }

  /// Written for the other program and read again: the same numbers.
  @Test(
    arguments: cases.filter { test in
      test.dialect != "glowip" && !["vector", "logit"].contains { test.name.contains($0) }
    })
  func exportAndBack(_ test: Case) throws {
    let imported = try test.load()
    let exported = try ModelExport.tensors(of: imported.model, as: imported.dialect)
    let path = FileManager.default.temporaryDirectory.appending(component: "aipo-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try exported.save(path: path)
    var options = test.options.filter { $0.key != "class" && $0.key != "size" }
    options["draws"] = "4"
    if test.dialect == "glow-pytorch" { options["size"] = test.options["size"] }
    let again = try ModelImport(path: path, dialect: imported.dialect, options: options, threads: 1)
    try compare(again.model, test, Double.self, test.dtype == "float64" ? 1e-10 : 1e-4)
  }

  @Test func whatADialectCannotExpress() throws {
    func refusal(_ spec: FlowSpec, _ dialect: Dialect) throws -> String {
      let shape = ImageShape(height: 4, width: 4, channels: 1)
      let flow = try Flow<Float>(spec: spec, imageShape: shape)
      let model = FlowModel(
        spec: spec, imageShape: shape, dequantization: Dequantization(bits: 8), tensors: flow.namedTensors)
      do {
        _ = try ModelExport.tensors(of: model, as: dialect)
        return ""
      } catch let error as ExportError { return error.description }
    }
    let glow = FlowSpec.glow(levels: 2, steps: 1, hidden: 3)
    #expect(try refusal(glow, .normflows).isEmpty)
    #expect(try refusal(glow, .glowPytorch).contains("zero padding"))
    #expect(try refusal(glow, .glowip).contains("no export to glowip"))
    #expect(try refusal(.realNVP(levels: 1, hidden: 3), .normflows).contains("actnorm"))
    let silu = FlowSpec.glow(levels: 1, steps: 1, hidden: 3, activation: .silu)
    #expect(try refusal(silu, .normflows).contains("silu"))
    let bounded = FlowSpec.glow(levels: 1, steps: 1, hidden: 3, transform: .exponential)
    #expect(try refusal(bounded, .normflows).contains("bounded"))
  }

  // MARK: Options

  @Test func imagesSettleWhatTheFileLeavesOpen() throws {
    // Images that the model itself draws are told best by the settings that it was made with.
    let test = try #require(Self.cases.first { $0.name == "glowip-contiguous-but-last" })
    let known = try test.load()
    let flow: Flow<Float> = try known.model.makeFlow(threads: 1)
    let shape = known.model.imageShape
    let draws = try flow.sample(indices: 0..<16, seed: 1)
    let pixels = draws.elements.map { UInt8(max(0, min(255, $0 * 256))) }
    let images = try TrainingImages(shape: shape, pixels: pixels)
    let found = try ModelImport(path: test.path, images: { _ in images }, threads: 1)
    let values = Dictionary(found.settings.map { ($0.option, $0) }, uniquingKeysWith: { first, _ in first })
    #expect(values["squeeze"]?.value == "contiguous-except-last", "\(found.settings)")
    #expect(values["last-bias"]?.reason.contains("chosen by log p") == true)
    #expect(values["size"]?.reason == "as the images")
    #expect(found.statisticsSource == "16 images")
    #expect(found.model.provenance.contains("squeeze=contiguous-except-last"))
  }

  @Test func wrongOptions() throws {
    let test = try #require(Self.cases.first { $0.dialect == "glow-pytorch" })
    for (options, says) in [
      (["leaky": "2"], "means nothing"),
      (["scale-map": "exp"], "means nothing"), (["colour": "red"], "unknown option"), (["size": "8"], "HxW"),
      (["size": "6x8"], "multiples of 4"), (["bits": "9"], "1 to 8"), (["range": "wide"], "one of unit"),
    ] {
      do {
        _ = try ModelImport(path: test.path, options: options)
        Issue.record("\(options) was accepted")
      } catch let error as ImportError { #expect(error.description.contains(says), "\(error)") }
    }
  }
}
