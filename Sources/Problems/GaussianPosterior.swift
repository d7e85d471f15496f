import AIPOKernels
import AIPOPriors

/// The closed-form solution under a Gaussian prior for one linear map and Gaussian noise, prepared once:
///
///     x*(λ) = μ + H⁻¹ Aᵀ Σ⁻¹ (y − Aμ),   H = Aᵀ Σ⁻¹ A + λC⁻¹
///
/// the unique minimiser of `½(y − Ax)ᵀΣ⁻¹(y − Ax) + λ·½(x − μ)ᵀC⁻¹(x − μ)`. Where the map is pixelwise or dense and there
/// are fewer measurements than values, it is solved in their space, `x* = μ + CAᵀ(ACAᵀ + λΣ)⁻¹(y − Aμ)`. A map that
/// is known by its products alone, or a stationary C, takes conjugate gradients.
public struct GaussianPosterior: Sendable {
  private let prior: GaussianPrior
  private let noise: GaussianNoise
  /// WA, and the variance v of the noise of Wy.
  private let map: any LinearMap
  private let variance: Double
  private let solver: Solver

  private enum Solver: Sendable {
    /// C, and `(S C S + λI)⁻¹` on the values that are seen.
    case pixels(SeenPixels, Matrix, Cholesky)
    /// `(A C Aᵀ + λv I)⁻¹` and `C Aᵀ`.
    case measurements(Cholesky, cross: Matrix)
    /// `(AᵀA + λv C⁻¹)⁻¹`.
    case image(Cholesky)
    case products(GaussianHessian)
  }

  /// Throws where λ isn't above 0 or a factorisation fails.
  public init(
    _ prior: GaussianPrior, map a: any LinearMap, noise: GaussianNoise, lambda: Double, _ scratch: Scratch
  ) throws {
    let variance = noise.whiteVariance
    let s = lambda * variance
    guard s.isFinite, s > 0 else { throw ProblemError.invalidWeight(what: "lambda sigma^2", value: s) }
    self.prior = prior
    self.noise = noise
    self.variance = variance
    let map = try noise.whitened(a, scratch)
    self.map = map
    switch (prior.covariance, map.normal) {
    case (.dense(let c, _, _), .pixelwise(let seen)):
      let pixels = try SeenPixels(seen, variance: variance, c)
      var gram = pixels.covariance
      gram.addToDiagonal(lambda)
      solver = .pixels(pixels, c, try Cholesky(gram))
    case (.dense(let c, _, _), .dense(let a)) where a.rows <= a.columns:
      let cross = try c.timesTransposed(a)
      var gram = try a.times(cross)
      gram.addToDiagonal(s)
      solver = .measurements(try Cholesky(gram), cross: cross)
    case (.dense(_, let precision, _), .dense(let a)):
      var h = try a.transposedTimes(a)
      h.add(precision, scaledBy: s)
      solver = .image(try Cholesky(h))
    case (.dense, .stationary), (.dense, .unknown), (.stationary, _):
      solver = .products(try GaussianHessian(prior, map, variance: variance, lambda: lambda, scratch))
    }
  }

  /// `x ← x*` for the measurements of one image.
  public func mean(_ y: Vector, into x: Vector, _ scratch: Scratch) throws {
    let pool = scratch.pool
    try scratch.scope {
      // W(y − μ_e − Aμ)
      let residual = try scratch.take(y.count)
      let predicted = try scratch.take(y.count)
      let pulled = try scratch.take(x.count)
      residual.set(y, pool)
      noise.whitenObservation(residual, pool)
      try map.apply(prior.mean.view, into: predicted, scratch)
      residual.add(predicted, times: -1, pool)
      switch solver {
      case .pixels(let pixels, let covariance, let factor):
        try map.adjoint(residual, into: pulled, scratch)
        let inner = try scratch.take(pixels.positions.count)
        for (k, i) in pixels.positions.enumerated() { inner[k] = pulled[i] / (variance * pixels.roots[k]) }
        factor.solve(inner)
        pulled.set(0, pool)
        for (k, i) in pixels.positions.enumerated() { pulled[i] = pixels.roots[k] * inner[k] }
        covariance.multiplySymmetric(pulled, into: x)
      case .measurements(let factor, let cross):
        factor.solve(residual)
        cross.multiply(residual, into: x)
      case .image(let factor):
        try map.adjoint(residual, into: x, scratch)
        factor.solve(x)
      case .products(let hessian):
        try map.adjoint(residual, into: pulled, scratch)
        pulled.scale(by: 1 / variance, pool)
        try hessian.solve(pulled, into: x, tolerance: 1e-10, scratch)
      }
      x.add(prior.mean.view, pool)
    }
  }
}

/// The values that a pixelwise map sees.
private struct SeenPixels: Sendable {
  let positions: [Int]
  /// S, the roots of `AᵀA/v` there.
  let roots: [Double]
  /// `S C S`
  let covariance: Matrix

  init(_ diagonal: Tensor<Double>, variance: Double, _ c: Matrix) throws {
    let positions = (0..<diagonal.count).filter { diagonal[flat: $0] > 0 }
    let roots = positions.map { (diagonal[flat: $0] / variance).squareRoot() }
    (self.positions, self.roots) = (positions, roots)
    covariance = try Matrix(rows: positions.count, columns: positions.count) {
      roots[$0] * roots[$1] * c[positions[$0], positions[$1]]
    }
  }
}

