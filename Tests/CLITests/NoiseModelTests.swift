import Foundation
import Testing

/// `--noise` and what goes with it.
@Suite struct NoiseModelTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
  }

  private func run(_ task: [String], _ more: [String]) throws -> Program.Result {
    try fixture.run(
      ["reconstruct", "--simulate", fixture.images, "--indices", "3,7", "--json", "--task"] + task + more,
      in: folder)
  }

  private func objectives(_ result: Program.Result) throws -> [Double] {
    try #require(result.status == 0, "\(result.error)")
    let images = try #require(try result.json["images"] as? [[String: Any]])
    return try images.map { try #require($0["objective"] as? Double) }
  }

  private func identity(_ scale: Double) throws {
    let a = (0..<64).flatMap { i in (0..<64).map { i == $0 ? scale : 0 } }
    try folder.write(TestNPY.bytes(shape: [64, 64], doubles: a), to: "matrix.npy")
  }

  static let models: [[String]] = [
    ["laplace"], ["student", "--nu", "4"], ["poisson", "--peak", "50"],
    ["poisson", "--peak", "50", "--sigma", "0.02"], ["outliers", "--outliers", "0.2"],
  ]

  /// Every model solves every task it goes with, and says so in the settings.
  @Test(arguments: models) func everyModelSolves(_ model: [String]) throws {
    try identity(1)
    for task in [["denoise"], ["inpaint", "--mask", "random:0.4"], ["sense", "--operator", "matrix.npy"]] {
      let result = try run(task, ["--noise"] + model + ["--report", "r.html"])
      let values = try objectives(result)
      #expect(values.count == 2 && values[0] != values[1])
      let settings = try #require(try result.json["settings"] as? [String: Any])
      #expect(settings["noise"] as? String == model[0])
      for (flag, key) in [("--nu", "nu"), ("--peak", "peak"), ("--outliers", "outliers")] {
        let given = model.firstIndex(of: flag).flatMap { Double(model[$0 + 1]) }
        #expect(settings[key] as? Double == given, "\(key)")
      }
      let images = try #require(try result.json["images"] as? [[String: Any]])
      #expect(images.allSatisfy { $0["converged"] as? Bool == true }, "\(model) \(task) \(images)")
    }
  }

  /// Deviations from a file and a covariance mean what a number means where they are the same.
  @Test func aNumberAFileAndACovarianceAgree() throws {
    let flags = ["--precision", "float64", "--method", "gaussian"]
    try folder.write(
      TestNPY.bytes(shape: [8, 8], doubles: [Double](repeating: 0.2, count: 64)), to: "sigma.npy")
    try folder.write(
      TestNPY.bytes(shape: [48, 64], doubles: [Double](repeating: 0.2, count: 48 * 64)), to: "rows.npy")
    try identity(0.04)
    for task in [["denoise"], ["inpaint", "--mask", "random:0.4"]] {
      let number = try objectives(try run(task, flags + ["--sigma", "0.2"]))
      for other in [
        ["--sigma", "sigma.npy"], ["--sigma", "rows.npy"], ["--noise-covariance", "matrix.npy"],
      ] {
        let found = try objectives(try run(task, flags + other))
        #expect(zip(number, found).allSatisfy { abs($0 - $1) < 1e-6 * abs($0) }, "\(task) \(other)")
      }
    }
  }

  /// The fixture's prior is a flow on 8×8 images, so it can stand for noise as well.
  @Test func aFlowAsTheNoiseModel() throws {
    let result = try run(["denoise"], ["--noise", "flow:\(fixture.model)", "--sheet", "s.png"])
    #expect(try objectives(result).count == 2)
    let settings = try #require(try result.json["settings"] as? [String: Any])
    #expect(settings["noise"] as? String == "flow:\(fixture.model)")
    #expect((settings["noiseChecksum"] as? String)?.count == 64)
    let mask = try run(["inpaint", "--mask", "center:2"], ["--noise", "flow:\(fixture.model)"])
    #expect(mask.status == 64 && mask.error.contains("--noise flow"))
    let sense = try run(["sense", "--measurements", "9"], ["--noise", "flow:\(fixture.model)"])
    #expect(sense.fails(65, saying: "model.safetensors", "9"))
    let none = try run(["denoise"], ["--noise", "flow:no-such.safetensors"])
    #expect(none.fails(66, saying: "no-such.safetensors"))
  }

  /// What was simulated can be solved again from its file, to the same bytes.
  @Test func observationsAreSaved() throws {
    for task in [["denoise"], ["sense", "--measurements", "30"]] {
      let flags = ["--noise", "laplace", "--sigma", "0.05", "--precision", "float64", "--probes", "0"]
      let first = try objectives(try run(task, flags + ["--save-observation", "y.npy"]))
      var again = ["reconstruct", "--observation", "y.npy", "--json", "--task", task[0]] + flags
      if task[0] == "sense" {
        // The matrix itself isn't saved: the file's shape is what matters here.
        #expect(try TestNPY.read(folder.read("y.npy")).shape == [2, 30])
        continue
      }
      again += ["--truth", "truth.npy"]
      try folder.write(
        TestNPY.bytes(shape: [2, 8, 8], doubles: Fixture.truth(3) + Fixture.truth(7)), to: "truth.npy")
      #expect(try TestNPY.read(folder.read("y.npy")).shape == [2, 8, 8, 1])
      // Probes of λ and of the curvature are keyed by the place in the source, which is another here.
      let second = try fixture.run(again + ["--lambda", "1"], in: folder)
      let same = try objectives(try run(task, flags + ["--lambda", "1"]))
      #expect(try objectives(second) == same)
      #expect(first.count == 2)
    }
    #expect(try run(["denoise"], ["--save-observation", "y.png"]).status == 64)
  }

  @Test(arguments: ["latent", "restarts", "tv", "lasso"]) func otherMethods(_ method: String) throws {
    for task in [["denoise"], ["inpaint", "--mask", "center:3"], ["sense", "--measurements", "30"]] {
      let result = try run(task, ["--method", method, "--max-evaluations", "200", "--report", "r.html"])
      #expect(try objectives(result).count == 2)
      let json = try result.json
      #expect(json["method"] as? String == method && json["path"] as? String == method)
      let images = try #require(json["images"] as? [[String: Any]])
      #expect(images.allSatisfy { ($0["evaluations"] as? Int ?? 999) <= 201 })
    }
    let poisson = try run(
      ["denoise"], ["--method", method, "--noise", "poisson", "--max-evaluations", "200"])
    #expect(try objectives(poisson).count == 2)
  }

  @Test(arguments: [
    ["--restarts", "4"], ["--method", "restarts", "--restarts", "0"], ["--penalty", "3"],
    ["--method", "tv", "--penalty", "-1"], ["--method", "tv", "--penalty", "x"],
    ["--method", "restarts", "--init", "observed"], ["--method", "latent", "--restarts", "1.5"],
  ])
  func flagsOfOtherMethods(_ flags: [String]) throws {
    #expect(try run(["denoise"], flags).status == 64)
  }

  @Test func wrongFilesAndData() throws {
    try folder.write(TestNPY.bytes(shape: [63], doubles: [Double](repeating: 1, count: 63)), to: "short.npy")
    #expect(try run(["denoise"], ["--sigma", "short.npy"]).fails(65, saying: "short.npy", "[63]", "64"))
    try folder.write(TestNPY.bytes(shape: [64], doubles: [Double](repeating: 0, count: 64)), to: "zero.npy")
    #expect(try run(["denoise"], ["--sigma", "zero.npy"]).fails(65, saying: "zero.npy", "0"))
    #expect(try run(["denoise"], ["--sigma", "no-such.npy"]).fails(66, saying: "no-such.npy"))
    let covariance = ["--noise-covariance", "c.npy"]
    try folder.write(TestNPY.bytes(shape: [64], doubles: [Double](repeating: 1, count: 64)), to: "c.npy")
    #expect(try run(["denoise"], covariance).fails(65, saying: "c.npy", "[64, 64]"))
    try identity(-1)
    #expect(
      try run(["denoise"], ["--noise-covariance", "matrix.npy"]).fails(65, saying: "matrix.npy", "positive"))
    var skew = [Double](repeating: 0, count: 64 * 64)
    for i in 0..<64 { skew[65 * i] = 1 }
    skew[1] = 0.5
    try folder.write(TestNPY.bytes(shape: [64, 64], doubles: skew), to: "c.npy")
    #expect(try run(["denoise"], covariance).fails(65, saying: "c.npy", "symmetric"))
    // A count can't be negative, nor can what an operator makes of counts.
    try folder.write(
      TestNPY.bytes(shape: [8, 8], doubles: (0..<64).map { $0 == 5 ? -0.1 : 0.5 }), to: "y.npy")
    let poisson = ["reconstruct", "--task", "denoise", "--observation", "y.npy", "--noise", "poisson"]
    #expect(try fixture.run(poisson, in: folder).fails(65, saying: "y.npy", "-0.1"))
    #expect(try fixture.run(poisson + ["--sigma", "0.1", "--json"], in: folder).status == 0)
    let sense = try run(["sense", "--operator", "matrix.npy"], ["--noise", "poisson"])
    #expect(sense.fails(65, saying: "matrix.npy", "negative"))
    #expect(try run(["sense", "--measurements", "9"], ["--noise", "poisson"]).status == 64)
  }
}
