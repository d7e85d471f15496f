import AIPOImaging
import AIPOKernels
import AIPOSolvers

/// A page on sampled posteriors: mean and uncertainty beside each other, a strip of draws, a line of the image with its band,
/// and what the chains say of themselves. Where they disagree that is its first line, and each chain's mean is shown in place of
/// intervals.
struct PosteriorReport {
  private var head: ReportHead
  private let settings: [(String, JSONValue)]
  private var cards: [String] = []
  private var disagreeing: [String] = []

  init(head: ReportHead, settings: [(String, JSONValue)]) { (self.head, self.settings) = (head, settings) }

  /// Images that are shown.
  private static let mostCards = 24

  mutating func add(_ image: SampledImage, strip: Tensor<Float>) throws {
    if let reason = image.summary.disagreement { disagreeing.append("\(image.record.source) (\(reason))") }
    guard cards.count < Self.mostCards else { return }
    cards.append(try Self.card(image, strip))
  }

  func write(to path: String, advices: AdviceList) throws(FileError) {
    var head = head
    if !disagreeing.isEmpty {
      let more = disagreeing.count > 3 ? " and \(disagreeing.count - 3) more" : ""
      head.subtitle =
        "The chains disagree on \(disagreeing.prefix(3).joined(separator: ", "))\(more): no interval is given there, and means "
        + "and deviations may be wrong. More draws, a longer warm-up or --sampler smc may help. "
        + head.subtitle
    }
    head.warnings = advices.lines
    let parts =
      ReportPage.opening(head, links: [])
      + ReportPage.sectionOpening(id: "s0", title: "Posterior", caption: "") + cards + [
        ReportPage.fields(settings.map { ReportHead.Field($0.0, $0.1.text) }, class: "settings"),
        "</section>",
      ]
      + ReportPage.closing(
        head,
        note: """
          The mean is that of all draws, and so is the deviation. R-hat compares the chains with each other (1 is \
          agreement), the effective sample size says how many independent draws tell as much. MCSE is the error of a \
          pixel's mean because draws are finitely many.
          """)
    try AtomicFile.write(parts.joined(separator: "\n"), to: path)
  }

  // MARK: An image

