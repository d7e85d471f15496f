import AIPOKernels
import Synchronization

/// `f(x) = A x` with a dense m × d matrix of any shape and rank, zero included.
public final class DenseOperator: LinearOperator {
  public let matrix: Matrix
  public var inputCount: Int { matrix.columns }
  public var outputCount: Int { matrix.rows }
  public var form: OperatorForm { .dense(matrix) }

  /// Eigenvalues and eigenvectors of the smaller of AᵀA and AAᵀ, made when first needed.
  private struct Spectrum {
    let values: [Double]
    let vectors: Matrix
    var cutoff: Double { (values.last ?? 0) * Double(max(values.count, 1)) * 0x1p-50 }
    var rank: Int { values.count { $0 > cutoff && $0 > 0 } }
  }
  private let spectrum = Mutex<Spectrum?>(nil)

  /// Throws `ProblemError.nonFinite` where an entry is not a finite number.
  public init(_ matrix: Matrix) throws(ProblemError) {
    let bad = matrix.withColumns { a in a.firstIndex { !$0.isFinite } }
    if let bad {
      throw .nonFinite(
        what: "operator row", image: bad % matrix.rows, position: bad / matrix.rows,
        value: matrix[bad % matrix.rows, bad / matrix.rows])
    }
    self.matrix = matrix
  }

  /// Random sensing, `A_ij ~ N(0, 1/m)`, drawn row by row from the seed alone.
  public static func gaussian(measurements m: Int, inputCount d: Int, seed: UInt64) throws(ProblemError)
    -> DenseOperator
  {
    var random = Philox(seed: seed, purpose: .operatorEntries)
    let scale = 1 / Double(max(m, 1)).squareRoot()
    return try DenseOperator(
      try algebra { () throws(LinearAlgebraError) in
        var matrix = try Matrix(rows: m, columns: d)
        for i in 0..<m {
          for j in 0..<d { matrix[i, j] = scale * random.normal() }
        }
        return matrix
      })
  }

  public func apply(_ x: [Double]) -> [Double] { matrix.times(x) }
  public func adjoint(_ u: [Double]) -> [Double] { matrix.transposedTimes(u) }

  private var isWide: Bool { matrix.rows < matrix.columns }

  private func eigen() throws(ProblemError) -> Spectrum {
    if let known = spectrum.withLock({ $0 }) { return known }
    let made = try algebra { () throws(LinearAlgebraError) in
      let gram = isWide ? try matrix.timesTransposed(matrix) : try matrix.transposedTimes(matrix)
      let (values, vectors) = try gram.symmetricEigen()
      return Spectrum(values: values, vectors: vectors)
    }
    spectrum.withLock { $0 = made }
    return made
  }

  public var isInjective: Bool {
    guard !isWide, let spectrum = try? eigen() else { return false }
    return spectrum.rank == matrix.columns
  }

  /// By the eigenvectors of the smaller Gram matrix; directions below 2⁻⁵⁰·n of the largest eigenvalue
  /// count as null.
  public func pseudoInverse(_ y: [Double]) throws(ProblemError) -> [Double] {
    let spectrum = try eigen()
    func inverseGram(_ v: [Double]) -> [Double] {
      var coefficients = spectrum.vectors.transposedTimes(v)
      for (k, value) in spectrum.values.enumerated() {
        coefficients[k] = value > spectrum.cutoff && value > 0 ? coefficients[k] / value : 0
      }
      return spectrum.vectors.times(coefficients)
    }
    return isWide ? adjoint(inverseGram(y)) : inverseGram(adjoint(y))
  }

  /// For m < d by Woodbury's formula, an m × m Cholesky; else d × d.
  public func curvatureSolver(dataWeight: Double, damping: [Double]) throws(ProblemError)
    -> any CurvatureSolver
  {
    guard dataWeight > 0, matrix.rows > 0 else { return DiagonalCurvature(diagonal: damping) }
    return try algebra { () throws(LinearAlgebraError) -> any CurvatureSolver in
      if isWide { return try WoodburyCurvature(matrix: matrix, dataWeight: dataWeight, damping: damping) }
      var normal = try matrix.transposedTimes(matrix)
      normal.scale(by: dataWeight)
      for i in damping.indices { normal[i, i] += damping[i] }
      return CholeskyCurvature(factor: try Cholesky(normal))
    }
  }
}
