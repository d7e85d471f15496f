import AIPOTestFiles
import Foundation
import Testing

/// What `aipo import` prints of a checkpoint, and arrays of torch where arrays are meant.
@Suite struct ImportTests {
  let folder: Scratch

  init() throws { folder = try Scratch() }

  private func run(_ name: String, _ more: String...) throws -> Program.Result {
    try Program.run(
      ["import", TestFiles.casePath(name), "--out", "m.safetensors", "--option", "draws=8"] + more, in: folder
    )
  }

  @Test func assumptionsAreListed() throws {
    let result = try run("02-normflows-plain.pt")
    #expect(result.status == 0 && result.error.isEmpty, "\(result.error)")
    for line in [
      "scale-map            sigmoid (assumed)", "split                channel (assumed)",
      "transform            none (assumed)", "range                unit (assumed)",
      "leaky                0 (assumed)", "bits                 8 (assumed)",
    ] { #expect(result.output.contains(line + "\n"), "\(result.output)") }
    let told = try run("01-readme-realnvp.pt")
    #expect(told.output.contains("permutation          swap-every (told by the file's list of modules)\n"))
    let info = try Program.run(["info", "m.safetensors"], in: folder)
    #expect(info.output.contains("permutation=swap-every (told by the file's list of modules)"))
  }

  @Test func wrappersAreTold() throws {
    let result = try run("06-rosinality-lightning.ckpt", "--option", "size=8x8")
    #expect(
      result.output.contains("found                the state dict at \"state_dict\"\n"), "\(result.output)")
    #expect(result.output.contains("found                names without the prefix \"model.\"\n"))
    let skipped = try run("13-numpy-scalar.pt", "--option", "size=8x8", "--json")
    let notes = try #require(try skipped.json["notes"] as? [String])
    #expect(notes.contains { $0.hasPrefix("skipped unexecuted: numpy._core.multiarray.scalar") }, "\(notes)")
  }

  @Test func improbableImagesAreWarnedOf() throws {
    let images = ["--images", TestFiles.casePath("colour8.npy")]
    let right = try run("02-normflows-logit.pt", images[0], images[1])
    #expect(right.status == 0 && right.error.isEmpty, "\(right.error)")
    let wrong = try run("02-normflows-logit.pt", images[0], images[1], "--option", "transform=none")
    #expect(wrong.status == 0 && wrong.errorLines.count == 1, "\(wrong.error)")
    #expect(
      wrong.error.contains("aipo: warning: the images are improbable under the model"), "\(wrong.error)")
  }

  @Test func refusals() throws {
    #expect(
      try run("03-normflows-actnorm-uninitialised.pt").fails(65, saying: "has seen no data", "one batch"))
    #expect(try run("16-operator.pt").fails(65, saying: "one tensor of shape [8, 784]", "torch.save("))
    #expect(
      try run("02-normflows-plain.pt", "--option", "leaky=2").fails(64, saying: "leaky is 2, expected 0 to 1")
    )
    let torch = TestFiles.casePath("16-operator.pt")
    for arguments in [["info", torch], ["sample", "--model", torch, "--out", "x.npy"]] {
      let result = try Program.run(arguments, in: folder)
      #expect(result.fails(65, saying: "a checkpoint of torch", "aipo import"), "\(result.error)")
    }
    let asImages = try Fixture.shared.get().run(["logprob", torch], in: folder)
    #expect(asImages.fails(65, saying: "one of torch.save", "numpy.save"), "\(asImages.error)")
    #expect(try folder.names.isEmpty)
  }

  /// The operator as torch and as NumPy have it gives the same image.
  @Test func operatorOfTorch() throws {
    let fixture = try Fixture.shared.get()
    let values = (0..<3 * Fixture.dimension).map { Float(($0 * 37) % 11) / 11 - 0.5 }
    let storage = TestFiles.storage("0", count: values.count)
    let bytes = TestFiles.checkpoint(
      TestFiles.pickle(TestFiles.tensor(storage, shape: [3, Fixture.dimension])),
      ["0": TestFiles.floats(values)])
    try folder.write(bytes, to: "A.pt")
    try folder.write(TestNPY.bytes(shape: [3, Fixture.dimension], floats: values), to: "A.npy")
    try folder.write(TestNPY.bytes(shape: [3], floats: [0.1, 0.2, -0.3]), to: "y.npy")
    var outputs: [Data] = []
    for name in ["A.pt", "A.npy"] {
      let result = try fixture.run(
        [
          "reconstruct", "--task", "sense", "--operator", name, "--observation", "y.npy", "--sigma", "0.1",
          "--max-evaluations", "20", "--out", "x.npy",
        ], in: folder)
      #expect(result.status == 0, "\(result.error)")
      outputs.append(try Data(contentsOf: URL(fileURLWithPath: folder["x.npy"])))
    }
    #expect(outputs[0] == outputs[1])
  }
}