  private static func card(_ image: SampledImage, _ strip: Tensor<Float>) throws -> String {
    let (record, summary) = (image.record, image.summary)
    let shape = summary.shape
    var figures: [String] = []
    func add(_ title: String, _ picture: Tensor<Double>, _ note: String = "") throws {
      figures.append(
        figure(
          title,
          try ReportPicture.image(picture.converted(to: Float.self), alt: "\(title) of \(record.source)"),
          note))
    }
    if let truth = image.truth { try add("Truth", truth) }
    try add("Observed", image.observed, quality(record.psnrObserved))
    try add("Mean", summary.mean, quality(record.psnr))
    let deviations = pixelMeans(summary.sd)
    let scale = ReportPicture.scale(of: deviations)
    figures.append(
      figure(
        "Deviation",
        try ReportPicture.map(
          deviations, height: shape.height, width: shape.width, scale: scale,
          alt: "deviation of \(record.source)"),
        #"<span class="bar">0 <i></i> \#(Markup.short(scale))</span>"#))
    if let share = summary.exceedance { try add("Probability of exceeding", share) }
    if summary.disagreement != nil {
      for (k, mean) in summary.chainMeans.prefix(8).enumerated() { try add("Mean of chain \(k + 1)", mean) }
    }
    var parts = [
      #"<article class="card"><h3>\#(Markup.escape(record.source))</h3>"#,
      #"<p class="caption">Sampled: \#(Markup.escape(record.density)).</p>"#,
    ]
    if let reason = summary.disagreement {
      parts.insert(
        "<p><b>The chains disagree: \(Markup.escape(reason)). No interval is given.</b></p>", at: 1)
    }
    parts.append(#"<div class="figures">\#(figures.joined())</div>"#)
    if image.modes.count > 1 { parts.append(try modes(image)) }
    parts.append(try self.strip(strip))
    parts.append(#"<div class="charts">\#(profile(image).htmlFigure())</div>"#)
    parts.append(ReportPage.fields(facts(record), class: "facts"))
    parts.append(table(summary))
    return (parts + ["</article>"]).joined(separator: "\n")
  }

  private static func figure(_ title: String, _ picture: String, _ note: String = "") -> String {
    "<figure>\(picture)<figcaption><b>\(Markup.escape(title))</b><span>\(note)</span></figcaption></figure>"
  }

  private static func quality(_ psnr: Double?) -> String {
    psnr.map { "\(Markup.fixed($0, decimals: 2)) dB" } ?? ""
  }

  /// The mean over channels at every pixel.
  private static func pixelMeans(_ image: Tensor<Double>) -> [Double] {
    let channels = image.shape[2]
    return (0..<image.count / channels).map { pixel in
      (0..<channels).reduce(0) { $0 + image[flat: pixel * channels + $1] } / Double(channels)
    }
  }

  /// Each mode by its mean and the draw nearest to it.
  private static func modes(_ image: SampledImage) throws -> String {
    let figures = try zip(image.modes, image.record.modes).enumerated().flatMap { k, pair in
      let (mode, record) = pair
      let name = "mode \(k + 1) of \(image.record.source)"
      return [
        figure(
          "Mode \(k + 1)",
          try ReportPicture.image(mode.mean.converted(to: Float.self), alt: "mean of \(name)"), record.words),
        figure("A draw of it", try ReportPicture.image(mode.draw, alt: "a draw of \(name)")),
      ]
    }
    let note =
      image.modes[0].weight == nil
      ? "The chains don't go from one to the other, so that their weights aren't known: --sampler smc finds them."
      : "The weights are those of the posterior, ± their standard errors."
    return
      "<h3>\(image.modes.count) modes</h3><p class=\"caption\">The observation can be explained in ways that lie apart. "
      + "\(note)</p><div class=\"figures\">\(figures.joined())</div>"
  }

  private static func strip(_ draws: Tensor<Float>) throws -> String {
    let shape = Array(draws.shape.dropFirst())
    let pictures = try (0..<draws.shape[0]).map { k in
      let size = draws.rowLength
      let one = try Tensor<Float>(
        shape: shape, elements: Array(draws.elements[k * size..<(k + 1) * size]))
      return try ReportPicture.image(one, alt: "draw \(k + 1)")
    }
    return
      #"<h3>Draws</h3><div class="row" style="grid-template-columns:repeat(\#(pictures.count),minmax(0,1fr))">"#
      + pictures.map { "<figure>\($0)</figure>" }.joined() + "</div>"
  }

  /// The row of pixels that is the least sure, with its band.
  private static func profile(_ image: SampledImage) -> LineChart {
    let summary = image.summary
    let (height, width, channels) = (summary.shape.height, summary.shape.width, summary.shape.channels)
    let deviations = pixelMeans(summary.sd)
    let row =
      (0..<height).max { a, b in
        (0..<width).reduce(0) { $0 + deviations[a * width + $1] }
          < (0..<width).reduce(0) { $0 + deviations[b * width + $1] }
      } ?? 0
    let x = (0..<width).map(Double.init)
    func line(_ image: Tensor<Double>) -> [Double?] {
      (0..<width).map { image[flat: (row * width + $0) * channels] }
    }
    var series: [LineChart.Series] = [.init(name: "mean", x: x, y: line(summary.mean))]
    if summary.quantiles.count > 1, let low = summary.quantiles.first, let high = summary.quantiles.last {
      series.append(.init(name: "\(short(100 * low.probability)) %", x: x, y: line(low.image)))
      series.append(.init(name: "\(short(100 * high.probability)) %", x: x, y: line(high.image)))
    }
    if let truth = image.truth { series.append(.init(name: "truth", x: x, y: line(truth))) }
    var chart = LineChart(
      title: "Row \(row), where the deviation is the greatest", xLabel: "column", yLabel: "value",
      series: series)
    chart.caption =
      "The quantiles are each pixel's own: a band that holds single pixels, not the whole line at once."
    return chart
  }

  private static func facts(_ record: PosteriorRecord) -> [ReportHead.Field] {
    var facts: [ReportHead.Field] = [
      .init("Sampler", "\(record.sampler) over \(record.space == "z" ? "latents" : "pixels")"),
      .init("Draws", "\(record.draws) by each of \(counted(record.chains, "chain"))"),
    ]
    func add(_ name: String, _ value: Double?, _ digits: Int, _ place: String? = nil) {
      guard let value else { return }
      facts.append(.init(name, fixed(value, digits) + (place.map { ", \($0)" } ?? "")))
    }
    add("R-hat of functionals", record.rhat, 3, record.worst.rhat)
    add("R-hat of pixels", record.rhatPixel, 3, record.worst.rhatPixel)
    add("Least bulk ESS", record.essBulk, 0, record.worst.essBulk)
    add("Least tail ESS", record.essTail, 0, record.worst.essTail)
    add("Greatest MCSE", record.mcse, 4, record.worst.mcse)
    add("Acceptance", record.acceptance, 2)
    add("Energy fraction", record.energyFraction, 2)
    if let value = record.logEvidence, let error = record.logEvidenceError {
      facts.append(.init("log p(y)", "\(fixed(value, 2)) ± \(fixed(error, 2))"))
    }
    if let coverage = record.coverage {
      facts.append(.init("True pixels in their interval", "\(fixed(100 * coverage, 1)) %"))
    }
    return facts + [
      .init("Divergences", "\(record.divergences)"), .init("Evaluations", "\(record.evaluations)"),
    ]
  }

  private static func table(_ summary: PosteriorSummary) -> String {
    let level = short(100 * summary.level)
    let isSure = summary.disagreement == nil
    var head = ["Functional", "Mean", "Deviation"]
    if isSure { head.append("\(level) % interval") }
    head += ["R-hat", "Bulk ESS"]
    func digits(_ value: Double) -> String { abs(value) >= 100 ? fixed(value, 1) : fixed(value, 4) }
    let rows = summary.functionals.map { f -> [String] in
      var row = [Markup.escape(f.name), digits(f.mean), digits(f.sd)]
      if isSure {
        row.append(f.interval.map { "\(digits($0.lowerBound)) to \(digits($0.upperBound))" } ?? "–")
      }
      row.append(f.rHat.map { fixed($0, 3) } ?? "–")
      row.append(f.essBulk.map { fixed($0, 0) } ?? "–")
      return row
    }
    let names = head.map { "<th scope=\"col\">\($0)</th>" }.joined()
    let body = rows.map { row in "<tr>" + row.map { "<td>\($0)</td>" }.joined() + "</tr>" }.joined()
    return """
      <details><summary>Functionals</summary><div class="scroll"><table class="dense"><thead><tr>\(names)</tr></thead>\
      <tbody>\(body)</tbody></table></div></details>
      """
  }
}
