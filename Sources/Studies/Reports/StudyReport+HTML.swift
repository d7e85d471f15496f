import AIPOImaging
import AIPOKernels
import AIPOTasks

extension StudyReport {
  /// The page. Throws only where a picture can't be encoded.
  func html() throws(FileError) -> String {
    var parts = ReportPage.opening(head, links: sections.enumerated().map { ("s\($0)", $1.title) })
    for (k, section) in sections.enumerated() {
      parts += ReportPage.sectionOpening(id: "s\(k)", title: section.title, caption: section.caption)
      parts += section.tables.map(Self.table)
      for panel in section.panels { parts.append(try Self.panel(panel)) }
      parts.append("</section>")
    }
    parts += ReportPage.closing(head, note: Self.note)
    return parts.joined(separator: "\n")
  }

  /// What the figures mean.
  private static let note = """
    Means ± standard errors over the images. Bold is the best of the same images: rows of other images aren’t compared. \
    PSNR (dB) and SSIM (1 at most) say how close a picture is to the truth, after clipping to [0, 1]; means of dB. The \
    objective is L<sub>recon</sub> + λ L<sub>reg</sub> in nats, constants included: the misfit to the measurements and \
    λ times how unlike the training images the picture is. An evaluation is one value and gradient of the flow, which \
    is nearly all of the work. Differences are paired: of the same images, of objectives at the same λ only.
    """

  private static func panel(_ panel: Panel) throws(FileError) -> String {
    var parts = [#"<article class="panel"><h3>\#(Markup.escape(panel.title))</h3>"#]
    if !panel.caption.isEmpty {
      parts.append(#"<p class="caption">\#(Markup.escape(panel.caption))</p>"#)
    }
    parts += panel.tables.map(table)
    if !panel.charts.isEmpty {
      let charts = panel.charts.map { $0.htmlFigure() }
      parts.append(#"<div class="charts wide">\#(charts.joined())</div>"#)
    }
    if !panel.strips.isEmpty {
      parts.append(
        """
        <p class="caption">The first images, one a column: what was measured and what each method made of it. Blue \
        pixels are missing.</p>
        """)
      let columns = panel.strips.map(\.images.count).max() ?? 1
      parts.append(#"<div class="strips" style="--columns:\#(columns)">"#)
      for strip in panel.strips { parts.append(try Self.strip(strip)) }
      parts.append("</div>")
    }
    if !panel.commands.isEmpty {
      let commands = panel.commands.joined(separator: "\n")
      parts.append("<details><summary>Commands</summary>\(ReportPage.code(commands))</details>")
    }
    return (parts + ["</article>"]).joined(separator: "\n")
  }

  private static func strip(_ strip: Strip) throws(FileError) -> String {
    var parts = ["<b>\(swatch(strip.method))\(Markup.escape(strip.label))</b>"]
    for (k, image) in strip.images.enumerated() {
      if let image {
        parts.append(try ReportPicture.image(image, alt: "\(strip.label), column \(k + 1)"))
      } else {
        parts.append(#"<div class="none">–</div>"#)
      }
    }
    return #"<div class="strip">\#(parts.joined())</div>"#
  }

  private static func swatch(_ method: String?) -> String {
    method.flatMap(MethodColours.place).map(ReportPage.swatch) ?? ""
  }

  private static func table(_ table: Table) -> String {
    let caption = table.caption.isEmpty ? "" : "<caption>\(Markup.escape(table.caption))</caption>"
    let head = table.columns.map { #"<th scope="col">\#(Markup.escape($0))</th>"# }.joined()
    let body = table.rows.map { row in
      let cells = row.enumerated().map { column, cell in
        let text = Markup.escape(cell.text)
        if column == 0 { return #"<th scope="row">\#(swatch(cell.method))\#(text)</th>"# }
        return "<td\(cell.isBest ? #" class="best""# : "")>\(text)</td>"
      }
      return "<tr>\(cells.joined())</tr>"
    }
    return """
      <div class="scroll"><table class="study">\(caption)<thead><tr>\(head)</tr></thead>
      <tbody>\(body.joined(separator: "\n"))</tbody></table></div>
      """
  }

  /// Writes the page, whole or not at all. Throws `unwritable`.
  func write(to path: String) throws(FileError) { try AtomicFile.write(html(), to: path) }
}
