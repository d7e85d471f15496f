import AIPOKernels

/// Curves over a common pair of axes, drawn as SVG: for objectives, their terms and PSNR along a path,
/// and for the loss of a training run.
///
/// Points that aren't finite (or beyond 10³⁰⁰), or not positive on a logarithmic axis, are gaps in their line.
public struct LineChart: Sendable {
  public enum Scale: Sendable {
    case linear, logarithmic
  }

  /// What stands at a point of a curve.
  public enum Mark: Sendable, CaseIterable {
    case ring, dot, triangle, cross, plus, diamond, square
  }

  /// One curve. `x` should not decrease; a nil `y` is a gap.
  public struct Series: Sendable {
    public var name: String
    /// The method that it shows, which has a colour of its own; several curves of one method differ in their dashes.
    public var method: String?
    public var x: [Double]
    public var y: [Double?]
    /// One a point, or none at all: then the points of a short curve are dots.
    public var marks: [Mark?]

    public init(name: String, method: String? = nil, x: [Double], y: [Double?], marks: [Mark?] = []) {
      precondition(
        x.count == y.count && (marks.isEmpty || marks.count == x.count), "as many x as y and marks")
      self.name = name
      self.method = method
      self.x = x
      self.y = y
      self.marks = marks
    }
  }

  public var title: String
  public var xLabel: String
  public var yLabel: String
  public var xScale: Scale
  public var yScale: Scale
  public var series: [Series]
  /// In the drawing's units; text is 12 of them high. The names of several curves add to the height.
  public var width = 520.0
  public var height = 300.0
  /// A thin upright line with a word, as where a path ends.
  public var mark: (x: Double, label: String)?
  /// Lets the first twelfth of the x axis leave the frame where it would squash the rest.
  public var cutsBeginning = false
  /// What is shown, in which units, and what to look for; stands below the chart in a report.
  public var caption = ""

  public init(
    title: String, xLabel: String, yLabel: String, xScale: Scale = .linear, yScale: Scale = .linear,
    series: [Series]
  ) {
    self.title = title
    self.xLabel = xLabel
    self.yLabel = yLabel
    self.xScale = xScale
    self.yScale = yScale
    self.series = series
  }

  /// A file of its own that follows the reader's light or dark theme.
  public func svgDocument() -> String {
    svg(style: "<style>\(Self.lightTheme)\(Self.darkTheme)\(Self.rules)</style>", left: 0)
  }

  /// Writes `svgDocument`. Throws `unwritable`.
  public func write(to path: String) throws(FileError) {
    try AtomicFile.write(svgDocument() + "\n", to: path)
  }

  /// For inclusion in a page that defines `rules` and the variables of a theme; flush with its column, and with its
  /// caption.
  package func htmlFigure() -> String {
    let svg = svg(style: "", left: 12)
    let text = caption.isEmpty ? "" : "<figcaption>\(Markup.escape(caption))</figcaption>"
    return #"<figure class="plot">\#(svg)\#(text)</figure>"#
  }

