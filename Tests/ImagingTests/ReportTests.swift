import AIPOKernels
import Testing

@testable import AIPOImaging

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

struct ReportTests {
  private func picture(_ value: Float, channels: Int = 1) throws -> Tensor<Float> {
    try Tensor(shape: [12, 10, channels], elements: [Float](repeating: value, count: 120 * channels))
  }

  private func report(methods: [String], text: String = "plain") throws -> ReconstructionReport {
    typealias Report = ReconstructionReport
    let path = Report.Path(
      parameterName: "λ",
      points: (1...12).map {
        Report.PathPoint(
          event: $0 < 9 ? .solved : .step, isOnPath: $0 < 9, evaluations: 4 * $0,
          parameter: min(Double($0) / 8, 1), lambda: 1, objective: -Double($0), recon: 1, reg: 2,
          psnr: Double($0) + 10)
      })
    let entries = try (0..<2).map { k in
      Report.Entry(
        source: "\(text)#\(k)", truth: try picture(0.5), observed: try picture(.nan), psnrObserved: nil,
        results: try methods.enumerated().map { m, method in
          Report.Result(
            method: method, image: try picture(0.25), psnr: 20 + Double(m) + Double(k), ssim: 0.9,
            objective: -1234.5, lambda: 1, evaluations: 60, converged: false, reason: text, path: path)
        })
    }
    return Report(
      ReportHead(
        title: text, subtitle: text, command: "aipo \(text)", provenance: [ReportHead.Field("Model", text)]),
      sections: [
        Report.Section(title: text, caption: text, settings: [ReportHead.Field(text, "1")], entries: entries)
      ])
  }

  /// Every element that opens closes, in order, and every attribute is quoted: a small parser for the
  /// subset of HTML that the report uses.
  private func checkNesting(_ html: String) {
    var open = [Substring]()
    var rest = withoutScript(html)[...]
    while let start = rest.firstIndex(of: "<") {
      rest = rest[rest.index(after: start)...]
      let end = rest.firstIndex(of: ">")!
      let tag = rest[..<end]
      rest = rest[rest.index(after: end)...]
      let name = tag.prefix { !$0.isWhitespace && $0 != "/" }
      #expect(tag.filter { $0 == "\"" }.count % 2 == 0, "\(tag)")
      if tag.hasPrefix("/") {
        #expect(open.popLast() == tag.dropFirst(), "\(tag)")
      } else if !tag.hasPrefix("!"), !tag.hasSuffix("/"), !["meta", "img", "input"].contains(name) {
        open.append(name)
      }
    }
    #expect(open.isEmpty)
  }

  private func withoutScript(_ html: String) -> String {
    html.replacing("<script>\(ReportScript.source)</script>", with: "")
  }

  @Test(arguments: [["aipo"], ["gaussian", "fixed", "aipo"]])
  func isSelfContainedAndWellFormed(methods: [String]) throws {
    let html = try report(methods: methods).html()
    checkNesting(html)
    for word in [
      "http:", "https:", "url(", "@import", "<script", "<link", "file:", " onclick", "javascript:",
    ] {
      let found = withoutScript(html).replacing("http://www.w3.org/2000/svg", with: "").contains(word)
      #expect(!found, "\(word)")
    }
    #expect(html.contains(methods.count == 1 ? "PSNR on the path" : "Every image in figures"))
    #expect(html == (try report(methods: methods).html()))
  }

  @Test func escapesEverything() throws {
    let nasty = #"<script>alert("1")</script> & 'x' \#u{0} </style>"#
    for methods in [[nasty], [nasty, "b"]] {
      let html = try report(methods: methods, text: nasty).html()
      checkNesting(html)
      let rest = withoutScript(html)
      #expect(!rest.contains("<script") && !rest.contains("alert(\"") && !rest.contains("\0"))
      #expect(html.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;x&#39;"))
    }
  }

