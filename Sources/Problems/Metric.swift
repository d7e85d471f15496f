import AIPOKernels
import AIPOPriors

/// A symmetric positive definite H, prepared once to be solved with: the curvature that a minimizer supposes.
public struct Metric: Sendable {
  private enum Form: Sendable {
    case diagonal(Tensor<Double>)
    /// `(C − CAᵀ(ACAᵀ + I)⁻¹AC)v` with C = diag(1/c), of a wide A.
    case woodbury(Matrix, damping: Tensor<Double>, Cholesky)
    case cholesky(Cholesky)
    /// By its explicit inverse: half the memory traffic of two triangular solves, at the cost of about cond(H)·10⁻¹⁶
    /// relative error.
    case inverse(Matrix)
    /// By products alone.
    case operation(@Sendable (_ v: Vector, _ result: Vector, Scratch) throws -> Void)
  }
  private let form: Form

  /// What an iterative solve leaves of the right-hand side: a preconditioner needs no more.
  static let tolerance = 1e-6

  /// `H = diag(c)`, c > 0.
  public init(diagonal: Tensor<Double>) { form = .diagonal(diagonal) }

  /// H by its explicit inverse.
  public init(inverse: Matrix) { form = .inverse(inverse) }

  /// H by a function that writes `H⁻¹v`.
  public init(solve: @escaping @Sendable (_ v: Vector, _ result: Vector, Scratch) throws -> Void) {
    form = .operation(solve)
  }

  /// `H = w·(A diag(s))ᵀ(A diag(s)) + diag(c)`.
  ///
  /// Exact where A is pixelwise or dense: there by Cholesky, m × m by Woodbury's formula where m < d. Else by conjugate
  /// gradients, preconditioned by diag(c), and where a spectrum is near AᵀA by `diag(√c)(w·m·S + 1)diag(√c)`, m the mean
  /// of s²/c.
  ///
  /// - `weight`: w, at least 0.
  /// - `slopes`: s; nil for 1.
  /// - `damping`: c, one a value of the image, above 0.
  public init(
    of map: any LinearMap, weight: Double, slopes: Tensor<Double>? = nil, damping: Tensor<Double>,
    _ pool: ThreadPool? = nil
  ) throws {
    switch map.normal {
    case .pixelwise(let seen):
      var diagonal = damping
      diagonal.withMemory { h in
        for i in 0..<h.count {
          let slope = slopes?[flat: i] ?? 1
          h[i] += weight * seen[flat: i] * slope * slope
        }
      }
      form = .diagonal(diagonal)
    case .dense(var a):
      guard weight > 0, a.rows > 0 else {
        form = .diagonal(damping)
        return
      }
      let rows = a.rows
      let root = weight.squareRoot()
      a.withMutableColumns { a in
        for k in a.indices { a[k] *= root * (slopes?[flat: k / rows] ?? 1) }
      }
      if a.rows < a.columns {
        var scaled = a
        scaled.withMutableColumns { a in
          for k in a.indices { a[k] /= damping[flat: k / rows] }
        }
        var gram = try scaled.timesTransposed(a)
        gram.addToDiagonal(1)
        form = .woodbury(a, damping: damping, try Cholesky(gram))
      } else {
        var h = try a.transposedTimes(a)
        for i in 0..<damping.count { h[i, i] += damping[flat: i] }
        form = .cholesky(try Cholesky(h))
      }
    case .stationary, .unknown:
      var spectral: (near: Spectrum, factor: Double, roots: Tensor<Double>)?
      if let near = map.nearNormal, weight > 0 {
        var roots = damping
        let mean = roots.withMemory { roots in
          if let slopes { roots.setEach(pool, slopes.view, roots) { $0 * $0 / $1 } }
          let sum = slopes == nil ? roots.total(pool) { 1 / $0 } : roots.total(pool)
          roots.setEach(pool, damping.view) { $0.squareRoot() }
          return sum / Double(max(roots.wholeCount(pool), 1))
        }
        spectral = (near, weight * mean, roots)
      }
      form = .operation { [spectral] v, result, scratch in
        try scratch.scope {
          let inner = try scratch.take(v.count)
          result.set(0, scratch.pool)
          try ConjugateGradients.solve(
            v, into: result, tolerance: Self.tolerance, iterations: 4 * v.wholeCount(scratch.pool) + 20,
            scratch,
            precondition: { r, z in
              guard let spectral else { return z.setEach(scratch.pool, r, damping.view) { $0 / $1 } }
              z.setEach(scratch.pool, r, spectral.roots.view) { $0 / $1 }
              try spectral.near.apply({ 1 / (spectral.factor * $0 + 1) }, z, into: z, scratch)
              z.setEach(scratch.pool, z, spectral.roots.view) { $0 / $1 }
            },
            product: { p, y in
              inner.set(p, scratch.pool)
              if let slopes { inner.setEach(scratch.pool, p, slopes.view) { $0 * $1 } }
              try map.applyNormal(inner, into: y, scratch)
              if let slopes { y.setEach(scratch.pool, y, slopes.view) { $0 * $1 } }
              inner.setEach(scratch.pool, p, damping.view) { $0 * $1 }
              y.set(1, inner, plus: weight, scratch.pool)
            })
        }
      }
    }
  }

  /// `result ← H⁻¹v`. `result` isn't v.
  public func solve(_ v: Vector, into result: Vector, _ scratch: Scratch) throws {
    let pool = scratch.pool
    switch form {
    case .diagonal(let diagonal): result.setEach(pool, v, diagonal.view) { $0 / $1 }
    case .woodbury(let a, let damping, let core):
      result.setEach(pool, v, damping.view) { $0 / $1 }
      try scratch.scope {
        let rows = try scratch.take(a.rows)
        let back = try scratch.take(a.columns)
        a.multiply(result, into: rows)
        core.solve(rows)
        a.multiplyTransposed(rows, into: back)
        back.setEach(pool, back, damping.view) { $0 / $1 }
        result.add(back, times: -1, pool)
      }
    case .cholesky(let factor):
      result.set(v, pool)
      factor.solve(result)
    case .inverse(let matrix): matrix.multiplySymmetric(v, into: result)
    case .operation(let solve): try solve(v, result, scratch)
    }
  }
}
