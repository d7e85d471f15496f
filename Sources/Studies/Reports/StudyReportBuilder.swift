import AIPOImaging
import AIPOKernels
import AIPOSolvers
import AIPOTasks

/// Makes the report of a study from its summary.
struct StudyReportBuilder {
  private typealias Table = StudyReport.Table
  private typealias Cell = StudyReport.Table.Cell

  let plan: StudyPlan
  let summary: StudySummary
  /// Solves that the study asks for.
  let total: Int
  let command: String
  let provenance: JSONValue

  func report() -> StudyReport {
    let done = summary.grids.reduce(0) { $0 + $1.solves.count }
    var subtitle = plan.about
    if done < total { subtitle += (subtitle.isEmpty ? "" : " ") + "Unfinished: \(done) of \(total) solves." }
    return StudyReport(
      head: ReportHead(
        title: plan.title, subtitle: subtitle, command: command,
        provenance: provenance.members.flatMap { name, value -> [ReportHead.Field] in
          switch value {
          // The command has a place of its own.
          case _ where name == "command": []
          case .object(let members): members.map { ReportHead.Field($0, $1.text) }
          case .array(let items): items.map { ReportHead.Field(name, $0.text) }
          default: [ReportHead.Field(name, value.text)]
          }
        }, warnings: summary.advices.lines),
      sections: summary.grids.filter { !$0.solves.isEmpty }.map(section) + [endings(total: done)])
  }

  private func section(_ grid: StudySummary.Grid) -> StudyReport.Section {
    StudyReport.Section(
      title: grid.grid.name, caption: grid.grid.about,
      tables: grid.grid.isDrawn ? [draws(grid)] : overview(grid),
      panels: grid.panels.map { panel in
        StudyReport.Panel(
          title: panel.title, tables: [figures(panel)] + StudyStarts(panel).tables,
          charts: StudyCharts(panel).charts, strips: strips(panel),
          commands: panel.rows.flatMap(\.commands))
      })
  }

  // MARK: Tables

  /// Mean PSNR of every variant on every problem.
  private func overview(_ grid: StudySummary.Grid) -> [Table] {
    guard grid.panels.count > 1 else { return [] }
    var labels: [String] = []
    for row in grid.panels.flatMap(\.rows) where !labels.contains(row.label) { labels.append(row.label) }
    guard grid.panels.flatMap(\.rows).contains(where: { $0.estimate(\.psnr) != nil }) else { return [] }
    let leaders = grid.panels.map(\.leaders)
    let rows = labels.map { label in
      [Cell(label, method: grid.panels.flatMap(\.rows).first { $0.label == label }?.method.rawValue)]
        + zip(grid.panels, leaders).map { panel, leaders in
          guard let row = panel.rows.first(where: { $0.label == label }) else { return Cell("–") }
          return Cell(FigureText.estimate(row.estimate(\.psnr), 2), isBest: leaders.contains(label))
        }
    }
    return [
      Table(
        caption: "PSNR, dB: mean ± standard error over the images. Bold is the best of the same images, by "
          + (grid.panels[0].rank == .psnr ? "this" : "log p(y)"),
        columns: [""] + grid.panels.map(\.title), rows: rows)
    ]
  }

  /// The figures of one problem, with paired differences from its first variant.
  private func figures(_ panel: StudySummary.Panel) -> Table {
    let first = panel.rows[0]
    let leaders = panel.leaders
    var rows = [[Cell]]()
    if let observed = first.estimate(\.psnrObserved) {
      rows.append(
        [Cell("observed"), Cell("\(observed.count)"), Cell(FigureText.estimate(observed, 2))]
          + [Cell](repeating: Cell("–"), count: 10))
    }
    for (k, row) in panel.rows.enumerated() {
      let psnr = row.estimate(\.psnr)
      let converged = row.solves.count { $0.record.converged }
      rows.append([
        Cell(row.label, method: row.method.rawValue), Cell("\(row.solves.count)"),
        Cell(FigureText.estimate(psnr, 2), isBest: panel.rank == .psnr && leaders.contains(row.label)),
        Cell(
          k == 0
            ? "–" : FigureText.difference(row.difference(from: first, by: .psnr), 2, of: row.solves.count)),
        Cell(
          FigureText.estimate(row.logEvidence, 1),
          isBest: panel.rank == .evidence && leaders.contains(row.label)),
        Cell(
          k == 0
            ? "–" : FigureText.difference(row.difference(from: first, by: .evidence), 2, of: row.solves.count)
        ),
        Cell(FigureText.estimate(row.estimate(\.ssim), 3)),
        Cell(FigureText.estimate(row.estimate(\.target), 1)),
        Cell(
          k == 0
            ? "–" : FigureText.difference(row.targetDifference(from: first), 2, of: row.solves.count)),
        Cell(FigureText.range(row.solves.map(\.record.lambda))),
        Cell(FigureText.estimate(row.estimate { Double($0.evaluations) }, 0)),
        Cell(FigureText.estimate(Estimate(row.solves.map { $0.course?.withinOneNat.map(Double.init) }), 0)),
        Cell(row.solves.isEmpty ? "–" : "\(converged)/\(row.solves.count)"),
      ])
    }
    return Table(
      caption: panel.rows.count > 1
        ? "Δ: paired difference from \(first.label), with the number of images where not all can be compared"
        : "",
      columns: [
        "", "Images", "PSNR, dB", "Δ PSNR", "log p(y), nats", "Δ log p(y)", "SSIM", "Objective, nats",
        "Δ objective", "λ", "Evaluations",
        "to 1 nat", "Converged",
      ], rows: rows
    ).withoutEmptyColumns
  }