  @Test func meansAndTheBestOfThem() throws {
    let section = try report(methods: ["a", "b"]).sections[0]
    #expect(section.rows.map(\.method) == ["a", "b"])
    #expect(section.rows.map(\.psnr?.mean) == [20.5, 21.5])
    #expect(section.rows.map(\.psnr?.standardError) == [0.5, 0.5])
    #expect(section.rows.map(\.evaluations?.mean) == [60, 60])
    let html = try report(methods: ["a", "b"]).html()
    #expect(html.contains(#"<td class="best">21.50 <small>± 0.50</small></td>"#))
    #expect(html.contains(#"<td>20.50 <small>± 0.50</small></td>"#))
    #expect(html.contains(#"<td class="bars c1"><i style="width:100.0%">"#))
  }

  /// A row of fewer images, as where a run was interrupted, may have the highest mean: it isn't the best.
  @Test func rowsOfOtherImagesAreNotCompared() throws {
    typealias Row = ReconstructionReport.SummaryRow
    var report = try report(methods: ["a", "b"])
    func results(_ method: String, _ psnr: [Double]) -> Row {
      Row(
        method: method,
        results: psnr.map { ReconstructionReport.Result(method: method, image: nil, psnr: $0) })
    }
    report.sections[0].summary = [
      Row(psnrObserved: [9, 11], ssimObserved: [0.25, 0.75]), results("a", [20, 22]), results("b", [30]),
    ]
    let html = try report.html()
    #expect(html.contains(#"<td class="best">21.00"#) && html.contains("<td>30.00</td>"))
    #expect(html.contains("b (1 of 2 images)"))
    #expect(html.contains("<td>0.500 <small>± 0.250</small></td>"))
  }

  /// The browser runs the page's own script and nothing else: its hash is in the policy.
  @Test func policyAllowsTheScriptAlone() throws {
    let html = try report(methods: ["a"]).html()
    let script = try #require(html.split(separator: "<script>").last?.split(separator: "</script>").first)
    let hash = Data(SHA256.digest(Array(script.utf8))).base64EncodedString()
    #expect(
      html.contains("default-src 'none'; img-src data:;") && html.contains("script-src 'sha256-\(hash)';"))
    #expect(html.split(separator: "<script>").count == 2 && !script.contains("<"))
    #expect(SHA256.hexDigest(Array("abc".utf8)).hasPrefix("ba7816bf") && SHA256.digest([])[0] == 0xE3)
  }

  @Test func warningsComeFirst() throws {
    var report = try report(methods: ["a"])
    report.head.warnings = ["σ = 25 on pixels in [0, 1]: 25/255 <is> meant?"]
    let html = try report.html()
    checkNesting(html)
    let warning = try #require(html.range(of: "25/255 &lt;is&gt; meant?"))
    #expect(warning.lowerBound < html.range(of: "<section")!.lowerBound)
  }

  @Test func picturesInsideAreThePixels() throws {
    let html = try report(methods: ["aipo"]).html()
    let pieces = html.split(separator: "data:image/png;base64,").dropFirst().map { $0.prefix { $0 != "\"" } }
    #expect(pieces.count == 8)
    let decoded = try pieces.map { piece in
      try PNG.decode(Array(Data(base64Encoded: String(piece))!), path: "")
    }
    guard case .bytes(let truth) = decoded[0].1, case .bytes(let observed) = decoded[1].1,
      case .bytes(let error) = decoded[3].1
    else {
      Issue.record("not 8-bit")
      return
    }
    #expect(truth == [UInt8](repeating: 128, count: 120))
    #expect(decoded[1].0.channels == 3 && Set(observed).count == 6)
    // An error of .25 on the scale to .3.
    let color = ColorMap.color(0.25 / 0.3)
    #expect(Array(error[..<3]) == [color.red, color.green, color.blue])
  }

  @Test func sheetOfASection() throws {
    let folder = TemporaryFolder()
    try report(methods: ["a", "b"]).sections[0].writeSheet(
      to: folder.file("s.png"), scale: 3, isLabelled: false)
    let set = try ImageSet(path: folder.file("s.png"))
    #expect(set.commonShape == ImageShape(height: 4 * 36 + 18, width: 2 * 30 + 6, channels: 3))
    let pixels = try set.bytes([0])
    func pixel(_ y: Int, _ x: Int) -> [UInt8] { Array(pixels[((y * 66 + x) * 3)..<((y * 66 + x) * 3 + 3)]) }
    #expect(pixel(0, 0) == [128, 128, 128] && pixel(42, 0) == [58, 84, 136])
    #expect(
      pixel(0, 30) == [255, 255, 255] && pixel(84, 36) == [64, 64, 64] && pixel(161, 65) == [64, 64, 64])
  }

  @Test func writesWhole() throws {
    let folder = TemporaryFolder()
    try report(methods: ["a"]).write(to: folder.file("r.html"))
    #expect(folder.names == ["r.html"])
    #expect(throws: FileError.self) { try report(methods: ["a"]).write(to: "/dev/full") }
  }

  @Test func anEmptyReportAndResultsWithoutPictures() throws {
    typealias Report = ReconstructionReport
    let entry = Report.Entry(
      source: "y.npy#0", observedNote: "100 numbers",
      results: [Report.Result(method: "aipo", image: nil, converged: false, reason: "not finite")])
    let sections = [
      Report.Section(title: "empty", entries: []), Report.Section(title: "one", entries: [entry]),
    ]
    let html = try Report(
      ReportHead(title: "", command: "", provenance: []), sections: sections
    ).html()
    checkNesting(html)
    #expect(html.contains("100 numbers") && html.contains("no: not finite"))
  }
}

