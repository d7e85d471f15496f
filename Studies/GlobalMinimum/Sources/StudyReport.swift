import AIPO
import Foundation

/// The figures of the study as Markdown tables, one a dimension.
struct StudyReport {
  /// What is known of one dimension.
  private struct Table {
    var priors: [String] = []
    var rows: [String] = []
    var evaluations: [[Int]] = Method.all.map { _ in [] }
    var missedByGrid = 0
    var problems = 0
  }

  /// Problems a row.
  let problems: Int
  private var tables: [Int: Table] = [:]
  /// Of the methods that follow a path, in the plane: problems of each case, and those in which it found the minimum.
  private var anatomies = Method.paths.map { _ in [Anatomy: Share]() }

  init(problems: Int) { self.problems = problems }

  mutating func add(_ family: PointFamily, _ d: Int, _ prior: TrainedPrior) {
    let nats = (prior.figures.test?.bitsPerDim ?? .nan) * Double(d) * log(2)
    tables[d, default: Table()].priors.append("\(family.rawValue) \(String(format: "%.3f", nats))")
  }

  mutating func add(_ cell: Cell, _ figures: CellFigures) {
    var table = tables[cell.dimension] ?? Table()
    var columns = ["\(cell.family.rawValue), \(cell.kind.rawValue)"]
    for (k, evaluations) in figures.evaluations.enumerated() where Method.all[k].isMeant(for: cell.dimension)
    {
      guard let evaluations else {
        columns.append("–")
        continue
      }
      let hits = (0..<problems).count { figures.isGlobal(k, $0) }
      columns.append(Share(hits: hits, trials: problems).text)
      table.evaluations[k] += evaluations
    }
    columns.append(String(format: "%.1f", Double(figures.minima) / Double(problems)))
    table.rows.append("| " + columns.joined(separator: " | ") + " |")
    table.missedByGrid += figures.missedByGrid
    table.problems += problems
    tables[cell.dimension] = table
    for (k, cases) in figures.anatomy.enumerated() {
      for (image, anatomy) in cases.enumerated() {
        let isGlobal = figures.isGlobal(Method.paths[k], image)
        let old = anatomies[k][anatomy] ?? Share(hits: 0, trials: 0)
        anatomies[k][anatomy] = Share(hits: old.hits + (isGlobal ? 1 : 0), trials: old.trials + 1)
      }
    }
  }

  var markdown: String {
    var lines: [String] = []
    for (d, table) in tables.sorted(by: { $0.key < $1.key }) { lines += markdown(table, d) }
    guard tables[2] != nil else { return lines.joined(separator: "\n") }
    lines += [
      "Why, in the plane:", "",
      "| path | " + Anatomy.allCases.map { "\($0.rawValue): problems | found, %" }.joined(separator: " | ")
        + " |",
      "|---|" + String(repeating: "---|---|", count: Anatomy.allCases.count),
    ]
    for (k, method) in Method.paths.enumerated() {
      let columns = Anatomy.allCases.flatMap { anatomy -> [String] in
        let share = anatomies[k][anatomy] ?? Share(hits: 0, trials: 0)
        return ["\(share.trials)", share.text]
      }
      lines.append("| \(Method.all[method].name) | \(columns.joined(separator: " | ")) |")
    }
    return lines.joined(separator: "\n")
  }

  private func markdown(_ table: Table, _ d: Int) -> [String] {
    let methods = Method.all.indices.filter { Method.all[$0].isMeant(for: d) }
    let names = methods.map { Method.all[$0].name }
    let means = methods.map { k in
      let all = table.evaluations[k]
      return all.isEmpty ? "–" : String(format: "%.0f", Double(all.reduce(0, +)) / Double(all.count))
    }
    return [
      "In \(d)-D: problems in % whose solution lies within 0.01 nats of the global minimum, of \(problems) a row, "
        + "with Wilson's 95 % interval; last, minima within 10 nats of the lowest, mean.",
      "", "| problems | \(names.joined(separator: " | ")) | minima |",
      "|---|" + String(repeating: "---|", count: names.count + 1),
    ] + table.rows + [
      "| evaluations, mean | \(means.joined(separator: " | ")) | |", "",
      "A method found less than brute force in \(table.missedByGrid) of \(table.problems) problems; its value then "
        + "counts. Negative log-likelihoods of the flows, nats a point: \(table.priors.joined(separator: ", ")).",
      "",
    ]
  }

  func write(to folder: String) throws {
    try AtomicFile.write(Array((markdown + "\n").utf8), to: folder + "/table.md")
  }
}
