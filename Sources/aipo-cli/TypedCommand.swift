import AIPO

/// The command as it was typed, without the flags that change no result.
enum TypedCommand {
  static let text: String = {
    var words = ["aipo"]
    var (isValue, isList) = (false, false)
    let valued = ["--threads", "--shard", "--state"]
    for argument in CommandLine.arguments.dropFirst() {
      if argument.hasPrefix("-") { isList = argument == "--merge" }
      if isValue || isList {
        isValue = false
      } else if valued.contains(argument) {
        isValue = true
      } else if !["--json", "--quiet", "--verbose", "-v"].contains(argument),
        !valued.contains(where: { argument.hasPrefix($0 + "=") })
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