struct LineChartTests {
  @Test(arguments: [
    [[Double]](), [[]], [[.nan]], [[0]], [[5, 5, 5]], [[1e-300, 0]], [[-1e308, 1e308]], [[1e299, -1e299]],
    [[1, 2, .infinity, 4]], [[1e-9, 1e-8]], [[123_456_789, 123_456_790]], [[-0.0, 1e-12]],
  ])
  func drawsAnything(values: [[Double]]) {
    for scale in [LineChart.Scale.linear, .logarithmic] {
      let chart = LineChart(
        title: "a < b", xLabel: "x", yLabel: "y", xScale: scale, yScale: scale,
        series: values.map { LineChart.Series(name: "&", x: $0, y: $0) })
      let svg = chart.svgDocument()
      #expect(svg.hasPrefix("<svg") && svg.hasSuffix("</svg>"))
      #expect(!svg.contains("nan") && !svg.contains("inf ") && svg.contains("a &lt; b"))
    }
  }

  @Test func gapsBreakTheLineAndSpikesStay() {
    let gap = LineChart(
      title: "", xLabel: "", yLabel: "",
      series: [LineChart.Series(name: "", x: [0, 1, 2, 3, 4], y: [1, 2, nil, 3, 4])])
    let line = gap.svgDocument().split(separator: "class=\"series")[1].prefix { $0 != "/" }
    #expect(line.filter { $0 == "M" }.count == 2 && line.filter { $0 == "L" }.count == 2)
    let x = (0..<20_000).map(Double.init)
    let spike = LineChart(
      title: "", xLabel: "", yLabel: "",
      series: [LineChart.Series(name: "", x: x, y: x.map { $0 == 12_345 ? 100 : 0 })]
    ).svgDocument()
    #expect(spike.utf8.count < 60_000)
    #expect(spike.contains(" 62L") || spike.contains(" 62\""))  // the top of the frame
  }

  @Test func aSteepBeginningLeavesTheFrame() {
    let x = (0...100).map(Double.init)
    var chart = LineChart(
      title: "", xLabel: "", yLabel: "",
      series: [LineChart.Series(name: "", x: x, y: x.map { $0 < 5 ? 1e6 : -$0 })])
    #expect(chart.svgDocument().contains(">1\u{2009}000\u{2009}000<"))
    chart.cutsBeginning = true
    #expect(!chart.svgDocument().contains("000\u{2009}000<") && chart.svgDocument().contains(">−100<"))
    chart.mark = (50, "here <")
    #expect(chart.svgDocument().contains(">here &lt;<"))
  }

  private typealias Report = ReconstructionReport

