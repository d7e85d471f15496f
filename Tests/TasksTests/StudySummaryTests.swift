import AIPOSolvers
import Testing

@testable import AIPOStudies

@Suite struct StudySummaryTests {
  /// Targets are compared between rows of one law of the noise only, and Laplace's tip is a part of its law.
  @Test func targetsOfOtherTipsAreNotCompared() {
    func row(_ options: [String: String]) -> StudySummary.Row {
      StudySummary.Row(
        label: "", variant: options.map { StudyOption(name: $0.key, value: $0.value) }, method: .aipo,
        commands: [],
        solves: [])
    }
    let sharp = row(["noise": "laplace", "tip": "0.01", "method": "aipo"])
    #expect(sharp.sharesDensities(with: row(["noise": "laplace", "tip": "0.01", "method": "fixed"])))
    #expect(!sharp.sharesDensities(with: row(["noise": "laplace", "tip": "0.1", "method": "aipo"])))
  }
}
