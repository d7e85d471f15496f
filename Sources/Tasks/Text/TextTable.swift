/// A table for a terminal: the first column to the left, the others to the right.
package struct TextTable {
  private let header: [String]
  private var rows: [[String]] = []
  private var rules: Set<Int> = []

  package init(_ header: [String]) { self.header = header }

  package mutating func add(_ row: [String]) {
    precondition(row.count == header.count)
    rows.append(row)
  }

  /// A line between what stands above and what follows.
  package mutating func addRule() { rules.insert(rows.count) }

  package var text: String {
    let widths = header.indices.map { column in
      ([header] + rows).map { $0[column].count }.max() ?? 0
    }
    func line(_ cells: [String]) -> String {
      let padded = cells.enumerated().map { column, cell in
        let space = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + space : space + cell
      }
      let text = padded.joined(separator: "  ")
      return text.last == " " ? String(text.reversed().drop { $0 == " " }.reversed()) : text
    }
    let rule = String(repeating: "─", count: widths.reduce(0, +) + 2 * (widths.count - 1))
    var lines = [line(header), rule]
    for (i, row) in rows.enumerated() {
      if rules.contains(i) { lines.append(rule) }
      lines.append(line(row))
    }
    return lines.joined(separator: "\n")
  }
}

/// Names with their values, a line each, the values below each other.
package func aligned(_ rows: [(String, String)]) -> [String] {
  let width = rows.map(\.0.count).max() ?? 0
  return rows.map { $0 + String(repeating: " ", count: width + 2 - $0.count) + $1 }
}
