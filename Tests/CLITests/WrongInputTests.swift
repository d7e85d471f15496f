import Foundation
import Testing

/// Wrong input, one at a time: one line, the right exit code, nothing written.
@Suite struct WrongInputTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
  }

  private func denoise(_ more: [String]) -> [String] {
    ["reconstruct", "--task", "denoise", "--simulate", fixture.images, "--indices", "0,1"] + more
  }

  /// Runs and expects failure without a trace in the folder.
  private func expectFailure(
    _ code: Int32, _ arguments: [String], saying words: String...,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    let before = try folder.names
    let result = try fixture.run(arguments, in: folder)
    #expect(result.status == code, "\(result.error)", sourceLocation: location)
    #expect(result.output.isEmpty, sourceLocation: location)
    if code == 64 {
      // The argument parser may add usage lines.
      #expect(!result.errorLines.isEmpty, sourceLocation: location)
    } else {
      #expect(result.errorLines.count == 1, "\(result.error)", sourceLocation: location)
    }
    for word in words { #expect(result.error.contains(word), "\(result.error)", sourceLocation: location) }
    #expect(try folder.names == before, sourceLocation: location)
  }

  @Test func truncatedModel() throws {
    let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: fixture.model)))
    for length in [0, 5, 100, bytes.count / 2, bytes.count - 1] {
      try folder.write(Array(bytes.prefix(length)), to: "short.safetensors")
      try expectFailure(65, ["info", "short.safetensors"], saying: "short.safetensors")
      try expectFailure(
        65, denoise(["--model", "short.safetensors", "--out", "x.npy"]), saying: "short.safetensors")
    }
  }

  @Test func modelForAnotherImageSize() throws {
    try folder.write(TestIDX.bytes(count: 2, side: 7) { _, y, x in UInt8(20 * y + x) }, to: "small.idx")
    for (verb, sizes) in [
      (["logprob", "small.idx"], "height and width divisible by 2"),
      (["encode", "small.idx", "--out", "z.npy"], "height and width divisible by 2"),
    ] {
      try expectFailure(65, verb, saying: "7x7x1", sizes, "--resize 8x8")
    }
    // What is reconstructed may have any size, by a reflected margin; the model wasn't trained on that.
    for (source, remedy) in [("--simulate", "--resize 8x8"), ("--observation", "--crop 8x8")] {
      let result = try fixture.run(
        [
          "reconstruct", "--task", "denoise", source, "small.idx", "--out", "x.npy", "--max-evaluations",
          "20",
        ],
        in: folder)
      #expect(result.status == 0)
      #expect(
        result.errorLines.contains { $0.contains("7x7x1") && $0.contains("8x8x1") && $0.contains(remedy) })
    }
    // A measurement can't be resized without changing its noise.
    let measured = try fixture.run(
      ["reconstruct", "--task", "denoise", "--observation", "small.idx", "--max-evaluations", "20"],
      in: folder)
    #expect(!measured.error.contains("--resize"))
    #expect(try fixture.run(["logprob", "small.idx", "--resize", "8x8"], in: folder).status == 0)
  }

  @Test func observationOfTheWrongShape() throws {
    let d = Fixture.dimension
    try folder.write(
      TestNPY.bytes(shape: [5, d], floats: [Float](repeating: 0.1, count: 5 * d)), to: "A.npy")
    try folder.write(TestNPY.bytes(shape: [4], floats: [0, 1, 2, 3]), to: "y.npy")
    let sense = [
      "reconstruct", "--task", "sense", "--operator", "A.npy", "--observation", "y.npy", "--out", "x.npy",
    ]
    try expectFailure(65, sense, saying: "y.npy", "[4]", "[5]")
    try folder.write(
      TestNPY.bytes(shape: [3, d], floats: [Float](repeating: 0.1, count: 3 * d)), to: "flat.npy")
    // Rows of values are one image, of a size that the model hasn't seen.
    let flat = try fixture.run(
      ["reconstruct", "--task", "denoise", "--observation", "flat.npy", "--max-evaluations", "20"], in: folder
    )
    #expect(flat.status == 0 && flat.error.contains("3x\(d)x1"))
  }

  @Test func operatorOfTheWrongWidth() throws {
    try folder.write(
      TestNPY.bytes(shape: [5, 63], floats: [Float](repeating: 0.1, count: 5 * 63)), to: "A.npy")
    try folder.write(TestNPY.bytes(shape: [5], floats: [0, 1, 2, 3, 4]), to: "y.npy")
    try expectFailure(
      65, ["reconstruct", "--task", "sense", "--operator", "A.npy", "--observation", "y.npy"],
      saying: "A.npy", "[5, 63]", "[m, 64]")
  }

  @Test func nonFiniteObservation() throws {
    var values = Fixture.truth(0).map { Float($0) }
    values[11] = .nan
    try folder.write(TestNPY.bytes(shape: [8, 8], floats: values), to: "y.npy")
    try expectFailure(
      65, ["reconstruct", "--task", "denoise", "--observation", "y.npy", "--out", "x.npy"], saying: "y.npy",
      "nan")
    // Hidden pixels may be anything; observed ones may not.
    let inpaint = ["reconstruct", "--task", "inpaint", "--observation", "y.npy", "--json"]
    #expect(try fixture.run(inpaint + ["--mask", "box:1,3,1,1"], in: folder).status == 0)
    try expectFailure(65, inpaint + ["--mask", "box:1,4,1,1"], saying: "nan")
  }

  @Test func operatorOfValuesTooLarge() throws {
    try folder.write(
      TestNPY.bytes(shape: [2, 64], doubles: [Double](repeating: 1e200, count: 128)), to: "A.npy")
    try folder.write(TestNPY.bytes(shape: [2], floats: [0, 1]), to: "y.npy")
    try expectFailure(
      65, ["reconstruct", "--task", "sense", "--operator", "A.npy", "--observation", "y.npy"],
      saying: "A.npy", "1e+200")
  }

  /// Values that no density can be told of end in JSON, a line, and a code of their own.
  @Test func noFiniteResult() throws {
    try folder.write(
      TestNPY.bytes(shape: [8, 8], doubles: [Double](repeating: 1e300, count: 64)), to: "huge.npy")
    let result = try fixture.run(
      ["reconstruct", "--task", "denoise", "--observation", "huge.npy", "--json"], in: folder)
    #expect(result.status == 75)
    // After the warning that such values are on another scale.
    #expect(result.errorLines.count == 2 && result.errorLines[1].contains("1 of 1"), "\(result.error)")
    #expect(try (result.json["images"] as? [Any])?.count == 1)
  }

  @Test func estimatedNoise() throws {
    let result = try fixture.run(denoise(["--sigma", "auto", "--method", "gaussian", "--json"]), in: folder)
    try #require(result.status == 0, "\(result.error)")
    let images = try #require(try result.json["images"] as? [[String: Any]])
    for image in images {
      let sigma = try #require(image["sigma"] as? Double)
      #expect(sigma > 0.05 && sigma < 0.2, "\(sigma) for 0.1")
    }
    try expectFailure(
      64,
      [
        "reconstruct", "--task", "sense", "--simulate", fixture.images, "--measurements", "9", "--sigma",
        "auto",
      ], saying: "auto", "9 measurements of 64")
    // Where pixels are missing the model's Gaussian gives the first guess.
    let holes = try fixture.run(
      [
        "reconstruct", "--task", "inpaint", "--simulate", fixture.images, "--indices", "0", "--mask",
        "center:2",
        "--sigma", "auto", "--json",
      ], in: folder)
    try #require(holes.status == 0, "\(holes.error)")
    let found = try #require((try holes.json["images"] as? [[String: Any]])?.first?["sigma"] as? Double)
    #expect(found > 0.001 && found < 0.5)
  }

  /// Two outputs that are one file, in other words.
  @Test func outputsThatWouldReplaceEachOther() throws {
    try expectFailure(64, denoise(["--out", "x.npy", "--report", "./x.npy"]), saying: "--report")
    try expectFailure(
      64, denoise(["--out", "x.npy", "--method", "aipo,fixed", "--trace", "x-fixed.npy"]), saying: "--trace")
  }

  @Test func masks() throws {
    let inpaint = [
      "reconstruct", "--task", "inpaint", "--simulate", fixture.images, "--indices", "0", "--out", "x.npy",
    ]
    try folder.write(
      TestNPY.bytes(shape: [7, 8], integers: [UInt8](repeating: 1, count: 56)), to: "mask.npy")
    try expectFailure(65, inpaint + ["--mask", "mask.npy"], saying: "mask.npy", "[7, 8]", "[8, 8]")
    try expectFailure(66, inpaint + ["--mask", "no-such.npy"], saying: "no-such.npy")
    try expectFailure(64, inpaint + ["--mask", "center:9"])
    try expectFailure(64, inpaint + ["--mask", "random:1.5"])
    try expectFailure(64, inpaint)
    // One that hides everything is legal.
    try folder.write(
      TestNPY.bytes(shape: [8, 8], integers: [UInt8](repeating: 0, count: 64)), to: "none.npy")
    let result = try fixture.run(inpaint + ["--mask", "none.npy", "--json"], in: folder)
    #expect(result.status == 0, "\(result.error)")
  }

  @Test(arguments: [
    ["--sigma", "-0.1"], ["--sigma=-0.1"], ["--sigma", "0"], ["--sigma", "1e-300"], ["--sigma", "1e300"],
    ["--sigma", "nan"], ["--sigma", "inf"],
    ["--lambda", "-1"],
    ["--lambda", "x"], ["--tolerance", "2"], ["--epsilon=-1"], ["--max-evaluations", "0"],
    ["--method", "best"],
    ["--space", "y"],
    ["--path", "straight"], ["--corrector", "simplex"], ["--init", "auto"], ["--out", "x.gif"],
    ["--out", "x"],
    ["--measurements", "5"], ["--mask", "center:2"], ["--truth", "t.npy"], ["--indices", "-1"],
    ["--indices", "3:1"],
    ["--noise", "cauchy"], ["--noise", "flow:"], ["--noise", "poisson", "--peak", "0"],
    ["--noise", "poisson", "--peak", "nan"], ["--peak", "20"], ["--tip", "1"],
    ["--noise", "laplace", "--tip", "0"], ["--noise", "student", "--nu", "-1"],
    ["--noise", "gaussian", "--nu", "3"], ["--noise", "outliers", "--outliers", "1"],
    ["--noise", "outliers", "--outliers", "-0.1"], ["--noise", "laplace", "--sigma", "auto"],
    ["--noise", "laplace", "--sigma", "s.npy"], ["--noise", "flow:x.safetensors", "--sigma", "0.1"],
    ["--noise-covariance", "c.npy", "--sigma", "0.1"],
    ["--noise", "laplace", "--noise-covariance", "c.npy"], ["--seed", "1.5"], ["--task", "blur"],
    ["--out", "a.npy", "--trace", "a.npy"],
  ])
  func flagsOutOfRange(_ flags: [String]) throws {
    try expectFailure(64, denoise(flags.contains("--out") ? flags : flags + ["--out", "x.npy"]))
  }

  @Test func indexBeyondTheData() throws {
    try expectFailure(
      65, ["reconstruct", "--task", "denoise", "--simulate", fixture.images, "--indices", "0,48"],
      saying: "48")
    try expectFailure(
      65,
      ["reconstruct", "--task", "denoise", "--simulate", fixture.images, "--indices", "0:1000000000000:1"],
      saying: "images.idx")
  }

  @Test func unreadableImages() throws {
    try expectFailure(66, ["logprob", "no-such.png"], saying: "no-such.png")
    try folder.write("no image", to: "words.png")
    try expectFailure(65, ["logprob", "words.png"], saying: "words.png")
    try folder.write(Array(Fixture.images.dropLast()), to: "short.idx")
    try expectFailure(65, ["logprob", "short.idx"], saying: "short.idx")
  }

  @Test func unknownKeyInTheYAML() throws {
    try folder.write(Fixture.yaml + "learning-speed: 3\n", to: "bad.yaml")
    try expectFailure(
      65, ["train", "--data", fixture.images, "--config", "bad.yaml", "--out", "run"],
      saying: "bad.yaml",
      "line \(Fixture.yaml.split(separator: "\n", omittingEmptySubsequences: false).count)",
      "learning-speed")
    try expectFailure(
      64,
      [
        "train", "--data", fixture.images, "--config", "bad2.yaml", "--out", "run", "--steps", "0",
        "--frobnicate",
      ])
    try folder.write(Fixture.yaml, to: "good.yaml")
    try expectFailure(
      64, ["train", "--data", fixture.images, "--config", "good.yaml", "--out", "run", "--steps", "0"],
      saying: "--steps")
    try expectFailure(
      66, ["train", "--data", fixture.images, "--config", "none.yaml", "--out", "run"], saying: "none.yaml")
  }

  @Test func unfitTrainingData() throws {
    try folder.write(TestIDX.bytes(count: 40, side: 8) { _, _, _ in 7 }, to: "constant.idx")
    try folder.write(Fixture.yaml, to: "run.yaml")
    try expectFailure(
      65, ["train", "--data", "constant.idx", "--config", "run.yaml", "--out", "run"], saying: "7")
    try folder.write(
      TestNPY.bytes(shape: [40, 8, 8], floats: [Float](repeating: .nan, count: 2560)), to: "nan.npy")
    try expectFailure(
      65, ["train", "--data", "nan.npy", "--config", "run.yaml", "--out", "run"], saying: "nan.npy")
  }

  @Test func outputsThatCannotBeWritten() throws {
    try FileManager.default.createDirectory(atPath: folder["folder.npy"], withIntermediateDirectories: true)
    for target in ["missing/x.npy", "/proc/x.npy", "folder.npy"] {
      try expectFailure(73, denoise(["--out", target]), saying: target)
      try expectFailure(73, ["encode", fixture.images, "--out", target], saying: target)
      try expectFailure(73, denoise(["--report", target]), saying: target)
      try expectFailure(73, denoise(["--trace", target]), saying: target)
    }
    try expectFailure(73, denoise(["--report", "/dev/full"]), saying: "/dev/full")
    try expectFailure(73, denoise(["--trace", "/dev/null"]), saying: "/dev/null")
    try expectFailure(73, ["train", "--data", fixture.images, "--out", "missing/run"], saying: "missing/run")
    try expectFailure(73, ["train", "--data", fixture.images, "--out", "/dev/full"], saying: "/dev/full")
    try expectFailure(73, ["train", "--data", fixture.images, "--out", "."], saying: "empty")
    // The output is tried before the input is looked at.
    try expectFailure(73, ["encode", "no-such.png", "--out", "missing/x.npy"], saying: "missing/x.npy")
  }

  @Test func standardOutputOnAFullDevice() throws {
    for arguments in [["info", "--json"], ["info"], denoise(["--json"])] {
      let result = try fixture.run(arguments, in: folder, outputPath: "/dev/full")
      #expect(result.fails(73, saying: "standard output"), "\(result.error)")
    }
  }

  @Test(.enabled(if: SmallDisk.isAvailable)) func aFullDisk() throws {
    let disk = try SmallDisk(bytes: 65536)
    // 48 latents of 64 float64 each fit; the image's bytes twice over do not.
    try folder.write(
      TestIDX.bytes(count: 600, side: 8) { i, y, x in UInt8((i + 9 * y + 5 * x) % 256) }, to: "many.idx")
    let result = try fixture.run(
      ["encode", "many.idx", "--out", disk.path + "/z.npy", "--precision", "float64"], in: folder)
    #expect(result.fails(73, saying: "z.npy"), "\(result.error)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: disk.path).isEmpty)
    let trained = try fixture.run(
      [
        "train", "--data", fixture.images, "--config", fixture.folder["run.yaml"], "--out",
        disk.path + "/run",
      ], in: folder)
    #expect(trained.status == 73, "\(trained.error)")
    #expect(trained.errorLines.count == 1)
  }
}

/// A file system with room for little, where the tests may mount one.
final class SmallDisk {
  let path: String

  static let isAvailable: Bool = (try? SmallDisk(bytes: 4096)) != nil

  init(bytes: Int) throws {
    path = NSTemporaryDirectory() + "aipo-small-disk-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    guard Self.run("mount", ["-t", "tmpfs", "-o", "size=\(bytes)", "tmpfs", path]) else {
      try FileManager.default.removeItem(atPath: path)
      throw CocoaError(.fileWriteUnknown)
    }
  }

  deinit {
    _ = Self.run("umount", [path])
    try? FileManager.default.removeItem(atPath: path)
  }

  func makeReadOnly() throws {
    guard Self.run("mount", ["-o", "remount,ro", path]) else { throw CocoaError(.fileWriteUnknown) }
  }

  private static func run(_ program: String, _ arguments: [String]) -> Bool {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [program] + arguments
    process.standardError = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return false }
    process.waitUntilExit()
    return process.terminationStatus == 0
  }
}
