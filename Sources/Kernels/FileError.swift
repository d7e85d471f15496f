import AIPOPlatform

/// What can go wrong with a file, in the three kinds that a caller treats differently.
///
/// The description is one line whatever a path or a file's text holds: control characters are
/// shown as `\u{…}` and long text is cut.
public enum FileError: Error, Hashable, Sendable, CustomStringConvertible {
  /// An input that isn't there or can't be opened or read.
  case missing(path: String, reason: String)
  /// An input whose content isn't what it must be: `what` is found to be `found`.
  case malformed(path: String, what: String, found: String, expected: String)
  /// An output that can't be written.
  case unwritable(path: String, reason: String)

  public var path: String {
    switch self {
    case .missing(let path, _), .malformed(let path, _, _, _), .unwritable(let path, _): path
    }
  }

  public var description: String {
    switch self {
    case .missing(let path, let reason): Self.oneLine("\(path): cannot read: \(reason)")
    case .malformed(let path, let what, let found, let expected):
      Self.oneLine("\(path): \(what) is \(found), expected \(expected)")
    case .unwritable(let path, let reason): Self.oneLine("\(path): cannot write: \(reason)")
    }
  }

  /// The system's words for an `errno`.
  package static func reason(_ code: Int32) -> String {
    guard let text = strerror(code) else { return "error \(code)" }
    let words = String(cString: text)
    return words.prefix(1).lowercased() + words.dropFirst()
  }

  static func oneLine(_ text: String) -> String {
    var line = String.UnicodeScalarView()
    for scalar in text.unicodeScalars.prefix(2000) {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator:
        line.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".unicodeScalars)
      default: line.append(scalar)
      }
    }
    if text.unicodeScalars.count > 2000 { line.append("…") }
    return String(line)
  }
}