/// `H = AᵀA/v + λC⁻¹` by its products, for conjugate gradients. They are preconditioned by the same with something simpler in
/// place of AᵀA: a spectrum that is near it, if C is stationary, so that H takes one step where AᵀA is that spectrum; else
/// a multiple w of the identity: the diagonal's maximum where A is pixelwise, so that H takes one step where the diagonal
/// is constant and no eigenvalue is above 1 elsewhere, else the diagonal's mean.
struct GaussianHessian: Sendable {
  let prior: GaussianPrior
  let map: any LinearMap
  let variance: Double
  let lambda: Double
  private let preconditioner: Metric

  init(
    _ prior: GaussianPrior, _ map: any LinearMap, variance: Double, lambda: Double, _ scratch: Scratch
  ) throws {
    (self.prior, self.map, self.variance, self.lambda) = (prior, map, variance, lambda)
    let weight: Double
    if case .pixelwise(let diagonal) = map.normal {
      weight = max(diagonal.view.extent(scratch.pool).greatest, 0) / variance
    } else if let near = map.nearNormal {
      weight = near.mean() / variance
    } else {
      weight = try map.meanSquare(scratch) / variance
    }
    switch prior.covariance {
    case .dense(_, var h, _):
      h.scale(by: lambda)
      h.addToDiagonal(weight)
      preconditioner = Metric(inverse: try Cholesky(h).inverse())
    case .stationary(let covariance):
      let near = map.nearNormal
      preconditioner = Metric { v, result, scratch in
        try covariance.apply(
          { e, s in 1 / ((near == nil ? weight : s / variance) + lambda / e) }, with: near, v, into: result,
          scratch)
      }
    }
  }

  /// `x ← H⁻¹b`, to a residual of `tolerance` times that of b in the preconditioner's norm.
  @discardableResult
  func solve(_ b: Vector, into x: Vector, tolerance: Double, _ scratch: Scratch) throws -> Int {
    try scratch.scope {
      let inner = try scratch.take(b.count)
      x.set(0, scratch.pool)
      return try ConjugateGradients.solve(
        b, into: x, tolerance: tolerance, iterations: 2 * b.wholeCount(scratch.pool) + 20, scratch,
        precondition: { r, z in try preconditioner.solve(r, into: z, scratch) },
        product: { p, y in
          try map.applyNormal(p, into: y, scratch)
          try prior.covariance.multiplyInverse(p, into: inner, scratch)
          y.set(lambda, inner, plus: 1 / variance, scratch.pool)
        })
    }
  }
}

extension GaussianPrior {
  /// `H⁻¹` for `H = AᵀA/v + λC⁻¹`, the curvature of the objective under this prior, of a map whose noise is white and of
  /// variance v.
  public func metric(for map: any LinearMap, variance: Double, lambda: Double, _ scratch: Scratch) throws
    -> Metric
  {
    switch (covariance, map.normal) {
    case (.dense(_, var h, _), .pixelwise(let seen)):
      h.scale(by: lambda)
      for i in 0..<count { h[i, i] += seen[flat: i] / variance }
      return Metric(inverse: try Cholesky(h).inverse())
    case (.dense(_, var h, _), .dense(let a)):
      h.scale(by: lambda)
      h.add(try a.transposedTimes(a), scaledBy: 1 / variance)
      return Metric(inverse: try Cholesky(h).inverse())
    case (.dense, .stationary), (.dense, .unknown), (.stationary, _):
      let hessian = try GaussianHessian(self, map, variance: variance, lambda: lambda, scratch)
      return Metric { v, result, scratch in
        try hessian.solve(v, into: result, tolerance: Metric.tolerance, scratch)
      }
    }
  }

  /// The deviation σ of white noise under which the measurements of an image are the most probable,
  ///
  ///     y ~ N(Aμ, ACAᵀ + σ²I)
  ///
  /// at least `NoiseEstimate.floor` and at most the measurements' own root mean square. By the eigenvalues of ACAᵀ where C is
  /// dense and the map pixelwise or dense; else as `EvidenceByProducts` says. An image that the Gaussian doesn't know well
  /// looks noisier than it is, one that it knows too well less: the estimate is a first guess.
  public func evidenceSigma(_ y: Vector, map: any LinearMap, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let residual = try scratch.take(y.count)
      try map.apply(mean.view, into: residual, scratch)
      residual.set(1, y, plus: -1)
      let greatest = (y.dot(y) / Double(max(y.count, 1))).squareRoot()
      let projected: Matrix
      let offset: Tensor<Double>
      switch (covariance, map.normal) {
      case (.dense(let c, _, _), .pixelwise(let diagonal)):
        let seen = try SeenPixels(diagonal, variance: 1, c)
        let pulled = try scratch.take(count)
        try map.adjoint(residual, into: pulled, scratch)
        projected = seen.covariance
        offset = try Tensor(seen.positions.indices.map { pulled[seen.positions[$0]] / seen.roots[$0] })
      case (.dense(let c, _, _), .dense(let a)):
        projected = try a.times(c).timesTransposed(a)
        offset = try residual.tensor(shape: [y.count])
      case (.dense, .stationary), (.dense, .unknown), (.stationary, _):
        return try EvidenceByProducts(prior: self, map: map).sigma(residual, greatest: greatest, scratch)
      }
      let (values, vectors) = try projected.symmetricEigen()
      let squares = try scratch.take(offset.count)
      vectors.multiplyTransposed(offset.view, into: squares)
      squares.setEach { $0 * $0 }
      return EvidenceSearch(eigenvalues: values, squares: squares).sigma(greatest: greatest)
    }
  }
}
