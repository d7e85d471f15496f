/// A matrix of which few values aren't zero, row by row: those of row i are at `rowStarts[i]..<rowStarts[i + 1]` of
/// `columnIndices` and `values`, their columns rising and each at most once. So it is made, and so it stays.
public struct SparseMatrix: Hashable, Sendable {
  public let rows: Int
  public let columns: Int
  /// `[rows + 1]`, from 0 to the number of values.
  public let rowStarts: [Int]
  public let columnIndices: [Int32]
  public let values: [Double]

  /// What keeps numbers from being a matrix.
  public enum Fault: Error, Hashable, Sendable, CustomStringConvertible {
    case size(rows: Int, columns: Int)
    case counts(rows: Int, columns: Int, values: Int)
    case index(Int, entry: Int, limit: Int, isRow: Bool)
    case rowStarts

    public var description: String {
      switch self {
      case .size(let rows, let columns): "a matrix of \(rows)x\(columns), expected 1 to \(Int32.max) each way"
      case .counts(let rows, let columns, let values):
        "\(rows) row indices and \(columns) column indices for \(values) values, expected as many"
      case .index(let index, let entry, let limit, let isRow):
        "\(isRow ? "row" : "column") \(index) of entry \(entry), expected 0 to \(limit - 1)"
      case .rowStarts: "row starts that don't rise from 0 to the number of values, one a row and one more"
      }
    }
  }

  /// Of entries in any order, counted from 0; those of one place are added in the order in which they come.
  public init(
    rows: Int, columns: Int, rowIndices: [Int32], columnIndices: [Int32], values: [Double]
  ) throws(Fault) {
    try Self.requireSize(rows, columns)
    guard rowIndices.count == values.count, columnIndices.count == values.count else {
      throw .counts(rows: rowIndices.count, columns: columnIndices.count, values: values.count)
    }
    try Self.require(rowIndices, below: rows, isRow: true)
    try Self.require(columnIndices, below: columns, isRow: false)
    // Sorted by column first, then, which keeps that order, by row.
    let byColumn = Self.sorted(Array(0..<values.count), by: columnIndices, below: columns).order
    let (order, starts) = Self.sorted(byColumn, by: rowIndices, below: rows)
    self.init(rows: rows, columns: columns, starts: starts, order: order, columnIndices, values)
  }

  /// Of rows one after another, as scipy's CSR is; columns of a row in any order, and those of one place added.
  public init(
    rows: Int, columns: Int, rowStarts: [Int], columnIndices: [Int32], values: [Double]
  ) throws(Fault) {
    try Self.requireSize(rows, columns)
    guard columnIndices.count == values.count else {
      throw .counts(rows: rows, columns: columnIndices.count, values: values.count)
    }
    guard rowStarts.count == rows + 1, rowStarts[0] == 0, rowStarts[rows] == values.count,
      zip(rowStarts, rowStarts.dropFirst()).allSatisfy({ $0 <= $1 })
    else { throw .rowStarts }
    try Self.require(columnIndices, below: columns, isRow: false)
    var order = Array(0..<values.count)
    for (start, end) in zip(rowStarts, rowStarts.dropFirst())
    where (start + 1..<max(start + 1, end)).contains(where: { columnIndices[$0 - 1] > columnIndices[$0] }) {
      // The place decides between equals: the order that they are added in.
      order[start..<end].sort { (columnIndices[$0], $0) < (columnIndices[$1], $1) }
    }
    self.init(rows: rows, columns: columns, starts: rowStarts, order: order, columnIndices, values)
  }

  /// Entries in the order of rows and columns, of which equal places become one.
  private init(
    rows: Int, columns: Int, starts: [Int], order: [Int], _ columnIndices: [Int32], _ values: [Double]
  ) {
    self.rows = rows
    self.columns = columns
    var newStarts = [0]
    newStarts.reserveCapacity(rows + 1)
    var newColumns = [Int32]()
    newColumns.reserveCapacity(order.count)
    var newValues = [Double]()
    newValues.reserveCapacity(order.count)
    for row in 0..<rows {
      let first = newColumns.count
      for place in order[starts[row]..<starts[row + 1]] {
        if newColumns.count > first, newColumns[newColumns.count - 1] == columnIndices[place] {
          newValues[newValues.count - 1] += values[place]
        } else {
          newColumns.append(columnIndices[place])
          newValues.append(values[place])
        }
      }
      newStarts.append(newColumns.count)
    }
    rowStarts = newStarts
    self.columnIndices = newColumns
    self.values = newValues
  }

  /// Rows become columns: the adjoint of the matrix, row by row as well.
  public var transposed: SparseMatrix {
    var rowIndices = [Int32]()
    rowIndices.reserveCapacity(values.count)
    for row in 0..<rows {
      rowIndices.append(contentsOf: repeatElement(Int32(row), count: rowStarts[row + 1] - rowStarts[row]))
    }
    let (order, starts) = Self.sorted(Array(0..<values.count), by: columnIndices, below: columns)
    return SparseMatrix(rows: columns, columns: rows, starts: starts, order: order, rowIndices, values)
  }

  private static func requireSize(_ rows: Int, _ columns: Int) throws(Fault) {
    guard (1...Int(Int32.max)).contains(rows), (1...Int(Int32.max)).contains(columns) else {
      throw .size(rows: rows, columns: columns)
    }
  }

  private static func require(_ indices: [Int32], below limit: Int, isRow: Bool) throws(Fault) {
    if let entry = indices.firstIndex(where: { !(0..<limit).contains(Int($0)) }) {
      throw .index(Int(indices[entry]), entry: entry, limit: limit, isRow: isRow)
    }
  }

  /// `places` sorted by their keys, equal ones as they were, and where each key begins, `[limit + 1]`.
  private static func sorted(
    _ places: [Int], by keys: [Int32], below limit: Int
  ) -> (order: [Int], starts: [Int]) {
    var starts = [Int](repeating: 0, count: limit + 1)
    for key in keys { starts[Int(key) + 1] += 1 }
    for key in 0..<limit { starts[key + 1] += starts[key] }
    var next = starts
    var order = [Int](repeating: 0, count: places.count)
    for place in places {
      let key = Int(keys[place])
      order[next[key]] = place
      next[key] += 1
    }
    return (order, starts)
  }
}
