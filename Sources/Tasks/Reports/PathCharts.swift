import AIPOImaging
import AIPOSolvers

/// The curves of one image: what every method reached after how many evaluations, the states of a path with what
/// happened at each, and the λ that were tried.
struct PathCharts {
  private typealias Point = ReconstructionReport.PathPoint
  private typealias Result = ReconstructionReport.Result

  private struct Line {
    var method: String
    var path: ReconstructionReport.Path
    /// The λ of the result.
    var lambda: Double
  }

  /// Every result in order: with a path of two states at least, or with nothing but its PSNR, as one in closed form.
  private let results: [Result]
  private let lines: [Line]

  /// The results of an image.
  init(_ results: [ReconstructionReport.Result]) {
    self.results = results
    lines = results.compactMap { result in
      guard let path = result.path, Set(path.points.map(\.evaluations)).count > 1 else { return nil }
      return Line(method: result.method, path: path, lambda: result.record.lambda)
    }
  }

  /// Empty where no method took a way of more than one state.
  var html: String {
    if lines.isEmpty { return "" }
    var parts = [String]()
    parts.append(eventKeys)
    parts.append(group(evaluationCharts))
    for line in lines {
      if let name = line.path.parameterName {
        let states = line.path.points.filter(\.isOnPath)
        if Set(states.map(\.parameter)).count > 1 { parts.append(group(pathCharts(line, states, name))) }
      }
      let trials = line.path.points.filter { $0.event == .lambda }.sorted { $0.lambda < $1.lambda }
      if Set(trials.map(\.lambda)).count > 1 { parts.append(group(trialCharts(line, trials))) }
    }
    return parts.joined(separator: "\n")
  }

  private var hasPSNR: Bool { lines.contains { $0.path.points.contains { $0.psnr != nil } } }

  private func group(_ charts: [LineChart]) -> String {
    #"<div class="charts">\#(charts.map { $0.htmlFigure() }.joined())</div>"#
  }

  /// What the marks on the curves mean: those that this image has.
  private var eventKeys: String {
    let events = Set(lines.flatMap { $0.path.points.map(\.event) })
    let keys = PathEvent.inOrder.filter(events.contains).compactMap { event in
      event.mark.map { mark in
        """
        <span><svg class="chart key" viewBox="0 0 12 12" aria-hidden="true"><g class="neutral">\
        \(mark.svg(x: 6, y: 6))</g></svg>\(event.words)</span>
        """
      }
    }
    return keys.isEmpty ? "" : #"<p class="legend">\#(keys.joined())</p>"#
  }

  // MARK: Against evaluations

  private var evaluationCharts: [LineChart] {
    var charts = [
      evaluations(
        "Objective", "nats",
        "What is minimised, L recon + λ L reg, at the final λ all the way. Lower is better; it should end flat."
      ) { point, lambda in point.reg.map { point.recon + lambda * $0 } },
      evaluations(
        "Misfit, L recon", "nats",
        "How far the image is from the measurements. Lower is closer, but the lowest of all would fit their noise too."
      ) { point, _ in point.recon },
      evaluations(
        "Implausibility, L reg", "nats",
        "How unlike the training images it is, by the prior. Lower is more plausible."
      ) { point, _ in point.reg },
    ]
    if hasPSNR {
      charts.append(
        evaluations(
          "PSNR", "dB", "How close the image is to the truth, which no method sees. Higher is better."
        ) { point, _ in point.psnr })
    }
    // On the path in the noise level the target itself is evaluated at the end alone.
    return charts.filter { $0.series.contains { $0.y.count { $0 != nil } > 1 } }
  }

