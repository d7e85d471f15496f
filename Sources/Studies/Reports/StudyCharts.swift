import AIPOImaging
import AIPOKernels
import AIPOSolvers

/// Target and PSNR against evaluations, means over the images.
struct StudyCharts {
  private let panel: StudySummary.Panel
  /// Below this a target counts as the best.
  private static let resolution = 0.05

  init(_ panel: StudySummary.Panel) { self.panel = panel }

  var charts: [LineChart] {
    var targets: [LineChart.Series] = []
    var qualities: [LineChart.Series] = []
    var levels: [(row: StudySummary.Row, psnr: Double)] = []
    for row in panel.rows {
      let solves = row.solves.filter { $0.course != nil && $0.record.target != nil }
      guard !solves.isEmpty else {
        if let psnr = row.estimate(\.psnr)?.mean { levels.append((row, psnr)) }
        continue
      }
      let best = panel.best(for: row)
      let target = curve(solves) { solve, mark in
        guard let value = StudyCourse.value(solve.course?.target ?? [], at: mark),
          let least = best[solve.weightedSample]
        else { return nil }
        return max(value - least, 0)
      }
      targets.append(
        LineChart.Series(
          name: row.label, method: row.method.rawValue, x: target.x,
          y: target.y.map { $0.map { max($0, Self.resolution) } }))
      let quality = curve(solves) { solve, mark in
        StudyCourse.value(solve.course?.psnr ?? [], at: mark)
      }
      if quality.y.contains(where: { $0 != nil }) {
        qualities.append(
          LineChart.Series(name: row.label, method: row.method.rawValue, x: quality.x, y: quality.y))
      }
    }
    guard !targets.isEmpty else { return [] }
    let x = targets.flatMap(\.x)
    if let low = x.min(), let high = x.max() {
      qualities += levels.map {
        LineChart.Series(
          name: $0.row.label, method: $0.row.method.rawValue, x: [low, high], y: [$0.psnr, $0.psnr],
          marks: [nil, nil])
      }
    }
    var gap = LineChart(
      title: "Objective above the best found", xLabel: "evaluations", yLabel: "nats", xScale: .logarithmic,
      yScale: .logarithmic, series: targets)
    gap.caption =
      "How far the objective is above the lowest that any variant found at the same weights, mean over the images. "
      + "Lower, and further left, is better."
    var charts = [gap]
    if !qualities.isEmpty {
      var psnr = LineChart(
        title: "PSNR", xLabel: "evaluations", yLabel: "dB", xScale: .logarithmic, series: qualities)
      psnr.caption =
        "How close the images are to the truth after so many evaluations, mean over the images. Higher, and further left, "
        + "is better."
      charts.append(psnr)
    }
    return charts
  }

  /// The mean over the solves at every mark that all have reached, until the last of them has ended.
  private func curve(_ solves: [StudySolve], _ value: (StudySolve, Int) -> Double?) -> (
    x: [Double], y: [Double?]
  ) {
    let count = solves.map { $0.course?.target.count ?? 0 }.max() ?? 0
    var x: [Double] = []
    var y: [Double?] = []
    for mark in 0..<count {
      let values = solves.compactMap { value($0, mark) }
      guard values.count == solves.count else { continue }
      x.append(Double(StudyCourse.marks[mark]))
      y.append(values.reduce(0, +) / Double(values.count))
    }
    return (x, y)
  }
}
