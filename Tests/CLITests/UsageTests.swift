import Foundation
import Testing

/// Wrong usage: exit code 64, nothing on standard output, nothing written.
@Suite struct UsageTests {
  @Test(arguments: [
    ["frobnicate"], ["info", "--frobnicate"], ["info", "--seed", "-1"], ["info", "--threads", "0"],
    ["info", "--threads", "x"], ["info", "--precision", "float16"], ["info", "a", "--model", "b"],
  ])
  func wrongFlags(_ arguments: [String]) throws {
    let folder = try Scratch()
    let result = try Program.run(arguments, in: folder)
    #expect(result.status == 64)
    #expect(result.output.isEmpty)
    #expect(!result.error.isEmpty)
    #expect(try folder.names.isEmpty)
  }

  @Test func missingModel() throws {
    let folder = try Scratch()
    for (arguments, environment) in [
      (["info", "no-such.safetensors"], [:]), (["info", "--model", "no-such.safetensors"], [:]),
      (["info"], ["AIPO_MODEL": "no-such.safetensors"]),
    ] {
      let result = try Program.run(arguments, in: folder, environment: environment)
      #expect(result.status == 66)
      #expect(result.output.isEmpty)
      #expect(result.errorLines.count == 1)
      #expect(result.error.contains("no-such.safetensors"))
    }
  }

  @Test func aModelThatIsADevice() throws {
    let folder = try Scratch()
    let result = try Program.run(["info", "/dev/zero"], in: folder)
    #expect(result.fails(66, saying: "/dev/zero", "the argument"), "\(result.error)")
  }

  @Test func kernelsThatThereAreNot() throws {
    let folder = try Scratch()
    let typo = try Program.run(["info"], in: folder, environment: ["AIPO_KERNELS": "typo"])
    #expect(typo.fails(64, saying: "typo", "portable", "reference"), "\(typo.error)")
    let known = try Program.run(["--version"], in: folder, environment: ["AIPO_KERNELS": "reference"])
    #expect(known.status == 0 && known.output.contains("kernels reference"))
  }

  #if arch(x86_64) && os(Linux)
    /// OpenBLAS takes a processor newer than itself for a Prescott. The command corrects that, but not its user.
    @Test func theProcessorIsKnown() throws {
      let found = try Program.run(["--version"], in: Scratch())
      #expect(found.status == 0)
      #expect(
        found.output.contains("kernels portable") || !found.output.contains("Prescott"), "\(found.output)")
      let set = try Program.run(["--version"], in: Scratch(), environment: ["OPENBLAS_CORETYPE": "Prescott"])
      #expect(set.status == 0 && set.output.contains("Prescott"), "\(set.output)")
    }
  #endif

  /// OpenBLAS asks for ever for memory that a limit denies.
  @Test func tooLittleMemory() throws {
    let fixture = try Fixture.shared.get()
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = [
      "-c", "ulimit -v 150000; exec timeout 60 \"$0\" logprob \"$1\" --model \"$2\" 2>&1", Program.path,
      fixture.images, fixture.model,
    ]
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    // Some machines load the libraries in more than that, and don't come to the program's own check.
    #expect(process.terminationStatus != 0 && process.terminationStatus != 124, "\(text)")
    #expect(process.terminationReason == .exit, "\(text)")
    #expect(text.contains("memory") || text.contains("librar"), "\(text)")
  }

  @Test func aGridTooLarge() throws {
    let fixture = try Fixture.shared.get()
    let folder = try Scratch()
    let arguments = ["grid", fixture.images, "--columns", "48", "--gap", "100", "--out", "g.png"]
    #expect(try Program.run(arguments, in: folder).status == 0)
    let larger = try Program.run(
      ["grid"] + Array(repeating: fixture.images, count: 60) + ["--gap", "1000", "--out", "h.png"], in: folder
    )
    #expect(larger.fails(64, saying: "million pixels"), "\(larger.error)")
    #expect(try folder.names == ["g.png"])
  }

  @Test func helpHasAnExampleAndGoesToStandardOutput() throws {
    let folder = try Scratch()
    for verb in [
      [], ["info"], ["train"], ["sample"], ["encode"], ["decode"], ["logprob"], ["reconstruct"],
      ["posterior"], ["calibrate"],
      ["bench"], ["bench", "flow"], ["bench", "kernels"],
    ] {
      let result = try Program.run(verb + ["--help"], in: folder)
      #expect(result.status == 0)
      #expect(result.error.isEmpty)
      #expect(result.output.contains("Example:") || result.output.contains("Examples:"))
    }
  }

  @Test func aFullDeviceOnStandardOutputIsSeen() throws {
    let folder = try Scratch()
    for arguments in [["--version"], ["--help"]] {
      let result = try Program.run(arguments, in: folder, outputPath: "/dev/full")
      #expect(result.status == 73)
      #expect(result.errorLines.count == 1)
    }
  }
}
