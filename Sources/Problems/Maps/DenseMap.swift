import AIPOKernels
import AIPOPriors

/// `f(x) = A x` with a dense m × d matrix of any shape and rank, zero included.
public struct DenseMap: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { .vector(matrix.rows) }
  public let matrix: Matrix
  public var normal: NormalForm { .dense(matrix) }

  /// Throws `ProblemError.nonFinite` where an entry is not a finite number, `shapeMismatch` where a row isn't an image.
  public init(_ matrix: Matrix, input: ImageShape) throws(ProblemError) {
    guard matrix.columns == input.count else {
      throw .shapeMismatch(
        what: "operator", found: [matrix.rows, matrix.columns], expected: [matrix.rows, input.count])
    }
    try requireFinite(matrix, "operator row")
    self.matrix = matrix
    self.input = input
  }

  /// Random sensing, `A_ij ~ N(0, 1/m)`, drawn row by row from the seed alone.
  public static func gaussian(measurements m: Int, input: ImageShape, seed: UInt64) throws(ProblemError)
    -> DenseMap
  {
    var random = Philox(seed: seed, purpose: .operatorEntries)
    let scale = 1 / Double(max(m, 1)).squareRoot()
    return try DenseMap(
      try algebra { () throws(LinearAlgebraError) in
        var matrix = try Matrix(rows: m, columns: input.count)
        for i in 0..<m {
          for j in 0..<input.count { matrix[i, j] = scale * random.normal() }
        }
        return matrix
      }, input: input)
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) { matrix.multiply(x, into: y) }
  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) {
    matrix.multiplyTransposed(u, into: x)
  }
}

/// Throws `ProblemError.nonFinite` where an entry of a matrix isn't a finite number.
func requireFinite(_ matrix: Matrix, _ what: String) throws(ProblemError) {
  let bad = matrix.withColumns { a in a.firstIndex { !$0.isFinite } }
  if let bad {
    let (column, row) = bad.quotientAndRemainder(dividingBy: matrix.rows)
    throw .nonFinite(what: what, image: row, position: column, value: matrix[row, column])
  }
}
