import AIPOKernels

/// The closed-form solution under a Gaussian prior for one linear operator and Gaussian noise, factored once:
///
///     x*(λ) = μ + C Aᵀ (A C Aᵀ + λσ² I)⁻¹ (y − A μ)
///
/// the unique minimiser of `‖y − Ax‖²/(2σ²) + λ·½(x − μ)ᵀC⁻¹(x − μ)`. Other noise than white is made white
/// first. Where A has more rows than columns it is solved as `(AᵀA + λσ² C⁻¹) (x − μ) = Aᵀ(y − Aμ)`, d × d.
public struct GaussianConditional: Sendable {
  private let density: GaussianDensity
  private let noise: GaussianNoise
  private let linearOperator: any LinearOperator
  private let solver: Solver

  private enum Solver: Sendable {
    /// `(A C Aᵀ + s I)⁻¹` and `C Aᵀ`.
    case measurements(Cholesky, cross: Matrix)
    /// `(AᵀA + s C⁻¹)⁻¹`.
    case image(Cholesky)
    /// A selection under a low-rank covariance: `(C_oo + s I)⁻¹` by an r × r core.
    case lowRank(LowRankSum)
  }

  /// Throws where λσ² isn't above 0 or a factorisation fails.
  public init(
    _ density: GaussianDensity, linearOperator a: any LinearOperator, noise: GaussianNoise, lambda: Double
  ) throws(ProblemError) {
    let s = lambda * noise.whiteVariance
    guard s.isFinite, s > 0 else { throw .invalidWeight(what: "lambda sigma^2", value: s) }
    self.density = density
    self.noise = noise
    let linearOperator = try noise.whiten(a)
    self.linearOperator = linearOperator
    let d = density.imageShape.count
    let m = linearOperator.outputCount
    if case .lowRank(let factor, let diagonal) = density.covariance {
      if case .selection(let positions, let scale) = linearOperator.form {
        solver = try algebra { () throws(LinearAlgebraError) in
          let rows = try Matrix(rows: positions.count, columns: factor.columns) {
            scale[$0] * factor[positions[$0], $1]
          }
          let variances = positions.indices.map { scale[$0] * scale[$0] * diagonal[positions[$0]] + s }
          return .lowRank(try LowRankSum(factor: rows, diagonal: variances))
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
    if case .selection(let positions, let scale) = form {
      solver = try algebra { () throws(LinearAlgebraError) in
        let cross = try Matrix(rows: d, columns: m) { scale[$1] * c[$0, positions[$1]] }
        var gram = try Matrix(rows: m, columns: m) {
          scale[$0] * scale[$1] * c[positions[$0], positions[$1]]
        }
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
    let residual = adding(noise.whiten(y), linearOperator.apply(density.mean), scaledBy: -1)
    let offset: [Double]
    switch solver {
    case .measurements(let factor, let cross): offset = cross.times(factor.solve(residual))
    case .image(let factor): offset = factor.solve(linearOperator.adjoint(residual))
    case .lowRank(let sum):
      guard case .lowRank(let factor, let diagonal) = density.covariance else { return density.mean }
      let spread = linearOperator.adjoint(sum.solve(residual))
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
  /// `x*(λ)` of every image of a problem, other noise than Gaussian taken as the Gaussian of its mean and
  /// covariance; one factorisation where it serves all images. The operators must be linear.
  public func conditionalMeans(of problem: InverseProblem, lambda: Double) throws(ProblemError)
    -> [[Double]]
  {
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
        conditional = try GaussianConditional(
          self, linearOperator: a, noise: problem.noise(i).matched(problem.observations[i]), lambda: lambda)
      }
      if problem.isShared { shared = conditional }
      result.append(conditional.mean(problem.observations[i]))
    }
    return result
  }
}
