import AIPOKernels

extension ReconstructionReport {
  /// The page. Throws only where a picture can't be encoded.
  public func html() throws(FileError) -> String {
    var parts = [
      "<!DOCTYPE html>",
      #"<html lang="en"><head><meta charset="utf-8">"#,
      #"<meta name="viewport" content="width=device-width, initial-scale=1">"#,
      #"<meta name="color-scheme" content="light dark">"#,
      "<title>\(Markup.escape(title))</title>",
      "<style>\(ReportStyle.css)</style></head><body><main>",
      "<header><h1>\(Markup.escape(title))</h1>",
    ]
    if !subtitle.isEmpty { parts.append(#"<p class="lead">\#(Markup.escape(subtitle))</p>"#) }
    parts.append(Self.fields(provenance, class: "facts"))
    if !command.isEmpty { parts.append("<pre><code>\(Markup.escape(command))</code></pre>") }
    if sections.count > 1 {
      let links = sections.enumerated().map { ##"<a href="#s\##($0)">\##(Markup.escape($1.title))</a>"## }
      parts.append("<nav>\(links.joined())</nav>")
    }
    parts.append("</header>")
    for (k, section) in sections.enumerated() { parts.append(try Self.section(section, k)) }
    parts.append(
      """
      <footer><p>PSNR in dB and SSIM after clipping to [0, 1]; means of dB. Objective = L<sub>recon</sub> + λ \
      L<sub>reg</sub> in nats, constants included. Error maps show the mean absolute error over the channels on \
      the scale given. The solver reports a local solution; a lower objective is better at the same λ.</p></footer>
      </main></body></html>

      """)
    return parts.joined(separator: "\n")
  }

  private static func section(_ section: Section, _ index: Int) throws(FileError) -> String {
    let scale = ReportPicture.errorScale(section)
    var parts = [#"<section id="s\#(index)"><h2>\#(Markup.escape(section.title))</h2>"#]
    if !section.caption.isEmpty {
      parts.append(#"<p class="caption">\#(Markup.escape(section.caption))</p>"#)
    }
    parts.append(fields(section.settings, class: "settings"))
    if !section.rows.isEmpty { parts.append(summary(section)) }
    if section.methods.count > 1 {
      parts.append(try comparison(section, scale))
    } else {
      for entry in section.entries { parts.append(try card(entry, scale)) }
    }
    parts.append("</section>")
    return parts.joined(separator: "\n")
  }

  private static func fields(_ fields: [Field], class name: String) -> String {
    if fields.isEmpty { return "" }
    let items = fields.map {
      "<div><dt>\(Markup.escape($0.name))</dt><dd>\(Markup.escape($0.value))</dd></div>"
    }
    return #"<dl class="\#(name)">\#(items.joined())</dl>"#
  }

  private static func summary(_ section: Section) -> String {
    struct Column {
      var name: String
      var decimals: Int
      var value: (SummaryRow) -> Double?
      var best: (([Double]) -> Double?)?
    }
    let rows = section.rows
    let columns = [
      Column(name: "PSNR, dB", decimals: 2, value: \.psnr, best: { $0.max() }),
      Column(name: "SSIM", decimals: 3, value: \.ssim, best: { $0.max() }),
      Column(name: "Objective, nats", decimals: 1, value: \.objective),
      Column(name: "Evaluations", decimals: 0, value: \.evaluations),
    ].filter { column in rows.contains { column.value($0) != nil } }
    let several = rows.count > 1
    let head = columns.map { "<th scope=\"col\">\($0.name)</th>" }.joined()
    let body = rows.map { row in
      let cells = columns.map { column -> String in
        let value = column.value(row)
        let best = several ? column.best?(rows.compactMap(column.value)) : nil
        let mark = value != nil && value == best ? #" class="best""# : ""
        return "<td\(mark)>\(Markup.fixed(value, decimals: column.decimals))</td>"
      }
      return #"<tr><th scope="row">\#(Markup.escape(row.method))</th>\#(cells.joined())</tr>"#
    }
    let count = section.entries.count
    let caption = count == 1 ? "" : "<caption>Mean over \(count) images</caption>"
    return """
      <div class="scroll"><table>\(caption)<thead><tr><th scope="col">Method</th>\(head)</tr></thead>
      <tbody>\(body.joined(separator: "\n"))</tbody></table></div>
      """
  }

  // MARK: One method: a card an image

  private static func card(_ entry: Entry, _ scale: Double) throws(FileError) -> String {
    var figures = [String]()
    if let truth = entry.truth {
      figures.append(figure("Truth", try picture(truth, alt: "truth of \(entry.source)")))
    }
    if entry.observed != nil || entry.observedNote != nil {
      figures.append(figure("Observed", try observed(entry), value: decibel(entry.psnrObserved)))
    }
    if let result = entry.results.first {
      let alt = "result for \(entry.source)"
      figures.append(figure("Result", try picture(result.image, alt: alt), value: decibel(result.psnr)))
      let map = try errorMap(entry, result, scale)
      if !map.isEmpty { figures.append(figure("Error", map, extra: scaleBar(scale))) }
    }
    var parts = [#"<article class="card"><h3>\#(Markup.escape(entry.source))</h3>"#]
    parts.append(#"<div class="figures">\#(figures.joined())</div>"#)
    if let result = entry.results.first {
      parts.append(fields(facts(result), class: "facts"))
      if let path = result.path, path.points.count > 1 {
        parts.append(#"<div class="charts">\#(charts(path))</div>"#)
      }
    }
    parts.append("</article>")
    return parts.joined(separator: "\n")
  }

  private static func facts(_ result: Result) -> [Field] {
    var facts = [Field]()
    if let value = result.ssim { facts.append(Field("SSIM", Markup.fixed(value, decimals: 3))) }
    if let value = result.lambda { facts.append(Field("λ", Markup.short(value))) }
    if let value = result.objective { facts.append(Field("Objective", Markup.fixed(value, decimals: 1))) }
    if let value = result.recon { facts.append(Field("L recon", Markup.fixed(value, decimals: 1))) }
    if let value = result.reg { facts.append(Field("L reg", Markup.fixed(value, decimals: 1))) }
    if let value = result.evaluations { facts.append(Field("Evaluations", "\(value)")) }
    if let value = result.converged {
      let reason = result.reason.map { ": \($0)" } ?? ""
      facts.append(Field("Converged", (value ? "yes" : "no") + reason))
    }
    return facts
  }

  private static func charts(_ path: Path) -> String {
    let x = path.points.map(\.parameter)
    let scale = xScale(x)
    let terms: [(String, KeyPath<PathPoint, Double>)] = [
      ("objective", \.objective), ("L recon", \.recon), ("L reg", \.reg),
    ]
    let objective = LineChart(
      title: "Objective and its terms", xLabel: path.parameterName, yLabel: "nats", xScale: scale,
      series: terms.map { name, key in
        LineChart.Series(name: name, x: x, y: path.points.map { $0[keyPath: key] })
      })
    guard path.points.contains(where: { $0.psnr != nil }) else { return objective.svgFragment() }
    let psnr = LineChart(
      title: "PSNR along the path", xLabel: path.parameterName, yLabel: "dB", xScale: scale,
      series: [LineChart.Series(name: "PSNR", x: x, y: path.points.map(\.psnr))])
    return objective.svgFragment() + psnr.svgFragment()
  }

  private static func xScale(_ x: [Double]) -> LineChart.Scale {
    guard let low = x.min(), let high = x.max() else { return .linear }
    return low > 0 && high >= 20 * low ? .logarithmic : .linear
  }

  // MARK: Several methods: images are rows, methods columns

  private static func comparison(_ section: Section, _ scale: Double) throws(FileError) -> String {
    let methods = section.methods
    let hasTruth = section.entries.contains { $0.truth != nil }
    let hasObserved = section.entries.contains { $0.observed != nil || $0.observedNote != nil }
    let head = (hasTruth ? ["Truth"] : []) + (hasObserved ? ["Observed"] : []) + methods
    var parts = [String]()
    if hasTruth {
      parts.append(
        #"<label class="toggle"><input type="checkbox"> Show error maps \#(scaleBar(scale))</label>"#)
    }
    parts.append(#"<div class="scroll"><div class="grid" style="--columns:\#(head.count)">"#)
    parts.append(
      #"<div class="row head"><span></span>\#(head.map { "<b>\(Markup.escape($0))</b>" }.joined())</div>"#)
    for entry in section.entries {
      parts.append(#"<div class="row">\#(rowLabel(entry.source))"#)
      if hasTruth { parts.append(figure("", try picture(entry.truth, alt: "truth"))) }
      if hasObserved { parts.append(figure("", try observed(entry), value: decibel(entry.psnrObserved))) }
      let best = entry.results.compactMap(\.psnr).max()
      for method in methods {
        let result = entry.results.first { $0.method == method }
        let picture = try picture(result?.image, alt: method) + errorMap(entry, result, scale)
        let isBest = best != nil && result?.psnr == best
        parts.append(figure("", picture, value: decibel(result?.psnr), class: isBest ? "best" : ""))
      }
      parts.append("</div>")
    }
    parts.append("</div></div>")
    let paths = overlays(section)
    if !paths.isEmpty { parts.append("<details><summary>Along the path</summary>\(paths)</details>") }
    return parts.joined(separator: "\n")
  }

  /// Objectives of the methods that have a path, one chart an image and parameter.
  private static func overlays(_ section: Section) -> String {
    var charts = [String]()
    for entry in section.entries {
      let paths = entry.results.compactMap { result in
        result.path.flatMap { $0.points.count > 1 ? (result.method, $0) : nil }
      }
      var names = [String]()
      for (_, path) in paths where !names.contains(path.parameterName) { names.append(path.parameterName) }
      for name in names {
        let drawn = paths.filter { $0.1.parameterName == name }
        charts.append(
          LineChart(
            title: "Objective, \(short(entry.source))", xLabel: name, yLabel: "nats",
            xScale: xScale(drawn.flatMap { $0.1.points.map(\.parameter) }),
            series: drawn.map { method, path in
              LineChart.Series(name: method, x: path.points.map(\.parameter), y: path.points.map(\.objective))
            }
          ).svgFragment())
      }
    }
    return charts.isEmpty ? "" : #"<div class="charts">\#(charts.joined())</div>"#
  }

  // MARK: Parts

  /// Of `file#42` the number alone: rows of one file needn't repeat its name.
  private static func short(_ source: String) -> String {
    source.lastIndex(of: "#").map { String(source[$0...]) } ?? source
  }

  private static func rowLabel(_ source: String) -> String {
    #"<span class="source" title="\#(Markup.escape(source))">\#(Markup.escape(short(source)))</span>"#
  }

  private static func decibel(_ value: Double?) -> String {
    value.map { Markup.fixed($0, decimals: 2) + " dB" } ?? ""
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
    return try ReportPicture.errorMap(image, truth, scale: scale, alt: "error map")
  }

  private static func figure(
    _ label: String, _ picture: String, value: String = "", class name: String = "", extra: String = ""
  ) -> String {
    let caption =
      (label.isEmpty ? "" : "<b>\(label)</b>") + (value.isEmpty ? "" : "<span>\(value)</span>") + extra
    return #"<figure class="\#(name)">\#(picture)<figcaption>\#(caption)</figcaption></figure>"#
  }

  private static func scaleBar(_ scale: Double) -> String {
    #"<span class="bar">0<i></i>\#(Markup.short(scale))</span>"#
  }
}
