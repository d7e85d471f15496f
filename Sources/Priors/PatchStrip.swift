import AIPOKernels

/// What a strip of an image's rows needs of a grid of patches: the rows of patches that touch it. Those over an edge between two
/// strips are taken by both, so that nothing but rows of the image is handed over.
struct PatchStrip: Sendable {
  /// Of the image.
  let rows: Range<Int>
  /// Places along the grid's rows, ascending.
  let patchRows: [Int]
  /// Of each of them whether it counts here and not in another strip: its middle row of pixels is here.
  let counts: [Bool]
  /// The rows of the image that these patches see.
  let seen: Range<Int>

  init(_ axis: PatchGrid.Axis, rows: Range<Int>) {
    self.rows = rows
    func sources(_ k: Int) -> ArraySlice<Int> { axis.sources[k * axis.side..<(k + 1) * axis.side] }
    patchRows = rows.isEmpty ? [] : (0..<axis.count).filter { sources($0).contains(where: rows.contains) }
    counts = patchRows.map { rows.contains(axis.sources[$0 * axis.side + axis.side / 2]) }
    let all = patchRows.flatMap { [sources($0).min()!, sources($0).max()!] }
    seen = rows.isEmpty ? rows : all.min()!..<all.max()! + 1
  }
}

/// The rows of an image that a strip's patches see, wherever they lie.
struct SeenRows {
  private let own: Range<Int>
  private let rowLength: Int
  /// Where the rows above the strip begin, which are as many as `countAbove`, the strip's own, and those below it.
  private let above, inside, below: UnsafeMutablePointer<Double>
  private let countAbove: Int

  /// - Parameters:
  ///   - strip: of every rank.
  ///   - x: the values of this rank's strip, which must outlive this, as the scope of the scratch must.
  init(_ strip: [PatchStrip], _ strips: Strips, _ x: Vector, rowLength: Int, _ scratch: Scratch) throws {
    let own = strip[strips.ranks.rank]
    let (countAbove, countBelow) = (
      Strips.above(own.seen, own.rows).count, Strips.below(own.seen, own.rows).count
    )
    let above = try scratch.take(countAbove * rowLength)
    let below = try scratch.take(countBelow * rowLength)
    try strips.neighbouringRows(
      { strip[$0].seen }, of: x, rowLength: rowLength, above: above, below: below)
    (self.own, self.rowLength, self.countAbove) = (own.rows, rowLength, countAbove)
    self.above = above.withUnsafeMutableBufferPointer { $0.baseAddress! }
    inside = x.withUnsafeMutableBufferPointer { $0.baseAddress! }
    self.below = below.withUnsafeMutableBufferPointer { $0.baseAddress! }
  }

  /// The first value of a row of the image.
  @inline(__always) subscript(row: Int) -> UnsafeMutablePointer<Double> {
    row < own.lowerBound
      ? above + (row - own.lowerBound + countAbove) * rowLength
      : row < own.upperBound
        ? inside + (row - own.lowerBound) * rowLength : below + (row - own.upperBound) * rowLength
  }
}
