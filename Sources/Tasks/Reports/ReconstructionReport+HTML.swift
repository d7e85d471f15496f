import AIPOImaging
import AIPOKernels

extension ReconstructionReport {
  private typealias Field = ReportHead.Field

  /// The page. Throws only where a picture can't be encoded.
  func html() throws(FileError) -> String {
    let parts =
      ReportPage.opening(head, links: []) + [try section()]
      + ReportPage.closing(
        head,
        note: """
          PSNR (dB) and SSIM (1 at most) say how close a picture is to the truth, after clipping to [0, 1]; means of dB. \
          The objective is L<sub>recon</sub> + λ L<sub>reg</sub> in nats, constants included: −log p(y | x), the misfit \
          to the measurements, and λ times −log p(x), how unlike the training images it is; lower is better at the same \
          λ. σ is the deviation of the noise that was supposed. An evaluation is one value and gradient of the flow, \
          which is nearly all of the work. The solver finds a local solution.
          """)
    return parts.joined(separator: "\n")
  }

  private func section() throws(FileError) -> String {
    let scale = ReportPicture.errorScale(entries)
    var parts = ReportPage.sectionOpening(id: "s0", title: title, caption: caption)
    let places = MethodColours.places(of: methods)
    let notes = methodNotes.map { note in
      let swatch = places[note.name].map(ReportPage.swatch) ?? ""
      return "<div><dt>\(swatch)\(Markup.escape(note.name))</dt><dd>\(Markup.escape(note.value))</dd></div>"
    }
    if !notes.isEmpty { parts.append(#"<dl class="methods">\#(notes.joined())</dl>"#) }
    if !rows.isEmpty { parts.append(summary()) }
    if methods.count > 1 {
      parts += [try comparison(scale), everyFigure()]
    } else {
      for entry in entries { parts.append(try Self.card(entry, scale)) }
    }
    return (parts + [ReportPage.fields(settings, class: "settings"), "</section>"]).joined(separator: "\n")
  }

  private func summary() -> String {
    struct Column {
      var name: String
      var decimals: Int
      var value: (SummaryRow) -> Estimate?
      /// Whether more is better.
      var isRanked = false
    }
    let columns = [
      Column(name: "PSNR, dB", decimals: 2, value: \.psnr, isRanked: true),
      Column(name: "SSIM", decimals: 3, value: \.ssim, isRanked: true),
      Column(name: "Objective, nats", decimals: 1, value: \.objective),
      Column(name: "Evaluations", decimals: 0, value: \.evaluations),
    ].filter { column in rows.contains { column.value($0) != nil } }
    let ranges = [("λ", \SummaryRow.lambdas), ("σ", \.sigmas), ("Flow’s share", \.flowShares)]
      .filter { _, range in rows.contains { $0[keyPath: range] != nil } }
    let most = rows.map(\.images).max() ?? 0
    // Only rows of the same images are compared.
    let compared = rows.filter { $0.images == most }
    let head = (columns.map(\.name) + ranges.map { $0.0 }).map { #"<th scope="col">\#($0)</th>"# }.joined()
    let places = MethodColours.places(of: methods)
    let bars = PSNRBars(compared.compactMap(\.psnr?.mean))
    let body = rows.map { row in
      let isCompared = row.images == most
      var cells = columns.map { column -> String in
        let value = column.value(row)
        let values = compared.compactMap { column.value($0)?.mean }
        let isBest = column.isRanked && isCompared && values.count > 1 && value?.mean == values.max()
        return "<td\(isBest ? #" class="best""# : "")>\(Self.words(value, column.decimals))</td>"
      }
      cells += ranges.map { "<td>\(Self.words(row[keyPath: $0.1]))</td>" }
      if let bars { cells.append(bars.cell(isCompared ? row.psnr?.mean : nil, place: places[row.method])) }
      let swatch = places[row.method].map(ReportPage.swatch) ?? ""
      let count = row.images < most ? " (\(row.images) of \(most) images)" : ""
      return
        #"<tr><th scope="row">\#(swatch)\#(Markup.escape(row.method))\#(count)</th>\#(cells.joined())</tr>"#
    }
    let caption =
      most < 2
      ? ""
      : "<caption>Means over \(most) images ± their standard errors. Bold: the best of the column.</caption>"
    return """
      <div class="scroll"><table>\(caption)<thead><tr><th scope="col">Method</th>\(head)\
      \(bars?.head ?? "")</tr></thead>
      <tbody>\(body.joined(separator: "\n"))</tbody></table></div>
      """
  }

  private static func words(_ estimate: Estimate?, _ decimals: Int) -> String {
    guard let estimate else { return "–" }
    let mean = Markup.fixed(estimate.mean, decimals: decimals)
    guard let error = estimate.standardError else { return mean }
    return "\(mean) <small>± \(Markup.fixed(error, decimals: decimals))</small>"
  }

  /// A range in words.
  private static func words(_ range: ClosedRange<Double>?) -> String {
    guard let range else { return "–" }
    let (low, high) = (Markup.short(range.lowerBound), Markup.short(range.upperBound))
    return low == high ? low : "\(low) to \(high)"
  }

  /// The last column of the table of means: PSNR as bars, from a round number below the least.
  private struct PSNRBars {
    let low: Double
    let high: Double

    /// Nil where there are no two to compare.
    init?(_ values: [Double]) {
      guard values.count > 1, let high = values.max(), let least = values.min() else { return nil }
      self.high = high
      low = (least - max(0.12 * (high - least), 0.5)).rounded(.down)
    }

    var head: String {
      #"<th scope="col" class="bars">PSNR from \#(Markup.fixed(low, decimals: 0)) dB</th>"#
    }

    /// In the colour of a method's place.
    func cell(_ value: Double?, place: Int?) -> String {
      guard let value else { return #"<td class="bars"></td>"# }
      let share = Markup.fixed(100 * (value - low) / (high - low), decimals: 1)
      let colour = place.map { " c\($0)" } ?? ""
      return #"<td class="bars\#(colour)"><i style="width:\#(share)%"></i></td>"#
    }
  }

  // MARK: One method: a card an image

  private static func card(_ entry: Entry, _ scale: Double) throws(FileError) -> String {
    var figures = [String]()
    if let truth = entry.truth {
      figures.append(figure("Truth", try picture(truth, alt: "truth of \(entry.source)")))
    }
    if entry.observed != nil || entry.observedNote != nil {
      figures.append(
        figure(
          "Observed", try observed(entry), value: quality(entry.psnrObserved, entry.ssimObserved),
          extra: note(entry)))
    }
    if let result = entry.results.first {
      let alt = "result for \(entry.source)"
      figures.append(
        figure(
          "Result", try picture(result.image, alt: alt),
          value: quality(result.record.psnr, result.record.ssim)))
      let map = try errorMap(entry, result, scale)
      if !map.isEmpty { figures.append(figure("Error", map, extra: scaleBar(scale, label: ""))) }
    }
    var parts = [#"<article class="card"><h3>\#(Markup.escape(entry.source))</h3>"#]
    parts.append(#"<div class="figures">\#(figures.joined())</div>"#)
    parts.append(pictureCaption(hasTruth: entry.truth != nil))
    if let result = entry.results.first {
      parts.append(ReportPage.fields(facts(result), class: "facts"))
      parts.append(PathCharts([result]).html)
    }
    parts.append("</article>")
    return parts.joined(separator: "\n")
  }

  private static func facts(_ result: Result) -> [Field] {
    var facts = [Field]()
    func add(_ name: String, _ value: Double?, _ words: (Double) -> String) {
      if let value { facts.append(Field(name, words(value))) }
    }
    let record = result.record
    add("λ", record.lambda, Markup.short)
    add("σ", record.sigma, Markup.short)
    add("Flow’s share", usesFlow(result.method) ? record.flowShare : nil, Markup.short)
    add("Objective, nats", record.objective) { Markup.fixed($0, decimals: 1) }
    add("L recon, nats", record.recon) { Markup.fixed($0, decimals: 1) }
    add("L reg, nats", record.reg) { Markup.fixed($0, decimals: 1) }
    return facts + [Field("Evaluations", "\(record.evaluations)"), Field("Converged", ending(record))]
  }

  private static func ending(_ record: ReconstructionRecord) -> String {
    "\(record.converged ? "yes" : "no"): \(record.reason.explanation)"
  }

  // MARK: Several methods: images are rows, methods columns

  private func comparison(_ scale: Double) throws(FileError) -> String {
    let methods = methods
    let places = MethodColours.places(of: methods)
    let hasTruth = entries.contains { $0.truth != nil }
    let hasObserved = entries.contains { $0.observed != nil || $0.observedNote != nil }
    let head =
      (hasTruth ? ["<b>Truth</b>"] : []) + (hasObserved ? ["<b>Observed</b>"] : [])
      + methods.map {
        #"<b class="method">\#(ReportPage.swatch(places[$0] ?? 0))\#(Markup.escape($0))</b>"#
      }
    let notes = Set(entries.compactMap { $0.observed == nil ? nil : $0.observedNote }).sorted()
    let isMasked = entries.contains { $0.observed?.elements.contains(where: \.isNaN) ?? false }
    var keys = [String]()
    if notes.count == 1 { keys.append("<span>Observed: \(Markup.escape(notes[0]))</span>") }
    if isMasked { keys.append(#"<span class="bar"><i class="missing"></i>missing pixel</span>"#) }
    if hasTruth { keys.append(Self.scaleBar(scale)) }
    var parts = [String]()
    parts.append(Self.pictureCaption(hasTruth: hasTruth))
    if !keys.isEmpty { parts.append(#"<p class="keys">\#(keys.joined())</p>"#) }
    let columns =
      "--single:\((hasTruth ? 1 : 0) + (hasObserved ? 1 : 0));--double:\(methods.count);--columns:\(head.count)"
    let kind = hasTruth ? "grid pairs" : "grid"
    parts.append(#"<div class="\#(kind)" style="\#(columns)">"#)
    parts.append(#"<div class="row head"><span></span>\#(head.joined())</div>"#)
    for entry in entries {
      let name = Self.short(entry.source)
      parts.append(#"<div class="row">\#(Self.rowLabel(entry.source))"#)
      if hasTruth { parts.append(Self.figure("", try Self.picture(entry.truth, alt: "truth, \(name)"))) }
      if hasObserved {
        parts.append(Self.figure("", try Self.observed(entry), value: Self.decibel(entry.psnrObserved)))
      }
      let best = entry.results.compactMap(\.record.psnr).max()
      for method in methods {
        let result = entry.results.first { $0.method == method }
        let alt = "\(method), \(name)"
        let picture = try Self.picture(result?.image, alt: alt) + Self.errorMap(entry, result, scale)
        let isBest = best != nil && result?.record.psnr == best
        parts.append(
          Self.figure(
            "", #"<div class="pair">\#(picture)</div>"#, value: Self.decibel(result?.record.psnr),
            extra: Self.weight(result?.record.lambda), class: isBest ? "best" : ""))
      }
      parts.append("</div>")
    }
    parts.append("</div>")
    return parts.joined(separator: "\n") + paths
  }

  /// The curves of every image; those of the first stay open.
  private var paths: String {
    let parts = entries.compactMap { entry -> String? in
      let charts = PathCharts(entry.results).html
      guard !charts.isEmpty else { return nil }
      return
        "<summary>The way to the solution of \(Markup.escape(Self.short(entry.source)))</summary>\(charts)"
    }
    return parts.enumerated().map { k, part in "<details\(k == 0 ? " open" : "")>\(part)</details>" }
      .joined(separator: "\n")
  }

  /// A table of every image and method.
  private func everyFigure() -> String {
    let columns = [
      "Image", "Method", "PSNR, dB", "SSIM", "λ", "σ", "Objective, nats", "L recon", "L reg", "Evaluations",
    ]
    let head = columns.map { "<th scope=\"col\">\($0)</th>" }.joined()
    let body = entries.flatMap { entry in
      entry.results.enumerated().map { k, result in
        let record = result.record
        let cells = [
          Markup.fixed(record.psnr, decimals: 2), Markup.fixed(record.ssim, decimals: 3),
          Markup.short(record.lambda), Markup.short(record.sigma),
          Markup.fixed(record.objective, decimals: 1),
          Markup.fixed(record.recon, decimals: 1), Markup.fixed(record.reg, decimals: 1),
          "\(record.evaluations)",
        ].map { "<td>\($0)</td>" }.joined()
        let end = Self.ending(record)
        let image = k == 0 ? Markup.escape(Self.short(entry.source)) : ""
        return """
          <tr\(k == 0 ? #" class="first""# : "")><th scope="row">\(image)</th><th scope="row">\
          \(Markup.escape(result.method))</th>\(cells)<td class="words">\(Markup.escape(end))</td></tr>
          """
      }
    }
    return """
      <details><summary>Every image in figures</summary><div class="scroll"><table class="dense">
      <thead><tr>\(head)<th scope="col" class="words">Converged</th></tr></thead>
      <tbody>\(body.joined(separator: "\n"))</tbody></table></div></details>
      """
  }

  // MARK: Parts

  /// What to look for.
  private static func pictureCaption(hasTruth: Bool) -> String {
    let text =
      hasTruth
      ? "What was measured, what came out, and how far that is from the truth: the brighter an error map, the larger the "
        + "error. PSNR is below each picture; higher is closer to the truth."
      : "What was measured and what came out. Without a truth nothing tells how right it is: a result may look "
        + "better than it is."
    return #"<p class="caption">\#(text)</p>"#
  }

  private static func weight(_ lambda: Double?) -> String {
    guard let lambda, lambda != 1 else { return "" }
    return #"<span class="minor">λ \#(Markup.short(lambda))</span>"#
  }

  private static func note(_ entry: Entry) -> String {
    guard entry.observed != nil, let note = entry.observedNote else { return "" }
    return "<span>\(Markup.escape(note))</span>"
  }

  private static func rowLabel(_ source: String) -> String {
    #"<span class="source" title="\#(Markup.escape(source))">\#(Markup.escape(short(source)))</span>"#
  }

  private static func decibel(_ value: Double?) -> String {
    value.map { Markup.fixed($0, decimals: 2) + " dB" } ?? ""
  }

  private static func quality(_ psnr: Double?, _ ssim: Double?) -> String {
    [decibel(psnr), ssim.map { "SSIM " + Markup.fixed($0, decimals: 3) } ?? ""].filter { !$0.isEmpty }
      .joined(separator: ", ")
  }

  private static func picture(_ tensor: Tensor<Float>?, alt: String) throws(FileError) -> String {
    guard let tensor else { return #"<div class="none">–</div>"# }
    return try ReportPicture.image(tensor, alt: alt)
  }

  private static func observed(_ entry: Entry) throws(FileError) -> String {
    if let observed = entry.observed { return try picture(observed, alt: "observation of \(entry.source)") }
    return #"<div class="none">\#(Markup.escape(entry.observedNote ?? "–"))</div>"#
  }

  /// Empty where there is nothing to compare.
  private static func errorMap(_ entry: Entry, _ result: Result?, _ scale: Double) throws(FileError) -> String
  {
    guard let truth = entry.truth, let image = result?.image, image.shape == truth.shape else { return "" }
    return try ReportPicture.errorMap(
      image, truth, scale: scale, alt: "error of \(result?.method ?? ""), \(short(entry.source))")
  }

  private static func figure(
    _ label: String, _ picture: String, value: String = "", extra: String = "", class name: String = ""
  ) -> String {
    let caption =
      (label.isEmpty ? "" : "<b>\(label)</b>") + (value.isEmpty ? "" : "<span>\(value)</span>") + extra
    return #"<figure class="\#(name)">\#(picture)<figcaption>\#(caption)</figcaption></figure>"#
  }

  private static func scaleBar(_ scale: Double, label: String = "Error ") -> String {
    #"<span class="bar">\#(label)0<i></i>\#(Markup.short(scale))</span>"#
  }
}
