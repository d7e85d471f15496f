import AIPO

/// What results carry, so that they can be made again: version, kernels, model, seed and command.
enum Provenance {
  /// The command as it was typed, without the flags that change no result.
  static let command: String = {
    var words = ["aipo"]
    var isValue = false
    for argument in CommandLine.arguments.dropFirst() {
      if isValue {
        isValue = false
      } else if argument == "--threads" {
        isValue = true
      } else if !["--json", "--quiet", "--verbose", "-v"].contains(argument),
        !argument.hasPrefix("--threads=")
      {
        words.append(quoted(argument))
      }
    }
    return words.joined(separator: " ")
  }()

  /// Keys to add to a JSON object.
  static func members(model: ModelSource, common: CommonOptions) -> [(String, JSONValue)] {
    [
      ("version", .string(ProgramVersion.number)), ("kernels", .string(ProgramVersion.kernels)),
      ("model", .string(model.name)), ("checksum", .string(model.checksum)), ("seed", .unsigned(common.seed)),
      ("command", .string(command)),
    ]
  }

  /// A word as a shell reads it.
  static func quoted(_ word: String) -> String {
    let isPlain =
      !word.isEmpty
      && word.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"):
          true
        default: "-_./:,=+@%".utf8.contains(byte)
        }
      }
    return isPlain
      ? word
      : "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }
}
