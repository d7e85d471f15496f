import AIPOPlatform
import CAIPOLAPACKE
import CAIPOOpenBLAS
import Synchronization

/// OpenBLAS's own threads. Its thread count is process-wide and changes the bits of its results, so
/// our calls run with one thread; the host's setting is put back when the outermost call returns.
/// Two callers at once share the setting: it is restored when the last of them leaves.
public enum BLASThreads {
  private static let state = Mutex((depth: 0, host: Int32(1)))

  /// Runs `body` with OpenBLAS on one thread.
  public static func single<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    state.withLock { state in
      if state.depth == 0 {
        state.host = openblas_get_num_threads()
        if state.host != 1 { openblas_set_num_threads(1) }
      }
      state.depth += 1
    }
    defer {
      state.withLock { state in
        state.depth -= 1
        if state.depth == 0, state.host != 1 { openblas_set_num_threads(state.host) }
      }
    }
    return try body()
  }

  /// Runs `body` with OpenBLAS on so many threads of its own, and keeps all other calls waiting: for measuring BLAS.
  static func alone<R>(threads: Int, _ body: () -> R) -> R {
    state.withLock { state in
      precondition(state.depth == 0, "a call on one thread is under way")
      let host = openblas_get_num_threads()
      openblas_set_num_threads(Int32(threads))
      defer { openblas_set_num_threads(host) }
      return body()
    }
  }
}

/// Why a factorisation failed.
public enum LinearAlgebraError: Error, Equatable, CustomStringConvertible {
  case notPositiveDefinite(order: Int)
  case singular(pivot: Int)
  case noConvergence(routine: String)
  case outOfMemory(bytes: Int)

  public var description: String {
    switch self {
    case .notPositiveDefinite(let order):
      "the matrix is not positive definite (its leading minor of order \(order) is not positive)"
    case .singular(let pivot): "the matrix is singular (pivot \(pivot) is zero)"
    case .noConvergence(let routine): "\(routine) did not converge"
    case .outOfMemory(let bytes): "not enough memory for a matrix of \(bytes) bytes"
    }
  }
}

/// A dense matrix of doubles, column-major as BLAS and LAPACK want it: `a[i, j]` is element `i + j·rows`.
///
/// Products of vectors are one `dgemv` whose shape is the matrix's, whatever the number of images.
public struct Matrix: Sendable, Equatable {
  public let rows: Int
  public let columns: Int
  private var storage: Tensor<Double>

  /// All zeros.
  public init(rows: Int, columns: Int) throws(LinearAlgebraError) {
    self.rows = rows
    self.columns = columns
    do {
      storage = try Tensor(shape: [columns, rows])
    } catch {
      throw .outOfMemory(bytes: rows.multipliedReportingOverflow(by: columns).partialValue &* 8)
    }
  }

  /// Elements in row-major order, as files and people write them.
  public init(rows: Int, columns: Int, rowMajor: some RandomAccessCollection<Double>)
    throws(LinearAlgebraError)
  {
    precondition(rowMajor.count == rows * columns)
    try self.init(rows: rows, columns: columns)
    var next = rowMajor.startIndex
    withMutableColumns { a in
      for i in 0..<rows {
        for j in 0..<columns {
          a[i + j * rows] = rowMajor[next]
          next = rowMajor.index(after: next)
        }
      }
    }
  }

  /// Fills element by element.
  public init(rows: Int, columns: Int, _ element: (_ row: Int, _ column: Int) -> Double)
    throws(LinearAlgebraError)
  {
    try self.init(rows: rows, columns: columns)
    withMutableColumns { a in
      for j in 0..<columns {
        for i in 0..<rows { a[i + j * rows] = element(i, j) }
      }
    }
  }

  public subscript(row: Int, column: Int) -> Double {
    get { storage[flat: row + column * rows] }
    set { storage[flat: row + column * rows] = newValue }
  }

  /// The elements, column by column.
  public var columnMajor: [Double] { storage.elements }

  public func withColumns<R>(_ body: (UnsafeBufferPointer<Double>) -> R) -> R {
    storage.withUnsafeBufferPointer(body)
  }

  public mutating func withMutableColumns<R>(_ body: (UnsafeMutableBufferPointer<Double>) -> R) -> R {
    storage.withUnsafeMutableBufferPointer(body)
  }

  /// `y ← A x`
  public func multiply(_ x: Vector, into y: Vector) {
    product(x, CblasNoTrans, into: y, from: columns, to: rows)
  }

  /// `y ← Aᵀ x`
  public func multiplyTransposed(_ x: Vector, into y: Vector) {
    product(x, CblasTrans, into: y, from: rows, to: columns)
  }

