import AIPOKernels

/// The closed-form solution under a Gaussian prior for one linear operator, factored once:
///
///     x*(λ) = μ + C Aᵀ (A C Aᵀ + λσ² I)⁻¹ (y − A μ)
///
/// the unique minimiser of `‖y − Ax‖²/(2σ²) + λ·½(x − μ)ᵀC⁻¹(x − μ)`. `noiseVariance` is λσ². Where A has
/// more rows than columns it is solved as `(AᵀA + λσ² C⁻¹) (x − μ) = Aᵀ(y − Aμ)`, d × d.
public struct GaussianConditional: Sendable {
  private let density: GaussianDensity
  private let linearOperator: any LinearOperator
  private let solver: Solver

  private enum Solver: Sendable {
    /// `(A C Aᵀ + s I)⁻¹` and `C Aᵀ`.
    case measurements(Cholesky, cross: Matrix)
    /// `(AᵀA + s C⁻¹)⁻¹`.
    case image(Cholesky)
    /// A selection under a low-rank covariance: `(C_oo + s I)⁻¹` by an r × r core.
    case lowRank(LowRankSum, positions: [Int])
  }

  /// Throws where `noiseVariance` isn't above 0 or a factorisation fails.
  public init(
    _ density: GaussianDensity, linearOperator: any LinearOperator, noiseVariance s: Double
  ) throws(ProblemError) {
    guard s.isFinite, s > 0 else { throw .invalidWeight(what: "lambda sigma^2", value: s) }
    self.density = density
    self.linearOperator = linearOperator
    let d = density.imageShape.count
    let m = linearOperator.outputCount
    if case .lowRank(let factor, let diagonal) = density.covariance {
      if case .selection(let positions) = linearOperator.form {
        solver = try algebra { () throws(LinearAlgebraError) in
          let rows = try Matrix(rows: positions.count, columns: factor.columns) {
            factor[positions[$0], $1]
          }
          return .lowRank(
            try LowRankSum(factor: rows, diagonal: positions.map { diagonal[$0] + s }), positions: positions)
        }
        return
      }
      let a = try linearOperator.matrix()
      solver = try algebra { () throws(LinearAlgebraError) in
        // C Aᵀ = U (AU)ᵀ + diag(v) Aᵀ
        var cross = try factor.timesTransposed(try a.times(factor))
        cross.add(try Matrix(rows: d, columns: m) { diagonal[$0] * a[$1, $0] }, scaledBy: 1)
        var gram = try a.times(cross)
        gram.addToDiagonal(s)
        return .measurements(try Cholesky(gram), cross: cross)
      }
      return
    }
    guard case .dense(let c) = density.covariance, case .dense(let precision, _) = density.inverse else {
      preconditionFailure("covariance and its inverse are made together")
    }
    let form = linearOperator.form
    if case .selection(let positions) = form {
      solver = try algebra { () throws(LinearAlgebraError) in
        let cross = try Matrix(rows: d, columns: m) { c[$0, positions[$1]] }
        var gram = try Matrix(rows: m, columns: m) { c[positions[$0], positions[$1]] }
        gram.addToDiagonal(s)
        return .measurements(try Cholesky(gram), cross: cross)
      }
      return
    }
    let a = try linearOperator.matrix()
    solver = try algebra { () throws(LinearAlgebraError) in
      if m <= d {
        let cross = try c.timesTransposed(a)
        var gram = try a.times(cross)
        gram.addToDiagonal(s)
        return .measurements(try Cholesky(gram), cross: cross)
      }
      var h = try a.transposedTimes(a)
      h.add(precision, scaledBy: s)
      return .image(try Cholesky(h))
    }
  }

  /// The solution for the measurements of one image.
  public func mean(_ y: [Double]) -> [Double] {
    let residual = adding(y, linearOperator.apply(density.mean), scaledBy: -1)
    let offset: [Double]
    switch solver {
    case .measurements(let factor, let cross): offset = cross.times(factor.solve(residual))
    case .image(let factor): offset = factor.solve(linearOperator.adjoint(residual))
    case .lowRank(let sum, let positions):
      guard case .lowRank(let factor, let diagonal) = density.covariance else { return density.mean }
      let weights = sum.solve(residual)
      var spread = [Double](repeating: 0, count: density.mean.count)
      for (k, i) in positions.enumerated() { spread[i] = weights[k] }
      let shared = factor.times(factor.transposedTimes(spread))
      offset = spread.indices.map { shared[$0] + diagonal[$0] * spread[$0] }
    }
    return adding(density.mean, offset, scaledBy: 1)
  }
}

/// Solves with `U Uᵀ + diag(v)` by an r × r Cholesky.
struct LowRankSum: Sendable {
  private let factor: Matrix
  private let diagonal: [Double]
  private let core: Cholesky

  init(factor: Matrix, diagonal: [Double]) throws(LinearAlgebraError) {
    self.factor = factor
    self.diagonal = diagonal
    let scaled = try Matrix(rows: factor.rows, columns: factor.columns) { factor[$0, $1] / diagonal[$0] }
    var gram = try factor.transposedTimes(scaled)
    gram.addToDiagonal(1)
    core = try Cholesky(gram)
  }

  func solve(_ v: [Double]) -> [Double] {
    let direct = v.indices.map { v[$0] / diagonal[$0] }
    let correction = factor.times(core.solve(factor.transposedTimes(direct)))
    return v.indices.map { direct[$0] - correction[$0] / diagonal[$0] }
  }
}

extension GaussianDensity {
  /// `x*(λ)` of every image of a problem with Gaussian noise; one factorisation where images share the
  /// operator. The operators must be linear.
  public func conditionalMeans(of problem: InverseProblem, lambda: Double) throws(ProblemError)
    -> [[Double]]
  {
    let s = lambda / problem.noise.curvature
    var shared: GaussianConditional?
    var result: [[Double]] = []
    for i in 0..<problem.count {
      guard let a = problem.linearOperator(i) else {
        throw .shapeMismatch(what: "non-linear operator", found: [], expected: [])
      }
      let conditional: GaussianConditional
      if let shared {
        conditional = shared
      } else {
        conditional = try GaussianConditional(self, linearOperator: a, noiseVariance: s)
      }
      if problem.isOperatorShared { shared = conditional }
      result.append(conditional.mean(problem.observations[i]))
    }
    return result
  }
}
