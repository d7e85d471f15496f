import AIPOKernels
import Testing

struct SparseMatrixTests {
  /// Row by row, the zeros as well.
  private func dense(_ matrix: SparseMatrix) -> [[Double]] {
    (0..<matrix.rows).map { row in
      var values = [Double](repeating: 0, count: matrix.columns)
      for place in matrix.rowStarts[row]..<matrix.rowStarts[row + 1] {
        values[Int(matrix.columnIndices[place])] = matrix.values[place]
      }
      return values
    }
  }

  @Test func ofEntriesInAnyOrder() throws {
    let matrix = try SparseMatrix(
      rows: 3, columns: 4, rowIndices: [2, 0, 2, 0, 2], columnIndices: [3, 1, 0, 1, 3],
      values: [1, 2, 3, 4, 5])
    #expect(dense(matrix) == [[0, 6, 0, 0], [0, 0, 0, 0], [3, 0, 0, 6]])
    #expect(matrix.rowStarts == [0, 1, 1, 3] && matrix.columnIndices == [1, 0, 3])
    #expect(dense(matrix.transposed) == [[0, 0, 3], [6, 0, 0], [0, 0, 0], [0, 0, 6]])
    #expect(matrix.transposed.transposed == matrix)
  }

  @Test func ofRows() throws {
    let matrix = try SparseMatrix(
      rows: 3, columns: 4, rowStarts: [0, 2, 2, 5], columnIndices: [1, 1, 3, 0, 3], values: [2, 4, 1, 3, 5])
    #expect(dense(matrix) == [[0, 6, 0, 0], [0, 0, 0, 0], [3, 0, 0, 6]])
    #expect(matrix.columnIndices == [1, 0, 3])
  }

  /// Sums of one place don't depend on how the matrix came.
  @Test func equalPlacesAreAddedInTheirOrder() throws {
    let values = [1e16, 1, -1e16]
    let entries = try SparseMatrix(
      rows: 1, columns: 2, rowIndices: [0, 0, 0], columnIndices: [1, 1, 1], values: values)
    let rows = try SparseMatrix(
      rows: 1, columns: 2, rowStarts: [0, 3], columnIndices: [1, 1, 1], values: values)
    #expect(entries == rows && entries.values == [0])
  }

  @Test func whatIsNoMatrix() throws {
    func fault(_ body: () throws(SparseMatrix.Fault) -> SparseMatrix) -> SparseMatrix.Fault? {
      do throws(SparseMatrix.Fault) {
        _ = try body()
        return nil
      } catch { return error }
    }
    #expect(
      fault { () throws(SparseMatrix.Fault) in
        try SparseMatrix(rows: 2, columns: 2, rowIndices: [0, 2], columnIndices: [0, 0], values: [1, 1])
      } == .index(2, entry: 1, limit: 2, isRow: true))
    #expect(
      fault { () throws(SparseMatrix.Fault) in
        try SparseMatrix(rows: 2, columns: 2, rowIndices: [0, 1], columnIndices: [0, -1], values: [1, 1])
      } == .index(-1, entry: 1, limit: 2, isRow: false))
    #expect(
      fault { () throws(SparseMatrix.Fault) in
        try SparseMatrix(rows: 2, columns: 2, rowIndices: [0], columnIndices: [0, 1], values: [1, 1])
      } == .counts(rows: 1, columns: 2, values: 2))
    #expect(
      fault { () throws(SparseMatrix.Fault) in
        try SparseMatrix(rows: 0, columns: 2, rowIndices: [], columnIndices: [], values: [])
      } == .size(rows: 0, columns: 2))
    for starts in [[0, 2], [0, 2, 1], [1, 1, 2], [0, 3, 2], [0, 1, 3]] {
      #expect(
        fault { () throws(SparseMatrix.Fault) in
          try SparseMatrix(rows: 2, columns: 2, rowStarts: starts, columnIndices: [0, 1], values: [1, 1])
        } == .rowStarts, "\(starts)")
    }
  }
}
