/// What is wrong in a configuration file: where, what was found, what was expected.
public struct ConfigError: Error, Equatable, CustomStringConvertible {
  /// The file, as the caller named it.
  public var path: String
  /// From 1; nil for a value that comes from a flag or is missing.
  public var line: Int?
  /// The key with its sections, as `validation.every`; empty for the file as a whole.
  public var key: String
  public var found: String
  public var expected: String

  public init(path: String, line: Int?, key: String, found: String, expected: String) {
    self.path = path
    self.line = line
    self.key = key
    self.found = found
    self.expected = expected
  }

  public var description: String {
    let place = line.map { "\(path): line \($0)" } ?? path
    let subject = key.isEmpty ? "" : "\(key): "
    let text = "\(place): \(subject)found \(found), expected \(expected)"
    return String(text.map { $0.isNewline ? " " : $0 })
  }
}
