import AIPOKernels
import AIPOSolvers
import Testing

@testable import AIPOImaging
@testable import AIPOTasks

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

struct ReportTests {
  private func picture(_ value: Float, channels: Int = 1) throws -> Tensor<Float> {
    try Tensor(shape: [12, 10, channels], elements: [Float](repeating: value, count: 120 * channels))
  }

  private func record(_ psnr: Double? = nil, _ source: String = "") -> ReconstructionRecord {
    ReconstructionRecord(
      source: source, psnr: psnr, ssim: 0.9, objective: -1234.5, lambda: 1, flowShare: 1, evaluations: 60,
      iterations: 1, converged: false, reason: .noFiniteStart, sigma: 0.1, path: "lambda")
  }

  private func report(methods: [String], text: String = "plain") throws -> ReconstructionReport {
    typealias Report = ReconstructionReport
    let path = Report.Path(
      parameterName: "λ",
      points: (1...12).map {
        Report.PathPoint(
          event: $0 < 9 ? .solved : .iterate, isOnPath: $0 < 9, evaluations: 4 * $0,
          parameter: min(Double($0) / 8, 1), lambda: 1, objective: -Double($0), recon: 1, reg: 2,
          psnr: Double($0) + 10)
      })
    let entries = try (0..<2).map { k in
      Report.Entry(
        source: "\(text)#\(k)", truth: try picture(0.5), observed: try picture(.nan),
        results: try methods.enumerated().map { m, method in
          Report.Result(
            method: method, record: record(20 + Double(m) + Double(k), text), image: try picture(0.25),
            path: path)
        })
    }
    return Report(
      head: ReportHead(
        title: text, subtitle: text, command: "aipo \(text)", provenance: [ReportHead.Field("Model", text)]),
      title: text, caption: text, settings: [ReportHead.Field(text, "1")], entries: entries,
      rows: methods.enumerated().map { m, method in
        Report.SummaryRow(method: method, records: entries.map { $0.results[m].record })
      })
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
    let section = try report(methods: ["a", "b"])
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
      Row(method: method, records: psnr.map { record($0) })
    }
    var observed = [record(), record()]
    (observed[0].psnrObserved, observed[1].psnrObserved) = (9, 11)
    (observed[0].ssimObserved, observed[1].ssimObserved) = (0.25, 0.75)
    report.rows = [Row(observed: observed), results("a", [20, 22]), results("b", [30])]
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
    let file = FileManager.default.temporaryDirectory.path + "/\(UUID().uuidString).png"
    defer { try? FileManager.default.removeItem(atPath: file) }
    try report(methods: ["a", "b"]).writeSheet(to: file, scale: 3, isLabelled: false)
    let set = try ImageSet(path: file)
    #expect(set.commonShape == ImageShape(height: 4 * 36 + 18, width: 2 * 30 + 6, channels: 3))
    let pixels = try set.bytes([0])
    func pixel(_ y: Int, _ x: Int) -> [UInt8] { Array(pixels[((y * 66 + x) * 3)..<((y * 66 + x) * 3 + 3)]) }
    #expect(pixel(0, 0) == [128, 128, 128] && pixel(42, 0) == [58, 84, 136])
    #expect(
      pixel(0, 30) == [255, 255, 255] && pixel(84, 36) == [64, 64, 64] && pixel(161, 65) == [64, 64, 64])
  }

  @Test func writesWhole() throws {
    let file = FileManager.default.temporaryDirectory.path + "/\(UUID().uuidString).html"
    defer { try? FileManager.default.removeItem(atPath: file) }
    try report(methods: ["a"]).write(to: file)
    #expect(try String(contentsOfFile: file, encoding: .utf8) == report(methods: ["a"]).html())
    #expect(throws: FileError.self) { try report(methods: ["a"]).write(to: "/dev/full") }
  }

  @Test func anEmptyReportAndResultsWithoutPictures() throws {
    typealias Report = ReconstructionReport
    let head = ReportHead(title: "", command: "", provenance: [])
    checkNesting(try Report(head: head, title: "empty", entries: [], rows: []).html())
    let entry = Report.Entry(
      source: "y.npy#0", observedNote: "100 numbers",
      results: [Report.Result(method: "aipo", record: record())])
    let html = try Report(head: head, title: "one", entries: [entry], rows: []).html()
    checkNesting(html)
    #expect(html.contains("100 numbers") && html.contains("no: the prior has no finite density"))
  }
}

struct PathChartsTests {
  private func record(_ psnr: Double) -> ReconstructionRecord {
    ReconstructionRecord(
      source: "", psnr: psnr, lambda: 1, flowShare: 1, evaluations: 1, iterations: 1, converged: true,
      reason: .gradient, sigma: 0.1, path: "lambda")
  }

  private typealias Report = ReconstructionReport

  private func result(_ method: String, path name: String?, _ events: [PathEvent])
    -> Report.Result
  {
    let points = events.enumerated().map { k, event in
      Report.PathPoint(
        event: event, isOnPath: name != nil && event != .iterate && event != .lambda, evaluations: k,
        parameter: Double(k) / 4, lambda: 1 + Double(k), objective: 5 - Double(k), recon: 2,
        reg: k == 0 ? nil : 3, psnr: 20)
    }
    return Report.Result(
      method: method, record: record(20), path: Report.Path(parameterName: name, points: points))
  }

  @Test func methodsShareTheirCharts() throws {
    let exact = Report.Result(method: "gaussian", record: record(18))
    let html = PathCharts([
      exact, result("fixed", path: nil, [.start, .iterate, .finished]),
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
    let events = PathEvent.inOrder
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
      #expect(objective.contains(kind) == (event != .lambda), "\(event)")
    }
  }

  /// A chart of a single state says nothing.
  @Test func noPathNoChart() {
    #expect(PathCharts([Report.Result(method: "gaussian", record: record(18))]).html.isEmpty)
    #expect(PathCharts([result("aipo", path: "s", [.finished])]).html.isEmpty)
    let one = PathCharts([result("aipo", path: "s", [.solved, .iterate, .lambda])]).html
    #expect(!one.contains("on the path") && !one.contains("every λ") && one.contains("Objective"))
  }
}