  private func result(_ method: String, path name: String?, _ events: [Report.PathPoint.Event])
    -> Report.Result
  {
    let points = events.enumerated().map { k, event in
      Report.PathPoint(
        event: event, isOnPath: name != nil && event != .step && event != .trial, evaluations: k,
        parameter: Double(k) / 4, lambda: 1 + Double(k), objective: 5 - Double(k), recon: 2,
        reg: k == 0 ? nil : 3, psnr: 20)
    }
    return Report.Result(
      method: method, image: nil, psnr: 20, lambda: 1,
      path: Report.Path(parameterName: name, points: points))
  }

  @Test func methodsShareTheirCharts() throws {
    let exact = Report.Result(method: "gaussian", image: nil, psnr: 18)
    let html = PathCharts([
      exact, result("fixed", path: nil, [.start, .step, .finished]),
      result("aipo", path: "t", [.start, .solved, .finished]),
    ]).html
    #expect(html.split(separator: #"<figure class="plot">"#).count - 1 == 8)
    #expect(html.contains("aipo: PSNR on the path") && !html.contains("fixed: PSNR on"))
    // Named and drawn in the order of the results, each in the colour of its method.
    let chart = try #require(html.split(separator: ">PSNR</text>").last).split(separator: "</figure>")[0]
    let curves = chart.split(separator: #"<g class="series "#).dropFirst().map { part in
      String(part.prefix { $0 != "\"" })
    }
    let styles = ["gaussian", "fixed", "aipo"].map { "s\(MethodColours.place(of: $0)!)" }
    #expect(curves == styles + styles)
    let names = chart.split(separator: #"class="key""#).dropFirst().map { part in
      part.split(separator: ">")[1].prefix { $0 != "<" }
    }
    #expect(names == ["gaussian", "fixed", "aipo"])
  }

  /// Every state of a path is drawn, with what happened at it.
  @Test func everyEventHasItsMark() throws {
    let events = Report.PathPoint.Event.allCases
    #expect(Set(events.compactMap(\.mark)).count == LineChart.Mark.allCases.count)
    let html = PathCharts([result("aipo", path: "s", events)]).html
    let legend = html.split(separator: "</p>")[0]
    let objective = try #require(html.split(separator: ">Objective on the path</text>").last)
      .split(separator: "</figure>")[0]
    for event in events {
      guard let mark = event.mark else { continue }
      #expect(legend.contains("</svg>\(event.words)</span>"), "\(event)")
      let shape = mark.svg(x: 0, y: 0)
      let kind = shape.contains("<circle") ? shape.suffix(8) : shape.drop { $0 != "m" }.suffix(40)
      #expect(objective.contains(kind) == (event != .trial), "\(event)")
    }
  }

  /// A chart of a single state says nothing.
  @Test func noPathNoChart() {
    #expect(PathCharts([Report.Result(method: "gaussian", image: nil, psnr: 18)]).html.isEmpty)
    #expect(PathCharts([result("aipo", path: "s", [.finished])]).html.isEmpty)
    let one = PathCharts([result("aipo", path: "s", [.solved, .step, .trial])]).html
    #expect(!one.contains("on the path") && !one.contains("every λ") && one.contains("Objective"))
  }

  @Test func curvesOfOneMethodDiffer() {
    let names = ["aipo, from zero", "aipo, from a draw", "fixed", "aipo, from y"]
    let series = names.map { name in
      LineChart.Series(name: name, method: String(name.prefix { $0 != "," }), x: [0, 1], y: [0, 1])
    }
    let svg = LineChart(title: "", xLabel: "", yLabel: "", series: series).svgDocument()
    let (aipo, fixed) = (MethodColours.place(of: "aipo")!, MethodColours.place(of: "fixed")!)
    let styles = svg.split(separator: "<g class=\"").dropFirst().map { String($0.prefix { $0 != "\"" }) }
    let expected = [
      "series s\(aipo)", "series s\(aipo) d1", "series s\(fixed)", "series s\(aipo) d2",
    ]
    // The legend, and then the curves in its order.
    #expect(styles == expected + expected)
  }

