import AIPO

/// What `--version` says, and what reports carry.
enum ProgramVersion {
  static let number = "0.1.0"

  static var description: String { number }
}
