/// Neighbouring rows of a batch that go through a net together: of whole images, or some rows of one image.
///
/// Convolutions see a row above and below for each 3×3 window, so what a net computes for some rows takes a few more of
/// its hidden layers. The kernels give a row the same bits however many are asked for, and so do strips.
struct Strip {
  /// Counted over the batch: row r belongs to image r / height.
  let rows: Range<Int>
  let height: Int
  let width: Int

  /// The rows within `reach` of these, inside of their images.
  func reaching(_ reach: Int) -> Range<Int> {
    let top = rows.lowerBound / height * height
    let bottom = (rows.upperBound + height - 1) / height * height
    return max(top, rows.lowerBound - reach)..<min(bottom, rows.upperBound + reach)
  }
}

/// Some rows of a batch, cut into strips.
struct Strips {
  let rows: Range<Int>
  let height: Int
  let width: Int
  /// The most rows of a strip, unless all rows are one.
  private let limit: Int
  private let endsWithImage: Bool

  /// `limit`: the most rows that are taken together. A strip ends with its image; with a `block`, it has a multiple of
  /// so many rows instead.
  init(rows: Range<Int>, height: Int, width: Int, limit: Int, block: Int? = nil) {
    self.rows = rows
    self.height = height
    self.width = width
    self.limit = max(limit / (block ?? 1) * (block ?? 1), block ?? 1)
    endsWithImage = block == nil
  }

  /// Whether there is one strip alone.
  var isWhole: Bool { rows.count <= limit }

  func each(_ body: (Strip) throws -> Void) rethrows {
    guard !isWhole else { return try body(Strip(rows: rows, height: height, width: width)) }
    var start = rows.lowerBound
    while start < rows.upperBound {
      let image = endsWithImage ? (start / height + 1) * height : rows.upperBound
      let end = min(start + limit, image, rows.upperBound)
      try body(Strip(rows: start..<end, height: height, width: width))
      start = end
    }
  }
}
