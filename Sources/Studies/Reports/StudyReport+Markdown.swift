extension StudyReport {
  /// Title, tables and commands as Markdown, without charts and pictures.
  func markdown() -> String {
    var parts = ["# \(Self.plain(head.title))"]
    if !head.subtitle.isEmpty { parts.append(Self.plain(head.subtitle)) }
    parts.append("```sh\n\(head.command)\n```")
    if !head.provenance.isEmpty {
      parts.append(head.provenance.map { "\(Self.plain($0.name)): `\($0.value)`" }.joined(separator: " · "))
    }
    for section in sections {
      parts.append("## \(Self.plain(section.title))")
      if !section.caption.isEmpty { parts.append(Self.plain(section.caption)) }
      parts += section.tables.map(Self.table)
      for panel in section.panels {
        if panel.title != section.title { parts.append("### \(Self.plain(panel.title))") }
        if !panel.caption.isEmpty { parts.append(Self.plain(panel.caption)) }
        parts += panel.tables.map(Self.table)
        if let command = panel.commands.first { parts.append("```sh\n\(command)\n```") }
      }
    }
    return parts.joined(separator: "\n\n") + "\n"
  }

  private static func table(_ table: Table) -> String {
    func line(_ cells: [String]) -> String { "| \(cells.joined(separator: " | ")) |" }
    let rules = table.columns.indices.map { $0 == 0 ? "---" : "---:" }
    let rows = table.rows.map { row in
      line(row.map { $0.isBest ? "**\(plain($0.text))**" : plain($0.text) })
    }
    let text = ([line(table.columns.map(plain)), line(rules)] + rows).joined(separator: "\n")
    return table.caption.isEmpty ? text : "\(plain(table.caption)):\n\n\(text)"
  }

  /// Text that stays as it is.
  private static func plain(_ text: String) -> String {
    var result = ""
    for character in text {
      if "\\`*_|<>#[]".contains(character) { result.append("\\") }
      result.append(character == "\n" ? " " : character)
    }
    return result
  }
}