  /// How the solves with each value of each option ended.
  private func draws(_ grid: StudySummary.Grid) -> Table {
    var names: [String] = []
    for option in grid.solves.flatMap(\.options) where !names.contains(option.name) {
      names.append(option.name)
    }
    var rows = [[Cell]]()
    for name in names where name != "seed" {
      var values: [String] = []
      var solves: [String: [StudySolve]] = [:]
      for (options, solve) in grid.solves {
        guard let value = options.first(where: { $0.name == name })?.value else { continue }
        if solves[value] == nil { values.append(value) }
        solves[value, default: []].append(solve)
      }
      guard values.count > 1 else { continue }
      for value in values.sorted(by: FigureText.precedes) {
        rows.append(Self.endings(StudyOption(name: name, value: value).words, solves[value] ?? []))
      }
    }
    rows.append(Self.endings("all", grid.solves.map(\.solve)))
    return Table(columns: Self.endingColumns, rows: rows)
  }

  /// How all solves of all grids ended.
  private func endings(total: Int) -> StudyReport.Section {
    var rows = summary.grids.map { Self.endings($0.grid.name, $0.solves.map(\.solve)) }
    if rows.count > 1 { rows.append(Self.endings("all", summary.grids.flatMap { $0.solves.map(\.solve) })) }
    var reasons: [PathStop: Int] = [:]
    for solve in summary.grids.flatMap(\.solves) { reasons[solve.solve.record.reason, default: 0] += 1 }
    let ordered = reasons.sorted { ($1.value, $0.key.rawValue) < ($0.value, $1.key.rawValue) }
    return StudyReport.Section(
      title: "How the solves ended",
      tables: [
        Table(columns: Self.endingColumns, rows: rows),
        Table(
          columns: ["Reason", "Solves"],
          rows: ordered.map { reason, count in
            [Cell(reason.explanation), Cell("\(count)")]
          }),
      ])
  }

  private static let endingColumns =
    ["", "Solves"] + StudyEnd.allCases.map(\.words) + ["Evaluations", "PSNR, dB"]

  private static func endings(_ label: String, _ solves: [StudySolve]) -> [Cell] {
    [Cell(label), Cell("\(solves.count)")] + StudySummary.tally(solves).map { Cell("\($0.count)") }
      + [
        Cell(FigureText.estimate(Estimate(solves.map { Double($0.record.evaluations) }), 0)),
        Cell(FigureText.estimate(Estimate(solves.map(\.record.psnr)), 2)),
      ]
  }

  // MARK: Pictures

  private func strips(_ panel: StudySummary.Panel) -> [StudyReport.Strip] {
    var samples: [StudySolve.Sample] = []
    var pictures: [StudySolve.Sample: StudyPicture] = [:]
    for solve in panel.rows[0].solves {
      if let picture = solve.picture, pictures[solve.sample] == nil {
        pictures[solve.sample] = picture
        samples.append(solve.sample)
      }
    }
    guard !samples.isEmpty else { return [] }
    var strips = [
      StudyReport.Strip(
        label: "truth", images: samples.map { pictures[$0].flatMap { p in p.truth.flatMap { p.tensor($0) } } }
      ),
      StudyReport.Strip(
        label: panel.observedWords,
        images: samples.map { pictures[$0].flatMap { $0.tensor($0.observed, missing: $0.missing) } }),
    ].filter { $0.images.contains { $0 != nil } }
    for row in panel.rows {
      let solves = row.bySample
      strips.append(
        StudyReport.Strip(
          label: row.label, method: row.method.rawValue,
          images: samples.map { solves[$0]?.picture.flatMap { $0.tensor($0.image) } }))
    }
    return strips
  }
}

extension StudySummary.Panel {
  /// What the picture of an observation shows.
  fileprivate var observedWords: String {
    rows.first?.commands.first?.contains("--task sense") == true ? "observed, A⁺y" : "observed"
  }
}
