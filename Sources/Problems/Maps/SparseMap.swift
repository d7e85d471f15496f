import AIPOKernels
import AIPOPriors

/// `f(x) = A x` with a sparse m × d matrix.
public struct SparseMap: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { .vector(matrix.rows) }
  public let matrix: SparseMatrix
  private let transposed: SparseMatrix

  /// Throws `ProblemError.nonFinite` where an entry is not a finite number, `shapeMismatch` where a row isn't an image.
  public init(_ matrix: SparseMatrix, input: ImageShape) throws(ProblemError) {
    guard matrix.columns == input.count else {
      throw .shapeMismatch(
        what: "operator", found: [matrix.rows, matrix.columns], expected: [matrix.rows, input.count])
    }
    if let bad = matrix.values.firstIndex(where: { !$0.isFinite }) {
      let row = (matrix.rowStarts.firstIndex { $0 > bad } ?? 1) - 1
      throw .nonFinite(
        what: "operator row", image: row, position: Int(matrix.columnIndices[bad]), value: matrix.values[bad])
    }
    self.matrix = matrix
    self.input = input
    transposed = matrix.transposed
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try Self.multiply(matrix, x, into: y, scratch)
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    try Self.multiply(transposed, u, into: x, scratch)
  }

  /// Row by row, so that the transpose takes the transposed matrix.
  private static func multiply(_ a: SparseMatrix, _ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == a.columns && y.count == a.rows)
    try scratch.pool.split(a.rows, minimum: 1 << 10) { range, _ in
      a.values.withUnsafeBufferPointer { values in
        a.columnIndices.withUnsafeBufferPointer { columns in
          x.withUnsafeMutableBufferPointer { x in
            for i in range {
              var sum = 0.0
              for k in a.rowStarts[i]..<a.rowStarts[i + 1] { sum += values[k] * x[Int(columns[k])] }
              y[i] = sum
            }
          }
        }
      }
    }
  }
}
