import AIPOKernels
import AIPOSolvers
import AIPOTasks

/// What a study's grids say, from the solves.
struct StudySummary {
  /// A variant on a problem: one cell, or several that differ in seed or images.
  struct Row {
    var label: String
    var variant: [StudyOption]
    var method: ReconstructionMethod
    var commands: [String]
    var solves: [StudySolve]

    /// By sample; the first of equals.
    var bySample: [StudySolve.Sample: StudySolve] {
      Dictionary(solves.map { ($0.sample, $0) }) { first, _ in first }
    }

    func option(_ name: String) -> String? { variant.first { $0.name == name }?.value }

    func estimate(_ value: (ReconstructionRecord) -> Double?) -> Estimate? {
      Estimate(solves.map { value($0.record) })
    }
  }

  /// A problem with its variants.
  struct Panel {
    var title: String
    var rank: StudyRank
    var rows: [Row]
  }

  struct Grid {
    var grid: StudyPlan.Grid
    /// Empty for random draws.
    var panels: [Panel]
    /// With its cell's options, in order.
    var solves: [(options: [StudyOption], solve: StudySolve)]
  }

  let grids: [Grid]
  /// What looks like mistakes, of all solves.
  private(set) var advices = AdviceList()

  /// `results` are the solves of every cell, in the plan's order.
  init(_ plan: StudyPlan, results: [[StudySolve]]) {
    var grids: [Grid] = []
    var first = 0
    for grid in plan.grids {
      let own = Array(results[first..<(first + grid.cells.count)])
      first += grid.cells.count
      grids.append(
        Grid(
          grid: grid, panels: grid.isDrawn ? [] : Self.panels(grid, own, plan.rank),
          solves: zip(grid.cells, own).flatMap { cell, solves in solves.map { (cell.options, $0) } }))
    }
    self.grids = grids
    for solve in results.joined() { _ = advices.add(solve.advices ?? []) }
  }

  private static func panels(_ grid: StudyPlan.Grid, _ results: [[StudySolve]], _ rank: StudyRank) -> [Panel]
  {
    let labels = labels(grid)
    var panels: [Panel] = []
    var places: [[StudyOption]: Int] = [:]
    // An unfinished study shows what is there.
    for (cell, solves) in zip(grid.cells, results) where !solves.isEmpty {
      let place = places[cell.problem] ?? panels.count
      if place == panels.count {
        places[cell.problem] = place
        let words = cell.problem.map(\.words).joined(separator: ", ")
        panels.append(Panel(title: words.isEmpty ? grid.name : words, rank: rank, rows: []))
      }
      if let row = panels[place].rows.firstIndex(where: { $0.variant == cell.variant }) {
        panels[place].rows[row].solves += solves
        panels[place].rows[row].commands.append(cell.commandLine)
      } else {
        panels[place].rows.append(
          Row(
            label: labels[cell.variant] ?? "", variant: cell.variant, method: cell.method,
            commands: [cell.commandLine],
            solves: solves))
      }
    }
    return panels
  }

  /// What tells a grid's variants apart, in words: what takes several values, or else what only some have; all
  /// that a variant sets where that is nothing of it.
  private static func labels(_ grid: StudyPlan.Grid) -> [[StudyOption]: String] {
    var values: [String: Set<String>] = [:]
    for option in grid.cells.flatMap(\.variant) { values[option.name, default: []].insert(option.value) }
    func label(_ cell: StudyPlan.Cell, _ isTelling: (String) -> Bool) -> String {
      let telling = cell.variant.filter { $0.name == "method" || isTelling($0.name) }
      let words = (telling.isEmpty ? cell.variant : telling).map(\.words)
      return words.isEmpty ? cell.method.rawValue : words.joined(separator: ", ")
    }
    func all(_ isTelling: (String) -> Bool) -> [[StudyOption]: String] {
      Dictionary(grid.cells.map { ($0.variant, label($0, isTelling)) }) { first, _ in first }
    }
    let short = all { (values[$0]?.count ?? 0) > 1 }
    return Set(short.values).count == short.count ? short : all { _ in true }
  }

  /// How many solves ended in each way.
  static func tally(_ solves: [StudySolve]) -> [(end: StudyEnd, count: Int)] {
    StudyEnd.allCases.map { end in (end, solves.count { $0.end == end }) }
  }

  var tally: [(end: StudyEnd, count: Int)] { Self.tally(grids.flatMap { $0.solves.map(\.solve) }) }
}

extension StudySummary.Row {
  /// Whether targets at the same weights are of the same functions, and so can be compared.
  func sharesDensities(with other: Self) -> Bool {
    ["model", "noise", "noise-covariance", "sigma", "nu", "tip", "peak", "outliers"].allSatisfy {
      option($0) == other.option($0)
    }
  }

  /// The mean of what this row is ranked by minus another's over the samples that both have.
  func difference(from other: Self, by rank: StudyRank) -> Estimate? {
    let others = other.bySample
    return Estimate(
      solves.map { solve in
        guard let a = rank.value(solve), let b = others[solve.sample].flatMap(rank.value) else { return nil }
        return a - b
      })
  }

  /// log p(y); nil where it wasn't asked for.
  var logEvidence: Estimate? { Estimate(solves.map { StudyRank.evidence.value($0) }) }

  /// The same of the target, over the samples solved at the same weights.
  func targetDifference(from other: Self) -> Estimate? {
    guard sharesDensities(with: other) else { return nil }
    let others = other.bySample
    return Estimate(
      solves.map { solve in
        guard let b = others[solve.sample], b.weightedSample == solve.weightedSample,
          let value = solve.record.target, let reference = b.record.target
        else { return nil }
        return value - reference
      })
  }
}

extension StudySummary.Panel {
  /// The labels of the rows that rank highest of those that have the same images: what most rows have. Rows of other images
  /// aren't compared.
  var leaders: Set<String> {
    let samples = rows.map { row in Set(row.solves.filter { rank.value($0) != nil }.map(\.sample)) }
    let sizes = samples.map { set in samples.count { $0 == set } }
    guard let most = sizes.max(), most > 1, let first = sizes.firstIndex(of: most), !samples[first].isEmpty
    else { return [] }
    let compared = rows.indices.filter { samples[$0] == samples[first] }.map { rows[$0] }
    func mean(_ row: StudySummary.Row) -> Double? { Estimate(row.solves.map { rank.value($0) })?.mean }
    let best = compared.compactMap(mean).max()
    return Set(compared.filter { mean($0) == best }.map(\.label))
  }

  /// The least target that any of the rows that share this row's densities found.
  func best(for row: StudySummary.Row) -> [StudySolve.WeightedSample: Double] {
    var best: [StudySolve.WeightedSample: Double] = [:]
    for other in rows where other.sharesDensities(with: row) {
      for solve in other.solves {
        guard let target = solve.record.target else { continue }
        best[solve.weightedSample] = min(target, best[solve.weightedSample] ?? .infinity)
      }
    }
    return best
  }
}
