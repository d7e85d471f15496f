/// What a report is about, and how it was made.
package struct ReportHead {
  /// A name and a value, shown as text.
  package struct Field {
    package var name: String
    package var value: String

    package init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  package var title: String
  package var subtitle: String
  /// The command that makes the report again.
  package var command: String
  /// Models, checksums, seed, version …
  package var provenance: [Field]
  /// What a reader must know before they trust the figures, a sentence each.
  package var warnings: [String]

  package init(
    title: String, subtitle: String = "", command: String, provenance: [Field], warnings: [String] = []
  ) {
    self.title = title
    self.subtitle = subtitle
    self.command = command
    self.provenance = provenance
    self.warnings = warnings
  }
}
