import AIPOKernels

/// Why something can't be done as it is asked for, in one line: what, where, found and expected.
public struct TaskError: Error, Sendable, CustomStringConvertible {
  public enum Kind: Sendable {
    /// A setting is unknown, out of its range or at odds with another one.
    case usage
    /// A file holds something else than is needed.
    case data
    /// A file isn't there.
    case missing
    /// The machine can't do it.
    case failure
  }

  public let kind: Kind
  /// The setting that it is about, as ``ReconstructionKey`` names it.
  public let key: String?
  /// Of a setting: its value, and what it should be.
  public let found: String?
  public let expected: String?
  public let description: String

  public init(
    _ kind: Kind, key: String? = nil, _ description: String, found: String? = nil, expected: String? = nil
  ) {
    self.kind = kind
    self.key = key
    self.found = found
    self.expected = expected
    self.description = description
  }
}