  private func product(_ x: Vector, _ transpose: CBLAS_TRANSPOSE, into y: Vector, from: Int, to: Int) {
    precondition(x.count == from && y.count == to)
    guard rows > 0, columns > 0 else { return y.set(0) }
    BLASThreads.single {
      withColumns { a in
        cblas_dgemv(
          CblasColMajor, transpose, Int32(rows), Int32(columns), 1, a.baseAddress, Int32(rows), x.base, 1, 0,
          y.base, 1)
      }
    }
  }

  /// `y ← A x` for a symmetric A, reading only its lower triangle.
  public func multiplySymmetric(_ x: Vector, into y: Vector) {
    precondition(rows == columns && x.count == rows && y.count == rows)
    guard rows > 0 else { return }
    BLASThreads.single {
      withColumns { a in
        cblas_dsymv(
          CblasColMajor, CblasLower, Int32(rows), 1, a.baseAddress, Int32(rows), x.base, 1, 0, y.base, 1)
      }
    }
  }

  /// `Aᵀ`
  public func transposed() throws(LinearAlgebraError) -> Matrix {
    try Matrix(rows: columns, columns: rows) { self[$1, $0] }
  }

  /// `A x`
  public func times(_ x: [Double]) -> [Double] {
    var x = x
    var y = [Double](repeating: 0, count: rows)
    x.withUnsafeMutableBufferPointer { x in
      y.withUnsafeMutableBufferPointer { y in multiply(Vector(x), into: Vector(y)) }
    }
    return y
  }

  /// `A B`.
  public func times(_ b: Matrix) throws(LinearAlgebraError) -> Matrix {
    precondition(columns == b.rows)
    return try product(CblasNoTrans, b, CblasNoTrans, rows: rows, inner: columns, columns: b.columns)
  }

  /// `Aᵀ B`.
  public func transposedTimes(_ b: Matrix) throws(LinearAlgebraError) -> Matrix {
    precondition(rows == b.rows)
    return try product(CblasTrans, b, CblasNoTrans, rows: columns, inner: rows, columns: b.columns)
  }

  /// `A Bᵀ`.
  public func timesTransposed(_ b: Matrix) throws(LinearAlgebraError) -> Matrix {
    precondition(columns == b.columns)
    return try product(CblasNoTrans, b, CblasTrans, rows: rows, inner: columns, columns: b.rows)
  }

  private func product(
    _ transA: CBLAS_TRANSPOSE, _ b: Matrix, _ transB: CBLAS_TRANSPOSE, rows m: Int, inner k: Int,
    columns n: Int
  ) throws(LinearAlgebraError) -> Matrix {
    var result = try Matrix(rows: m, columns: n)
    guard m > 0, n > 0, k > 0 else { return result }
    BLASThreads.single {
      withColumns { a in
        b.withColumns { b in
          result.withMutableColumns { c in
            cblas_dgemm(
              CblasColMajor, transA, transB, Int32(m), Int32(n), Int32(k), 1, a.baseAddress, Int32(rows),
              b.baseAddress, Int32(transB == CblasNoTrans ? k : n), 0, c.baseAddress, Int32(m))
          }
        }
      }
    }
    return result
  }

  /// Adds `value` to every diagonal element.
  public mutating func addToDiagonal(_ value: Double) {
    let stride = rows + 1
    let count = min(rows, columns)
    withMutableColumns { a in
      for i in 0..<count { a[i * stride] += value }
    }
  }

  /// `A ← scale·A`.
  public mutating func scale(by scale: Double) {
    withMutableColumns { a in
      for i in a.indices { a[i] *= scale }
    }
  }

  /// `A ← A + scale·B`.
  public mutating func add(_ b: Matrix, scaledBy scale: Double) {
    precondition(rows == b.rows && columns == b.columns)
    withMutableColumns { a in
      b.withColumns { b in
        for i in a.indices { a[i] += scale * b[i] }
      }
    }
  }

  /// Eigenvalues in ascending order, eigenvectors in the columns, of a symmetric matrix (LAPACK dsyev).
  public func symmetricEigen() throws(LinearAlgebraError) -> (values: [Double], vectors: Matrix) {
    precondition(rows == columns)
    var vectors = self
    var values = [Double](repeating: 0, count: rows)
    guard rows > 0 else { return (values, vectors) }
    let n = Int32(rows)
    let status: Int32 = BLASThreads.single {
      vectors.withMutableColumns { a in
        var size = 0.0
        _ = LAPACKE_dsyev_work(LAPACK_COL_MAJOR, 86, 76, n, a.baseAddress, n, &values, &size, -1)
        var work = [Double](repeating: 0, count: max(1, Int(size)))
        return LAPACKE_dsyev_work(
          LAPACK_COL_MAJOR, 86, 76, n, a.baseAddress, n, &values, &work, Int32(work.count))
      }
    }
    guard status == 0 else { throw .noConvergence(routine: "dsyev") }
    return (values, vectors)
  }
}

/// `A = L Lᵀ` of a symmetric positive definite matrix, of which the lower triangle is read (LAPACK dpotrf).
public struct Cholesky: Sendable {
  private let factor: Matrix

