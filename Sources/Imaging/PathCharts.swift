/// The curves of one image: objective, its terms and PSNR against evaluations for every method, and against
/// what a path runs along (t or λ) at the states that solve its problems.
struct PathCharts {
  private typealias Point = ReconstructionReport.PathPoint

  private struct Line {
    var method: String
    var path: ReconstructionReport.Path
    /// The λ of the result.
    var lambda: Double
  }

  private let lines: [Line]
  /// Methods without a path, as one in closed form, for comparison.
  private let levels: [(method: String, psnr: Double)]
  private let isAlone: Bool

  /// The results of an image.
  init(_ results: [ReconstructionReport.Result]) {
    lines = results.compactMap { result in
      guard let path = result.path, path.points.count > 1 else { return nil }
      return Line(
        method: result.method, path: path, lambda: result.lambda ?? path.points[path.points.count - 1].lambda)
    }
    levels = results.compactMap { result in
      guard (result.path?.points.count ?? 0) < 2, let psnr = result.psnr else { return nil }
      return (result.method, psnr)
    }
    isAlone = results.count == 1
  }

  /// Empty where there is nothing to draw.
  var html: String {
    if lines.isEmpty { return "" }
    var parts = [String]()
    if !isAlone {
      let names = lines.map(\.method) + (hasPSNR ? levels.map(\.method) : [])
      let keys = names.enumerated().map { k, name in
        #"<span><i style="background:var(--s\#(k % 6))"></i>\#(Markup.escape(name))</span>"#
      }
      parts.append(#"<p class="legend">\#(keys.joined())</p>"#)
    }
    parts.append(group(evaluationCharts))
    let hasPath = lines.contains { $0.path.parameterName != nil }
    for (k, line) in lines.enumerated() where !hasPath || line.path.parameterName != nil {
      if let name = line.path.parameterName {
        let states = line.path.points.filter { $0.stage == .path }
        parts.append(group(milestoneCharts(line, k, states, name, \.parameter, "along the path")))
      }
      let trials = line.path.points.filter { $0.stage == .trial }.sorted { $0.lambda < $1.lambda }
      parts.append(group(milestoneCharts(line, k, trials, "λ", \.lambda, "at every λ tried")))
    }
    return parts.joined(separator: "\n")
  }

  private var hasPSNR: Bool { lines.contains { $0.path.points.contains { $0.psnr != nil } } }

  private func group(_ charts: [LineChart]) -> String {
    charts.isEmpty ? "" : #"<div class="charts">\#(charts.map { $0.svgFragment() }.joined())</div>"#
  }

  // MARK: Against evaluations

  private var evaluationCharts: [LineChart] {
    var charts = [
      evaluations("What is minimised, at the final λ", "nats") { $0.recon + $1 * $0.reg },
      evaluations("L recon", "nats") { point, _ in point.recon },
      evaluations("L reg", "nats") { point, _ in point.reg },
    ]
    if hasPSNR {
      var chart = evaluations("PSNR", "dB") { point, _ in point.psnr }
      let x = chart.series.flatMap(\.x)
      if let low = x.min(), let high = x.max() {
        chart.series += levels.map {
          LineChart.Series(name: $0.method, x: [low, high], y: [$0.psnr, $0.psnr])
        }
      }
      charts.append(chart)
    }
    return charts
  }

  private func evaluations(
    _ title: String, _ unit: String, _ value: (Point, Double) -> Double?
  ) -> LineChart {
    let series = lines.map { line in
      LineChart.Series(
        name: line.method, x: line.path.points.map { Double($0.evaluations) },
        y: line.path.points.map { value($0, line.lambda) })
    }
    var chart = Self.small(LineChart(title: title, xLabel: "evaluations", yLabel: unit, series: series))
    chart.cutsBeginning = true
    let ends = lines.compactMap { line -> (String, Point)? in
      line.path.parameterName.flatMap { name -> (String, Point)? in
        let end = line.path.points.last { $0.stage == .path }?.parameter
        return line.path.points.first { $0.parameter == end }.map { (name, $0) }
      }
    }
    let last = chart.series.compactMap(\.x.last).max() ?? 0
    if ends.count == 1, Double(ends[0].1.evaluations) < last {
      let (name, end) = ends[0]
      chart.mark = (Double(end.evaluations), "\(name) = \(Markup.short(end.parameter))")
    }
    return chart
  }

  // MARK: Against t or λ

  private func milestoneCharts(
    _ line: Line, _ colour: Int, _ states: [Point], _ name: String, _ parameter: KeyPath<Point, Double>,
    _ words: String
  ) -> [LineChart] {
    guard Set(states.map { $0[keyPath: parameter] }).count > 1 else { return [] }
    let x = states.map { $0[keyPath: parameter] }
    let isSpread = x.allSatisfy { $0 > 0 } && x.max()! >= 20 * x.min()!
    func chart(_ title: String, _ unit: String, _ value: (Point) -> Double?) -> LineChart {
      var chart = LineChart(
        title: title, xLabel: name, yLabel: unit, xScale: isSpread ? .logarithmic : .linear,
        series: [LineChart.Series(name: line.method, x: x, y: states.map(value))])
      chart.firstColour = colour
      if words != "along the path", line.lambda >= x.min()!, line.lambda <= x.max()! {
        chart.mark = (line.lambda, "chosen")
      }
      return Self.small(chart)
    }
    let prefix = isAlone ? "" : "\(line.method): "
    var charts = [
      chart("\(isAlone ? "Objective" : prefix + "objective") \(words)", "nats") { $0.objective },
      chart("\(prefix)L recon \(words)", "nats") { $0.recon },
      chart("\(prefix)L reg \(words)", "nats") { $0.reg },
    ]
    if states.contains(where: { $0.psnr != nil }) {
      charts.append(chart("\(prefix)PSNR \(words)", "dB") { $0.psnr })
    }
    return charts
  }

  private static func small(_ chart: LineChart) -> LineChart {
    var chart = chart
    chart.width = 300
    chart.height = 205
    chart.hasLegend = false
    return chart
  }
}
