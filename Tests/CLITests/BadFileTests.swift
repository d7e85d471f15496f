import AIPOTestFiles
import Foundation
import Testing

/// Every hand-made bad file, given to the command: one line that says what is wrong, exit code 65, and nothing written.
@Suite struct BadFileTests {
  let fixture: Fixture
  let folder: Scratch

  init() throws {
    fixture = try Fixture.shared.get()
    folder = try Scratch()
  }

  private func expectRefusal(of bad: BadFile, by arguments: [String]) throws {
    try folder.write(bad.bytes, to: "bad")
    let result = try fixture.run(arguments, in: folder)
    #expect(result.fails(65, saying: "aipo: bad", bad.says), "\(result.status): \(result.error)")
    #expect(try folder.names == ["bad"])
  }

  @Test(arguments: BadFile.checkpoints) func checkpoints(_ bad: BadFile) throws {
    try expectRefusal(of: bad, by: ["import", "bad", "--out", "model.safetensors"])
  }

  @Test(arguments: BadFile.images) func images(_ bad: BadFile) throws {
    try expectRefusal(of: bad, by: ["logprob", "bad", "--resize", "8x8", "--grey"])
  }

  @Test(arguments: BadFile.safetensors) func models(_ bad: BadFile) throws {
    try expectRefusal(of: bad, by: ["info", "bad"])
  }
}
