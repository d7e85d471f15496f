import Foundation
import Testing

/// What the command says of an image's likelihood, under the shipped Glow.
@Suite struct LikelihoodTests {
  private let folder: Scratch
  private static let root = URL(filePath: #filePath).deletingLastPathComponent()
    .appending(path: "../..").standardizedFileURL.path
  private let model = root + "/Models/fashion-mnist-glow.safetensors"

  init() throws { folder = try Scratch() }

  private func path(_ name: String) -> String { Self.root + "/Tests/TestFiles/Cases/" + name }

  private func run(_ arguments: [String]) throws -> Program.Result {
    try Program.run(arguments + ["--threads", "1"], in: folder, environment: ["AIPO_MODEL": model])
  }

  private func numbers(_ json: [String: Any], _ key: String) throws -> [Double] {
    try #require(json[key] as? [Double])
  }

  /// The same images as 8-bit pixels, as floats v/255 and dequantised have one figure, and three densities at a point.
  @Test func oneFigureWhateverTheType() throws {
    let results = try ["uint8", "float", "dequantised"].map {
      try run(["logprob", path("05-25-images-\($0).npy"), "--json"])
    }
    #expect(results.allSatisfy { $0.status == 0 && $0.error.isEmpty })
    let bits = try results.map { try numbers($0.json, "bitsPerDim") }
    #expect(bits[0].count == 25 && bits[1] == bits[0] && bits[2] == bits[0])
    let mean = bits[0].reduce(0, +) / 25
    // The dequantised file is one draw: 1.506.
    #expect(abs(mean - 1.506) < 0.01, "\(mean)")
    let atPoint = try results.map { try numbers($0.json, "bitsPerDimAtPoint").reduce(0, +) / 25 }
    for (found, expected) in zip(atPoint, [1.279, 2.155, 1.506]) { #expect(abs(found - expected) < 0.0006) }
    let json = try results[0].json
    #expect(json["draws"] as? Int == 8)
    #expect(try numbers(json, "standardError").allSatisfy { $0 > 0 && $0 < 0.03 })
    let total = try #require(json["mean"] as? [String: Any])
    #expect(abs(try #require(total["bitsPerDim"] as? Double) - mean) < 1e-12)
    #expect(try #require(total["standardError"] as? Double) > 0.05 && total["images"] as? Int == 25)
    let text = try run(["logprob", path("05-25-images-uint8.npy")]).output
    #expect(text.contains("±") && text.contains("the mean of 8 draws"))
  }

  /// Values as they are have nothing to be averaged over.
  @Test func rawIsThePoint() throws {
    let json = try run(["logprob", path("05-25-images-dequantised.npy"), "--raw", "--json"]).json
    #expect(
      try numbers(json, "bitsPerDim") == numbers(json, "bitsPerDimAtPoint") && json["draws"] as? Int == 0)
    #expect((json["standardError"] as? [Any])?.allSatisfy { $0 is NSNull } == true)
  }

  @Test func drawsAreStatedAndNarrowTheError() throws {
    func standardError(_ draws: Int) throws -> Double {
      let json = try run(
        ["logprob", path("05-25-images-uint8.npy"), "--draws", "\(draws)", "--json"]
      ).json
      #expect(json["draws"] as? Int == draws)
      return try numbers(json, "standardError").reduce(0, +)
    }
    let (few, many) = (try standardError(4), try standardError(64))
    #expect(many / few > 0.15 && many / few < 0.4)
    #expect(try run(["logprob", path("05-25-images-uint8.npy"), "--draws", "0"]).status == 64)
  }

  /// The checkerboard is beyond single precision: its latents are right, and don't decode to it.
  @Test func oneRowCostsTheOthersNothing() throws {
    let encoded = try run(["encode", path("21-binary-images.npy"), "--out", "z.npy", "--json"])
    #expect(encoded.status == 0, "\(encoded.error)")
    let lost = encoded.errorLines.filter { $0.contains("don't come back") }
    #expect(lost.count == 1 && lost[0].contains("of 4 don't") && lost[0].contains("21-binary-images.npy#2"))
    #expect(lost[0].contains("--precision float64"))
    #expect((try encoded.json["warnings"] as? [String])?.contains { $0.contains("#2") } == true)

    let decoded = try run(["decode", "z.npy", "--out", "x.npy", "--json"])
    #expect(decoded.status == 75 && decoded.errorLines.count == 1)
    #expect(decoded.error.contains("z.npy#2") && decoded.error.contains("--precision float64"))
    let images = try TestNPY.read(folder.read("x.npy"))
    #expect(images.shape == [4, 28, 28, 1])
    for row in 0..<4 {
      #expect(images.values[row * 784..<(row + 1) * 784].allSatisfy { row == 2 ? $0.isNaN : $0.isFinite })
    }
    // A PNG has no NaN; the row is left out.
    #expect(try run(["decode", "z.npy", "--out", "x.png"]).output.contains("3 images"))

    let double = ["--precision", "float64"]
    let again = try run(["encode", path("21-binary-images.npy"), "--out", "z.npy"] + double)
    #expect(again.status == 0 && !again.error.contains("come back"))
    #expect(try run(["decode", "z.npy", "--out", "x.npy"] + double).status == 0)
  }

  @Test func logprobNamesWhatIsNotFinite() throws {
    // The square of 10²⁰⁰ is beyond double precision.
    var values = [Double](repeating: 0.5, count: 3 * 784)
    for i in 784..<2 * 784 { values[i] = 1e200 }
    try folder.write(TestNPY.bytes(shape: [3, 28, 28, 1], doubles: values), to: "far.npy")
    let double = ["far.npy", "--raw", "--precision", "float64"]
    let result = try run(["logprob", "--json"] + double)
    #expect(result.status == 75)
    #expect(
      result.errorLines.filter { $0.contains("1 of 3 have no finite log-density: far.npy#1;") }.count == 1)
    let logprob = try #require(try result.json["logprob"] as? [Any])
    #expect(logprob.count == 3 && logprob[1] is NSNull && logprob[0] is Double && logprob[2] is Double)
    let mean = try #require(try result.json["mean"] as? [String: Any])
    #expect(mean["images"] as? Int == 2)
    // Its latents are finite, and say no more than that it is far.
    #expect(try run(["encode", "--out", "z.npy"] + double).status == 0)
    #expect(try TestNPY.read(folder.read("z.npy")).shape == [3, 784])
  }