  public init(_ matrix: Matrix) throws(LinearAlgebraError) {
    precondition(matrix.rows == matrix.columns)
    var factor = matrix
    let n = Int32(matrix.rows)
    let status: Int32 =
      n == 0
      ? 0
      : BLASThreads.single {
        factor.withMutableColumns { LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 76, n, $0.baseAddress, n) }
      }
    guard status == 0 else { throw .notPositiveDefinite(order: Int(status)) }
    self.factor = factor
  }

  public var order: Int { factor.rows }

  /// `log det A`.
  public var logDeterminant: Double {
    (0..<order).reduce(0.0) { $0 + 2 * log(factor[$1, $1]) }
  }

  /// `b ← A⁻¹ b`
  public func solve(_ b: Vector) {
    precondition(b.count == order)
    let n = Int32(order)
    guard n > 0 else { return }
    BLASThreads.single {
      factor.withColumns { l in
        _ = LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, 76, n, 1, l.baseAddress, n, b.base, n)
      }
    }
  }

  /// `A⁻¹ B`.
  public func solve(_ b: Matrix) -> Matrix {
    precondition(b.rows == order)
    var x = b
    let n = Int32(order)
    guard n > 0, b.columns > 0 else { return x }
    BLASThreads.single {
      factor.withColumns { l in
        x.withMutableColumns { x in
          _ = LAPACKE_dpotrs_work(
            LAPACK_COL_MAJOR, 76, n, Int32(b.columns), l.baseAddress, n, x.baseAddress, n)
        }
      }
    }
    return x
  }

  /// `A⁻¹`, both triangles filled (LAPACK dpotri).
  public func inverse() throws(LinearAlgebraError) -> Matrix {
    var result = factor
    let n = order
    guard n > 0 else { return result }
    let status: Int32 = BLASThreads.single {
      result.withMutableColumns {
        LAPACKE_dpotri_work(LAPACK_COL_MAJOR, 76, Int32(n), $0.baseAddress, Int32(n))
      }
    }
    guard status == 0 else { throw .singular(pivot: Int(status)) }
    result.withMutableColumns { a in
      for j in 0..<n {
        for i in 0..<j { a[i + j * n] = a[j + i * n] }
      }
    }
    return result
  }

  /// `z ← L z`: a draw of N(0, A) from a standard normal z.
  public func multiplyFactor(_ z: Vector) { byFactor(z, cblas_dtrmv) }

  /// `v ← L⁻¹v`: white where v has covariance A.
  public func whiten(_ v: Vector) { byFactor(v, cblas_dtrsv) }

  /// `v ← L⁻ᵀv`: the adjoint of `whiten`.
  public func whitenTransposed(_ v: Vector) { byFactor(v, cblas_dtrsv, CblasTrans) }

  private typealias TriangularRoutine = (
    CBLAS_ORDER, CBLAS_UPLO, CBLAS_TRANSPOSE, CBLAS_DIAG, Int32, UnsafePointer<Double>?, Int32,
    UnsafeMutablePointer<Double>?, Int32
  ) -> Void

  /// What a BLAS routine for triangular matrices makes of a vector with L.
  private func byFactor(
    _ vector: Vector, _ routine: TriangularRoutine, _ transpose: CBLAS_TRANSPOSE = CblasNoTrans
  ) {
    precondition(vector.count == order)
    guard order > 0 else { return }
    BLASThreads.single {
      factor.withColumns { l in
        routine(
          CblasColMajor, CblasLower, transpose, CblasNonUnit, Int32(order), l.baseAddress, Int32(order),
          vector.base, 1)
      }
    }
  }

  /// `L⁻¹B`.
  public func whiten(_ b: Matrix) -> Matrix { byFactor(b, cblas_dtrsm) }

  /// `L B`
  public func multiplyFactor(_ b: Matrix) -> Matrix { byFactor(b, cblas_dtrmm) }

  private typealias TriangularMatrixRoutine = (
    CBLAS_ORDER, CBLAS_SIDE, CBLAS_UPLO, CBLAS_TRANSPOSE, CBLAS_DIAG, Int32, Int32, Double,
    UnsafePointer<Double>?, Int32, UnsafeMutablePointer<Double>?, Int32
  ) -> Void

  /// What a BLAS routine for triangular matrices makes of a matrix with L on its left.
  private func byFactor(_ b: Matrix, _ routine: TriangularMatrixRoutine) -> Matrix {
    precondition(b.rows == order)
    var x = b
    guard order > 0, b.columns > 0 else { return x }
    BLASThreads.single {
      factor.withColumns { l in
        x.withMutableColumns { x in
          routine(
            CblasColMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, Int32(order), Int32(b.columns),
            1, l.baseAddress, Int32(order), x.baseAddress, Int32(order))
        }
      }
    }
    return x
  }
}
