import AIPOImaging
import AIPOKernels
import AIPOTasks
import Testing

@testable import AIPOStudies

struct StudyReportTests {
  private func report(_ text: String) throws -> StudyReport {
    typealias Report = StudyReport
    let image = try Tensor<Float>(shape: [4, 3, 1], elements: [Float](repeating: 0.5, count: 12))
    let table = Report.Table(
      caption: text, columns: ["", text],
      rows: [[Report.Table.Cell(text), Report.Table.Cell("1.5 ± 0.1", isBest: true)]])
    let panel = Report.Panel(
      title: "\(text)!", caption: text, tables: [table],
      charts: [
        LineChart(
          title: text, xLabel: "x", yLabel: "y",
          series: (0..<14).map { LineChart.Series(name: "\($0)", x: [1, 2], y: [Double($0), 2]) })
      ],
      strips: [Report.Strip(label: text, images: [image, nil])], commands: ["aipo reconstruct \(text)"])
    return Report(
      head: ReportHead(
        title: text, subtitle: text, command: "aipo study \(text)",
        provenance: [ReportHead.Field("kernels", text)]),
      sections: [
        Report.Section(title: text, caption: text, tables: [table], panels: [panel]),
        Report.Section(title: "Two", tables: [table]),
      ])
  }

  @Test func textIsSafeInThePage() throws {
    let html = try report("<script>\"&'").html()
    #expect(html.ranges(of: "<script>").count == 1)
    #expect(html.contains("&lt;script&gt;&quot;&amp;&#39;"))
    #expect(html.hasPrefix("<!DOCTYPE html>") && html.hasSuffix("</script>\n</body></html>\n"))
    for name in ["section", "article", "table", "details", "div", "tr"] {
      let opened = html.ranges(of: try Regex("<\(name)[ >]")).count
      #expect(opened > 0 && opened == html.ranges(of: "</\(name)>").count, "\(name)")
    }
    // Curves beyond the colours can be told apart.
    #expect(html.contains(#"class="series s0 d1""#) && html.contains(#"class="series s6 d1""#))
    #expect(html.contains("data:image/png;base64,") && html.contains(##"href="#s1""##))
  }

  @Test func markdownKeepsItsTables() throws {
    let text = try report("a|b*c_<i>").markdown()
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines[0] == #"# a\|b\*c\_\<i\>"#)
    let rows = lines.filter { $0.hasPrefix("|") }
    #expect(rows.count == 9)
    #expect(rows[2] == #"| a\|b\*c\_\<i\> | **1.5 ± 0.1** |"#)
    #expect(rows[1] == "| --- | ---: |")
    #expect(lines.contains("aipo study a|b*c_<i>") && lines.contains("## Two"))
  }

  @Test func emptyColumnsGo() {
    typealias Cell = StudyReport.Table.Cell
    let table = StudyReport.Table(
      columns: ["", "a", "b", "c"],
      rows: [[Cell(""), Cell("–"), Cell("1"), Cell("")], [Cell(""), Cell(""), Cell("–"), Cell("–")]])
    #expect(table.withoutEmptyColumns.columns == ["", "b"])
    #expect(table.withoutEmptyColumns.rows.map { $0.map(\.text) } == [["", "1"], ["", "–"]])
  }
}
