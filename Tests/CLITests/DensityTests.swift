import Foundation
import Testing

/// `encode`, `decode`, `logprob` and `sample` agree with one another.
@Suite struct DensityTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
  }

  private func succeed(_ arguments: [String]) throws -> Program.Result {
    let result = try fixture.run(arguments, in: folder)
    try #require(result.status == 0, "\(result.error)")
    return result
  }

  @Test(arguments: [("float64", 1e-9), ("float32", 1e-4)])
  func decodeInvertsEncode(_ precision: String, _ tolerance: Double) throws {
    let values = (0..<5).flatMap { Fixture.truth($0) }
    try folder.write(TestNPY.bytes(shape: [5, 8, 8, 1], doubles: values), to: "x.npy")
    _ = try succeed(["encode", "x.npy", "--out", "z.npy", "--precision", precision])
    _ = try succeed(["decode", "z.npy", "--out", "back.npy", "--precision", precision])
    #expect(try TestNPY.read(folder.read("z.npy")).shape == [5, 64])
    let back = try TestNPY.read(folder.read("back.npy"))
    #expect(back.shape == [5, 8, 8, 1])
    #expect(zip(back.values, values).allSatisfy { abs($0 - $1) <= tolerance })
  }

  /// The model was trained on 8×8 and accepts even heights and widths.
  @Test func otherSizesThanTheTrainings() throws {
    let more = ["--precision", "float64"]
    _ = try succeed(["sample", "--size", "6x10", "--count", "2", "--out", "x.npy"] + more)
    let x = try TestNPY.read(folder.read("x.npy"))
    #expect(x.shape == [2, 6, 10, 1])
    let encoded = try succeed(["encode", "x.npy", "--raw", "--out", "z.npy", "--json"] + more)
    let z = try TestNPY.read(folder.read("z.npy"))
    #expect(z.shape == [2, 60])
    let told = try succeed(["logprob", "x.npy", "--raw", "--json"] + more).json
    let logprob = try #require(told["logprob"] as? [Double])
    let bits = try #require(told["bitsPerDim"] as? [Double])
    let logDet = try #require(try encoded.json["logDet"] as? [Double])
    for i in 0..<2 {
      let square = z.values[i * 60..<(i + 1) * 60].reduce(0.0) { $0 + $1 * $1 }
      #expect(abs(logprob[i] - (-square / 2 - 30 * log(2 * Double.pi) + logDet[i])) < 1e-8)
      #expect(abs(bits[i] - (-logprob[i] / log(2) / 60 + 5)) < 1e-12)
    }
    _ = try succeed(["decode", "z.npy", "--size", "6x10", "--out", "back.npy"] + more)
    let back = try TestNPY.read(folder.read("back.npy"))
    #expect(back.shape == x.shape && zip(back.values, x.values).allSatisfy { abs($0 - $1) <= 1e-9 })

    let unsized = try fixture.run(["decode", "z.npy", "--out", "back.npy"], in: folder)
    #expect(unsized.status == 65 && unsized.error.contains("--size HxW"))
    let odd = try fixture.run(["sample", "--size", "7x8", "--out", "x.npy"], in: folder)
    #expect(odd.status == 64 && odd.error.contains("height and width divisible by 2"))
    #expect(try succeed(["info"]).output.contains("height and width divisible by 2"))
  }

  @Test func logprobIsThatOfTheLatents() throws {
    let encoded = try succeed([
      "encode", fixture.images, "--out", "z.npy", "--precision", "float64", "--json",
    ])
    let told = try succeed(["logprob", fixture.images, "--precision", "float64", "--json"]).json
    let logDet = try #require(try encoded.json["logDet"] as? [Double])
    let logprob = try #require(told["logprob"] as? [Double])
    let bits = try #require(told["bitsPerDimAtPoint"] as? [Double])
    let z = try TestNPY.read(folder.read("z.npy")).values
    #expect(logprob.count == Fixture.count)
    for i in 0..<Fixture.count {
      let square = z[(i * 64)..<((i + 1) * 64)].reduce(0.0) { $0 + $1 * $1 }
      let expected = -square / 2 - 32 * log(2 * Double.pi) + logDet[i]
      #expect(abs(logprob[i] - expected) < 1e-9 * abs(expected))
      #expect(abs(bits[i] - (-logprob[i] / log(2) / 64 + 5)) < 1e-12)
    }
  }

  /// 8-bit pixels go to the middle of their 5-bit bin, unless they are to be taken as they are.
  @Test func rawAndBinned() throws {
    let bytes = Array(Fixture.images[16..<(16 + 64)])
    func logprob(_ values: [Double]) throws -> Double {
      try folder.write(TestNPY.bytes(shape: [1, 8, 8, 1], doubles: values), to: "x.npy")
      let json = try succeed(["logprob", "x.npy", "--precision", "float64", "--json"]).json
      return try #require((json["logprob"] as? [Double])?.first)
    }
    try folder.write(TestNPY.bytes(shape: [8, 8], integers: bytes), to: "u1.npy")
    func ofBytes(_ more: [String]) throws -> Double {
      let json = try succeed(["logprob", "u1.npy", "--precision", "float64", "--json"] + more).json
      return try #require((json["logprob"] as? [Double])?.first)
    }
    #expect(try ofBytes([]) == logprob(bytes.map { (Double($0 / 8) + 0.5) / 32 }))
    #expect(try ofBytes(["--raw"]) == logprob(bytes.map { (Double($0) + 0.5) / 256 }))
    #expect(try ofBytes([]) != ofBytes(["--raw"]))
  }

  /// Draw 110 of the shipped Glow isn't finite.
  @Test func drawsThatAreNotFiniteAreLeftOut() throws {
    let model = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../Models/fashion-mnist-glow.safetensors").standardizedFileURL.path
    let result = try fixture.run(
      ["sample", "--model", model, "--count", "112", "--out", "s.npy"], in: folder)
    #expect(result.status == 0 && result.error.contains("left out 1 of 113 draws (1 %: 110)"))
    #expect(result.error.contains("--temperature 0.7"))
    let written = try TestNPY.read(folder.read("s.npy"))
    #expect(written.shape == [112, 28, 28, 1])
    #expect(
      try fixture.run(["sample", "--temperature", "1e300", "--out", "w.npy"], in: folder).fails(
        65, saying: "draws aren't finite", "--temperature 0.7"))
    #expect(!folder.exists("w.npy"))
  }

  @Test func samplesDependOnSeedAndIndexAlone() throws {
    func sample(_ more: [String]) throws -> [Double] {
      _ = try succeed(["sample", "--out", "s.npy"] + more)
      return try TestNPY.read(folder.read("s.npy")).values
    }
    let many = try sample(["--count", "70", "--threads", "1"])
    #expect(many.count == 70 * 64)
    #expect(try sample(["--count", "70", "--threads", "2"]) == many)
    #expect(try sample(["--count", "3"]) == Array(many.prefix(3 * 64)))
    #expect(try sample(["--count", "3", "--seed", "1"]) != Array(many.prefix(3 * 64)))
    #expect(try sample(["--count", "3", "--temperature", "0"]).allSatisfy { $0.isFinite })
  }

  @Test func infoTellsTheModel() throws {
    let json = try succeed(["info", "--json"]).json
    #expect((json["imageShape"] as? [String: Int]) == ["height": 8, "width": 8, "channels": 1])
    #expect((json["checksum"] as? String)?.count == 64)
    let figures = try #require(json["figures"] as? [String: Any])
    #expect(figures["steps"] as? Int == 80)
    #expect((figures["validation"] as? [String: Any])?["images"] as? Int == 8)
    #expect((figures["test"] as? [String: Any])?["images"] as? Int == Fixture.count)
    #expect((json["recipe"] as? String)?.contains("steps: 80") == true)
    let text = try succeed(["info"]).output
    #expect(text.contains("8x8x1") && text.contains("5 bits"))
  }
}
