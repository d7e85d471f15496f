/// A table for a terminal: the first column to the left, the others to the right.
struct TextTable {
  private let header: [String]
  private var rows: [[String]] = []
  private var rules: Set<Int> = []

  init(_ header: [String]) { self.header = header }

  mutating func add(_ row: [String]) {
    precondition(row.count == header.count)
    rows.append(row)
  }

  /// A line between what stands above and what follows.
  mutating func addRule() { rules.insert(rows.count) }

  var text: String {
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
