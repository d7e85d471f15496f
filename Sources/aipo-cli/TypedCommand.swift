import AIPO

/// The command as it was typed, without the flags that change no result.
enum TypedCommand {
  static let text: String = {
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
        words.append(shellQuoted(argument))
      }
    }
    return words.joined(separator: " ")
  }()

  /// Adds to a JSON object what results carry that are by no model.
  static let provenance: JSONValue = [
    "version": .string(AIPOVersion.number), "kernels": .string(AIPOVersion.kernels), "command": .string(text),
  ]
}
