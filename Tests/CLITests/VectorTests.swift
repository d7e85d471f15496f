import Foundation
import Testing

/// Every verb on vectors of two values.
@Suite struct VectorTests {
  let folder: Scratch

  /// Half a circle, far from [0, 1].
  private static let points = (0..<400).flatMap { i -> [Double] in
    let angle = Double.pi * Double(i) / 400
    let radius = 3 + 0.2 * sin(Double(i * i))
    return [radius * cos(angle), 10 + radius * sin(angle)]
  }

  private static let yaml = """
    flow: {vector: {couplings: 4, hidden: [16]}}
    bits: none
    steps: 60
    batch: 64
    rate: 0.01
    warmup: 5
    validation: {images: 50, every: 30}
    samples: {every: 30, count: 20}

    """

  init() throws {
    folder = try Scratch()
    try folder.write(TestNPY.bytes(shape: [400, 2], doubles: Self.points), to: "points.npy")
    try folder.write(Self.yaml, to: "run.yaml")
  }

  private func succeed(_ arguments: [String]) throws -> Program.Result {
    let result = try Program.run(
      arguments, in: folder, environment: ["AIPO_MODEL": folder["run/model.safetensors"]])
    try #require(result.status == 0, "\(result.error)")
    return result
  }

  @Test func trainSampleEncodeReconstruct() throws {
    _ = try succeed([
      "train", "--data", "points.npy", "--config", "run.yaml", "--out", "run", "--test", "points.npy",
    ])
    #expect(try TestNPY.read(folder.read("run/samples-60.npy")).shape == [20, 2])
    for name in ["run/density-30.png", "run/density-60.png"] {
      #expect(try folder.read(name).prefix(4) == [0x89, 0x50, 0x4E, 0x47])
    }
    let info = try succeed(["info", "--json"]).json
    #expect((info["dequantization"] as? [String: Any])?["bits"] as? Int == 0)

    _ = try succeed(["sample", "--count", "30", "--out", "draws.npy", "--precision", "float64"])
    #expect(try TestNPY.read(folder.read("draws.npy")).shape == [30, 2])
    let told = try succeed(["logprob", "draws.npy", "--precision", "float64", "--json"]).json
    let logprob = try #require(told["logprob"] as? [Double])
    let bits = try #require(told["bitsPerDim"] as? [Double])
    #expect(logprob.count == 30 && zip(logprob, bits).allSatisfy { abs($1 + $0 / log(2) / 2) < 1e-12 })
    _ = try succeed(["encode", "draws.npy", "--out", "z.npy", "--precision", "float64"])
    _ = try succeed(["decode", "z.npy", "--out", "back.npy", "--precision", "float64"])
    let (draws, back) = (
      try TestNPY.read(folder.read("draws.npy")), try TestNPY.read(folder.read("back.npy"))
    )
    #expect(back.shape == [30, 2] && zip(draws.values, back.values).allSatisfy { abs($0 - $1) < 1e-9 })
    // One vector by itself.
    try folder.write(TestNPY.bytes(shape: [2], doubles: Array(draws.values[2..<4])), to: "one.npy")
    let one = try succeed(["logprob", "one.npy", "--precision", "float64", "--json"]).json
    #expect((one["logprob"] as? [Double]) == [logprob[1]])

    let drawn = try succeed(["density", "--range=-5:5,5:15", "--pixels", "64", "--out", "d.png", "--json"])
      .json
    #expect(drawn["x"] as? [Double] == [-5, 5] && drawn["y"] as? [Double] == [5, 15])
    #expect(try folder.read("d.png").prefix(4) == [0x89, 0x50, 0x4E, 0x47])

    // Values needn't be on [0, 1]: an error, and no PSNR.
    let denoised = try succeed([
      "reconstruct", "--task", "denoise", "--sigma", "0.3", "--simulate", "points.npy", "--indices", "5,200",
      "--out",
      "clean.npy", "--json",
    ]).json
    let figures = try #require(denoised["images"] as? [[String: Any]])
    let clean = try TestNPY.read(folder.read("clean.npy")).values
    for (k, index) in [5, 200].enumerated() {
      let errors = (0..<2).map { clean[2 * k + $0] - Self.points[2 * index + $0] }
      let expected = ((errors[0] * errors[0] + errors[1] * errors[1]) / 2).squareRoot()
      #expect(abs((figures[k]["rmse"] as? Double ?? .nan) - expected) < 1e-5 && figures[k]["psnr"] is NSNull)
    }

    // One measurement of two values: the prior tells the other.
    try folder.write(TestNPY.bytes(shape: [1, 2], doubles: [1, 0]), to: "A.npy")
    try folder.write(TestNPY.bytes(shape: [2, 1], doubles: [0, 2.5]), to: "y.npy")
    let solved = try succeed([
      "reconstruct", "--task", "sense", "--operator", "A.npy", "--observation", "y.npy", "--sigma", "0.05",
      "--out", "x.npy", "--report", "r.html", "--json",
    ]).json
    let images = try #require(solved["images"] as? [[String: Any]])
    #expect(images.count == 2 && images.allSatisfy { $0["converged"] as? Bool == true })
    let x = try TestNPY.read(folder.read("x.npy"))
    #expect(x.shape == [2, 2])
    #expect(abs(x.values[0]) < 0.5 && abs(x.values[1] - 13) < 1)
    #expect(abs(x.values[2] - 2.5) < 0.5 && abs(x.values[3] - 11.6) < 1)
  }

  @Test func whatDoesNotFitIsRefused() throws {
    _ = try succeed([
      "train", "--data", "points.npy", "--config", "run.yaml", "--out", "run", "--steps", "2",
    ])
    try folder.write(TestNPY.bytes(shape: [4, 3], doubles: Array(repeating: 1, count: 12)), to: "three.npy")
    func run(_ arguments: [String]) throws -> Program.Result {
      try Program.run(arguments, in: folder, environment: ["AIPO_MODEL": folder["run/model.safetensors"]])
    }
    let wrong = try run(["logprob", "three.npy"])
    #expect(wrong.fails(65, saying: "1x1x3", "1x1x2"), "\(wrong.error)")
    let picture = try run(["sample", "--out", "x.png"])
    #expect(picture.fails(73, saying: "NPY"), "\(picture.error)")
    let range = try run(["density", "--range", "3:1", "--out", "x.png"])
    #expect(range.status == 64)
    let fixture = try Fixture.shared.get()
    let image = try run(["density", "--model", fixture.model, "--out", "x.png"])
    #expect(image.fails(65, saying: "8x8x1", "vectors of 2 values"), "\(image.error)")
    let bits = try run(["train", "--data", "points.npy", "--out", "other"])
    #expect(bits.status == 65)
  }
}
