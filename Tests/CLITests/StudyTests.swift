import Foundation
import Testing

/// `aipo study`: what it writes, that it can be stopped at any time, and what it refuses.
@Suite(.serialized) struct StudyTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
    try folder.write(Fixture.images, to: "images.idx")
    try folder.write(Self.yaml, to: "study.yaml")
  }

  /// Every kind of grid; cells of more images than are kept together.
  private static let yaml = """
    title: A test
    about: Three kinds of grids.
    options:
      simulate: images.idx
      max-evaluations: 40
    variants:
      - {method: [aipo, fixed], init: [zero, observed], lambda: 1}
      - {method: gaussian}
    grids:
      - name: Denoising
        options: {task: denoise, sigma: [0.1, 0.2], indices: 0:20:1}
      - name: Sensing
        options: {task: sense, measurements: 30, seed: [0, 1], indices: "3,7"}
      - name: Draws
        draws: 6
        options: {task: inpaint, mask: [center:3, random:0.5], indices: 0:3:1, precision: [float32, float64]}
        variants: [{init: [observed, zero, random, prior, gaussian], method: [aipo, fixed]}]

    """

  private static let results = ["report.html", "results.csv", "results.json", "results.md"]

  private func study(_ out: String, _ more: [String] = []) throws -> Program.Result {
    try fixture.run(["study", "study.yaml", "--out", out] + more, in: folder)
  }

  private func start(_ out: String, _ more: [String] = []) throws -> Program.Running {
    try Program.Running(
      ["study", "study.yaml", "--out", out] + more, in: folder, environment: ["AIPO_MODEL": fixture.model])
  }

  private func expectSameFiles(_ a: String, _ b: String) throws {
    func names(_ name: String) throws -> [String] {
      try folder.names.filter { $0.hasPrefix(name + "/") }.map { String($0.dropFirst(name.count)) }
    }
    #expect(try names(a) == names(b))
    for name in try names(a) where name != "/parts" {
      #expect(try folder.read(a + name) == folder.read(b + name), "\(name)")
    }
  }

  private func wait(for name: String, while running: Program.Running) throws {
    for _ in 0..<12000 where !folder.exists(name) && running.isRunning { usleep(5000) }
    try #require(folder.exists(name))
  }

  private func table(_ out: String) throws -> [[String: String]] {
    let lines = String(decoding: try folder.read("\(out)/results.csv"), as: UTF8.self).split(separator: "\n")
    let columns = lines[0].split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    return lines.dropFirst().map { line in
      let fields = line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      return Dictionary(uniqueKeysWithValues: zip(columns, fields))
    }
  }

  /// Of two deviations supposed for the same observations the one that is more probable is the best, and its log p(y) is that
  /// which `aipo posterior` tells.
  @Test func ranksByEvidence() throws {
    try folder.write(
      """
      title: Which deviation?
      rank: evidence
      options: {task: denoise, observation: images.idx, indices: "3,5", lambda: 1}
      grids:
        - name: Deviations
          variants: [{sigma: [0.03, 0.5]}]

      """, to: "study.yaml")
    let result = try study("ranked")
    try #require(result.status == 0, "\(result.error)")
    let rows = try table("ranked")
    try #require(rows.count == 4)
    let posterior = try fixture.run(
      [
        "posterior", "--task", "denoise", "--observation", "images.idx", "--indices", "5", "--sigma", "0.03",
        "--sampler", "smc", "--json",
      ], in: folder)
    let own = try #require(rows.first { $0["sigma"] == "0.03" && $0["index"] == "5" })
    for name in ["logEvidence", "logEvidenceError"] {
      let value = try #require(own[name])
      #expect(
        Double(value)?.isFinite == true && posterior.output.contains("\"\(name)\": \(value)"), "\(name)")
    }
    let text = String(decoding: try folder.read("ranked/results.md"), as: UTF8.self)
    #expect(text.contains("log p(y)"))
    func mean(_ sigma: String) -> Double {
      rows.filter { $0["sigma"] == sigma }.compactMap { $0["logEvidence"].flatMap(Double.init) }.reduce(0, +)
    }
    let best = mean("0.03") > mean("0.5") ? "σ = 0.03" : "σ = 0.5"
    #expect(text.contains("| \(best) | 2 | ") && text.contains("**"), "\(text)")
  }

  @Test func stoppedRunsGiveTheSameBytes() throws {
    let whole = try study("whole", ["--threads", "1"])
    try #require(whole.status == 0, "\(whole.error)")
    #expect(whole.error.isEmpty)

    // Killed without warning, twice.
    for part in ["0-0", "2-0"] {
      let killed = try start("killed")
      try wait(for: "killed/parts/\(part).json", while: killed)
      killed.send(SIGKILL)
      #expect(killed.wait().wasKilled)
    }
    #expect(!folder.exists("killed/results.csv"))
    let resumed = try study("killed", ["--threads", "2"])
    #expect(resumed.status == 0, "\(resumed.error)")
    try expectSameFiles("whole", "killed")

    // Solved in another order, one of the files cut short by a failing disk.
    for part in ["0-1", "3-0", "7-0", "15-0"] {
      try FileManager.default.removeItem(atPath: folder["killed/parts/\(part).json"])
    }
    let text = try folder.read("killed/parts/5-0.json")
    try folder.write(Array(text.prefix(text.count / 2)), to: "killed/parts/5-0.json")
    #expect(try study("killed").status == 0)
    try expectSameFiles("whole", "killed")

    // Killed before its first file.
    try FileManager.default.createDirectory(atPath: folder["early/parts"], withIntermediateDirectories: true)
    try folder.write("", to: "early/.aipo-partial-1")
    #expect(try study("early").status == 0)
    try expectSameFiles("whole", "early")
  }

  @Test func aSignalKeepsWhatIsFinished() throws {
    try folder.write(Self.yaml.replacing("0:20:1", with: "0:48:1"), to: "study.yaml")
    for (signal, status) in [(SIGINT, Int32(130)), (SIGTERM, 143)] {
      let running = try start("stopped", ["--json"])
      try wait(for: "stopped/parts/\(status == 130 ? "0-0" : "3-0").json", while: running)
      running.send(signal)
      let result = running.wait()
      #expect(result.status == status && !result.wasKilled, "\(result.error)")
      #expect(result.error.isEmpty)
      // On a machine at its limit there may be no time to tell.
      guard !result.output.isEmpty else { continue }
      let json = try result.json
      #expect(json["finished"] as? Bool == false)
      let done = try #require((json["solves"] as? [String: Any])?["done"] as? Int)
      #expect(try done > 0 && done == table("stopped").count)
    }
    #expect(try study("stopped").status == 0)
    let whole = try study("whole")
    #expect(whole.status == 0, "\(whole.error)")
    try expectSameFiles("whole", "stopped")
  }

  /// A cell is what `reconstruct` makes of its command.
  @Test func cellsAreReconstructions() throws {
    let result = try study("out", ["--json"])
    try #require(result.status == 0, "\(result.error)")
    let json = try result.json
    #expect(try folder.read("out/results.json") == Array(result.output.utf8))
    let rows = try table("out")
    #expect(rows.count == 238)
    #expect((json["solves"] as? [String: Any])?["done"] as? Int == rows.count)
    let cells = try #require(json["grids"] as? [[String: Any]]).flatMap {
      $0["cells"] as? [[String: Any]] ?? []
    }
    #expect(cells.count == 26)
    for number in [1, 4, 12, 21, 24] {
      let command = try #require(cells[number]["command"] as? String)
      let words = command.split(separator: " ").dropFirst().map(String.init)
      let alone = try fixture.run(words + ["--json", "--trace", "trace.jsonl"], in: folder)
      try #require(alone.status == 0, "\(command): \(alone.error)")
      let images = try #require(try alone.json["images"] as? [[String: Any]])
      let own = rows.filter { $0["cell"] == "\(number)" }
      #expect(images.count == own.count)
      for (image, row) in zip(images, own) {
        for key in ["psnr", "objective", "recon", "reg", "target", "lambda"] {
          let (found, expected) = (Double(row[key] ?? "") ?? .nan, image[key] as? Double ?? .nan)
          #expect(abs(found - expected) <= 1e-13 * max(abs(expected), 1), "\(command): \(key)")
        }
        #expect(image["evaluations"] as? Int == Int(row["evaluations"] ?? ""))
        #expect(image["reason"] as? String == row["reason"])
        // Draws are counted, not followed.
        let isDrawn = row["grid"] == "Draws"
        #expect(try (isDrawn ? nil : withinOneNat(image)) == Int(row["withinOneNat"] ?? ""))
      }
    }
    // A draw's number is its seed.
    let seeds = rows.filter { $0["grid"] == "Draws" }.compactMap { $0["seed"] }
    #expect(Set(seeds).sorted() == ["0", "1", "2", "3", "4", "5"])
  }

  /// The first evaluation in the trace whose target, at the final weights, is within a nat of the final one.
  private func withinOneNat(_ image: [String: Any]) throws -> Int? {
    let target = try #require(image["target"] as? Double)
    let lambda = try #require(image["lambda"] as? Double)
    let share = try #require(image["flowShare"] as? Double)
    for line in try folder.read("trace.jsonl").split(separator: UInt8(ascii: "\n")) {
      let state = try #require(try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any])
      guard state["source"] as? String == image["source"] as? String, state["event"] as? String != "failed",
        let recon = state["recon"] as? Double, let reg = state["reg"] as? Double,
        let gaussian = share == 1 ? 0 : state["gaussian"] as? Double
      else { continue }
      let prior = share * reg + (1 - share) * gaussian
      if recon + lambda * prior <= target + 1 { return state["evaluations"] as? Int }
    }
    return nil
  }

  /// The studies in `Studies` are read; what they name isn't in the folder that they are run in.
  @Test(arguments: [
    "lambda", "methods", "paper", "quick", "robust", "share", "solver", "starts",
  ])
  func shippedStudiesAreRead(_ name: String) throws {
    let file = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../Studies/\(name).yaml").standardizedFileURL.path
    let result = try fixture.run(["study", file, "--out", "out"], in: folder)
    #expect(result.fails(66, saying: "Models/fashion-mnist"), "\(result.error)")
  }

  /// Means, standard errors and paired differences, from the table of solves.
  @Test func theSummaryIsThatOfTheSolves() throws {
    let result = try study("out", ["--json"])
    try #require(result.status == 0, "\(result.error)")
    let grids = try #require(try result.json["grids"] as? [[String: Any]])
    let rows = try table("out")
    func expect(_ estimate: Any?, _ values: [Double]) throws {
      let found = try #require(estimate as? [String: Any])
      let mean = values.reduce(0, +) / Double(values.count)
      let square = values.reduce(0) { $0 + pow($1 - mean, 2) }
      let error = sqrt(square / Double(values.count - 1) / Double(values.count))
      #expect(abs(try #require(found["mean"] as? Double) - mean) < 1e-9 * max(abs(mean), 1))
      #expect(abs(try #require(found["standardError"] as? Double) - error) < 1e-9)
      #expect(found["count"] as? Int == values.count)
    }
    func column(_ name: String, cell: Int) -> [Double] {
      rows.filter { $0["cell"] == "\(cell)" }.compactMap { $0[name].flatMap(Double.init) }
    }
    let cells = try #require(grids[0]["cells"] as? [[String: Any]])
    try expect(cells[2]["psnr"], column("psnr", cell: 2))
    try expect(cells[2]["evaluations"], column("evaluations", cell: 2))
    let problems = try #require(grids[0]["problems"] as? [[String: Any]])
    #expect(problems.count == 2)
    let names = [
      "aipo, from zero", "aipo, from observed", "fixed, from zero", "fixed, from observed", "gaussian",
    ]
    #expect(problems[0]["variants"] as? [String] == names)
    let differences = try #require(problems[1]["differences"] as? [[String: Any]])
    let pair = try #require(
      differences.first { $0["of"] as? String == names[3] && $0["less"] as? String == names[0] })
    try expect(pair["psnr"], zip(column("psnr", cell: 8), column("psnr", cell: 5)).map { $0 - $1 })
    try expect(
      pair["target"], zip(column("target", cell: 8), column("target", cell: 5)).map { $0 - $1 })
    // Two seeds are two samples of the same problem.
    let sensing = try #require(grids[1]["problems"] as? [[String: Any]])
    #expect(sensing.count == 1)
    let first = try #require((sensing[0]["differences"] as? [[String: Any]])?.first)
    #expect((first["psnr"] as? [String: Any])?["count"] as? Int == 4)

    let page = String(decoding: try folder.read("out/report.html"), as: UTF8.self)
    for text in ["Objective above the best found, nats, by start", "aipo reconstruct --simulate images.idx"] {
      #expect(page.contains(text))
    }
    #expect(!page.contains("src=\"http"))
    let markdown = String(decoding: try folder.read("out/results.md"), as: UTF8.self)
    #expect(
      markdown.contains("| aipo, from zero |") && markdown.contains("aipo study study.yaml --out study"))
  }

  static let wrong: [(replaced: String, by: String, line: Int, words: String)] = [
    ("title: A test", "titel: A test", 1, "titel: found an unknown key, expected one of about, grids"),
    ("max-evaluations: 40", "max-evaluations: none", 5, "options.max-evaluations: found \"none\""),
    ("max-evaluations: 40", "max-evaluation: 40", 5, "options.max-evaluation: found an unknown key"),
    ("max-evaluations: 40", "out: x.npy", 5, "options.out"),
    ("lambda: 1", "lambda: -1", 7, "variants.0.lambda"),
    ("sigma: [0.1, 0.2]", "sigma: [0.1, 0.1]", 11, "grids.0.options.sigma: found \"0.1\" twice"),
    ("sigma: [0.1, 0.2]", "sigma: [0.1, -1]", 11, "grids.0.options.sigma: found \"-1\""),
    ("sigma: [0.1, 0.2]", "sigma: {a: 1}", 11, "grids.0.options.sigma: found keys and values"),
    ("measurements: 30, ", "", 13, "grids.1"), ("draws: 6", "draws: 0", 15, "grids.2.draws"),
    ("method: gaussian", "method: \"aipo,fixed\"", 8, "variants.1.method"),
    ("name: Sensing", "nam: Sensing", 12, "grids.1.nam"), ("method: gaussian", "method: ~", 8, "no value"),
    ("method: gaussian", "method: aipo, init: zero, lambda: 1", 10, "twice"),
    ("method: gaussian", "path: \"curve:3,0\"", 8, "variants.1.path: found \"curve:3,0\""),
    ("method: gaussian", "path: \"curve:3,0\"", 8, "two corners or more"),
    ("method: gaussian", "path: \"curve:3,0/1,0.5\"", 8, "the target 1,1 as its last corner"),
    ("method: gaussian", "path: \"curve:0,0/1,1\"", 8, "from 1e-06 to 1000000.0"),
    ("method: gaussian", "path: \"curve:3;0/1,1\"", 8, "as curve:3,0/3,1/1,1"),
    ("method: gaussian", "path: straight", 8, "lambda, prior, noise, smooth, theorem, auto or curve:"),
    ("title: A test", "title: [", 3, "well-formed YAML"),
    (
      "max-evaluations: 40", (0...100).map { "x\($0): 1" }.joined(separator: "\n  "), 4, "at most 100"
    ),
    (
      "sigma: [0.1, 0.2]", "sigma: [\((1...100_001).map { "0.\($0)" }.joined(separator: ","))]", 10,
      "cells in one grid, expected at most 100000"
    ),
  ]

  @Test(arguments: wrong) func wrongStudies(_ wrong: (replaced: String, by: String, line: Int, words: String))
    throws
  {
    #expect(Self.yaml.contains(wrong.replaced))
    try folder.write(Self.yaml.replacing(wrong.replaced, with: wrong.by), to: "study.yaml")
    let result = try study("out")
    #expect(
      result.fails(65, saying: "study.yaml: line \(wrong.line): ", wrong.words), "\(wrong): \(result.error)")
    #expect(!folder.exists("out"))
  }

  @Test func cellsThatCannotBeSolvedAreFoundFirst() throws {
    try folder.write(Self.yaml.replacing("\"3,7\"", with: "\"3,70\""), to: "study.yaml")
    let result = try study("out")
    #expect(result.fails(65, saying: "cell 10", "70", "images.idx"), "\(result.error)")
    #expect(!folder.exists("out"))
    try folder.write(Self.yaml.replacing("simulate: images.idx", with: "simulate: no.idx"), to: "study.yaml")
    #expect(try study("out").fails(66, saying: "no.idx"))
    #expect(try fixture.run(["study", "no.yaml", "--out", "out"], in: folder).fails(66, saying: "no.yaml"))
  }

  @Test func foldersOfOthersAreRefused() throws {
    let running = try start("out")
    try wait(for: "out/parts/0-0.json", while: running)
    // It must not finish while the second one starts.
    running.send(SIGSTOP)
    let second = try study("out")
    #expect(second.fails(73, saying: "out", "another run"), "\(second.error)")
    running.send(SIGKILL)
    _ = running.wait()
    // Another study, by its YAML or by a flag.
    try folder.write(Self.yaml.replacing("[0.1, 0.2]", with: "[0.1, 0.3]"), to: "study.yaml")
    let other = try study("out")
    #expect(
      other.fails(65, saying: "out/study.json", "cell 5", "--sigma 0.2", "--sigma 0.3"), "\(other.error)")
    try folder.write(Self.yaml, to: "study.yaml")
    let seed = try study("out", ["--seed", "3"])
    #expect(seed.fails(65, saying: "cell 0", "--seed 3"), "\(seed.error)")
    // The words of a study may change.
    try folder.write(Self.yaml.replacing("A test", with: "A better title"), to: "study.yaml")
    #expect(try study("out").status == 0)
    #expect(String(decoding: try folder.read("out/report.html"), as: UTF8.self).contains("A better title"))
    // Somebody's folder, a file, and no folder to make it in.
    try FileManager.default.createDirectory(atPath: folder["mine"], withIntermediateDirectories: true)
    try folder.write("dear diary", to: "mine/diary.txt")
    #expect(try study("mine").fails(73, saying: "mine", "diary.txt"))
    #expect(try study("images.idx").fails(73, saying: "images.idx"))
    #expect(try study("no/such/out").fails(73, saying: "no/such"))
    #expect(try folder.names.filter { $0.hasPrefix("mine") } == ["mine", "mine/diary.txt"])
  }

  /// Curves through (λ, t) are compared like other paths; λ counts in multiples of the target.
  @Test func curvesAreCompared() throws {
    try folder.write(
      """
      title: Curves
      options: {task: sense, simulate: images.idx, indices: 0:3:1, measurements: 30, max-evaluations: 40}
      variants: [{path: [noise, "curve:3,0/3,1/1,1", "curve:3,0/1,1"], lambda: 0.5}, {probes: 2}]
      grids: [{name: all}]
      """, to: "study.yaml")
    let result = try study("out", ["--json"])
    try #require(result.status == 0, "\(result.error)")
    let grid = try #require((try result.json["grids"] as? [[String: Any]])?.first)
    let cells = try #require(grid["cells"] as? [[String: Any]])
    let objectives = cells.compactMap { ($0["objective"] as? [String: Any])?["mean"] as? Double }
    try #require(objectives.count == 4)
    #expect(objectives[0] == objectives[1] && objectives[0] != objectives[2])
    #expect(
      (grid["problems"] as? [[String: Any]])?.first?["variants"] as? [String]
        == ["path noise", "path curve:3,0/3,1/1,1", "path curve:3,0/1,1", "probes 2"])
    #expect(
      String(decoding: try folder.read("out/study.json"), as: UTF8.self).contains("--path curve:3,0/1,1"))
  }

  /// What another build of the program has solved isn't mixed in without a word.
  @Test func otherBuildsAreRefused() throws {
    #expect(try study("out").status == 0)
    let kept = try folder.read("out/results.csv")
    let other = "0.0.9, build 0123456789ab (kernels reference)"
    let text = String(decoding: try folder.read("out/study.json"), as: UTF8.self)
    let build = try #require(text.firstMatch(of: /"(\d[^"]*, build [0-9a-f]{12} [^"]*)"/)?.1)
    try folder.write(text.replacing(build, with: other), to: "out/study.json")
    try FileManager.default.removeItem(atPath: folder["out/parts/3-0.json"])
    let refused = try study("out")
    #expect(
      refused.fails(65, saying: "out/study.json", other, String(build), "--any-build"), "\(refused.error)")
    let mixed = try study("out", ["--any-build", "--json"])
    try #require(mixed.status == 0, "\(mixed.error)")
    #expect(try mixed.json["builds"] as? [String] == [other, String(build)])
    #expect(String(decoding: try folder.read("out/report.html"), as: UTF8.self).contains(other))
    #expect(try folder.read("out/results.csv") == kept)
    // Both are known from here on.
    #expect(try study("out").status == 0)
  }

  @Test func aSolveThatIsNotFinite() throws {
    let bright = [Float](repeating: 1e38, count: 64)
    try folder.write(TestNPY.bytes(shape: [8, 8], floats: bright), to: "y.npy")
    try folder.write(
      """
      title: Too bright
      options: {task: denoise, observation: y.npy, method: fixed}
      grids: [{name: all}]
      """, to: "study.yaml")
    let result = try study("out", ["--json"])
    #expect(result.status == 75, "\(result.error)")
    #expect((try result.json["solves"] as? [String: Any])?["notFinite"] as? Int == 1)
  }
}
