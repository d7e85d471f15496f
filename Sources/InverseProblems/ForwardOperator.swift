import AIPOKernels

/// The known map `f` from one image to its noiseless measurements, `ℝᵈ → ℝᵐ`, with its derivative.
///
/// Images are flat in h, w, c order and everything here is in double precision, whatever the flow runs in.
/// A problem has one operator for all its images or one an image.
public protocol ForwardOperator: Sendable {
  /// d, the values of an image.
  var inputCount: Int { get }
  /// m, the measurements of an image.
  var outputCount: Int { get }

  /// `f(x)`.
  func apply(_ x: [Double]) -> [Double]

  /// `J_f(x)ᵀ u`.
  func vjp(at x: [Double], _ u: [Double]) -> [Double]
}

/// How the matrix of a linear operator can be used.
public enum OperatorForm: Sendable {
  /// Picks these positions of the image, each at most once, and scales them.
  case selection([Int], scale: [Double])
  /// This matrix, m × d.
  case dense(Matrix)
  /// Only through `apply` and `adjoint`.
  case general
}

/// A linear map `A`. A user's own needs `apply`, `adjoint` and `isInjective`; the rest has defaults that
/// work by conjugate gradients.
public protocol LinearOperator: ForwardOperator {
  /// `Aᵀu`.
  func adjoint(_ u: [Double]) -> [Double]

  /// Whether A has full column rank, so that the data alone determine the image.
  var isInjective: Bool { get }

  var form: OperatorForm { get }

  /// `A⁺y`, the least-squares solution of least norm.
  func pseudoInverse(_ y: [Double]) throws(ProblemError) -> [Double]

  /// Solves with `dataWeight·AᵀA + diag(damping)`, factored once. `damping`, one a pixel, is above 0.
  func curvatureSolver(dataWeight: Double, damping: [Double]) throws(ProblemError) -> any CurvatureSolver
}

extension LinearOperator {
  public var form: OperatorForm { .general }

  public func vjp(at x: [Double], _ u: [Double]) -> [Double] { adjoint(u) }

  /// By conjugate gradients on the normal equations from zero, which stay in the range of Aᵀ.
  public func pseudoInverse(_ y: [Double]) throws(ProblemError) -> [Double] {
    conjugateGradient(adjoint(y), tolerance: 1e-12) { adjoint(apply($0)) }
  }

  public func curvatureSolver(dataWeight: Double, damping: [Double]) throws(ProblemError)
    -> any CurvatureSolver
  {
    IterativeCurvature(linearOperator: self, dataWeight: dataWeight, damping: damping)
  }

  /// The matrix of A, column by column from `apply` where no better is known.
  public func matrix() throws(ProblemError) -> Matrix {
    let d = inputCount
    let m = outputCount
    switch form {
    case .dense(let matrix): return matrix
    case .selection(let positions, let scale):
      var result = try algebra { () throws(LinearAlgebraError) in try Matrix(rows: m, columns: d) }
      for (row, column) in positions.enumerated() { result[row, column] = scale[row] }
      return result
    case .general:
      var result = try algebra { () throws(LinearAlgebraError) in try Matrix(rows: m, columns: d) }
      var basis = [Double](repeating: 0, count: d)
      for j in 0..<d {
        basis[j] = 1
        let column = apply(basis)
        basis[j] = 0
        for i in 0..<m { result[i, j] = column[i] }
      }
      return result
    }
  }
}

/// `f(x) = x`: denoising.
public struct IdentityOperator: LinearOperator {
  public let inputCount: Int
  public var outputCount: Int { inputCount }
  public var isInjective: Bool { true }
  public var form: OperatorForm {
    .selection(Array(0..<inputCount), scale: [Double](repeating: 1, count: inputCount))
  }

  public init(count: Int) { inputCount = count }

  public func apply(_ x: [Double]) -> [Double] { x }
  public func adjoint(_ u: [Double]) -> [Double] { u }
  public func pseudoInverse(_ y: [Double]) -> [Double] { y }

  public func curvatureSolver(dataWeight: Double, damping: [Double]) -> any CurvatureSolver {
    DiagonalCurvature(diagonal: damping.map { dataWeight + $0 })
  }
}

/// `f(x)` keeps the observed pixels of an image, in order: inpainting. m is their number, 0 included.
public struct MaskOperator: LinearOperator {
  /// Positions of the observed values, ascending.
  public let observed: [Int]
  public let inputCount: Int
  public var outputCount: Int { observed.count }
  public var isInjective: Bool { observed.count == inputCount }
  public var form: OperatorForm {
    .selection(observed, scale: [Double](repeating: 1, count: observed.count))
  }

  /// `mask[i]` says whether value i (h, w, c order) is observed.
  public init(mask: [Bool]) {
    inputCount = mask.count
    observed = mask.indices.filter { mask[$0] }
  }

  public func apply(_ x: [Double]) -> [Double] { observed.map { x[$0] } }

  public func adjoint(_ u: [Double]) -> [Double] {
    precondition(u.count == observed.count)
    var x = [Double](repeating: 0, count: inputCount)
    for (k, i) in observed.enumerated() { x[i] = u[k] }
    return x
  }

  public func pseudoInverse(_ y: [Double]) -> [Double] { adjoint(y) }

  public func curvatureSolver(dataWeight: Double, damping: [Double]) -> any CurvatureSolver {
    var diagonal = damping
    for i in observed { diagonal[i] += dataWeight }
    return DiagonalCurvature(diagonal: diagonal)
  }
}