  private func evaluations(
    _ title: String, _ unit: String, _ caption: String, _ value: (Point, Double) -> Double?
  ) -> LineChart {
    let x = lines.flatMap { $0.path.points.map { Double($0.evaluations) } }
    let series = results.compactMap { result -> LineChart.Series? in
      guard let line = lines.first(where: { $0.method == result.method }) else {
        guard unit == "dB", let psnr = result.record.psnr, let low = x.min(), let high = x.max() else {
          return nil
        }
        return LineChart.Series(
          name: result.method, method: result.method, x: [low, high], y: [psnr, psnr], marks: [nil, nil])
      }
      return LineChart.Series(
        name: line.method, method: line.method, x: line.path.points.map { Double($0.evaluations) },
        y: line.path.points.map { value($0, line.lambda) }, marks: line.path.points.map(\.event.mark))
    }
    var chart = small(title, caption, "evaluations", unit, series)
    chart.cutsBeginning = true
    return chart
  }

  // MARK: Along the path, and at every λ tried

  private func pathCharts(_ line: Line, _ states: [Point], _ name: String) -> [LineChart] {
    let x = states.map(\.parameter)
    let isSpread = x.allSatisfy { $0 > 0 } && x.max()! >= 20 * x.min()!
    return milestones(
      line, states, x, "\(name) along the path", "on the path", isSpread,
      objective:
        "The path from the easy problem to the one asked. Every state is judged at its own weights, so only states at "
        + "one \(name) can be compared.")
  }

  private func trialCharts(_ line: Line, _ trials: [Point]) -> [LineChart] {
    let x = trials.map(\.lambda)
    return milestones(
      line, trials, x, "λ", "at every λ tried", x.min()! > 0 && x.max()! >= 20 * x.min()!,
      objective:
        "What was minimised for every λ that was tried; the dashed line is the one chosen, without the truth."
    ).map { chart in
      var chart = chart
      if line.lambda >= x.min()!, line.lambda <= x.max()! { chart.mark = (line.lambda, "chosen") }
      return chart
    }
  }

  private func milestones(
    _ line: Line, _ states: [Point], _ x: [Double], _ xLabel: String, _ words: String, _ isSpread: Bool,
    objective: String
  ) -> [LineChart] {
    func chart(_ title: String, _ unit: String, _ caption: String, _ value: (Point) -> Double?) -> LineChart {
      let series = LineChart.Series(
        name: line.method, method: line.method, x: x, y: states.map(value), marks: states.map(\.event.mark))
      let name =
        lines.count > 1 ? "\(line.method): \(title)" : title.prefix(1).uppercased() + title.dropFirst()
      var chart = small("\(name) \(words)", caption, xLabel, unit, [series])
      if isSpread { chart.xScale = .logarithmic }
      return chart
    }
    return [
      chart("objective", "nats", objective, \.objective),
      chart("misfit", "nats", "L recon, the distance from the measurements.", \.recon),
      states.contains { $0.reg != nil }
        ? chart("implausibility", "nats", "L reg, by the prior; none before the flow has a part.", \.reg)
        : nil,
      states.contains { $0.psnr != nil }
        ? chart("PSNR", "dB", "The likeness to the truth, which no method sees.", \.psnr) : nil,
    ].compactMap { $0 }
  }

  private func small(
    _ title: String, _ caption: String, _ xLabel: String, _ unit: String, _ series: [LineChart.Series]
  ) -> LineChart {
    var chart = LineChart(title: title, xLabel: xLabel, yLabel: unit, series: series)
    chart.caption = caption
    chart.width = 300
    chart.height = 205
    return chart
  }
}

extension PathEvent {
  /// As a legend has them.
  static let inOrder: [PathEvent] = [
    .start, .predicted, .solved, .unfinished, .failed, .lambda, .iterate, .finished,
  ]

  var mark: LineChart.Mark? {
    switch self {
    case .start: .plus
    case .predicted: .ring
    case .solved: .dot
    case .unfinished: .triangle
    case .failed: .cross
    case .lambda: .diamond
    case .finished: .square
    case .iterate: nil
    }
  }

  var words: String {
    switch self {
    case .start: "start"
    case .predicted: "predicted"
    case .solved: "corrected"
    case .unfinished: "corrected as far as its iterations went"
    case .failed: "given up, step halved"
    case .lambda: "a λ tried"
    case .iterate: "step"
    case .finished: "stopped"
    }
  }
}