  /// No label of an axis covers another, however many ticks there are.
  @Test func labelsLeaveEachOtherRoom() throws {
    let ranges: [(Double, Double)] = [
      (0.011, 0.99), (1, 200), (3, 5000), (1e-12, 1), (0.35, 0.7), (10_000, 10_003), (1e6, 9e6), (0, 1),
    ]
    for (low, high) in ranges {
      for scale in [LineChart.Scale.linear, .logarithmic] where scale == .linear || low > 0 {
        var chart = LineChart(
          title: "", xLabel: "", yLabel: "", xScale: scale, yScale: scale,
          series: [LineChart.Series(name: "", x: [low, high], y: [low, high])])
        (chart.width, chart.height) = (300, 205)
        let labels = chart.svgDocument().split(separator: "<text class=\"tick ").dropFirst().map { part in
          let numbers = part.split(separator: "\"").prefix(5)
          let length = 6.4 * Double(part.split(separator: ">")[1].prefix { $0 != "<" }.count)
          let (x, y) = (Double(numbers[2])!, Double(numbers[4])!)
          let left = part.hasPrefix("end") ? x - length : x - length / 2
          return (x: left...(left + length), y: (y - 9)...(y + 2))
        }
        for (k, a) in labels.enumerated() {
          for b in labels[..<k] {
            #expect(!(a.x.overlaps(b.x) && a.y.overlaps(b.y)), "\(low) \(high) \(scale) \(a) \(b)")
          }
        }
        #expect(labels.count >= 4)
      }
    }
  }

  @Test func ticksAreRound() {
    let axis = ChartAxis(values: [-1971.3, -512.6], scale: .linear, targetTicks: 5, padded: true)
    #expect(axis.ticks.map(\.label) == ["−2000", "−1500", "−1000", "−500"])
    #expect(abs(axis.share(-2000)) < 1e-12 && abs(axis.share(-500) - 1) < 1e-12)
    let decades = ChartAxis(values: [1e-12, 1], scale: .logarithmic, targetTicks: 6, padded: false)
    #expect(decades.ticks.map(\.label) == ["10⁻¹²", "10⁻¹⁰", "10⁻⁸", "10⁻⁶", "10⁻⁴", "0.01", "1"])
    let narrow = ChartAxis(values: [0.35, 0.7], scale: .logarithmic, targetTicks: 4, padded: false)
    #expect(narrow.ticks.map(\.label) == ["0.4", "0.5", "0.6", "0.7"])
    #expect(abs(narrow.share(0.5) - 0.5145731728297583) < 1e-9)
    let few = ChartAxis(values: [0.01, 1], scale: .logarithmic, targetTicks: 6, padded: false)
    #expect(few.ticks.map(\.label) == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"])
  }

  @Test func numbersAsText() {
    #expect(Markup.fixed(-1234.56, decimals: 1) == "−1234.6")
    #expect(Markup.fixed(1_234_567, decimals: 0) == "1\u{2009}234\u{2009}567")
    #expect(Markup.fixed(-0.001, decimals: 2) == "0.00" && Markup.fixed(.nan, decimals: 2) == "–")
    #expect(Markup.fixed(0.05, decimals: 3) == "0.050")
    #expect(
      [0, 0.05, 0.125, 1, 12.34, 1.3e-5, -2e7].map(Markup.short)
        == ["0", "0.05", "0.125", "1", "12.3", "1.3·10⁻⁵", "−2·10⁷"])
    #expect([0, 1.005, -0.25, 12.3].map(Markup.coordinate) == ["0", "1", "-0.25", "12.3"])
    for text in ["", "f", "fo", "foo", "foob", "fooba", "foobar"] {
      #expect(Markup.base64(Array(text.utf8)) == Data(text.utf8).base64EncodedString())
    }
  }

  @Test func colorMapEndsAndMiddle() {
    #expect(ColorMap.color(0) == (0x00, 0x00, 0x04) && ColorMap.color(1) == (0xFC, 0xFD, 0xBF))
    #expect(ColorMap.color(0.5) == (0xB7, 0x37, 0x79))
    #expect(ColorMap.color(.nan) == ColorMap.color(0) && ColorMap.color(9) == ColorMap.color(1))
  }
}
