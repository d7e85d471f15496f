import AIPOSolvers
import AIPOTasks
import Testing

/// The command's flags and the table of settings.
@Suite struct KeyTests {
  @Test func everySettingHasItsFlag() throws {
    let help = try Program.run(["reconstruct", "--help"], in: Scratch()).output
    for key in ReconstructionTask.keys {
      #expect(help.contains("--\(key.name) "), "\(key.name)")
    }
  }

  @Test func everyKeyOfAnotherVerbHasItsFlag() throws {
    for (verb, keys) in [
      (["posterior"], PosteriorOptions.keys.map(\.name)), (["calibrate"], CalibrationTask.keys.map(\.name)),
      (["density"], PlaneDensity.Settings.keys.map(\.name)),
    ] {
      let help = try Program.run(verb + ["--help"], in: Scratch()).output
      for key in keys { #expect(help.contains("--\(key) "), "\(verb) \(key)") }
    }
  }
}
