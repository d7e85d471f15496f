import AIPOImaging
import AIPOKernels
import AIPOTasks

/// How much a panel's solutions depend on where the first corrector started.
struct StudyStarts {
  private typealias Row = StudySummary.Row
  private typealias Cell = StudyReport.Table.Cell

  private let panel: StudySummary.Panel

  init(_ panel: StudySummary.Panel) { self.panel = panel }

  /// Targets above the least that any of the panel's variants found, over the samples that all starts have
  /// at one λ; empty where no variant was tried from several starts.
  var tables: [StudyReport.Table] {
    var starts: [String] = []
    var groups: [(variant: [StudyOption], label: String, rows: [String: Row])] = []
    for row in panel.rows {
      guard let start = row.option("init") else { continue }
      if !starts.contains(start) { starts.append(start) }
      let rest = row.variant.filter { $0.name != "init" }
      if let place = groups.firstIndex(where: { $0.variant == rest }) {
        groups[place].rows[start] = row
      } else {
        groups.append((rest, row.label.replacing(", from \(start)", with: ""), [start: row]))
      }
    }
    let lines = groups.compactMap { group in
      group.rows.count > 1 ? line(group.label, group.rows, starts) : nil
    }
    guard !lines.isEmpty else { return [] }
    return [
      StudyReport.Table(
        caption: "Objective above the best found, nats, by start",
        columns: ["", "Images"] + starts
          + ["spread of the means", "mean spread an image", "best start an image"],
        rows: lines)
    ]
  }

  private func line(_ label: String, _ rows: [String: Row], _ starts: [String]) -> [Cell]? {
    let present = starts.compactMap { rows[$0] }
    let solves = present.map(\.bySample)
    let best = panel.best(for: present[0])
    // An image counts where every start has a finite result at the same weights.
    let above = present[0].solves.compactMap { solve -> [Double]? in
      guard let least = best[solve.weightedSample] else { return nil }
      let targets = solves.compactMap { byStart -> Double? in
        guard let other = byStart[solve.sample], other.weightedSample == solve.weightedSample else {
          return nil
        }
        return other.record.target.map { $0 - least }
      }
      return targets.count == present.count ? targets : nil
    }
    guard !above.isEmpty else { return nil }
    let means = present.indices.map { k in Estimate(above.map { $0[k] }) }
    var places = 0
    let cells = starts.map { start -> Cell in
      guard rows[start] != nil else { return Cell("–") }
      defer { places += 1 }
      return Cell(FigureText.estimate(means[places], 2))
    }
    let centres = means.compactMap { $0?.mean }
    return [Cell(label), Cell("\(above.count)")] + cells
      + [
        Cell(FigureText.number((centres.max() ?? 0) - (centres.min() ?? 0), 2)),
        Cell(FigureText.estimate(Estimate(above.map { $0.max()! - $0.min()! }), 2)),
        Cell(FigureText.estimate(Estimate(above.map { $0.min()! }), 2)),
      ]
  }
}
