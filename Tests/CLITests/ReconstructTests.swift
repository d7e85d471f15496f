import Foundation
import Testing

/// What `reconstruct` prints and writes.
@Suite struct ReconstructTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
  }

  private func simulate(_ task: [String], _ more: [String]) -> [String] {
    ["reconstruct", "--simulate", fixture.images, "--task"] + task + more
  }

  static let tasks: [[String]] = [
    ["denoise"], ["inpaint", "--mask", "random:0.5"], ["inpaint", "--mask", "center:3"],
    ["sense", "--measurements", "30"],
    ["sense", "--measurements", "80"], ["deblur", "--kernel", "gaussian:0.8"],
    ["superresolve", "--scale", "2", "--kernel", "box"], ["ct", "--angles", "9", "--sigma", "0.05"],
    ["mri", "--kspace-mask", "lines:2"], ["sense", "--measurements", "40", "--ensemble", "dct"],
  ]

  @Test(arguments: tasks) func jsonHoldsWhatTheContractSays(_ task: [String]) throws {
    let result = try fixture.run(
      simulate(task, ["--indices", "3,7", "--json", "--out", "x.npy"]), in: folder)
    try #require(result.status == 0, "\(result.error)")
    #expect(result.error.isEmpty)
    let json = try result.json
    #expect(json["task"] as? String == task[0])
    #expect(json["method"] as? String == "aipo")
    #expect(["lambda", "noise"].contains(json["path"] as? String))
    #expect(json["prior"] as? String == "model")
    #expect(json["seed"] as? Int == 0)
    #expect((json["settings"] as? [String: Any])?["checksum"] as? String != nil)
    let keys = ["task", "method", "path", "prior", "seed", "settings", "images", "mean"]
    let places = keys.map { result.output.range(of: "\n  \"\($0)\":")!.lowerBound }
    #expect(places == places.sorted())

    let images = try #require(json["images"] as? [[String: Any]])
    #expect(images.count == 2)
    let written = try TestNPY.read(folder.read("x.npy"))
    #expect(written.shape == [2, 8, 8, 1])
    #expect(written.type == "<f4")
    for (k, image) in images.enumerated() {
      func number(_ key: String) throws -> Double { try #require(image[key] as? Double, "\(key)") }
      let sum = try number("recon") + number("lambda") * number("reg")
      #expect(abs(try number("objective") - sum) < 1e-9 * abs(sum))
      let share = try number("flowShare")
      let prior = share * (try number("reg")) + (share == 1 ? 0 : (1 - share) * (try number("gaussian")))
      let target = try number("recon") + number("lambda") * prior
      #expect(abs(try number("target") - target) < 1e-9 * abs(target))
      #expect((image["source"] as? String)?.contains("images.idx") == true)
      #expect(image["converged"] as? Bool != nil)
      #expect(image["reason"] as? String != nil)
      #expect(try number("evaluations") >= 1)
      #expect(try number("seconds") >= 0)
      #expect(image["iterations"] as? Int != nil)
      // The images are smaller than SSIM's window.
      #expect(image["ssim"] is NSNull)
      // PSNR from the file that was written.
      let truth = Fixture.truth([3, 7][k])
      let values = written.values[(k * 64)..<((k + 1) * 64)]
      let square = zip(values, truth).reduce(0.0) { $0 + pow(min(max($1.0, 0), 1) - $1.1, 2) }
      #expect(abs(try number("psnr") - 10 * log10(64 / square)) < 1e-4)
    }
    let means = try #require(json["mean"] as? [String: Any])
    for key in ["psnr", "psnrObserved", "objective", "evaluations", "seconds"] {
      let values = images.compactMap { $0[key] as? Double }
      let mean = values.reduce(0, +) / 2
      #expect(abs(try #require(means[key] as? Double) - mean) <= 1e-9 * max(abs(mean), 1))
    }
  }

  @Test(arguments: tasks) func sameBytesWhateverThreadsBatchAndOrder(_ task: [String]) throws {
    func images(_ name: String, _ more: [String]) throws -> [Double] {
      let result = try fixture.run(
        simulate(task, more + ["--out", "\(name).npy", "--precision", "float64"]), in: folder)
      try #require(result.status == 0, "\(result.error)")
      return try TestNPY.read(folder.read("\(name).npy")).values
    }
    let one = try images("one", ["--indices", "2,5,9,11", "--threads", "1"])
    let two = try images("two", ["--indices", "2,5,9,11", "--threads", "2"])
    #expect(one == two)
    #expect(try folder.read("one.npy") == folder.read("two.npy"))
    let alone = try images("alone", ["--indices", "9"])
    #expect(alone == Array(one[128..<192]))
    let turned = try images("turned", ["--indices", "11,9"])
    #expect(turned == Array(one[192..<256]) + alone)
    let other = try images("other", ["--indices", "9", "--seed", "1"])
    #expect(other != alone)
  }

  @Test func filesAreTheSameBytesAgain() throws {
    func run(_ name: String, threads: String) throws {
      let result = try fixture.run(
        simulate(
          ["denoise"],
          [
            "--indices", "0:3", "--threads", threads, "--report", "report.html", "--trace", "trace.jsonl",
            "--out", "x.png",
          ]),
        in: folder)
      try #require(result.status == 0, "\(result.error)")
      for file in ["report.html", "trace.jsonl", "x.png"] {
        try FileManager.default.moveItem(atPath: folder[file], toPath: folder["\(name)-\(file)"])
      }
    }
    try run("a", threads: "1")
    try run("b", threads: "2")
    for file in ["report.html", "trace.jsonl", "x.png"] {
      #expect(try folder.read("a-\(file)") == folder.read("b-\(file)"), "\(file)")
    }
    let html = String(decoding: try folder.read("a-report.html"), as: UTF8.self)
    #expect(html.contains("images.idx#2"))
    #expect(!html.contains("src=\"http"))
    for line in String(decoding: try folder.read("a-trace.jsonl"), as: UTF8.self).split(separator: "\n") {
      let state = try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
      #expect(state["objective"] is Double && state["lambda"] is Double && state["t"] is Double)
    }
  }

  @Test func severalMethodsAreCompared() throws {
    let result = try fixture.run(
      simulate(
        ["inpaint", "--mask", "random:0.5"],
        [
          "--indices", "0:3", "--method", "aipo,fixed,gaussian", "--json", "--out", "x.npy", "--report",
          "r.html",
        ]),
      in: folder)
    try #require(result.status == 0, "\(result.error)")
    let results = try #require(try result.json["results"] as? [[String: Any]])
    #expect(results.map { $0["method"] as? String } == ["aipo", "fixed", "gaussian"])
    for (object, method) in zip(results, ["aipo", "fixed", "gaussian"]) {
      let alone = try fixture.run(
        simulate(
          ["inpaint", "--mask", "random:0.5"],
          ["--indices", "0:3", "--method", method, "--json", "--out", "y.npy"]),
        in: folder)
      #expect(try folder.read("x-\(method).npy") == folder.read("y.npy"))
      let images = try #require(try alone.json["images"] as? [[String: Any]])
      let together = try #require(object["images"] as? [[String: Any]])
      #expect(images.map { $0["objective"] as? Double } == together.map { $0["objective"] as? Double })
    }
    #expect(try folder.names == ["r.html", "x-aipo.npy", "x-fixed.npy", "x-gaussian.npy", "y.npy"])
  }

  /// What was simulated comes out the same when its observation is given as a file.
  @Test func realUseEqualsTheExperiment() throws {
    let d = Fixture.dimension
    let truth = Fixture.truth(4)
    var a: [Double] = []
    for i in 0..<20 { for j in 0..<d { a.append(sin(Double(3 * i + 7 * j + i * j)) / 4) } }
    let y = (0..<20).map { i in (0..<d).reduce(0.0) { $0 + a[i * d + $1] * truth[$1] } }
    try folder.write(TestNPY.bytes(shape: [20, d], doubles: a), to: "A.npy")
    try folder.write(TestNPY.bytes(shape: [20], doubles: y), to: "y.npy")
    try folder.write(TestNPY.bytes(shape: [8, 8], doubles: truth), to: "truth.npy")
    let flags = [
      "reconstruct", "--task", "sense", "--operator", "A.npy", "--sigma", "0.02", "--precision", "float64",
    ]
    let real = try fixture.run(
      flags + ["--observation", "y.npy", "--truth", "truth.npy", "--json", "--out", "x.npy"], in: folder)
    try #require(real.status == 0, "\(real.error)")
    let image = try #require((try real.json["images"] as? [[String: Any]])?.first)
    // The solution explains the data to about the noise, and the data term is what the formula says.
    let x = try TestNPY.read(folder.read("x.npy")).values
    let square = (0..<20).reduce(0.0) { sum, i in
      sum + pow((0..<d).reduce(0.0) { $0 + a[i * d + $1] * x[$1] } - y[i], 2)
    }
    let recon = square / (2 * 0.02 * 0.02) + 10 * log(2 * Double.pi * 0.02 * 0.02)
    #expect(abs(try #require(image["recon"] as? Double) - recon) < 1e-6 * abs(recon))
    #expect(image["psnr"] is Double)
    // Without the truth there is no PSNR; with two rows there are two images.
    try folder.write(TestNPY.bytes(shape: [2, 20], doubles: y + y.map { $0 * 0.9 }), to: "two.npy")
    let two = try fixture.run(flags + ["--observation", "two.npy", "--json", "--out", "x2.npy"], in: folder)
    try #require(two.status == 0, "\(two.error)")
    let images = try #require(try two.json["images"] as? [[String: Any]])
    #expect(images.count == 2)
    #expect(
      images.allSatisfy { $0["psnr"] is NSNull && $0["ssim"] is NSNull && $0["psnrObserved"] is NSNull })
    #expect(Array(try TestNPY.read(folder.read("x2.npy")).values.prefix(d)) == x)
  }

  @Test func simulatedNoiseHasItsDeviation() throws {
    let result = try fixture.run(
      simulate(["denoise"], ["--sigma", "0.05", "--json", "--method", "gaussian"]), in: folder)
    try #require(result.status == 0, "\(result.error)")
    let images = try #require(try result.json["images"] as? [[String: Any]])
    #expect(images.count == Fixture.count)
    let square = try images.map { pow(10, -(try #require($0["psnrObserved"] as? Double)) / 10) }.reduce(0, +)
    // The mean square of 48·64 draws, a little less where the image is near black or white and is clipped.
    #expect(abs(square / Double(images.count) / 0.0025 - 1) < 0.1)
  }

  @Test func anImageWithoutAFiniteResult() throws {
    try folder.write(TestNPY.bytes(shape: [8, 8], floats: [Float](repeating: 1e38, count: 64)), to: "y.npy")
    let result = try fixture.run(
      ["reconstruct", "--task", "denoise", "--observation", "y.npy", "--method", "fixed", "--json"],
      in: folder)
    #expect(result.status == 75, "\(result.error)")
    let image = try #require((try result.json["images"] as? [[String: Any]])?.first)
    #expect(image["objective"] is NSNull)
    #expect(image["converged"] as? Bool == false)
  }

  @Test func aPipeThatNobodyReadsIsNoError() throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "(\"$0\" info \"$1\"; echo $? >status) | true", Program.path, fixture.model]
    process.currentDirectoryURL = URL(fileURLWithPath: folder.path)
    let errors = Pipe()
    process.standardError = errors
    try process.run()
    process.waitUntilExit()
    #expect(try errors.fileHandleForReading.readToEnd() == nil)
    #expect(String(decoding: try folder.read("status"), as: UTF8.self) == "0\n")
  }
}
