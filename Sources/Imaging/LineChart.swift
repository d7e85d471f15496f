import AIPOKernels

/// Curves over a common pair of axes, drawn as SVG: for objectives, their terms and PSNR along a path,
/// and for the loss of a training run.
///
/// Points that aren't finite (or beyond 10³⁰⁰), or not positive on a logarithmic axis, are gaps in their line.
public struct LineChart: Sendable {
  public enum Scale: Sendable {
    case linear, logarithmic
  }

  /// One curve. `x` should not decrease; a nil `y` is a gap.
  public struct Series: Sendable {
    public var name: String
    public var x: [Double]
    public var y: [Double?]

    public init(name: String, x: [Double], y: [Double?]) {
      precondition(x.count == y.count, "as many x as y")
      self.name = name
      self.x = x
      self.y = y
    }
  }

  public var title: String
  public var xLabel: String
  public var yLabel: String
  public var xScale: Scale
  public var yScale: Scale
  public var series: [Series]
  /// In the drawing's units; text is 12 of them high.
  public var width = 520.0
  public var height = 300.0
  /// A thin upright line with a word, as where a path ends.
  public var mark: (x: Double, label: String)?
  /// Lets the first twelfth of the x axis leave the frame where it would squash the rest.
  public var cutsBeginning = false
  /// The colour of the first curve.
  var firstColour = 0
  /// Whether several curves are named in the drawing.
  public var hasLegend = true

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
    svg(style: "<style>\(Self.theme)\(Self.rules)</style>", box: [0, 0, width, height])
  }

  /// Writes `svgDocument`. Throws `unwritable`.
  public func write(to path: String) throws(FileError) {
    try AtomicFile.write(svgDocument() + "\n", to: path)
  }

  /// For inclusion in a page that defines `rules` and the variables of `theme`; flush with its column.
  func svgFragment() -> String { svg(style: "", box: [12, 0, width - 12, height]) }

  private func svg(style: String, box: [Double]) -> String {
    let points = series.map(visiblePoints)
    let all = points.flatMap { $0.compactMap { $0 } }
    var parts = [String]()
    parts.append(
      #"<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="\#(box.map(Markup.coordinate).joined(separator: " "))" role="img" "#
        + #"aria-label="\#(Markup.escape(title))">\#(style)"#)
    parts.append(
      #"<rect class="ground" width="\#(Markup.coordinate(width))" height="\#(Markup.coordinate(height))"/>"#)
    parts.append(text(title, x: 16, y: 24, class: "title"))
    var top = 36.0
    if series.count > 1, hasLegend {
      let legend = legend(top: top + 12)
      parts.append(legend.svg)
      top = legend.bottom
    }
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
        frame.left - 3, frame.top - 3, frame.right - frame.left + 6, frame.bottom - frame.top + 6,
      ].map(Markup.coordinate)
      parts.append(
        #"<svg x="\#(inner[0])" y="\#(inner[1])" width="\#(inner[2])" height="\#(inner[3])" "#
          + #"viewBox="\#(inner.joined(separator: " "))">"#)
      for (k, line) in points.enumerated() { parts.append(curve(line, k + firstColour, xAxis, yAxis, frame)) }
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
    let points = zip(series.x, series.y).map { x, y -> Point? in
      guard let y, abs(x) < 1e300, abs(y) < 1e300, xScale == .linear || x > 0, yScale == .linear || y > 0
      else {
        return nil
      }
      return Point(x: x, y: y)
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
    for tick in yAxis.ticks {
      let y = frame.y(yAxis.share(tick.value))
      parts.append(line(frame.left, y, frame.right, y, class: "grid"))
      parts.append(text(tick.label, x: frame.left - 8, y: y + 4, class: "tick end"))
    }
    parts.append(line(frame.left, frame.bottom, frame.right, frame.bottom, class: "axis"))
    for tick in xAxis.ticks {
      let x = frame.x(xAxis.share(tick.value))
      parts.append(line(x, frame.bottom, x, frame.bottom + 4, class: "axis"))
      // A label at the right end stays within the drawing.
      let isLast = x + 3.4 * Double(tick.label.count) > width - 4
      parts.append(
        isLast
          ? text(tick.label, x: width - 3, y: frame.bottom + 18, class: "tick end")
          : text(tick.label, x: x, y: frame.bottom + 18, class: "tick middle"))
    }
    parts.append(text(xLabel, x: frame.right, y: height - 8, class: "label end"))
    return parts
  }

  private func markLine(_ mark: (x: Double, label: String), _ axis: ChartAxis, _ frame: Frame) -> [String] {
    let x = frame.x(axis.share(mark.x))
    let isRight = x > (frame.left + frame.right) / 2
    return [
      line(x, frame.top, x, frame.bottom, class: "mark"),
      text(mark.label, x: isRight ? x - 5 : x + 5, y: frame.top + 11, class: isRight ? "tick end" : "tick"),
    ]
  }

  private func curve(_ points: [Point?], _ index: Int, _ xAxis: ChartAxis, _ yAxis: ChartAxis, _ frame: Frame)
    -> String
  {
    var path = ""
    var dots = ""
    var inGap = true
    let marks = points.count <= 24
    for point in points {
      guard let point else {
        inGap = true
        continue
      }
      let x = Markup.coordinate(frame.x(xAxis.share(point.x)))
      // What leaves the frame needn't be drawn far away.
      let y = Markup.coordinate(frame.y(min(max(yAxis.share(point.y), -9), 9)))
      path += "\(inGap ? "M" : "L")\(x) \(y)"
      if marks { dots += #"<circle cx="\#(x)" cy="\#(y)" r="2.6"/>"# }
      inGap = false
    }
    let dense = points.count > 300 ? " dense" : ""
    return #"<g class="\#(Self.style(index))\#(dense)"><path d="\#(path)"/>\#(dots)</g>"#
  }

  private func legend(top: Double) -> (svg: String, bottom: Double) {
    var x = 16.0
    var y = top
    var parts = [String]()
    for (k, series) in series.enumerated() {
      let length = 26 + 7.2 * Double(series.name.count) + 18
      if x + length > width, x > 16 {
        x = 16
        y += 18
      }
      parts.append(
        #"<g class="\#(Self.style(k))"><path d="M\#(Markup.coordinate(x)) \#(Markup.coordinate(y - 4))h18"/></g>"#
      )
      parts.append(text(series.name, x: x + 25, y: y, class: "key"))
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

  private static let colours = 6

  /// Where there are more curves than colours, further ones are dashed.
  private static func style(_ index: Int) -> String {
    "series s\(index % colours)" + (index < colours ? "" : index < 2 * colours ? " dashed" : " dotted")
  }

  /// Colours of the light and the dark theme, as CSS variables.
  static let theme = """
    :root{--surface:#fff;--ink:#1d1c1a;--muted:#6a675f;--line:#e6e3dc;\
    --s0:#1f66c7;--s1:#d4572a;--s2:#12866a;--s3:#8449c0;--s4:#bd3465;--s5:#87690f}
    @media (prefers-color-scheme:dark){:root{--surface:#1b1d21;--ink:#ecebe7;--muted:#a09d95;--line:#32353b;\
    --s0:#72adff;--s1:#ff9566;--s2:#51cda6;--s3:#c09bff;--s4:#ff86ae;--s5:#d8b956}}

    """

  /// How the parts of a chart look.
  static let rules = """
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
    .chart .series path{stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
    .chart .dashed path{stroke-dasharray:6 4}
    .chart .dotted path{stroke-dasharray:1 4}
    .chart .dense path{stroke-width:1;opacity:.75}

    """
    + (0..<colours).map {
      ".chart .s\($0) path{stroke:var(--s\($0))}.chart .s\($0) circle{fill:var(--s\($0))}\n"
    }
    .joined()
}
