import AIPOTasks
import Testing

/// The command's flags and the table of settings.
@Suite struct KeyTests {
  @Test func everySettingHasItsFlag() throws {
    let help = try Program.run(["reconstruct", "--help"], in: Scratch()).output
    for key in ReconstructionKey.all {
      #expect(help.contains("--\(key.name) "), "\(key.name)")
    }
  }
}
