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

  @Test func helpHasAnExampleAndGoesToStandardOutput() throws {
    let folder = try Scratch()
    for verb in [[], ["info"]] {
      let result = try Program.run(verb + ["--help"], in: folder)
      #expect(result.status == 0)
      #expect(result.error.isEmpty)
      #expect(result.output.contains("Example:"))
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
