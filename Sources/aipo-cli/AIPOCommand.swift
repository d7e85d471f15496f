import AIPO
import ArgumentParser

@main
struct AIPOCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "aipo", abstract: "Inverse problems solved with a normalizing flow as prior.")
}
