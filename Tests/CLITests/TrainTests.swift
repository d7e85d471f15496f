import Foundation
import Testing

/// A training that is stopped, killed and resumed.
@Suite(.serialized) struct TrainTests {
  let folder: Scratch

  init() throws {
    folder = try Scratch()
    try folder.write(Fixture.images, to: "images.idx")
    // Long enough to be stopped on the way.
    try folder.write(Fixture.yaml.replacingOccurrences(of: "hidden: 8", with: "hidden: 48"), to: "run.yaml")
  }

  private func arguments(_ out: String, _ more: [String] = []) -> [String] {
    [
      "train", "--data", "images.idx", "--config", "run.yaml", "--steps", "400", "--checkpoint-every", "7",
      "--out", out,
    ]
      + more
  }

  private static let results = [
    "checkpoint.safetensors", "log.jsonl", "loss.svg", "model.safetensors", "samples-400.png",
    "samples-40.png",
  ]

  private func expectSameResults(_ a: String, _ b: String) throws {
    for name in Self.results {
      #expect(try folder.read("\(a)/\(name)") == folder.read("\(b)/\(name)"), "\(name)")
    }
  }

  private func wait(for name: String, while running: Program.Running) throws {
    for _ in 0..<6000 where !folder.exists(name) && running.isRunning { usleep(5000) }
    try #require(folder.exists(name))
  }

  @Test func stoppedRunsGiveTheSameBytes() throws {
    let whole = try Program.run(arguments("whole", ["--threads", "1"]), in: folder)
    try #require(whole.status == 0, "\(whole.error)")

    // Killed without warning.
    let killed = try Program.Running(arguments("killed"), in: folder)
    try wait(for: "killed/checkpoint.safetensors", while: killed)
    usleep(30_000)
    killed.send(SIGKILL)
    #expect(killed.wait().wasKilled)
    #expect(!folder.exists("killed/model.safetensors"))
    let refused = try Program.run(arguments("killed"), in: folder)
    #expect(refused.fails(73, saying: "--resume"), "\(refused.error)")
    let resumed = try Program.run(arguments("killed", ["--resume", "--threads", "2"]), in: folder)
    #expect(resumed.status == 0, "\(resumed.error)")
    try expectSameResults("whole", "killed")

    // Stopped by a signal.
    for (signal, status) in [(SIGINT, Int32(130)), (SIGTERM, 143)] {
      let name = "stopped-\(status)"
      let stopped = try Program.Running(arguments(name), in: folder)
      try wait(for: "\(name)/checkpoint.safetensors", while: stopped)
      stopped.send(signal)
      let result = stopped.wait()
      #expect(result.status == status, "\(result.error)")
      #expect(!result.wasKilled)
      #expect(result.error.isEmpty)
      let resumed = try Program.run(arguments(name, ["--resume"]), in: folder)
      #expect(resumed.status == 0, "\(resumed.error)")
      try expectSameResults("whole", name)
    }
  }

  @Test func resumeWithoutACheckpointStartsAnew() throws {
    let first = try Program.run(arguments("a", ["--steps", "20", "--resume", "--json"]), in: folder)
    try #require(first.status == 0, "\(first.error)")
    #expect(try first.json["finished"] as? Bool == true)
    let second = try Program.run(arguments("b", ["--steps", "20"]), in: folder)
    try #require(second.status == 0, "\(second.error)")
    #expect(try folder.read("a/model.safetensors") == folder.read("b/model.safetensors"))
    // Other settings than the checkpoint's are refused.
    let other = try Program.run(arguments("a", ["--steps", "20", "--rate", "0.5", "--resume"]), in: folder)
    #expect(other.fails(65, saying: "rate"), "\(other.error)")
  }

  /// The rate is that of this process, which at its first step can't know any yet.
  @Test func progressCountsFromTheResume() throws {
    let first = try Program.Running(arguments("run"), in: folder)
    try wait(for: "run/checkpoint.safetensors", while: first)
    first.send(SIGINT)
    try #require(first.wait().status == 130)
    let resumed = try Program.run(arguments("run", ["--resume", "-v"]), in: folder)
    try #require(resumed.status == 0, "\(resumed.error)")
    let line = try #require(resumed.errorLines.first { $0.contains("/400 steps") })
    #expect(!line.contains("/s"), "\(line)")
  }

  @Test func aFolderInUseIsLocked() throws {
    let first = try Program.Running(arguments("run"), in: folder)
    try wait(for: "run/log.jsonl", while: first)
    let second = try Program.run(arguments("run", ["--resume"]), in: folder)
    #expect(second.fails(73, saying: "run"), "\(second.error)")
    first.send(SIGTERM)
    #expect(first.wait().status == 143)
  }

  @Test func aReconstructionCanBeStopped() throws {
    let fixture = try Fixture.shared.get()
    let many = TestIDX.bytes(count: 40_000, side: 8) { image, y, x in
      UInt8((image * 7 + y * 31 + x * x * 3) % 256)
    }
    try folder.write(many, to: "many.idx")
    let running = try Program.Running(
      [
        // Quiet, since these images are unlike the model's.
        "reconstruct", "--task", "denoise", "--simulate", "many.idx", "--model", fixture.model, "--json",
        "--quiet",
        "--out", "x.npy",
      ], in: folder)
    usleep(2_000_000)
    try #require(running.isRunning)
    running.send(SIGINT)
    let result = running.wait()
    #expect(result.status == 130, "\(result.error)")
    #expect(result.error.isEmpty)
    // What was finished is there, and nothing else.
    #expect(try result.json["interrupted"] as? Bool == true)
    let images = try #require(try result.json["images"] as? [Any])
    let rows = folder.exists("x.npy") ? try TestNPY.read(folder.read("x.npy")).shape[0] : 0
    #expect(rows == images.count && rows < 40_000)
    #expect(try folder.names.filter { $0 != "x.npy" } == ["images.idx", "many.idx", "run.yaml"])
  }

  @Test func theSettingsExplainThemselvesAndRunAgain() throws {
    let printed = try Program.run(
      ["train", "--print-config", "--config", "run.yaml", "--batch", "8"], in: folder)
    try #require(printed.status == 0, "\(printed.error)")
    #expect(printed.output.contains("batch: 8"))
    try folder.write(printed.output, to: "again.yaml")
    let again = try Program.run(["train", "--print-config", "--config", "again.yaml"], in: folder)
    #expect(again.output == printed.output)
    let json = try Program.run(["train", "--print-config", "--config", "again.yaml", "--json"], in: folder)
    #expect(try json.json["config"] as? String == printed.output)
  }
}
