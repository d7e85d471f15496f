import AIPOFlows
import AIPOImaging
import AIPOKernels
import AIPOTestFiles
import Foundation
import Testing

@testable import AIPOInterchange

/// Tensors of a checkpoint with other names.
enum Wrapped {
  /// All tensors of a zip of torch.save, as safetensors.
  static func tensors(of path: String, _ rename: (String) -> [String] = { [$0] }) throws -> Safetensors {
    let dict = try StateDict(arraysOf: .zip(ByteSource(path: path, limit: 1 << 20)))
    return Safetensors(
      tensors: try dict.names.flatMap { name in
        try rename(name).map { NamedTensor(name: $0, shape: dict.shape(name)!, values: try dict.read(name)) }
      })
  }
}

/// Where people put a state dict, and what they put beside it.
struct SavedModelTests {
  private func fixture(_ name: String) -> String {
    ParityTests.folder.appending(component: name + ".pt").path
  }

  private func load(_ path: String, _ options: [String: String] = [:]) throws -> ModelImport {
    try ModelImport(
      path: path, options: options.merging(["draws": "8"]) { first, _ in first }, threads: 1)
  }

  /// Layers and tensors alone: where they came from is another matter.
  private func isSame(_ first: ModelImport, _ second: ModelImport) -> Bool {
    first.model.spec == second.model.spec && first.model.tensors == second.model.tensors
  }

  private func refusal(_ path: String, _ options: [String: String] = [:]) throws -> String {
    do {
      _ = try load(path, options)
      return ""
    } catch let error as FileError { return error.description }
  }

  // MARK: glow-pytorch, as people save it

  @Test(arguments: [
    ("06-rosinality-torch-compile.pt", ["names without the prefix \"_orig_mod.\""]),
    ("06-rosinality-module-works.pt", ["names without the prefix \"module.\""]),
    (
      "06-rosinality-lightning.ckpt",
      ["the state dict at \"state_dict\"", "names without the prefix \"model.\""]
    ),
    (
      "13-numpy-scalar.pt",
      [
        "the state dict at \"model\"",
        "skipped unexecuted: numpy._core.multiarray.scalar, numpy.dtype, _codecs.encode",
      ]
    ),
  ])
  func wrappers(_ name: String, _ notes: [String]) throws {
    let options = ["size": "8x8", "bits": "8"]
    let found = try load(TestFiles.casePath(name), options)
    #expect(found.notes == notes)
    #expect(isSame(found, try load(TestFiles.casePath("06-rosinality-module-works.pt"), options)))
    // By the program's own code in float64, at the middles of 8-bit bins.
    let pixels: Tensor<Double> = try NPYFile.read(TestFiles.casePath("colour8.npy"))
    let x = try Tensor(shape: pixels.shape, elements: pixels.elements.map { ($0 + 0.5) / 256 })
    let values = try found.model.makeFlow(Double.self, threads: 1).logProb(x)
    let right = [-30.5809, 56.7011, 49.6678, -19.0926]
    let worst = zip(values, right).map { abs($0 - $1) }.max() ?? .infinity
    #expect(worst < 1e-3, "\(values)")
  }

  @Test(arguments: [
    "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.flow.",
    "model.module._orig_mod.",
    "ema.module.", "_fsdp_wrapped_module.",
  ])
  func prefixes(_ prefix: String) throws {
    let path = FileManager.default.temporaryDirectory.appending(component: "aipo-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    let source = TestFiles.casePath("06-rosinality-torch-compile.pt")
    try Wrapped.tensors(of: source) { [prefix + $0] }.save(path: path)
    let found = try load(path, ["size": "8x8"])
    #expect(isSame(found, try load(source, ["size": "8x8"])))
    #expect(found.notes == ["names without the prefix \"\(prefix)_orig_mod.\""])
    // A block that was compiled by itself has the component in the middle of the names.
    try Wrapped.tensors(of: source) {
      [
        $0.replacing("_orig_mod.blocks.0.", with: "blocks.0._orig_mod.")
          .replacing("_orig_mod.blocks.1.", with: "blocks.1.")
      ]
    }.save(path: path)
    #expect(isSame(try load(path, ["size": "8x8"]), try load(source, ["size": "8x8"])))
  }

  // MARK: Files of normflows with all that people save

  @Test(arguments: [
    "odd-values", "odd-values-protocol-5", "odd-values-legacy", "odd-swa", "odd-averaged", "odd-wrapped",
  ])
  func oddFiles(_ name: String) throws {
    let plain = try load(
      ParityTests.folder.appending(component: "normflows-vector-sigmoid.safetensors").path,
      ["scale-map": "sigmoid"])
    let found = try load(fixture(name), ["scale-map": "sigmoid"])
    #expect(isSame(found, plain))
  }

  @Test func opaqueValuesAreNamed() throws {
    let notes = try load(fixture("odd-values")).notes.joined(separator: "\n")
    for name in [
      "argparse.Namespace", "pathlib.PurePosixPath", "numpy._core.multiarray.scalar", "numpy.ndarray",
    ] {
      #expect(notes.contains(name), "\(notes)")
    }
  }

  @Test func averagedWeights() throws {
    let raw = try load(fixture("odd-averaged"))
    #expect(
      raw.notes.contains("model taken; the file also has ema (averaged weights): --option state-dict=ema"))
    let averaged = try load(fixture("odd-averaged"), ["state-dict": "ema"])
    #expect(!isSame(raw, averaged))
    let inOne = try load(fixture("odd-wrapped"))
    #expect(
      inOne.notes.contains(
        "state_dict.net taken; the file also has state_dict.ema_model (averaged weights): "
          + "--option state-dict=state_dict.ema_model"), "\(inOne.notes)")
    #expect(inOne.notes.last == "2 tensors beside the model left out: ema_model.n_averaged, loss.weight")
    for key in ["state_dict.ema_model", "ema_model"] {
      #expect(isSame(try load(fixture("odd-wrapped"), ["state-dict": key]), averaged))
    }
    #expect(
      try refusal(fixture("odd-wrapped"), ["state-dict": "other"]).contains("one of \"state_dict.ema_model\"")
    )
  }

  @Test func refusalsSayTheWayOut() throws {
    let optimizer = try refusal(fixture("odd-optimizer"))
    #expect(optimizer.contains("an optimiser's state, not a model's"))
    let whole = try refusal(fixture("odd-whole-model"))
    #expect(whole.contains("make_fixtures.Model") && whole.contains("not made"))
    for text in [optimizer, whole] {
      #expect(text.contains("torch.save(model.state_dict(), \"weights.pt\")"))
    }
  }
}
