import AIPOTestFiles
import Foundation
import Testing

/// What the values and axes of a user's files mean, on the command line.
@Suite struct ImageReadingTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
    try folder.write(
      """
      flow:
        glow: {levels: 1, steps: 1, hidden: 4}
      steps: 2
      batch: 4
      initialization-images: 4
      validation: {images: 1}
      samples: {every: 0}
      """, to: "short.yaml")
  }

  /// 8-bit values of two images of the fixture.
  private var pixels: [UInt8] { Array(Fixture.images[16..<(16 + 2 * Fixture.dimension)]) }

  private func train(_ data: String, _ more: [String], out: String = "run") throws -> Program.Result {
    try Program.run(
      ["train", "--data", data, "--config", "short.yaml", "--out", out, "--threads", "1"] + more, in: folder)
  }

  private func logprob(_ more: [String]) throws -> (values: [Double], errors: [Substring]) {
    let result = try fixture.run(["logprob", "--json"] + more, in: folder)
    #expect(result.status == 0, "\(result.error)")
    return (try #require(try result.json["logprob"] as? [Double]), result.errorLines)
  }

  @Test func floatsOnAnotherScale() throws {
    try folder.write(TestNPY.bytes(shape: [2, 8, 8], floats: pixels.map { Float($0) }), to: "255.npy")
    try folder.write(
      TestNPY.bytes(shape: [2, 8, 8], floats: pixels.map { Float(Double($0) / 255) }), to: "1.npy")
    let (_, warnings) = try logprob(["255.npy"])
    #expect(warnings.count == 1 && warnings[0].contains("--range 0:255"), "\(warnings)")
    let json = try fixture.run(["logprob", "--json", "255.npy"], in: folder).json
    #expect((json["warnings"] as? [String])?.first?.contains("--range 0:255") == true)
    let scaled = try logprob(["255.npy", "--range", "0:255"])
    let right = try logprob(["1.npy"])
    #expect(scaled.errors.isEmpty && right.errors.isEmpty)
    #expect(scaled.values == right.values)
    let encode = try fixture.run(["encode", "255.npy", "--out", "z.npy"], in: folder)
    #expect(encode.status == 0 && encode.errorLines.count == 1 && encode.error.contains("--range 0:255"))
    // −1:1 on the command line isn't a flag.
    try folder.write(
      TestNPY.bytes(shape: [2, 8, 8], floats: pixels.map { Float(Double($0) / 127.5 - 1) }), to: "signed.npy")
    let (signed, _) = try logprob(["signed.npy", "--range", "-1:1"])
    #expect(zip(signed, right.values).allSatisfy { abs($0 - $1) < 1e-3 * abs($1) })
    let wrong = try fixture.run(["logprob", "255.npy", "--range", "255"], in: folder)
    #expect(wrong.status == 64)
  }

  /// Clipped, they would be black and white: nothing is trained on these.
  @Test func trainingOnAnotherScaleIsRefused() throws {
    let floats = Cases.path("04-train-float-0-255.npy")
    let refused = try train(floats, [])
    #expect(refused.fails(65, saying: "from 0 to 255", "--range 0:255"), "\(refused.error)")
    #expect(!folder.exists("run"))
    let scaled = try train(floats, ["--range", "0:255"], out: "float")
    let eight = try train(Cases.path("04-train-uint8.npy"), [], out: "eight")
    #expect(scaled.status == 0 && eight.status == 0, "\(scaled.error)\(eight.error)")
    #expect(try folder.read("float/model.safetensors") == folder.read("eight/model.safetensors"))
  }

  @Test func channelsFirst() throws {
    let path = Cases.path("07-nchw-n1hw.npy")
    let refused = try train(path, [])
    #expect(refused.fails(65, saying: "[60, 1, 28, 28]", "--layout nchw"), "\(refused.error)")
    #expect(try train(path, ["--layout", "nchw"]).status == 0)
    let model = try fixture.run(["info", "run/model.safetensors", "--json"], in: folder)
    #expect(model.output.contains("28") && model.status == 0)
    try folder.write(TestNPY.bytes(shape: [2, 1, 8, 8], integers: pixels), to: "first.npy")
    try folder.write(TestNPY.bytes(shape: [2, 8, 8], integers: pixels), to: "plain.npy")
    for verb in [
      ["logprob"], ["encode", "--out", "z.npy"], ["reconstruct", "--task", "denoise", "--observation"],
    ] {
      let result = try fixture.run(verb + ["first.npy"], in: folder)
      #expect(result.fails(65, saying: "--layout nchw"), "\(result.error)")
    }
    #expect(try logprob(["first.npy", "--layout", "nchw"]).values == logprob(["plain.npy"]).values)
  }

  @Test func greyAndColourInOneFolder() throws {
    let path = Cases.path("15-grey-and-colour")
    let refused = try train(path, [])
    #expect(refused.fails(65, saying: "a.png", "b0.png", "--grey", "--colour"), "\(refused.error)")
    for (flag, channels) in [("--grey", 1), ("--colour", 3)] {
      let result = try train(path, [flag], out: "run\(channels)")
      #expect(result.status == 0, "\(result.error)")
      let info = try fixture.run(["info", "run\(channels)/model.safetensors"], in: folder)
      #expect(info.output.contains("28x28x\(channels)"), "\(info.output)")
    }
    #expect(try train(path, ["--grey", "--colour"]).status == 64)
  }

  @Test func whatAFolderLeavesOutIsNamed() throws {
    let result = try train(Cases.path("17-tiff-skipped"), ["--grey"])
    #expect(result.status == 0, "\(result.error)")
    let lines = result.errorLines.filter { $0.contains("left out") }
    #expect(lines.count == 1)
    for word in ["1 of 6", "i4.bmp"] { #expect(result.error.contains(word)) }
  }

  /// Twenty pictures are enough to begin with: two are kept back, and nothing else need be said.
  @Test func twentyPictures() throws {
    let result = try Program.run(
      [
        "train", "--data", Cases.path("18-twenty-pictures"), "--steps", "1", "--batch", "2", "--out", "run",
        "--threads", "1",
      ], in: folder)
    #expect(result.status == 0, "\(result.error)")
    #expect(result.output.contains("training on 18, validating on 2 of 20 pictures of 28x28x1"))
    let values = try fixture.run(
      ["logprob", Cases.path("18-twenty-pictures"), "--model", "run/model.safetensors", "--json"], in: folder)
    #expect(try (values.json["logprob"] as? [Any])?.count == 20)
  }

  /// Observation and truth, an operator and a mask, in the ways that arrays come in.
  @Test func arraysOfAReconstruction() throws {
    let d = Fixture.dimension
    func solve(_ more: [String]) throws -> [Double] {
      let result = try fixture.run(
        ["reconstruct", "--method", "gaussian", "--json"] + more, in: folder)
      #expect(result.status == 0, "\(result.error)")
      let images = try #require(try result.json["images"] as? [[String: Any]])
      return images.compactMap { $0["recon"] as? Double } + images.compactMap { $0["psnr"] as? Double }
    }
    try folder.write(
      TestNPY.bytes(shape: [2, 8, 8], floats: pixels.map { Float(Double($0) / 255) }), to: "x.npy")
    try folder.write(TestNPY.bytes(shape: [2, 1, 8, 8], floats: pixels.map { Float($0) }), to: "first.npy")
    let denoise = ["--task", "denoise", "--observation"]
    let right = try solve(denoise + ["x.npy", "--truth", "x.npy"])
    #expect(right.count == 4)
    let other = try solve(
      denoise + ["first.npy", "--truth", "first.npy", "--range", "0:255", "--layout", "nchw"])
    #expect(zip(right, other).allSatisfy { abs($0 - $1) <= 1e-4 * max(1, abs($0)) }, "\(right) \(other)")

    // Entries that a half can hold.
    let entries = (0..<(5 * d)).map { Double($0 * 7 % 33 - 16) / 64 }
    let halves = entries.flatMap { value in
      let bits = TestNPY.half(value)
      return [UInt8(bits & 255), UInt8(bits >> 8)]
    }
    try folder.write(TestNPY.bytes(shape: [5, d], doubles: entries), to: "A.npy")
    try folder.write(TestNPY.bytes("<f2", [5, d], halves), to: "A16.npy")
    try folder.write(TestNPY.bytes(shape: [5], doubles: [0.5, 0, -0.25, 1, 0.125]), to: "y.npy")
    let sense = ["--task", "sense", "--observation", "y.npy", "--sigma", "0.1", "--operator"]
    #expect(try solve(sense + ["A.npy"]) == solve(sense + ["A16.npy"]))

    let mask = (0..<d).map { UInt8($0 % 3 == 0 ? 0 : 1) }
    try folder.write(TestNPY.bytes(shape: [8, 8], integers: mask), to: "mask.npy")
    try folder.write(TestNPY.bytes("|b1", [8, 8], mask), to: "bool.npy")
    let inpaint = ["--task", "inpaint", "--observation", "x.npy", "--mask"]
    #expect(try solve(inpaint + ["mask.npy"]) == solve(inpaint + ["bool.npy"]))
  }
}
