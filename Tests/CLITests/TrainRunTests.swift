import AIPOTestFiles
import Foundation
import Testing

/// What somebody meets who trains on pictures of their own.
@Suite(.serialized) struct TrainRunTests {
  let folder: Scratch

  init() throws {
    folder = try Scratch()
    try folder.write(Fixture.images, to: "images.idx")
    try folder.write(
      Fixture.yaml.replacingOccurrences(of: "validation: {images: 8, every: 40}", with: ""), to: "run.yaml")
  }

  private func train(_ more: [String], in other: Scratch? = nil) throws -> Program.Result {
    try Program.run(["train"] + more, in: other ?? folder)
  }

  private let begin = ["--data", "images.idx", "--config", "run.yaml"]

  /// Runs a line that the program has printed, as a shell would.
  private func runPrinted(_ line: String) throws -> Program.Result {
    let command = try #require(line.range(of: "aipo "))
    return try Program.run(line[command.upperBound...].split(separator: " ").map(String.init), in: folder)
  }

  @Test func aTenthIsKeptBackAndTold() throws {
    let first = try train(begin + ["--out", "a", "--steps", "2"])
    try #require(first.status == 0, "\(first.error)")
    #expect(first.output.hasPrefix("training on 44, validating on 4 of 48 pictures of 8x8x1\n"))
    #expect(first.output.contains(" bits/dim on 4 images"))
    for (told, line) in [
      ("8", "training on 40, validating on 8 of 48"), ("0.25", "training on 36, validating on 12 of 48"),
      ("0", "training on all 48 pictures of 8x8x1; none is kept back"),
    ] {
      let result = try train(begin + ["--out", "b\(told)", "--steps", "1", "--validation", told])
      #expect(result.status == 0 && result.output.hasPrefix(line), "\(result.output)\(result.error)")
    }
    let none = try train(begin + ["--out", "c", "--validation", "48"])
    #expect(none.fails(65, saying: "48 of 48", "--validation 4"), "\(none.error)")
    #expect(!folder.exists("c"))
    let wrong = try train(begin + ["--out", "c", "--validation", "half"])
    #expect(wrong.fails(64, saying: "--validation", "half", "a share below 1"), "\(wrong.error)")
    let one = try train(begin + ["--out", "d", "--steps", "1", "--validation", "1", "--json"])
    let figures = try #require(try one.json["figures"] as? [String: Any])
    let validation = try #require(figures["validation"] as? [String: Any])
    #expect(validation["standardError"] is NSNull && validation["bitsPerDim"] is Double)
    let info = try Program.run(["info", "d/model.safetensors"], in: folder)
    let line = try #require(info.output.split(separator: "\n").first { $0.hasPrefix("validation") })
    #expect(!line.contains("±") && line.hasSuffix("on 1 image"), "\(line)")
  }

