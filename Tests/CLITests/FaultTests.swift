import Foundation
import Testing

/// What the world does to a program that works: signals, limits on memory, other processes, disks.
@Suite(.serialized) struct FaultTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
  }

  private var many: [UInt8] {
    TestIDX.bytes(count: 40_000, side: 8) { image, y, x in UInt8((image * 7 + y * 31 + x * x * 3) % 256) }
  }

  /// A checkpoint whose covariance takes long to fit: its import is at work for a while.
  private var checkpoint: String {
    URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "InterchangeTests/Fixtures/glow-pytorch-affine-plu.pt").path
  }

  // MARK: Signals

  @Test(arguments: ["sample", "encode", "logprob", "bench", "bench kernels", "import"], [SIGINT, SIGTERM])
  func signalsEndEveryVerb(verb: String, signal: Int32) throws {
    try writeSparseImages()
    let arguments =
      switch verb {
      case "sample": ["sample", "--count", "10000000", "--out", "x.npy"]
      case "encode": ["encode", "large.idx", "--out", "x.npy"]
      case "logprob": ["logprob", "large.idx"]
      case "bench":
        ["bench", "flow", "--levels", "3", "--hidden", "256", "--batch", "16", "--repeat", "1000"]
      case "bench kernels": ["bench", "kernels"]
      case "import": ["import", checkpoint, "--option", "draws=100000", "--out", "x.safetensors"]
      default: preconditionFailure("no such verb: \(verb)")
      }
    let running = try Program.Running(
      arguments, in: folder, environment: ["AIPO_MODEL": fixture.model])
    // Until the handlers are there: before, a signal ends it as it ends every program.
    usleep(300_000)
    running.send(signal)
    let result = running.wait()
    #expect(result.status == (result.wasKilled ? signal : signal == SIGINT ? 130 : 143), "\(result.error)")
    #expect(result.error.isEmpty)
    #expect(try folder.names.allSatisfy { !$0.contains("partial") })
  }

  // MARK: Memory

  /// Runs under a limit on address space, in KiB.
  private func limited(_ limit: Int, _ arguments: [String]) throws -> Program.Result {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "ulimit -v \(limit); exec \"$0\" \"$@\"", Program.path] + arguments
    process.currentDirectoryURL = URL(fileURLWithPath: folder.path)
    for name in ["limited.out", "limited.err"] { try folder.write("", to: name) }
    process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: folder["limited.out"]))
    process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: folder["limited.err"]))
    try process.run()
    process.waitUntilExit()
    return Program.Result(
      status: process.terminationStatus, wasKilled: process.terminationReason == .uncaughtSignal,
      output: String(decoding: try folder.read("limited.out"), as: UTF8.self),
      error: String(decoding: try folder.read("limited.err"), as: UTF8.self))
  }

  /// Black images of 64 bytes each, of which nothing is on the disk.
  private func writeSparseImages(count: Int = 1 << 22) throws {
    var header: [UInt8] = [0, 0, 8, 3]
    for extent in [count, 8, 8] { header += (0..<4).reversed().map { UInt8(extent >> (8 * $0) & 0xFF) } }
    try folder.write(header, to: "large.idx")
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: folder["large.idx"]))
    try file.truncate(atOffset: UInt64(16 + count * 64))
    try file.close()
  }

  @Test func aLimitOfAddressSpaceIsAnErrorInWords() throws {
    try writeSparseImages()
    let train = ["train", "--data", "large.idx", "--config", fixture.folder["run.yaml"], "--out", "run"]
    let result = try limited(600_000, train + ["--threads", "1"])
    #expect(result.fails(66, saying: "not enough memory"), "\(result.error)")
    #expect(!folder.exists("run"))
    // What needs little gets it.
    let small = try limited(900_000, ["logprob", fixture.images, "--model", fixture.model, "--threads", "1"])
    #expect(small.status == 0, "\(small.error)")
  }

  @Test func memoryIsCheckedBeforeItIsTaken() throws {
    // A million rows of zeros, of which nothing is on the disk.
    let header = TestNPY.bytes(shape: [1 << 20, 64], floats: [])
    try folder.write(header, to: "A.npy")
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: folder["A.npy"]))
    try file.truncate(atOffset: UInt64(header.count + (1 << 28)))
    try file.close()
    let result = try fixture.run(
      [
        "reconstruct", "--task", "sense", "--operator", "A.npy", "--simulate", fixture.images, "--indices",
        "1",
        "--memory", "64M", "--out", "x.npy",
      ], in: folder)
    #expect(result.fails(70, saying: "not enough memory"), "\(result.error)")
    for wrong in ["0", "-1G", "many", "1e300G", ""] {
      let result = try fixture.run(
        ["sample", "--count", "1", "--out", "x.npy", "--memory", wrong], in: folder)
      #expect(result.status == 64, "\(wrong): \(result.error)")
    }
    let enough = try fixture.run(
      ["sample", "--count", "1", "--out", "x.npy", "--memory", "1.5g"], in: folder)
    #expect(enough.status == 0, "\(enough.error)")
  }

  // MARK: Disks

  @Test(.enabled(if: SmallDisk.isAvailable)) func aFullDiskLeavesNothing() throws {
    let disk = try SmallDisk(bytes: 16384)
    for arguments in [
      ["sample", "--count", "2000", "--out", disk.path + "/x.npy"],
      ["import", checkpoint, "--option", "draws=8", "--out", disk.path + "/x.safetensors"],
      [
        "reconstruct", "--task", "denoise", "--method", "gaussian", "--observation", fixture.images, "--out",
        disk.path + "/x.npy", "--report", disk.path + "/report.html",
      ],
    ] {
      let result = try fixture.run(arguments, in: folder)
      #expect(result.status == 73 && result.errorLines.count == 1, "\(arguments[0]): \(result.error)")
      #expect(result.error.contains("no space"), "\(arguments[0]): \(result.error)")
      // What was finished before the disk was full is whole.
      let left = try FileManager.default.contentsOfDirectory(atPath: disk.path)
      #expect(left.allSatisfy { $0 == "x.npy" && arguments[0] == "reconstruct" }, "\(arguments[0]): \(left)")
    }
  }

  /// Decoded images go to the run's folder; where they don't fit, nothing of them stays.
  @Test(.enabled(if: SmallDisk.isAvailable)) func aDiskTooSmallForStreamedImages() throws {
    let disk = try SmallDisk(bytes: 1 << 20)
    try folder.write(many, to: "many.idx")
    try folder.write(Fixture.yaml + "data: {stream: true}\n", to: "streamed.yaml")
    let train = ["train", "--data", "many.idx", "--config", "streamed.yaml", "--out", disk.path + "/run"]
    let result = try fixture.run(train, in: folder)
    #expect(result.fails(73, saying: disk.path + "/run", "no space"), "\(result.error)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: disk.path).isEmpty)
  }

  @Test(.enabled(if: SmallDisk.isAvailable)) func aReadOnlyFolderIsRefusedFirst() throws {
    let disk = try SmallDisk(bytes: 1 << 20)
    try disk.makeReadOnly()
    for arguments in [
      ["sample", "--count", "10000000", "--out", disk.path + "/x.npy"],
      ["import", checkpoint, "--out", disk.path + "/x.safetensors"],
      ["train", "--data", fixture.images, "--out", disk.path + "/run"],
      ["train", "--data", fixture.images, "--out", disk.path, "--resume"],
    ] {
      let result = try fixture.run(arguments, in: folder)
      #expect(result.fails(73, saying: "read-only", disk.path), "\(arguments[0]): \(result.error)")
    }
  }

  // MARK: Other processes

  @Test func aSecondTrainingLeavesTheFirstOnesFolderAlone() throws {
    // The first has made its folder and log, and nothing more.
    let lock = folder["run/.lock"]
    try FileManager.default.createDirectory(atPath: folder["run"], withIntermediateDirectories: true)
    try folder.write("", to: "run/log.jsonl")
    let holder = Process()
    holder.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    // flock becomes sleep: what ends the one releases the lock.
    holder.arguments = ["flock", "--no-fork", lock, "sleep", "60"]
    try holder.run()
    defer {
      holder.terminate()
      holder.waitUntilExit()
    }
    for _ in 0..<1000 where !folder.exists("run/.lock") { usleep(5000) }
    usleep(50_000)
    let second = try fixture.run(["train", "--data", fixture.images, "--out", "run", "--resume"], in: folder)
    #expect(second.fails(73, saying: "another run"), "\(second.error)")
    #expect(folder.exists("run/.lock") && folder.exists("run/log.jsonl"))
  }

  @Test func aFileThatShrinksWhileItIsRead() throws {
    try folder.write(many, to: "many.idx")
    let running = try Program.Running(
      ["encode", "many.idx", "--out", "x.npy", "--precision", "float64"], in: folder,
      environment: ["AIPO_MODEL": fixture.model])
    usleep(30_000)
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: folder["many.idx"]))
    try file.truncate(atOffset: 1000)
    try file.close()
    let result = running.wait()
    #expect(result.fails(65, saying: "many.idx"), "\(result.error)")
    #expect(!folder.exists("x.npy"))
  }
}
