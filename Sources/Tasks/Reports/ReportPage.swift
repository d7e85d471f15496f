import AIPOImaging

/// What the pages of all reports have in common.
package enum ReportPage {
  /// Everything up to the first section; the links lead to sections by their ids.
  package static func opening(_ head: ReportHead, links: [(id: String, title: String)]) -> [String] {
    let title = Markup.escape(head.title)
    var parts = [
      "<!DOCTYPE html>",
      #"<html lang="en"><head><meta charset="utf-8">"#,
      #"<meta http-equiv="Content-Security-Policy" content="\#(policy)">"#,
      #"<meta name="viewport" content="width=device-width, initial-scale=1">"#,
      #"<meta name="color-scheme" content="light dark">"#,
      "<title>\(title)</title>",
      #"<style id="chart">\#(LineChart.lightTheme)\#(LineChart.rules)</style>"#,
      "<style>\(ReportStyle.css)</style></head><body><main>",
      "<header><h1>\(title)</h1>",
    ]
    if !head.subtitle.isEmpty { parts.append(#"<p class="lead">\#(Markup.escape(head.subtitle))</p>"#) }
    if links.count > 1 {
      let links = links.map { ##"<a href="#\##($0.id)">\##(Markup.escape($0.title))</a>"## }
      parts.append("<nav>\(links.joined())</nav>")
    }
    if !head.warnings.isEmpty {
      let items = head.warnings.map { "<li>\(Markup.escape($0))</li>" }
      parts.append(#"<aside class="warnings"><b>Warnings</b><ul>\#(items.joined())</ul></aside>"#)
    }
    return parts + ["</header>"]
  }

  package static func sectionOpening(id: String, title: String, caption: String) -> [String] {
    [#"<section id="\#(id)"><h2>\#(Markup.escape(title))</h2>"#]
      + (caption.isEmpty ? [] : [#"<p class="caption">\#(Markup.escape(caption))</p>"#])
  }

  /// The footer, with `note` as HTML, and the end of the page.
  package static func closing(_ head: ReportHead, note: String) -> [String] {
    ["<footer>"] + (head.command.isEmpty ? [] : [code(head.command)])
      + [fields(head.provenance, class: "facts"), "<p>\(note)</p></footer>", "</main>"]
      + ["<script>\(ReportScript.source)</script>", "</body></html>\n"]
  }

  /// Nothing from elsewhere, and no script but the page's own.
  private static let policy = """
    default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-\(ReportScript.digest)'; \
    base-uri 'none'; form-action 'none'
    """

  /// A mark of the colour at this place of `MethodColours`.
  package static func swatch(_ place: Int) -> String { #"<i class="swatch c\#(place)"></i>"# }

  package static func code(_ text: String) -> String { "<pre><code>\(Markup.escape(text))</code></pre>" }

  package static func fields(_ fields: [ReportHead.Field], class name: String) -> String {
    if fields.isEmpty { return "" }
    let items = fields.map {
      "<div><dt>\(Markup.escape($0.name))</dt><dd>\(Markup.escape($0.value))</dd></div>"
    }
    return #"<dl class="\#(name)">\#(items.joined())</dl>"#
  }
}
