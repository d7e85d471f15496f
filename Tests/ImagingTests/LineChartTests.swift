import AIPOKernels
import Testing

@testable import AIPOImaging

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

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
