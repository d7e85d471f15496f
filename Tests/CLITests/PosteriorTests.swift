import Foundation
import Testing

/// `aipo posterior` and `aipo calibrate`: what they write, that they can be stopped, and what they refuse.
@Suite struct PosteriorTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
    try folder.write(Fixture.images, to: "images.idx")
  }

  private let problem = ["--task", "denoise", "--sigma", "0.1", "--simulate", "images.idx", "--indices", "3"]

  private func posterior(_ more: [String]) throws -> Program.Result {
    try fixture.run(["posterior"] + problem + more, in: folder)
  }

  private func values(_ name: String) throws -> [Double] { try TestNPY.read(folder.read(name)).values }

  @Test func writesMeanDeviationQuantilesDrawsAndReport() throws {
    let result = try posterior([
      "--draws", "150", "--warmup", "100", "--out", "mean.npy", "--exceeds", "0.5", "--save-draws",
      "draws.npz",
      "--report", "report.html", "--animation", "draws.png", "--json",
    ])
    #expect(result.status == 0, "\(result.error)")
    let json = try result.json
    let image = try #require((json["images"] as? [[String: Any]])?.first)
    #expect(image["density"] as? String == "the posterior, p(y | x) p(x) / p(y)")
    for key in ["rhat", "essBulk", "essTail", "mcse", "acceptance", "psnr"] {
      #expect((image[key] as? Double)?.isFinite == true, "\(key)")
    }
    #expect(image["divergences"] as? Int == 0 && image["logEvidence"] is NSNull)
    #expect(image["psnr"] as! Double > image["psnrObserved"] as! Double)
    let (mean, sd) = (try values("mean.npy"), try values("mean-sd.npy"))
    #expect(mean.count == Fixture.dimension && sd.allSatisfy { $0 > 0 && $0 < 0.2 })
    let share = try values("mean-exceeds.npy")
    #expect(share.allSatisfy { $0 >= 0 && $0 <= 1 })
    let isAgreed = image["disagreement"] is NSNull
    #expect(folder.exists("mean-q5.npy") == isAgreed)
    if isAgreed {
      let (low, high) = (try values("mean-q5.npy"), try values("mean-q95.npy"))
      for i in mean.indices { #expect(low[i] < mean[i] && mean[i] < high[i]) }
    }
    let report = String(decoding: try folder.read("report.html"), as: UTF8.self)
    for words in ["Deviation", "Draws", "R-hat", "p(y | x)"] { #expect(report.contains(words), "\(words)") }
    let animation = String(decoding: try folder.read("draws.png"), as: Unicode.ASCII.self)
    #expect(
      animation.contains("acTL") && animation.contains("fdAT")
        && animation.hasSuffix("IEND\u{FFFD}B`\u{FFFD}"))
    #expect(try folder.read("draws.npz").count > 4 * 150 * Fixture.dimension)
  }

  /// A chain that can't have mixed: said in the first line of the report, and no interval is given.
  @Test func disagreementIsSaid() throws {
    let result = try posterior([
      "--draws", "6", "--warmup", "0", "--sampler", "pcn", "--json", "--report", "report.html", "--out",
      "mean.npy",
    ])
    #expect(result.status == 0)
    let image = try #require((try result.json["images"] as? [[String: Any]])?.first)
    #expect(image["disagreement"] is String)
    #expect(result.error.contains("the chains disagree") && !folder.exists("mean-q5.npy"))
    for functional in image["functionals"] as! [[String: Any]] {
      #expect(functional["low"] is NSNull && functional["high"] is NSNull)
    }
    let report = String(decoding: try folder.read("report.html"), as: UTF8.self)
    #expect(report.contains(#"<p class="lead">The chains disagree"#) && report.contains("Mean of chain 4"))
  }

  /// Particles tell modes and their weights; a prior that knows no noise level has no path along it.
  @Test func modesAreKept() throws {
    let result = try posterior([
      "--sampler", "smc", "--draws", "20", "--chains", "2", "--save-modes", "modes.npz", "--json",
    ])
    try #require(result.status == 0, "\(result.error)")
    let image = try #require((try result.json["images"] as? [[String: Any]])?.first)
    let modes = try #require(image["modes"] as? [[String: Any]])
    let weights = modes.compactMap { $0["weight"] as? Double }
    #expect(weights.count == modes.count && abs(weights.reduce(0, +) - 1) < 1e-9)
    #expect(try folder.read("modes.npz").count > 8 * Fixture.dimension)
    let wrong = try posterior(["--sampler", "smc-noise", "--draws", "4"])
    #expect(wrong.status != 0 && wrong.error.contains("noise level"), "\(wrong.error)")
  }

  /// The density that is sampled has the λ that was found.
  @Test func lambdaByEvidenceIsNamed() throws {
    let result = try posterior(["--lambda", "evidence", "--draws", "4", "--warmup", "4", "--json"])
    try #require(result.status == 0, "\(result.error)")
    let json = try result.json
    let image = try #require((json["images"] as? [[String: Any]])?.first)
    let density = try #require(image["density"] as? String)
    #expect(density.hasPrefix("in proportion to p(y | x) p(x)^"), "\(density)")
    #expect((json["settings"] as? [String: Any])?["lambda"] as? String == "evidence")
    let refused = try posterior(["--lambda", "eviden"])
    #expect(refused.status == 64 && refused.error.contains("evidence"), "\(refused.error)")
  }

  @Test func sameBytesOnAnyThreads() throws {
    for (name, threads) in [("a.npy", "1"), ("b.npy", "3")] {
      let result = try posterior([
        "--draws", "20", "--warmup", "30", "--threads", threads, "--out", name, "--quiet",
      ])
      #expect(result.status == 0)
    }
    #expect(try folder.read("a.npy") == folder.read("b.npy"))
    #expect(try folder.read("a-sd.npy") == folder.read("b-sd.npy"))
  }

  /// Stopped while it draws, it goes on from its state and ends with the same bytes.
  @Test func goesOnAfterAStop() throws {
    let flags = problem + ["--draws", "800", "--warmup", "30", "--chains", "2", "--quiet"]
    let running = try Program.Running(
      ["posterior"] + flags + ["--state", "state", "--out", "stopped.npy"], in: folder,
      environment: ["AIPO_MODEL": fixture.model])
    usleep(2_500_000)
    running.send(SIGINT)
    let stopped = running.wait()
    #expect([0, 130].contains(stopped.status))
    for out in ["whole.npy", "resumed.npy"] {
      let state = out == "whole.npy" ? [] : ["--state", "state"]
      #expect(try fixture.run(["posterior"] + flags + state + ["--out", out], in: folder).status == 0)
    }
    #expect(try folder.read("whole.npy") == folder.read("resumed.npy"))
    // Of other settings.
    let other = try fixture.run(["posterior"] + flags + ["--state", "state", "--seed", "1"], in: folder)
    if folder.exists("state/image-3.npz") { #expect(other.fails(65, saying: "of other settings")) }
  }

  @Test func refusesWhatCannotBeSampled() throws {
    for (flags, words) in [
      (["--chains", "0"], "--chains is '0', expected 1 to 1024"),
      (["--quantiles", "0.9,0.1"], "--quantiles"),
      (["--save-draws", "draws.npy"], ".npz"), (["--animation", "a.gif"], ".png"),
      (["--level", "1"], "--level"),
      (["--sampler", "gibbs"], "gibbs"),
    ] {
      let result = try posterior(flags)
      #expect(result.status == 64 && result.error.contains(words), "\(flags)")
    }
    let result = try posterior(["--sampler", "pcn", "--space", "x"])
    #expect(result.status != 0 && result.error.contains("space z"))
  }

  @Test func calibratesARightSampler() throws {
    let result = try fixture.run(
      [
        "calibrate", "--task", "denoise", "--sigma", "0.2", "--problems", "60", "--from", "truth", "--warmup",
        "60",
        "--report", "calibration.html", "--json",
      ], in: folder)
    #expect(result.status == 0, "\(result.error)")
    let json = try result.json
    #expect(json["calibrated"] as? Bool == true && json["problems"] as? Int == 60)
    #expect((json["functionals"] as? [Any])?.count ?? 0 >= 20)
    #expect(String(decoding: try folder.read("calibration.html"), as: UTF8.self).contains("TARP"))
  }

  @Test func triesIntervalsOnRealImages() throws {
    let result = try fixture.run(
      [
        "calibrate", "--task", "denoise", "--sigma", "0.1", "--problems", "0", "--simulate", "images.idx",
        "--indices", "0:4:1", "--draws", "60", "--warmup", "60", "--json",
      ], in: folder)
    #expect(result.status == 0, "\(result.error)")
    let real = try #require(try result.json["real"] as? [String: Any])
    #expect(real["heldOut"] as? Int == 2 && real["tried"] as? Int == 2)
    #expect(real["coverage"] as! Double > 0.3 && real["factor"] as! Double > 0.5)
    let nothing = try fixture.run(["calibrate", "--task", "denoise", "--problems", "0"], in: folder)
    #expect(nothing.status == 64 && nothing.error.contains("nothing to do"))
  }
}
