/// What a report is about, and how it was made.
public struct ReportHead: Sendable {
  /// A name and a value, shown as text.
  public struct Field: Sendable {
    public var name: String
    public var value: String

    public init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  public var title: String
  public var subtitle: String
  /// The command that makes the report again.
  public var command: String
  /// Models, checksums, seed, version …
  public var provenance: [Field]
  /// What a reader must know before they trust the figures, a sentence each.
  public var warnings: [String]

  public init(
    title: String, subtitle: String = "", command: String, provenance: [Field], warnings: [String] = []
  ) {
    self.title = title
    self.subtitle = subtitle
    self.command = command
    self.provenance = provenance
    self.warnings = warnings
  }
}
