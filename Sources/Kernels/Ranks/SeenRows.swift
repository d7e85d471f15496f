/// The rows of an image that a rank needs, wherever they lie: those of its strip where they are, those of others copied.
public struct SeenRows {
  private let own: Range<Int>
  private let rowLength: Int
  /// Where row 0 of the image would be in the memory of the rows above the strip, of the strip, and of the rows below it.
  private let above, inside, below: UnsafeMutablePointer<Double>

  /// - `needed`: rows of the image that a rank needs.
  /// - `x`: the values of this rank's strip, which must outlive this, as the scope of the scratch must.
  /// - `rowLength`: values of a row.
  public init(
    _ needed: (_ rank: Int) -> Range<Int>, of x: Vector, rowLength: Int, _ strips: Strips, _ scratch: Scratch
  ) throws {
    let (own, mine) = (strips.rows(), needed(strips.ranks.rank))
    let (rowsAbove, rowsBelow) = (Strips.above(mine, own), Strips.below(mine, own))
    let above = try scratch.take(rowsAbove.count * rowLength)
    let below = try scratch.take(rowsBelow.count * rowLength)
    try strips.neighbouringRows(needed, of: x, rowLength: rowLength, above: above, below: below)
    (self.own, self.rowLength) = (own, rowLength)
    self.above = above.base - rowsAbove.lowerBound * rowLength
    inside = x.base - own.lowerBound * rowLength
    self.below = below.base - rowsBelow.lowerBound * rowLength
  }

  /// The first value of a row of the image.
  @inline(__always) public subscript(row: Int) -> UnsafeMutablePointer<Double> {
    (row < own.lowerBound ? above : row < own.upperBound ? inside : below) + row * rowLength
  }

  /// The values of a row of the image.
  public func values(_ row: Int) -> Vector { Vector(base: self[row], count: rowLength) }
}
