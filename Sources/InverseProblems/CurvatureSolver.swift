import AIPOKernels

/// `H⁻¹v` for a symmetric positive definite H, prepared once: the initial inverse Hessian of L-BFGS.
public protocol CurvatureSolver: Sendable {
  func solve(_ v: [Double]) -> [Double]
}

/// H is diagonal.
public struct DiagonalCurvature: CurvatureSolver {
  public let diagonal: [Double]

  public init(diagonal: [Double]) { self.diagonal = diagonal }

  public func solve(_ v: [Double]) -> [Double] {
    precondition(v.count == diagonal.count)
    return v.indices.map { v[$0] / diagonal[$0] }
  }
}

/// `H = w·AᵀA + diag(c)` of a wide A, by `H⁻¹ = C − C Aᵀ(A C Aᵀ + I/w)⁻¹ A C` with `C = diag(1/c)`.
struct WoodburyCurvature: CurvatureSolver {
  let matrix: Matrix
  let damping: [Double]
  let factor: Cholesky

  init(matrix: Matrix, dataWeight: Double, damping: [Double]) throws(LinearAlgebraError) {
    self.matrix = matrix
    self.damping = damping
    var scaled = matrix
    let rows = matrix.rows
    scaled.withMutableColumns { a in
      for k in a.indices { a[k] /= damping[k / rows] }
    }
    var gram = try scaled.timesTransposed(matrix)
    gram.addToDiagonal(1 / dataWeight)
    factor = try Cholesky(gram)
  }

  func solve(_ v: [Double]) -> [Double] {
    let direct = v.indices.map { v[$0] / damping[$0] }
    let inner = matrix.transposedTimes(factor.solve(matrix.times(direct)))
    return v.indices.map { direct[$0] - inner[$0] / damping[$0] }
  }
}

/// H by its Cholesky factor.
struct CholeskyCurvature: CurvatureSolver {
  let factor: Cholesky

  func solve(_ v: [Double]) -> [Double] { factor.solve(v) }
}

/// H by its explicit inverse: half the memory traffic of two triangular solves, at the cost of about
/// cond(H)·10⁻¹⁶ relative error, which an initial inverse Hessian bears.
struct InverseCurvature: CurvatureSolver {
  let inverse: Matrix

  func solve(_ v: [Double]) -> [Double] { inverse.symmetricTimes(v) }
}

/// `H = diag(D) − W Wᵀ`, positive definite, by `H⁻¹ = D⁻¹ + D⁻¹W(I − WᵀD⁻¹W)⁻¹WᵀD⁻¹`.
struct LowRankCurvature: CurvatureSolver {
  let diagonal: [Double]
  let factor: Matrix
  let core: Cholesky

  init(diagonal: [Double], factor: Matrix) throws(LinearAlgebraError) {
    self.diagonal = diagonal
    self.factor = factor
    var scaled = factor
    let rows = factor.rows
    scaled.withMutableColumns { w in
      for k in w.indices { w[k] /= diagonal[k % rows] }
    }
    var gram = try factor.transposedTimes(scaled)
    gram.scale(by: -1)
    gram.addToDiagonal(1)
    core = try Cholesky(gram)
  }

  func solve(_ v: [Double]) -> [Double] {
    let direct = v.indices.map { v[$0] / diagonal[$0] }
    let correction = factor.times(core.solve(factor.transposedTimes(direct)))
    return v.indices.map { direct[$0] + correction[$0] / diagonal[$0] }
  }
}

/// `H = w·AᵀA + diag(c)` of an operator known by its products alone, by conjugate gradients on
/// `w·C^½AᵀAC^½ + I` with `C = diag(1/c)`, to 1e-10.
struct IterativeCurvature<Operator: LinearOperator>: CurvatureSolver {
  let linearOperator: Operator
  let dataWeight: Double
  let roots: [Double]

  init(linearOperator: Operator, dataWeight: Double, damping: [Double]) {
    self.linearOperator = linearOperator
    self.dataWeight = dataWeight
    roots = damping.map { 1 / $0.squareRoot() }
  }

  func solve(_ v: [Double]) -> [Double] {
    func scaled(_ v: [Double]) -> [Double] { v.indices.map { roots[$0] * v[$0] } }
    return scaled(
      conjugateGradient(scaled(v), tolerance: 1e-10) { p in
        adding(p, scaled(linearOperator.adjoint(linearOperator.apply(scaled(p)))), scaledBy: dataWeight)
      })
  }
}

/// `H x = b` by conjugate gradients from zero, for a symmetric positive semidefinite H and b in its range.
/// Stops when the residual is below `tolerance·‖b‖`, or when rounding lets it fall no further.
func conjugateGradient(_ b: [Double], tolerance: Double, _ product: ([Double]) -> [Double]) -> [Double] {
  var x = [Double](repeating: 0, count: b.count)
  var residual = b
  var direction = b
  var square = dot(b, b)
  let goal = square * tolerance * tolerance
  for _ in 0..<(4 * b.count + 20) where square > goal {
    let image = product(direction)
    let curvature = dot(direction, image)
    guard curvature > 0 else { break }
    let length = square / curvature
    x = adding(x, direction, scaledBy: length)
    residual = adding(residual, image, scaledBy: -length)
    let next = dot(residual, residual)
    direction = adding(residual, direction, scaledBy: next / square)
    square = next
  }
  return x
}
