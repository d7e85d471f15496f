import AIPOTestFiles
import Foundation
import Testing

/// One line on standard error, and the remedy, where observations are probably not what the user believes. Every case
/// beside its right twin.
@Suite struct AdviceTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
  }

  /// Under the shipped prior.
  private func shipped(_ task: String, _ observation: String, _ more: [String]) throws -> Program.Result {
    try Program.run(
      [
        "reconstruct", "--task", task, "--observation", Cases.path(observation), "--truth",
        Cases.path("truth.npy"),
      ]
        + more + ["--json"], in: folder)
  }

  private func warnings(_ result: Program.Result) throws -> [String] {
    try #require(try result.json["warnings"] as? [String])
  }

  private func figure(_ key: String, _ result: Program.Result) throws -> Double {
    let images = try #require(try result.json["images"] as? [[String: Any]])
    return try #require(images[0][key] as? Double)
  }

  /// A warning that is said once, with these words, on standard error and in the JSON.
  private func expectWarning(
    _ result: Program.Result, saying words: String..., at location: SourceLocation = #_sourceLocation
  ) throws {
    try #require(result.status == 0, "\(result.error)", sourceLocation: location)
    #expect(result.errorLines.count == 1, "\(result.error)", sourceLocation: location)
    for word in words { #expect(result.error.contains(word), "\(result.error)", sourceLocation: location) }
    let found = try warnings(result)
    #expect(
      found.map { "aipo: warning: \($0)" } == result.errorLines.map(String.init), sourceLocation: location)
  }

  private func expectNothing(
    _ result: Program.Result, at location: SourceLocation = #_sourceLocation
  ) throws {
    try #require(result.status == 0, "\(result.error)", sourceLocation: location)
    #expect(result.error.isEmpty, "\(result.error)", sourceLocation: location)
    #expect(try warnings(result) == [], sourceLocation: location)
  }

  // MARK: Masks

  @Test func aMaskOfManyValues() throws {
    let jpeg = ["--mask", Cases.path("09-mask.jpg")]
    let refused = try shipped("inpaint", "09-observation.npy", jpeg)
    #expect(
      refused.fails(65, saying: "09-mask.jpg", "23 different values", "PNG", "--mask-threshold"),
      "\(refused.error)")
    let exact = try shipped(
      "inpaint", "09-observation.npy", ["--mask", Cases.path("09-mask-exact.png"), "--out", "a.npy"])
    try expectNothing(exact)
    #expect(try figure("psnr", exact) > 29.5)
    // 372 of 784 pixels.
    let settings = try #require(try exact.json["settings"] as? [String: Any])
    #expect(abs(try #require(settings["hidden"] as? Double) - 372.0 / 784) < 1e-12)
    let cut = try shipped(
      "inpaint", "09-observation.npy", jpeg + ["--mask-threshold", "0.5", "--out", "b.npy"])
    try expectNothing(cut)
    #expect(try folder.read("a.npy") == folder.read("b.npy"))
    for flags in [
      ["--mask", "center:10", "--mask-threshold", "0.5"], jpeg + ["--mask-threshold", "0"],
      jpeg + ["--mask-threshold", "1.1"],
    ] {
      #expect(try shipped("inpaint", "09-observation.npy", flags).status == 64)
    }
  }

  private func inpaint(_ mask: String, _ more: [String] = []) throws -> Program.Result {
    try fixture.run(
      ["reconstruct", "--task", "inpaint", "--mask", mask, "--method", "gaussian"] + more, in: folder)
  }

  private func write(_ shape: [Int], _ name: String, _ value: (Int) -> Double) throws {
    try folder.write(
      TestNPY.bytes(shape: shape, doubles: (0..<shape.reduce(1, *)).map(value)), to: name)
  }

  @Test func aMaskThatHidesNothingOrEverything() throws {
    let images = ["--simulate", fixture.images, "--indices", "0,1"]
    try write([8, 8], "all.npy") { _ in 1 }
    try write([8, 8], "none.npy") { _ in 0 }
    try write([8, 8], "half.npy") { Double($0 % 2) }
    for (mask, words) in [
      ("all.npy", "hides nothing"), ("center:0", "hides nothing"), ("none.npy", "hides everything"),
      ("random:1", "hides everything"),
    ] {
      try expectWarning(try inpaint(mask, images + ["--json"]), saying: mask, words)
    }
    let half = try inpaint("half.npy", images)
    #expect(half.output.contains("The mask hides 50.0 % of the values."))
    // A share is a probability; what was hidden is counted over all images.
    let random = try inpaint("random:0.25", ["--simulate", fixture.images, "--json"])
    let settings = try #require(try random.json["settings"] as? [String: Any])
    let hidden = try #require(settings["hidden"] as? Double)
    #expect(abs(hidden - 0.25) < 0.04 && hidden != 0.25)
    try write([8, 8], "three.npy") { Double($0 % 3) }
    #expect(try inpaint("three.npy", images).fails(65, saying: "three.npy", "3 different values"))
  }

  /// A mask of the observation's own size goes through the same crop and resizing.
  @Test func aMaskFollowsItsPicture() throws {
    let truth = Fixture.truth(3).enumerated().map { $1 + 0.02 * Double(($0 * 37) % 11 - 5) }
    // In the middle of a frame that would spoil everything.
    func framed(_ inner: @escaping (Int) -> Double) -> (Int) -> Double {
      { i in
        let (y, x) = (i / 12 - 2, i % 12 - 2)
        return (0..<8).contains(y) && (0..<8).contains(x) ? inner(8 * y + x) : 1
      }
    }
    let hole = { (i: Int) in (2..<5).contains(i / 8) && (2..<5).contains(i % 8) }
    try write([8, 8], "y.npy") { hole($0) ? .nan : truth[$0] }
    try write([8, 8], "mask.npy") { hole($0) ? 0 : 1 }
    try write([12, 12], "y12.npy", framed { hole($0) ? .nan : truth[$0] })
    try write([12, 12], "mask12.npy", framed { hole($0) ? 0 : 1 })
    let flags = ["--json", "--out", "x.npy", "--observation"]
    try expectNothing(try inpaint("mask.npy", flags + ["y.npy"]))
    let whole = try folder.read("x.npy")
    for mask in ["mask12.npy", "mask.npy"] {
      try expectNothing(try inpaint(mask, flags + ["y12.npy", "--crop", "8x8"]))
      #expect(try folder.read("x.npy") == whole, "\(mask)")
    }
    // Every pixel four times as large. A hole that reaches into a pixel hides it: what is hidden there, NaN, is in
    // no average that is observed.
    try write([16, 16], "y16.npy") { i in
      let (y, x) = (i / 16, i % 16)
      return hole(8 * (y / 2) + x / 2) && (y != 4 || x == 5) ? .nan : truth[8 * (y / 2) + x / 2]
    }
    try write([16, 16], "mask16.npy") { i in
      let (y, x) = (i / 16, i % 16)
      return hole(8 * (y / 2) + x / 2) && (y != 4 || x == 5) ? 0 : 1
    }
    let resized = try inpaint("mask16.npy", flags + ["y16.npy", "--resize", "8x8", "--sigma", "auto"])
    try expectNothing(resized)
    let settings = try #require(try resized.json["settings"] as? [String: Any])
    #expect(settings["hidden"] as? Double == 9.0 / 64)
    // A mask of the final size can't know what was mixed.
    try write([16, 16], "seen16.npy") { i in truth[8 * (i / 32) + i % 16 / 2] }
    try expectWarning(
      try inpaint("mask.npy", flags + ["seen16.npy", "--resize", "8x8", "--sigma", "auto"]),
      saying: "seen16.npy",
      "mixed hidden pixels")
    try expectFailure(try inpaint("mask12.npy", flags + ["y.npy"]), "mask12.npy", "[12, 12]", "[8, 8]")
  }

  private func expectFailure(_ result: Program.Result, _ words: String...) throws {
    #expect(result.status == 65 && result.errorLines.count == 1, "\(result.error)")
    for word in words { #expect(result.error.contains(word), "\(result.error)") }
  }

  // MARK: Counts and scales

  @Test func counts() throws {
    let poisson = ["--noise", "poisson", "--peak", "30"]
    let right = try shipped("denoise", "11-counts-over-peak.npy", poisson)
    try expectNothing(right)
    #expect(abs(try figure("psnr", right) - 27) < 0.3)
    let counts = try shipped("denoise", "11-counts.npy", poisson + ["--counts", "--out", "x.npy"])
    try expectNothing(counts)
    #expect(abs(try figure("psnr", counts) - 27) < 0.3)
    try expectWarning(
      try shipped("denoise", "11-counts.npy", poisson + ["--max-evaluations", "1"]), saying: "11-counts.npy",
      "from 0 to 33", "--counts")
    // As they often come: integers in an 8-bit file.
    let bytes = try TestNPY.read(Array(try Data(contentsOf: URL(filePath: Cases.path("11-counts.npy")))))
      .values
    try folder.write(TestNPY.bytes(shape: [28, 28], integers: bytes.map { UInt8($0) }), to: "k.npy")
    let flags = ["--precision", "float64", "--max-evaluations", "1"] + poisson
    let floats = try shipped("denoise", "11-counts.npy", flags + ["--counts"])
    let integers = try Program.run(
      ["reconstruct", "--task", "denoise", "--observation", "k.npy", "--counts", "--json"] + flags, in: folder
    )
    #expect(try abs(figure("objective", floats) / figure("objective", integers) - 1) < 1e-9)
    for flags in [["--counts"], ["--counts", "--noise", "laplace"]] {
      #expect(try shipped("denoise", "11-counts.npy", flags).status == 64)
    }
    let simulated = try fixture.run(
      ["reconstruct", "--task", "denoise", "--simulate", fixture.images, "--counts"] + poisson, in: folder)
    #expect(simulated.status == 64)
  }

  /// The path under Student's noise begins at the Gaussian's closed form, which the command has to bring.
  @Test func studentsNoiseBeginsAtTheGaussian() throws {
    func objective(_ more: [String]) throws -> Double {
      try figure(
        "objective", shipped("denoise", "image-uint8.npy", ["--noise", "student", "--sigma", "0.07"] + more))
    }
    let usual = try objective([])
    #expect(try usual == objective(["--init", "gaussian"]))
    #expect(try usual != objective(["--init", "observed"]))
  }

  @Test func deviationsOnTheScaleOfBytes() throws {
    try expectWarning(
      try shipped("denoise", "image-uint8.npy", ["--sigma", "25", "--max-evaluations", "1"]),
      saying: "σ = 25 on pixels in [0, 1]: did you mean 25/255 = 0.098?")
    try expectNothing(
      try shipped("denoise", "image-uint8.npy", ["--sigma", "0.098", "--max-evaluations", "1"]))
  }

  @Test func anObservationOnTheScaleOfBytes() throws {
    let sense = ["--operator", Cases.path("20-A.npy")]
    func run(_ name: String, _ more: [String]) throws -> Program.Result {
      try Program.run(
        ["reconstruct", "--task", "sense", "--observation", Cases.path(name), "--json"] + sense + more,
        in: folder)
    }
    let result = try run("20-y255.npy", ["--max-evaluations", "200"])
    try expectWarning(
      result, saying: "20-y255.npy: the result misses the observation by",
      "σ: is the observation on the [0, 1] scale")
    #expect(try figure("misfit", result) > 100)
    // A method that follows any data says it by its pixels.
    try expectWarning(
      try run("20-y255.npy", ["--method", "gaussian"]), saying: "the result's values go from", "[0, 1] scale")
    let right = try run("20-y.npy", ["--max-evaluations", "200"])
    try expectNothing(right)
    #expect(try figure("misfit", right) < 3)
    try expectNothing(try run("20-y.npy", ["--method", "gaussian"]))
    // The truth is on its own scale, or the observation is.
    try expectWarning(
      try run("20-y255.npy", ["--method", "gaussian", "--truth", Cases.path("truth.npy")]),
      saying: "20-y255.npy",
      "the truth misses the observation by 18,")
  }

  private func denoise(_ more: [String]) throws -> Program.Result {
    try fixture.run(
      ["reconstruct", "--task", "denoise", "--method", "gaussian", "--json"] + more, in: folder)
  }

  @Test func valuesOutsideTheUnitInterval() throws {
    let truth = Fixture.truth(3) + Fixture.truth(5)
    try write([2, 8, 8], "signed.npy") { 2 * truth[$0] - 1 }
    try expectWarning(
      try denoise(["--observation", "signed.npy", "--sigma", "0.05"]), saying: "signed.npy#0 and 1 other:",
      "from −0.")
    try write([2, 8, 8], "truth.npy") { truth[$0] }
    try expectNothing(try denoise(["--observation", "truth.npy", "--sigma", "0.05"]))
    try write([2, 8, 8], "truth255.npy") { 255 * truth[$0] }
    try expectWarning(
      try denoise(["--observation", "truth.npy", "--truth", "truth255.npy", "--sigma", "0.05"]),
      saying: "truth.npy#0",
      "the truth misses the observation")
    try write([2, 9, 9], "larger.npy") { _ in 0.5 }
    let larger = try denoise(["--observation", "truth.npy", "--truth", "larger.npy"])
    #expect(larger.fails(65, saying: "larger.npy", "9x9x1", "8x8x1"))
    #expect(!larger.error.contains("--resize"))
    // With --quiet the JSON alone tells.
    let quiet = try denoise(["--observation", "signed.npy", "--sigma", "0.05", "--quiet"])
    #expect(quiet.error.isEmpty)
    #expect(try warnings(quiet).count == 1)
  }

  // MARK: Sizes and estimates

  @Test func resizingAnObservation() throws {
    try write([12, 12], "y.npy") { 0.3 + 0.4 * Double($0 % 5) / 4 }
    let unlike = try denoise(["--observation", "y.npy"])
    #expect(unlike.status == 0 && unlike.error.contains("--crop 8x8"), "\(unlike.error)")
    #expect(unlike.error.contains("12x12x1") && unlike.error.contains("8x8x1"))
    #expect(!unlike.error.contains("--resize"))
    for sigma in [[], ["--sigma", "0.1"]] {
      try expectWarning(
        try denoise(["--observation", "y.npy", "--resize", "8x8"] + sigma), saying: "y.npy",
        "resized from 12x12x1",
        "--crop")
    }
    try expectNothing(try denoise(["--observation", "y.npy", "--resize", "8x8", "--sigma", "auto"]))
    try expectNothing(try denoise(["--observation", "y.npy", "--crop", "8x8", "--resize", "8x8"]))
    try expectNothing(try denoise(["--simulate", "y.npy", "--resize", "8x8"]))
    #expect(try denoise(["--simulate", "y.npy"]).error.contains("--resize 8x8 or --crop 8x8"))
  }

  @Test func noNoiseToEstimate() throws {
    try write([8, 8], "constant.npy") { _ in 0.4 }
    try expectWarning(
      try denoise(["--observation", "constant.npy", "--sigma", "auto"]), saying: "constant.npy",
      "no noise was found")
    try expectNothing(
      try denoise(["--simulate", fixture.images, "--indices", "0:3", "--sigma", "auto"]))
  }

  // MARK: The table

  @Test func theTable() throws {
    let flags = ["reconstruct", "--task", "denoise", "--simulate", fixture.images, "--max-evaluations", "3"]
    let several = try fixture.run(flags + ["--indices", "0:3", "--sigma", "0.125"], in: folder)
    try #require(several.status == 0, "\(several.error)")
    let lines = several.output.split(separator: "\n").map(String.init)
    for column in ["observed PSNR", "λ", "σ", "flow", "objective", "converged"] {
      #expect(lines[0].contains(column), "\(lines[0])")
    }
    #expect(lines[2].contains("0.125") && lines[2].contains("no: evaluations used up"), "\(lines[2])")
    let mean = try #require(lines.first { $0.hasPrefix("mean of 3") })
    #expect(mean.count { $0 == "±" } >= 3 && mean.contains("0/3"), "\(mean)")
    #expect(several.output.contains("λ: the prior's weight"))
    #expect(several.output.contains("Nothing was kept: --out"))
    // The standard error is that of the images' own figures.
    let json = try fixture.run(flags + ["--indices", "0:3", "--sigma", "0.125", "--json"], in: folder).json
    let psnr = try #require(json["images"] as? [[String: Any]]).compactMap { $0["psnr"] as? Double }
    let average = psnr.reduce(0, +) / 3
    let error = (psnr.reduce(0) { $0 + ($1 - average) * ($1 - average) } / 6).squareRoot()
    #expect(mean.contains("\(String(format: "%.2f", average)) ± \(String(format: "%.2f", error))"), "\(mean)")
    let errors = try #require(json["standardError"] as? [String: Any])
    #expect(abs(try #require(errors["psnr"] as? Double) - error) < 1e-9)
    // One image has no mean, and without a truth there is no PSNR to show.
    try write([8, 8], "y.npy") { Fixture.truth(3)[$0] }
    let one = try fixture.run(
      [
        "reconstruct", "--task", "denoise", "--observation", "y.npy", "--max-evaluations", "30", "--out",
        "x.npy",
      ],
      in: folder)
    #expect(
      !one.output.contains("PSNR") && !one.output.contains("±") && !one.output.contains("Nothing was kept"))
    let methods = try fixture.run(flags + ["--indices", "0:3", "--method", "fixed,gaussian"], in: folder)
    let rows = methods.output.split(separator: "\n").map(String.init)
    #expect(rows[0].hasPrefix("mean of 3 images") && rows[2].hasPrefix("observed") && rows[2].contains("±"))
    #expect(rows[4].hasPrefix("gaussian") && rows[4].contains("3/3"), "\(rows[4])")
  }

  /// SSIM of what was observed, where images are large enough for it.
  @Test func similarityOfTheObservation() throws {
    let result = try shipped("denoise", "truth.npy", ["--method", "gaussian"])
    #expect(try figure("ssimObserved", result) == 1)
    let means = try #require(try result.json["mean"] as? [String: Any])
    #expect(means["ssimObserved"] as? Double == 1)
  }

  // MARK: Studies

  @Test func aStudyTellsTheSame() throws {
    try write([2, 8, 8], "signed.npy") { 2 * (Fixture.truth(3) + Fixture.truth(5))[$0] - 1 }
    try folder.write(
      """
      title: A test
      options: {task: denoise, observation: signed.npy, method: gaussian}
      grids:
      - name: one
        options: {sigma: [0.05, 0.04]}

      """, to: "study.yaml")
    func run() throws -> (Program.Result, [UInt8]) {
      let result = try fixture.run(["study", "study.yaml", "--out", "s"], in: folder)
      try #require(result.status == 0, "\(result.error)")
      return (result, try folder.read("s/results.json"))
    }
    let (first, results) = try run()
    #expect(first.errorLines.count == 1 && first.error.contains("signed.npy#0 and 1 other"), "\(first.error)")
    let json = try #require(try JSONSerialization.jsonObject(with: Data(results)) as? [String: Any])
    #expect((json["warnings"] as? [String])?.count == 1)
    // A study that is done is told the same again.
    #expect(try run().1 == results)
  }

  // MARK: Neither what was said nor anything else

  private func read(_ path: String) throws -> [Double] {
    try TestNPY.read([UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))).values
  }

  /// Counts in 8 bits, few counts, and what was divided already.
  @Test func countsAreToldByTheirGrid() throws {
    let poisson = ["--noise", "poisson", "--peak", "30", "--method", "gaussian"]
    let divided = try read(Cases.path("11-counts-over-peak.npy"))
    let counts = divided.map { ($0 * 30).rounded() }
    try folder.write(TestNPY.bytes(shape: [28, 28], integers: counts.map { UInt8($0) }), to: "bytes.npy")
    try folder.write(
      TestNPY.bytes(shape: [28, 28], doubles: counts.map { ($0 / 15).rounded() }), to: "few.npy")
    func run(_ observation: String, _ flags: [String]) throws -> Program.Result {
      try Program.run(
        ["reconstruct", "--task", "denoise", "--observation", observation] + flags + ["--json"], in: folder)
    }
    try expectWarning(try run("bytes.npy", poisson), saying: "multiples of 1/30", "--counts")
    try expectNothing(try run("bytes.npy", poisson + ["--counts"]))
    let few = ["--noise", "poisson", "--peak", "2", "--method", "gaussian"]
    try expectWarning(try run("few.npy", few), saying: "multiples of 1/2", "--counts")
    try expectNothing(try run("few.npy", few + ["--counts"]))
    let over = Cases.path("11-counts-over-peak.npy")
    try expectNothing(try run(over, poisson))
    try expectWarning(try run(over, poisson + ["--counts"]), saying: "--counts takes counts as they are")
  }

  /// Twice as bright, at the usual σ; and the range that is named is that of the values.
  @Test func anotherScaleIsNamed() throws {
    let truth = try read(Cases.path("truth.npy"))
    for (name, scale, offset, words) in [
      ("twice.npy", 2.0, 0.0, "--range LOW:HIGH"), ("signed.npy", 2, -1, "--range -1:1"),
      ("bytes.npy", 255, 0, "--range 0:255"),
    ] {
      try folder.write(
        TestNPY.bytes(shape: [28, 28], doubles: truth.map { scale * $0 + offset }), to: name)
      let result = try Program.run(
        ["reconstruct", "--task", "denoise", "--method", "gaussian", "--observation", name, "--json"],
        in: folder)
      #expect(result.status == 0 && result.error.contains(words), "\(name): \(result.error)")
    }
    let dark = try Program.run(
      [
        "reconstruct", "--task", "denoise", "--method", "gaussian", "--observation", "bytes.npy", "--range",
        "0:255", "--truth", Cases.path("truth.npy"), "--json",
      ], in: folder)
    #expect(dark.error.contains("makes the truth nearly black"), "\(dark.error)")
    let sense = try Program.run(
      [
        "reconstruct", "--task", "sense", "--operator", Cases.path("20-A.npy"), "--observation",
        Cases.path("20-y255.npy"), "--range", "0:255",
      ], in: folder)
    #expect(sense.status == 64 && sense.error.contains("--range is of images"), "\(sense.error)")
  }
}
