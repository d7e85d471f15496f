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