  // MARK: Images unlike the training images

  /// Text of pictures that no garment looks like, and the shipped test images, of which none is warned about.
  @Test func imagesUnlikeTheTrainingImagesAreNamed() throws {
    let unlike = try run(["logprob", path("21-binary-images.npy"), "--json"])
    #expect(unlike.status == 0 && unlike.errorLines.count == 1)
    #expect(unlike.error.contains("21-binary-images.npy#0 and 3 others"))
    #expect(unlike.error.contains("it is unlike them"))
    #expect(
      try run(["encode", path("21-checkerboard.npy"), "--out", "z.npy"]).error.contains("it is unlike them"))
    let shipped = try run(["logprob", Self.root + "/Models/fashion-mnist-test-100.idx"])
    #expect(shipped.status == 0 && shipped.error.isEmpty)
  }

  /// Waves on grey, which a prior of garments on black makes worse: 20.0 dB become 19.2. Garments pass in every task.
  @Test func reconstructionOfAnotherKindOfPicture() throws {
    let waves = (0..<2 * 784).map { k -> UInt8 in
      let (i, y, x) = (Double(k / 784), Double(k % 784 / 28), Double(k % 28))
      let texture = Double((k / 784 * 31 + k % 784 / 28 * 17 + k % 28 * 5) % 23)
      return UInt8(min(max(128 + 55 * sin(0.5 * x + i) + 40 * cos(0.6 * y + 0.3 * i) + texture, 0), 255))
    }
    try folder.write(TestNPY.bytes(shape: [2, 28, 28], integers: waves), to: "waves.npy")
    for task in [["denoise", "--sigma", "0.1"], ["inpaint", "--mask", "random:0.5"]] {
      let result = try run(["reconstruct", "--simulate", "waves.npy", "--json", "--task"] + task)
      #expect(result.status == 0 && result.errorLines.count == 1, "\(result.error)")
      #expect(
        result.error.contains("waves.npy#0 and 1 other") && result.error.contains("trained on such images"))
      #expect((try result.json["warnings"] as? [String])?.count == 1)
    }
    let shipped = Self.root + "/Models/fashion-mnist-test-100.idx"
    for task in [
      ["denoise", "--sigma", "0.05"], ["denoise", "--sigma", "0.2"], ["inpaint", "--mask", "center:10"],
      ["sense", "--measurements", "100"],
    ] {
      let result = try run(
        ["reconstruct", "--simulate", shipped, "--indices", "0:3:1", "--json", "--task"] + task)
      #expect(result.status == 0 && result.error.isEmpty, "\(result.error)")
    }
  }

  @Test func infoTellsTheDistribution() throws {
    let info = try run(["info"])
    #expect(info.output.contains("their bits/dim") && info.output.contains("rarely above"))
    let figures = try #require(try run(["info", "--json"]).json["figures"] as? [String: Any])
    for key in ["trainingBits", "validationBits"] {
      let bits = try #require(figures[key] as? [String: Any])
      let quantiles = try numbers(bits, "bitsPerDim")
      #expect(try quantiles.count == numbers(bits, "levels").count && quantiles == quantiles.sorted())
      #expect(quantiles[5] > 1 && quantiles[5] < 2)
    }
  }
}
