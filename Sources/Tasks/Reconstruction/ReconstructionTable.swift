import AIPOKernels
import AIPOSolvers

/// The table at the end of a run: a line an image and their mean, or a line a method.
enum ReconstructionTable {
  private static let longest = 100

  /// A figure of one image, and of many.
  private struct Column {
    var header: String
    var one: (ReconstructionRecord) -> String
    var many: ([ReconstructionRecord]) -> String

    static func mean(_ header: String, _ digits: Int, _ value: @escaping (ReconstructionRecord) -> Double?)
      -> Column
    {
      Column(
        header: header, one: { value($0).map { FigureText.number($0, digits) } ?? "–" },
        many: { FigureText.estimate(Estimate($0.map(value)), digits) })
    }

    static func range(_ header: String, _ value: @escaping (ReconstructionRecord) -> Double) -> Column {
      Column(header: header, one: { short(value($0)) }, many: { FigureText.range($0.map(value)) })
    }
  }

  private static var observed: [Column] {
    [Column.mean("observed PSNR", 2, \.psnrObserved), Column.mean("SSIM", 4, \.ssimObserved)]
  }

  private static var quality: [Column] {
    [Column.mean("PSNR", 2, \.psnr), Column.mean("SSIM", 4, \.ssim)]
  }

  private static func rest(_ method: ReconstructionMethod) -> [Column] {
    [
      Column.range("λ", \.lambda), Column.range("σ", \.sigma),
      method.usesFlow
        ? Column.range("flow", \.flowShare) : Column(header: "flow", one: { _ in "–" }, many: { _ in "–" }),
      Column.mean("objective", 1, \.objective),
      Column(
        header: "evaluations", one: { "\($0.evaluations)" },
        many: { Estimate($0.map { Double($0.evaluations) }).map { fixed($0.mean, 0) } ?? "–" }),
      Column(
        header: "seconds", one: { fixed($0.seconds ?? .nan, 2) },
        many: { Estimate($0.map(\.seconds)).map { fixed($0.mean, 2) } ?? "–" }
      ),
      Column(
        header: "converged", one: { ($0.converged ? "yes: " : "no: ") + $0.reason.words },
        many: { figures in "\(figures.count { $0.converged })/\(figures.count)" }),
    ]
  }

  private static let legend =
    "λ: the prior's weight. σ: of the noise. flow: its share of the prior, the rest being the Gaussian's."

  static func text(methods: [ReconstructionMethod], records figures: [[ReconstructionRecord]]) -> String {
    let all = figures[0]
    let isKnown = figures.joined().contains { $0.psnr != nil || $0.psnrObserved != nil }
    let quality = isKnown ? Self.quality : []
    let rest = rest(methods[0])
    let table: TextTable
    if methods.count > 1 {
      var methodTable = TextTable(
        ["mean of \(figures.map(\.count).min() ?? 0) images"] + (quality + rest).map(\.header))
      if isKnown {
        methodTable.add(["observed"] + observed.map { $0.many(all) } + rest.map { _ in "–" })
      }
      for (method, figures) in zip(methods, figures) {
        methodTable.add([method.rawValue] + (quality + Self.rest(method)).map { $0.many(figures) })
      }
      table = methodTable
    } else {
      let columns = (isKnown ? observed : []) + quality + rest
      var imageTable = TextTable(["image"] + columns.map(\.header))
      if all.count <= longest {
        for image in all { imageTable.add([image.source] + columns.map { $0.one(image) }) }
        if all.count > 1 { imageTable.addRule() }
      }
      if all.count != 1 { imageTable.add(["mean of \(all.count)"] + columns.map { $0.many(all) }) }
      table = imageTable
    }
    return table.text + "\n" + legend
  }
}
