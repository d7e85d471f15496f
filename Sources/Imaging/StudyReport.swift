import AIPOKernels

/// A report on many reconstructions, as one HTML file that needs nothing else or as Markdown.
///
/// A section is a family of problems, a panel is one of them with all that was tried on it. Like
/// `ReconstructionReport` it holds nothing but what is put in here.
public struct StudyReport: Sendable {
  /// A table of text; the first column names the rows.
  public struct Table: Sendable {
    public struct Cell: Sendable {
      public var text: String
      /// The best of its kind.
      public var isBest: Bool
      /// The method that the cell names, to show its colour.
      public var method: String?

      public init(_ text: String, isBest: Bool = false, method: String? = nil) {
        self.text = text
        self.isBest = isBest
        self.method = method
      }
    }

    public var caption: String
    public var columns: [String]
    public var rows: [[Cell]]

    /// Every row has as many cells as there are columns.
    public init(caption: String = "", columns: [String], rows: [[Cell]]) {
      precondition(rows.allSatisfy { $0.count == columns.count })
      self.caption = caption
      self.columns = columns
      self.rows = rows
    }

    /// The table without the columns that say nothing.
    public var withoutEmptyColumns: Table {
      let kept = columns.indices.filter { column in
        column == 0 || rows.contains { !$0[column].text.isEmpty && $0[column].text != "–" }
      }
      return Table(
        caption: caption, columns: kept.map { columns[$0] }, rows: rows.map { row in kept.map { row[$0] } })
    }
  }

  /// Pictures side by side, `[h, w, c]`, NaN drawn as a missing pixel.
  public struct Strip: Sendable {
    public var label: String
    /// The method that made them, to show its colour.
    public var method: String?
    public var images: [Tensor<Float>?]

    public init(label: String, method: String? = nil, images: [Tensor<Float>?]) {
      self.label = label
      self.method = method
      self.images = images
    }
  }

  public struct Panel: Sendable {
    public var title: String
    public var caption: String
    public var tables: [Table]
    public var charts: [LineChart]
    public var strips: [Strip]
    /// What makes the panel's results again.
    public var commands: [String]

    public init(
      title: String, caption: String = "", tables: [Table], charts: [LineChart] = [], strips: [Strip] = [],
      commands: [String] = []
    ) {
      self.title = title
      self.caption = caption
      self.tables = tables
      self.charts = charts
      self.strips = strips
      self.commands = commands
    }
  }

  public struct Section: Sendable {
    public var title: String
    public var caption: String
    public var tables: [Table]
    public var panels: [Panel]

    public init(title: String, caption: String = "", tables: [Table] = [], panels: [Panel] = []) {
      self.title = title
      self.caption = caption
      self.tables = tables
      self.panels = panels
    }
  }

  public var head: ReportHead
  public var sections: [Section]

  public init(_ head: ReportHead, sections: [Section]) {
    self.head = head
    self.sections = sections
  }
}