  /// Where decoded images are kept decides nothing; a run may change it when it goes on.
  @Test func imagesInFilesGiveTheSameModel() throws {
    let yaml = String(decoding: try folder.read("run.yaml"), as: UTF8.self)
    try folder.write(yaml + "data: {stream: true}\n", to: "streamed.yaml")
    let streamed = ["--data", "images.idx", "--test", "images.idx", "--config", "streamed.yaml"]
    try #require(try train(begin + ["--test", "images.idx", "--out", "held", "--steps", "12"]).status == 0)
    let result = try train(streamed + ["--out", "a", "--steps", "12"])
    try #require(result.status == 0, "\(result.error)")
    #expect(result.output.hasPrefix("training on 44, validating on 4 of 48 pictures"))
    for name in ["model.safetensors", "checkpoint.safetensors"] {
      #expect(try folder.read("a/\(name)") == folder.read("held/\(name)"))
    }
    let more = try train(["--out", "held", "--resume", "--config", "streamed.yaml", "--steps", "14"])
    #expect(more.status == 0, "\(more.error)")
    let settings = String(decoding: try folder.read("held/settings.yaml"), as: UTF8.self)
    #expect(settings.contains("stream: true"))
    #expect(try folder.names.allSatisfy { !$0.contains("partial") })
    // Nothing is made for images that can't be read.
    try folder.write("data: {stream: maybe}\n", to: "wrong.yaml")
    let wrong = try train(["--config", "wrong.yaml", "--out", "c"])
    #expect(wrong.fails(65, saying: "data.stream", "auto or true or false"), "\(wrong.error)")
    try FileManager.default.createDirectory(atPath: folder["pictures"], withIntermediateDirectories: true)
    for name in ["1.png", "2.png"] {
      try #require(
        try Program.run(["grid", "images.idx", "--out", "pictures/\(name)"], in: folder).status == 0)
    }
    try folder.write(Array(try folder.read("pictures/2.png").dropLast(200)), to: "pictures/2.png")
    let broken = try train(["--data", "pictures", "--config", "streamed.yaml", "--out", "c"])
    #expect(broken.fails(65, saying: "2.png"), "\(broken.error)")
    #expect(!folder.exists("c"))
  }

  @Test func patchesOfPicturesOfAnySize() throws {
    try FileManager.default.createDirectory(atPath: folder["pictures"], withIntermediateDirectories: true)
    for (k, side) in [9, 12, 20].enumerated() {
      try folder.write(
        TestIDX.bytes(count: 1, side: side) { _, y, x in UInt8((x * 9 + y * 5) % 256) }, to: "p.idx")
      let made = try Program.run(["grid", "p.idx", "--out", "pictures/\(k).png"], in: folder)
      try #require(made.status == 0, "\(made.error)")
    }
    let settings = ["--data", "pictures", "--config", "run.yaml", "--steps", "3", "--patch", "8x8"]
    let result = try train(settings + ["--out", "run", "--validation", "1"])
    try #require(result.status == 0, "\(result.error)")
    #expect(result.output.hasPrefix("training on 2, validating on 1 of 3 pictures, in patches of 8x8x"))
    let info = try Program.run(["info", "run/model.safetensors", "--json"], in: folder)
    let shape = try #require(try info.json["imageShape"] as? [String: Int])
    #expect(shape["height"] == 8 && shape["width"] == 8)
    let whole = try train(["--data", "pictures", "--config", "run.yaml", "--out", "whole"])
    #expect(whole.fails(65, saying: "pictures"), "\(whole.error)")
    let large = try train(settings + ["--patch", "16x16", "--out", "large"])
    #expect(large.fails(65, saying: "at least 16x16", "--patch"), "\(large.error)")
  }

  @Test func aRunGoesOnByItsFolderAlone() throws {
    let more = ["--rate", "0.002", "--seed", "5", "--threads", "1"]
    let straight = try train(begin + more + ["--out", "straight", "--steps", "30"])
    try #require(straight.status == 0, "\(straight.error)")
    // To 12 of 30 steps, where neither run's rate decays; then from another working folder.
    let first = try train(begin + more + ["--out", "run", "--steps", "12", "--config", "run.yaml"])
    try #require(first.status == 0, "\(first.error)")
    let elsewhere = try Scratch()
    let resumed = try train(["--out", folder["run"], "--resume", "--steps", "14"], in: elsewhere)
    #expect(resumed.status == 0, "\(resumed.error)")
    #expect(resumed.output.contains("going on from step 12 to 14"))
    for (flags, words) in [
      (["--rate", "0.5"], "rate 0.002"), (["--seed", "6"], "seed 5"), (["--steps", "9"], "14 steps"),
      (["--patch", "4x4"], "patch none"), (["--precision", "float64"], "precision"),
    ] {
      let refused = try train(["--out", "run", "--resume"] + flags)
      #expect(refused.fails(65, saying: words), "\(refused.error)")
    }
    try folder.write([1, 2, 3], to: "broken.idx")
    let missing = try train(["--out", "run", "--resume", "--data", "gone.idx"])
    #expect(missing.fails(66, saying: "gone.idx"), "\(missing.error)")
    let same = try train(["--out", "run", "--resume", "--rate", "0.002", "--batch", "16"])
    #expect(same.status == 0, "\(same.error)")
    let nothing = try train(["--out", "none", "--resume"])
    #expect(nothing.fails(64, saying: "none", "--data"), "\(nothing.error)")
  }

  @Test func moreStepsGiveTheBytesOfALongerRun() throws {
    try folder.write(
      String(decoding: try folder.read("run.yaml"), as: UTF8.self) + "decay: {fraction: 0}\n", to: "flat.yaml"
    )
    let flat = ["--data", "images.idx", "--config", "flat.yaml"]
    try #require(try train(flat + ["--out", "long", "--steps", "33"]).status == 0)
    try #require(try train(flat + ["--out", "short", "--steps", "17"]).status == 0)
    let more = try train(["--out", "short", "--resume", "--steps", "33"])
    #expect(more.status == 0 && !more.output.contains("learning rate"), "\(more.output)")
    for name in ["model.safetensors", "checkpoint.safetensors", "log.jsonl", "loss.svg"] {
      #expect(try folder.read("long/\(name)") == folder.read("short/\(name)"), "\(name)")
    }
    // A rate that had decayed begins anew, and that is said.
    try #require(try train(begin + ["--out", "decayed", "--steps", "17"]).status == 0)
    let anew = try train(["--out", "decayed", "--resume", "--steps", "33"])
    #expect(
      anew.status == 0 && anew.output.contains("the learning rate is 0.001000 from here"), "\(anew.output)")
  }

  @Test(arguments: [SIGINT, SIGTERM]) func aStoppedRunSaysWhereItIs(signal: Int32) throws {
    try folder.write(Fixture.yaml.replacingOccurrences(of: "hidden: 8", with: "hidden: 48"), to: "slow.yaml")
    let running = try Program.Running(
      ["train", "--data", "images.idx", "--config", "slow.yaml", "--steps", "100000", "--out", "run"],
      in: folder)
    for _ in 0..<6000 where !folder.exists("run/log.jsonl") && running.isRunning { usleep(5000) }
    usleep(100_000)
    running.send(signal)
    let result = running.wait()
    #expect(result.status == (signal == SIGINT ? 130 : 143) && result.error.isEmpty, "\(result.error)")
    let lines = result.output.split(separator: "\n")
    let said = try #require(lines.first { $0.hasPrefix("stopped after step ") })
    #expect(said.hasSuffix(" of 100000, which run/checkpoint.safetensors holds"), "\(said)")
    let info = try Program.run(["info", "run/checkpoint.safetensors", "--json"], in: folder)
    let figures = try #require(try info.json["figures"] as? [String: Any])
    let steps = try #require(figures["steps"] as? Int)
    #expect(said.hasPrefix("stopped after step \(steps) of"))
    // What it says goes on, and the checkpoint is a model.
    let last = try #require(lines.last)
    #expect(last == "go on: aipo train --out run --resume")
    let again = try runPrinted(last + " --steps \(steps + 1)")
    #expect(again.status == 0 && again.output.contains("to \(steps + 1)\n"), "\(again.error)")
    let drawn = try Program.run(
      ["sample", "--model", "run/checkpoint.safetensors", "--count", "2", "--out", "s.npy"], in: folder)
    #expect(drawn.status == 0, "\(drawn.error)")
  }

  /// While the pictures are read there is nothing yet that could be kept.
  @Test func stoppedBeforeTheFirstStep() throws {
    var header: [UInt8] = [0, 0, 8, 3]
    for extent in [1 << 23, 8, 8] { header += (0..<4).reversed().map { UInt8(extent >> (8 * $0) & 0xFF) } }
    try folder.write(header, to: "large.idx")
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: folder["large.idx"]))
    try file.truncate(atOffset: UInt64(16 + 64 << 23))
    try file.close()
    let running = try Program.Running(
      ["train", "--data", "large.idx", "--config", "run.yaml", "--out", "run"], in: folder)
    usleep(400_000)
    try #require(running.isRunning)
    running.send(SIGINT)
    let result = running.wait()
    #expect(result.status == 130 && result.error.isEmpty, "\(result.error)")
    #expect(
      result.output == "stopped before the first step: nothing is kept, and the same command begins anew\n")
    #expect(!folder.exists("run"))
  }

  @Test func theEndSaysWhatToDoNext() throws {
    let result = try train(begin + ["--out", "run", "--steps", "4"])
    try #require(result.status == 0, "\(result.error)")
    let draw = try #require(result.output.split(separator: "\n").first { $0.hasPrefix("draw from it: ") })
    let drawn = try runPrinted(String(draw))
    #expect(drawn.status == 0 && folder.exists("samples.png"), "\(drawn.error)")
    let use = try #require(result.output.split(separator: "\n").first { $0.hasPrefix("use it on ") })
    let one = try Program.run(
      ["sample", "--model", "run/model.safetensors", "--count", "1", "--out", "noisy.png"], in: folder)
    try #require(one.status == 0)
    let used = try runPrinted(String(use))
    #expect(used.status == 0 && folder.exists("clean.png"), "\(used.error)")
  }

  /// What can be wrong with images or rate, each in one line with what to do.
  @Test func whatCannotBeTrainedOnSaysTheRemedy() throws {
    let uneven = TestIDX.bytes(count: 40, side: 9) { image, y, x in UInt8((image * 7 + y * 31 + x) % 256) }
    try folder.write(uneven, to: "nine.idx")
    let size = try train(["--data", "nine.idx", "--config", "run.yaml", "--out", "run"])
    #expect(
      size.fails(65, saying: "divisible by 2, found images of 9x9x1", "--resize 10x10"), "\(size.error)")
    let tiny = try train(["--data", "images.idx", "--out", "run", "--resize", "2x2", "--steps", "1"])
    #expect(tiny.fails(65, saying: "divisible by 4, found images of 2x2x1", "--resize 4x4"), "\(tiny.error)")
    let patch = try train(begin + ["--out", "run", "--patch", "7x6"])
    #expect(patch.fails(65, saying: "found images of 7x6x1", "--patch 8x6"), "\(patch.error)")
    #expect(!folder.exists("run"))
    let few = try Program.run(
      ["train", "--data", Cases.path("18-twenty-pictures"), "--steps", "1", "--batch", "2", "--out", "few"],
      in: folder)
    #expect(few.status == 0 && few.output.hasPrefix("training on 18, validating on 2 of 20"), "\(few.output)")
    // After one step the model may be said to be worse than noise, too.
    #expect(few.errorLines.count { $0.contains("18 images are little") } == 1, "\(few.error)")
    try folder.write(
      Fixture.yaml + "clip: 0\nguard: {attempts: 1}\n", to: "wild.yaml")
    let wild = try train(["--data", "images.idx", "--config", "wild.yaml", "--out", "wild", "--rate", "10"])
    #expect(wild.status == 65, "\(wild.error)")
    let last = try #require(wild.errorLines.last)
    #expect(last.contains("training diverged at step") && last.contains("lower rate (--rate"), "\(last)")
  }

  @Test func aYAMLFromWindowsReads() throws {
    let result = try train(["--data", "images.idx", "--config", Cases.path("14-bom.yaml"), "--out", "run"])
    #expect(result.status == 0, "\(result.error)")
    #expect(result.output.hasPrefix("training on 40, validating on 8 of 48"), "\(result.output)")
  }

  /// Another data set's test images, name and licence don't come along.
  @Test func otherImagesAreNotCalledAsTheConfigsOwn() throws {
    let yaml = String(decoding: try folder.read("run.yaml"), as: UTF8.self)
    try folder.write(
      yaml
        + "data: {images: /nowhere/theirs.idx, test: /nowhere/test.idx}\nabout: {name: Theirs, licence: MIT}\n",
      to: "theirs.yaml")
    let result = try train([
      "--data", "images.idx", "--config", "theirs.yaml", "--out", "run", "--steps", "2",
    ])
    try #require(result.status == 0, "\(result.error)")
    let info = try Program.run(["info", "run/model.safetensors"], in: folder)
    #expect(!info.output.contains("Theirs") && !info.output.contains("MIT"), "\(info.output)")
  }

  /// A prior of one picture's patches with no settings at all, and what it is good for.
  @Test func onePictureIsEnough() throws {
    try folder.write(
      TestIDX.bytes(count: 1, side: 60) { _, y, x in UInt8((x * x + 7 * y * (x % 5)) % 256) }, to: "p.idx")
    let made = try Program.run(["grid", "p.idx", "--out", "p.png"], in: folder)
    try #require(made.status == 0, "\(made.error)")
    let result = try train([
      "--data", "p.png", "--patch", "6x6", "--out", "run", "--steps", "2", "--batch", "16",
    ])
    try #require(result.status == 0, "\(result.error)")
    #expect(
      result.output.hasPrefix(
        "training on 1 picture, in patches of 6x6x1; a part of it is kept back to validate on\n"),
      "\(result.output)")
    #expect(result.output.contains("use it on a picture of any size: "))
    let model = "run/model.safetensors"
    let info = try Program.run(["info", model], in: folder)
    #expect(info.output.contains("any size, in patches of 6x6, one every 3 pixels"), "\(info.output)")
    #expect(info.output.contains("noise levels") && info.output.contains("with noise 0.005"))
    let json = try Program.run(["info", model, "--json"], in: folder).json
    #expect(json["patchStride"] as? Int == 3)
    // A patch has a density, a picture has none.
    let density = try Program.run(["logprob", "p.png", "--model", model], in: folder)
    #expect(
      density.fails(65, saying: "60x60x1", "6x6 alone", "that of a patch", "--crop 6x6"), "\(density.error)")
    #expect(
      try Program.run(["logprob", "p.png", "--crop", "6x6", "--model", model], in: folder).status == 0)
    let solved = try Program.run(
      [
        "reconstruct", "--model", model, "--task", "denoise", "--simulate", "p.png", "--crop", "31x23",
        "--sigma", "0.1", "--max-evaluations", "3", "--out", "x.png", "--json",
      ], in: folder)
    #expect(solved.status == 0 && solved.errorLines.isEmpty, "\(solved.error)")
    #expect(try solved.json["priorChosenFor"] is NSNull)
  }

  /// `--patch` alone is the recipe of that name.
  @Test func patchesAreTheRecipe() throws {
    let (recipe, usual) = (
      try train(["--config", "one-picture", "--print-config"]),
      try train(["--patch", "12x12", "--print-config"])
    )
    #expect(recipe.status == 0 && recipe.output == usual.output)
    try folder.write("stride: 5\n", to: "gaps.yaml")
    let gaps = try Program.run(
      ["train", "--data", "images.idx", "--patch", "4x4", "--config", "gaps.yaml", "--out", "gaps"],
      in: folder)
    #expect(gaps.fails(65, saying: "stride is 5", "4x4"), "\(gaps.error)")
  }

  /// Every shipped recipe runs on pictures that lie there, by its name.
  @Test(arguments: [
    "grey-28", "smooth-28", "grey-64", "colour-32", "colour-64", "patches", "patches-quick", "one-picture",
  ])
  func shippedRecipesRun(recipe: String) throws {
    try FileManager.default.createDirectory(atPath: folder["pictures"], withIntermediateDirectories: true)
    try folder.write(
      TestIDX.bytes(count: 1, side: 40) { _, y, x in UInt8((x * 6 + y * 3) % 256) }, to: "p.idx")
    for k in 0..<3 {
      let made = try Program.run(["grid", "p.idx", "--out", "pictures/\(k).png"], in: folder)
      try #require(made.status == 0, "\(made.error)")
    }
    let printed = try train(["--config", recipe, "--print-config"])
    #expect(printed.output.contains("images: \"\""), "a recipe names no data: \(printed.output)")
    let result = try train(
      ["--data", "pictures", "--config", recipe, "--out", "run", "--steps", "1", "--batch", "2"])
    #expect(result.status == 0, "\(result.error)")
    let info = try Program.run(["info", "run/model.safetensors", "--json"], in: folder)
    let shape = try #require(try info.json["imageShape"] as? [String: Int])
    let side =
      recipe == "one-picture"
      ? 12 : recipe.hasPrefix("patches") ? 32 : try #require(Int(recipe.split(separator: "-")[1]))
    let isGrey = !recipe.hasPrefix("colour") && recipe != "patches"
    #expect(shape == ["height": side, "width": side, "channels": isGrey ? 1 : 3])
  }

  @Test func theRecipeOfPoints() throws {
    let points = (0..<400).map { Float(sin(Double($0) * 1.7)) + Float($0 % 2) }
    try folder.write(TestNPY.bytes(shape: [200, 2], floats: points), to: "points.npy")
    let result = try train(["--data", "points.npy", "--config", "points", "--out", "run", "--steps", "2"])
    #expect(result.status == 0, "\(result.error)")
    #expect(result.output.hasPrefix("training on 180, validating on 20 of 200 vectors of 2 values\n"))
    let see = try #require(result.output.split(separator: "\n").first { $0.hasPrefix("see it: ") })
    #expect(try runPrinted(String(see)).status == 0)
    let none = try train(["--data", "points.npy", "--config", "dots", "--out", "other"])
    #expect(none.fails(66, saying: "dots", "grey-28"), "\(none.error)")
  }
}
