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
          stage: $0 < 9 ? .path : .descent, evaluations: 4 * $0, parameter: min(Double($0) / 8, 1), lambda: 1,
          objective: -Double($0), recon: 1, reg: 2, psnr: Double($0) + 10)
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
    var rest = html[...]
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

  @Test(arguments: [["aipo"], ["gaussian", "fixed", "aipo"]])
  func isSelfContainedAndWellFormed(methods: [String]) throws {
    let html = try report(methods: methods).html()
    checkNesting(html)
    for word in ["http:", "https:", "url(", "@import", "<script", "<link", "file:"] {
      let found = html.replacing("http://www.w3.org/2000/svg", with: "").contains(word)
      #expect(!found, "\(word)")
    }
    #expect(html.contains(methods.count == 1 ? "PSNR along the path" : "Every image in figures"))
    #expect(html == (try report(methods: methods).html()))
  }

  @Test func escapesEverything() throws {
    let nasty = #"<script>alert("1")</script> & 'x' \#u{0} </style>"#
    for methods in [[nasty], [nasty, "b"]] {
      let html = try report(methods: methods, text: nasty).html()
      checkNesting(html)
      #expect(!html.contains("<script") && !html.contains("alert(\"") && !html.contains("\0"))
      #expect(html.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;x&#39;"))
    }
  }

  @Test func meansAndTheBestOfThem() throws {
    let section = try report(methods: ["a", "b"]).sections[0]
    #expect(section.rows.map(\.method) == ["a", "b"])
    #expect(section.rows.map(\.psnr) == [20.5, 21.5])
    #expect(section.rows.map(\.evaluations) == [60, 60])
    let html = try report(methods: ["a", "b"]).html()
    #expect(html.contains(#"<td class="best">21.50</td>"#) && html.contains("<td>20.50</td>"))
    #expect(html.contains(#"<td class="bars best"><i style="width:100.0%">"#))
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
    try report(methods: ["a", "b"]).sections[0].writeSheet(to: folder.file("s.png"), scale: 3)
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

  @Test func methodsShareTheirCharts() throws {
    typealias Report = ReconstructionReport
    func result(_ method: String, path name: String?, _ stage: Report.PathPoint.Stage) -> Report.Result {
      let points = (0..<5).map {
        Report.PathPoint(
          stage: stage, evaluations: $0, parameter: Double($0) / 4, lambda: 1, objective: 5, recon: 2, reg: 3,
          psnr: 20)
      }
      return Report.Result(
        method: method, image: nil, psnr: 20, lambda: 1,
        path: Report.Path(parameterName: name, points: points))
    }
    let exact = Report.Result(method: "gaussian", image: nil, psnr: 18)
    let html = PathCharts([result("aipo", path: "t", .path), result("fixed", path: nil, .descent), exact])
      .html
    #expect(html.split(separator: "<svg xmlns").count - 1 == 8)
    for name in ["aipo", "fixed", "gaussian"] { #expect(html.contains("</i>\(name)</span>")) }
    #expect(html.contains("aipo: PSNR along the path") && !html.contains("fixed: PSNR along"))
    #expect(PathCharts([exact]).html.isEmpty)
  }

  @Test func ticksAreRound() {
    let axis = ChartAxis(values: [-1971.3, -512.6], scale: .linear, targetTicks: 5, padded: true)
    #expect(axis.ticks.map(\.label) == ["−2000", "−1500", "−1000", "−500"])
    #expect(abs(axis.share(-2000)) < 1e-12 && abs(axis.share(-500) - 1) < 1e-12)
    let decades = ChartAxis(values: [1e-12, 1], scale: .logarithmic, targetTicks: 6, padded: false)
    #expect(decades.ticks.map(\.label) == ["10⁻¹²", "10⁻¹⁰", "10⁻⁸", "10⁻⁶", "10⁻⁴", "0.01", "1"])
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