  private func svg(style: String, left: Double) -> String {
    let points = series.map(visiblePoints)
    let styles = styles
    let all = points.flatMap { $0.compactMap { $0 } }
    let legend = series.count > 1 ? legend(styles, top: 48) : (svg: "", bottom: 36)
    let top = legend.bottom
    let height = height + top - 36
    let box = [left, 0, width - left, height].map(Markup.coordinate).joined(separator: " ")
    var parts = [String]()
    parts.append(
      #"<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="\#(box)" role="img" "#
        + #"aria-label="\#(Markup.escape(title))">\#(style)"#)
    parts.append(
      #"<rect class="ground" width="\#(Markup.coordinate(width))" height="\#(Markup.coordinate(height))"/>"#)
    parts.append(text(title, x: 16, y: 24, class: "title"))
    if !legend.svg.isEmpty { parts.append(legend.svg) }
    if all.isEmpty {
      parts.append(text("no finite values", x: width / 2, y: (top + height) / 2, class: "label middle"))
    } else {
      let yAxis = ChartAxis(
        values: shown(all).map(\.y), scale: yScale, targetTicks: height < 240 ? 4 : 5, padded: true)
      let widest = yAxis.ticks.map(\.label.count).max() ?? 1
      let frame = Frame(
        left: 27 + 7.2 * Double(widest), right: width - 18, top: top + 26, bottom: height - 44)
      let xAxis = ChartAxis(
        values: all.map(\.x), scale: xScale, targetTicks: width < 400 ? 4 : 6, padded: false)
      parts.append(text(yLabel, x: 16, y: top + 12, class: "label"))
      parts += axes(xAxis, yAxis, frame)
      if let mark, (0...1).contains(xAxis.share(mark.x)) { parts += markLine(mark, xAxis, frame) }
      // A drawing within the drawing cuts what leaves the frame.
      let inner = [
        frame.left - 5, frame.top - 5, frame.right - frame.left + 10, frame.bottom - frame.top + 10,
      ].map(Markup.coordinate)
      parts.append(
        #"<svg x="\#(inner[0])" y="\#(inner[1])" width="\#(inner[2])" height="\#(inner[3])" "#
          + #"viewBox="\#(inner.joined(separator: " "))">"#)
      for (line, style) in zip(points, styles) { parts.append(curve(line, style, xAxis, yAxis, frame)) }
      parts.append("</svg>")
    }
    parts.append("</svg>")
    return parts.joined(separator: "\n")
  }

  private struct Frame {
    var left, right, top, bottom: Double

    func x(_ share: Double) -> Double { left + share * (right - left) }
    func y(_ share: Double) -> Double { bottom - share * (bottom - top) }
  }

  private struct Point {
    var x, y: Double
    var mark: Mark?
  }

  /// The points that decide the range of y.
  private func shown(_ all: [Point]) -> [Point] {
    guard cutsBeginning, let low = all.map(\.x).min(), let high = all.map(\.x).max() else { return all }
    let rest = all.filter { $0.x >= low + (high - low) / 12 }
    func range(_ points: [Point]) -> Double {
      points.isEmpty ? 0 : points.map(\.y).max()! - points.map(\.y).min()!
    }
    return range(rest) > 0 && range(all) > 1.5 * range(rest) ? rest : all
  }

  /// Points that can be drawn, nil for a gap; where there are many, the least and the greatest of each
  /// stretch, so that spikes stay.
  private func visiblePoints(_ series: Series) -> [Point?] {
    let isShort = series.marks.isEmpty && series.x.count <= 24
    let points = series.x.indices.map { k -> Point? in
      let x = series.x[k]
      guard let y = series.y[k], abs(x) < 1e300, abs(y) < 1e300, xScale == .linear || x > 0,
        yScale == .linear || y > 0
      else {
        return nil
      }
      return Point(x: x, y: y, mark: series.marks.isEmpty ? (isShort ? .dot : nil) : series.marks[k])
    }
    let stretch = (points.count + 499) / 500
    if stretch < 3 { return points }
    return Swift.stride(from: 0, to: points.count, by: stretch).flatMap { start -> [Point?] in
      let group = points[start..<min(start + stretch, points.count)]
      let present = group.indices.filter { group[$0] != nil }
      guard let low = present.min(by: { group[$0]!.y < group[$1]!.y }),
        let high = present.max(by: { group[$0]!.y < group[$1]!.y })
      else { return [nil] }
      return low == high ? [group[low]] : [group[min(low, high)], group[max(low, high)]]
    }
  }

  private func axes(_ xAxis: ChartAxis, _ yAxis: ChartAxis, _ frame: Frame) -> [String] {
    var parts = [String]()
    // Labels of 12 units' height and a little space.
    let yTicks = yAxis.labelled { tick in
      let y = frame.y(yAxis.share(tick.value))
      return (y - 7)...(y + 7)
    }
    for tick in yTicks {
      let y = frame.y(yAxis.share(tick.value))
      parts.append(line(frame.left, y, frame.right, y, class: "grid"))
      parts.append(text(tick.label, x: frame.left - 8, y: y + 4, class: "tick end"))
    }
    parts.append(line(frame.left, frame.bottom, frame.right, frame.bottom, class: "axis"))
    for tick in xAxis.ticks {
      let x = frame.x(xAxis.share(tick.value))
      parts.append(line(x, frame.bottom, x, frame.bottom + 4, class: "axis"))
    }
    // A label at the right end stays within the drawing.
    func place(_ tick: ChartAxis.Tick) -> (x: Double, isLast: Bool) {
      let x = frame.x(xAxis.share(tick.value))
      return x + 3.4 * Double(tick.label.count) > width - 4 ? (width - 3, true) : (x, false)
    }
    let xTicks = xAxis.labelled { tick in
      let (x, isLast) = place(tick)
      let length = 6.8 * Double(tick.label.count)
      return (isLast ? x - length - 4 : x - length / 2 - 4)...(isLast ? x : x + length / 2 + 4)
    }
    for tick in xTicks {
      let (x, isLast) = place(tick)
      parts.append(text(tick.label, x: x, y: frame.bottom + 18, class: isLast ? "tick end" : "tick middle"))
    }
    parts.append(text(xLabel, x: frame.right, y: frame.bottom + 36, class: "label end"))
    return parts
  }

  private func markLine(_ mark: (x: Double, label: String), _ axis: ChartAxis, _ frame: Frame) -> [String] {
    let x = frame.x(axis.share(mark.x))
    let isRight = x > (frame.left + frame.right) / 2
    return [
      line(x, frame.top - 4, x, frame.bottom, class: "mark"),
      text(mark.label, x: isRight ? x + 3 : x - 3, y: frame.top - 8, class: isRight ? "tick end" : "tick"),
    ]
  }

  private func curve(
    _ points: [Point?], _ style: String, _ xAxis: ChartAxis, _ yAxis: ChartAxis, _ frame: Frame
  )
    -> String
  {
    var path = ""
    var marks = ""
    var inGap = true
    for point in points {
      guard let point else {
        inGap = true
        continue
      }
      let x = frame.x(xAxis.share(point.x))
      // What leaves the frame needn't be drawn far away.
      let y = frame.y(min(max(yAxis.share(point.y), -9), 9))
      path += "\(inGap ? "M" : "L")\(Markup.coordinate(x)) \(Markup.coordinate(y))"
      if let mark = point.mark { marks += mark.svg(x: x, y: y) }
      inGap = false
    }
    let dense = points.count > 300 ? " dense" : ""
    return #"<g class="\#(style)\#(dense)"><path class="line" d="\#(path)"/>\#(marks)</g>"#
  }

  private func legend(_ styles: [String], top: Double) -> (svg: String, bottom: Double) {
    var x = 16.0
    var y = top
    var parts = [String]()
    for (series, style) in zip(series, styles) {
      let length = 30 + 6.6 * Double(series.name.count) + 18
      if x + length > width, x > 16 {
        x = 16
        y += 18
      }
      let start = "M\(Markup.coordinate(x)) \(Markup.coordinate(y - 4))"
      parts.append(#"<g class="\#(style)"><path class="line" d="\#(start)h24"/></g>"#)
      parts.append(text(series.name, x: x + 30, y: y, class: "key"))
      x += length
    }
    return (parts.joined(separator: "\n"), y + 8)
  }

  private func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, class name: String) -> String {
    let c = [x1, y1, x2, y2].map(Markup.coordinate)
    return #"<path class="\#(name)" d="M\#(c[0]) \#(c[1])L\#(c[2]) \#(c[3])"/>"#
  }

  private func text(_ content: String, x: Double, y: Double, class name: String) -> String {
    let place = #"x="\#(Markup.coordinate(x))" y="\#(Markup.coordinate(y))""#
    return #"<text class="\#(name)" \#(place)>\#(Markup.escape(content))</text>"#
  }

  /// The classes of every curve: its colour, and a pattern of dashes where others before it have the colour too.
  private var styles: [String] {
    let names = series.map { $0.method ?? $0.name }
    let known = series.contains { $0.method != nil } ? MethodColours.places(of: names) : [:]
    let places = names.enumerated().map { known[$1] ?? $0 % MethodColours.table.count }
    return places.enumerated().map { k, place in
      let before = places[..<k].count { $0 == place }
      return "series s\(place)" + (before > 0 ? " d\(before % Self.dashes.count)" : "")
    }
  }

  /// Patterns of the curves of one colour; the first is a full line.
  private static let dashes = ["none", "7 4", "1.5 4", "10 4 1.5 4", "16 5", "7 3 1.5 3 1.5 3"]

  /// The colours of the light theme as CSS variables, and what the dark one changes.
  package static let lightTheme =
    ":root{--surface:#fff;--ink:#1d1c1a;--muted:#6a675f;--line:#e6e3dc;\(MethodColours.variables(\.light))}\n"
  package static let darkTheme =
    "@media (prefers-color-scheme:dark){:root{--surface:#1b1d21;--ink:#ecebe7;--muted:#a09d95;--line:#32353b;"
    + "\(MethodColours.variables(\.dark))}}\n"

  /// How the parts of a chart look.
  package static let rules = """
    .chart{font:12px ui-sans-serif,system-ui,"Segoe UI","Helvetica Neue",Arial,sans-serif;\
    font-variant-numeric:tabular-nums}
    .chart .ground{fill:var(--surface)}
    .chart text{fill:var(--ink)}
    .chart .title{font-size:14px;font-weight:600}
    .chart .label,.chart .tick{fill:var(--muted);font-size:11.5px}
    .chart .key{font-size:12px}
    .chart .end{text-anchor:end}
    .chart .middle{text-anchor:middle}
    .chart path{fill:none}
    .chart .grid{stroke:var(--line);stroke-width:1}
    .chart .axis{stroke:var(--muted);stroke-width:1}
    .chart .mark{stroke:var(--muted);stroke-width:1;stroke-dasharray:3 3}
    .chart .line{stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
    .chart .dense .line{stroke-width:1;opacity:.75}
    .chart .full{fill:var(--c)}
    .chart .open{fill:var(--surface);stroke:var(--c);stroke-width:1.6}

    """
    + MethodColours.table.indices.map { ".chart .s\($0){--c:var(--s\($0))}\n" }.joined()
    + dashes.enumerated().dropFirst().map { ".chart .d\($0) .line{stroke-dasharray:\($1)}\n" }.joined()
}

extension LineChart.Mark {
  /// The mark alone, in a group that has a colour.
  package func svg(x: Double, y: Double) -> String {
    func path(_ name: String, _ steps: String) -> String {
      #"<path class="\#(name)" d="M\#(Markup.coordinate(x)) \#(Markup.coordinate(y))\#(steps)"/>"#
    }
    func circle(_ name: String, _ radius: Double) -> String {
      #"<circle class="\#(name)" cx="\#(Markup.coordinate(x))" cy="\#(Markup.coordinate(y))" r="\#(radius)"/>"#
    }
    return switch self {
    case .dot: circle("full", 3)
    case .ring: circle("open", 3.2)
    case .triangle: path("full", "m0 -4.2l4 7h-8z")
    case .cross: path("open", "m-3.4 -3.4l6.8 6.8m0 -6.8l-6.8 6.8")
    case .plus: path("open", "m-4 0h8m-4 -4v8")
    case .diamond: path("full", "m0 -4.4l4.4 4.4l-4.4 4.4l-4.4 -4.4z")
    case .square: path("full", "m-3.4 -3.4h6.8v6.8h-6.8z")
    }
  }
}
