import AIPOImaging
import AIPOKernels
import AIPOTasks

/// A report on many reconstructions, as one HTML file that needs nothing else or as Markdown.
///
/// A section is a family of problems, a panel is one of them with all that was tried on it. Like
/// `ReconstructionReport` it holds nothing but what is put in here.
struct StudyReport {
  /// A table of text; the first column names the rows, and every row has as many cells as there are columns.
  struct Table {
    struct Cell {
      var text: String
      /// The best of its kind.
      var isBest = false
      /// The method that the cell names, to show its colour.
      var method: String?

      init(_ text: String, isBest: Bool = false, method: String? = nil) {
        self.text = text
        self.isBest = isBest
        self.method = method
      }
    }

    var caption = ""
    var columns: [String]
    var rows: [[Cell]]

    /// The table without the columns that say nothing.
    var withoutEmptyColumns: Table {
      let kept = columns.indices.filter { column in
        column == 0 || rows.contains { !$0[column].text.isEmpty && $0[column].text != "–" }
      }
      return Table(
        caption: caption, columns: kept.map { columns[$0] }, rows: rows.map { row in kept.map { row[$0] } })
    }
  }

  /// Pictures side by side, `[h, w, c]`, NaN drawn as a missing pixel.
  struct Strip {
    var label: String
    /// The method that made them, to show its colour.
    var method: String?
    var images: [Tensor<Float>?]
  }

  struct Panel {
    var title: String
    var caption = ""
    var tables: [Table]
    var charts: [LineChart] = []
    var strips: [Strip] = []
    /// What makes the panel's results again.
    var commands: [String] = []
  }

  struct Section {
    var title: String
    var caption = ""
    var tables: [Table] = []
    var panels: [Panel] = []
  }

  var head: ReportHead
  var sections: [Section]
}
