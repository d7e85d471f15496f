import AIPOKernels
import AIPOPriors

/// The closed-form solution under a Gaussian prior for one linear map and Gaussian noise, prepared once:
///
///     x*(λ) = μ + H⁻¹ Aᵀ Σ⁻¹ (y − Aμ),   H = Aᵀ Σ⁻¹ A + λC⁻¹
///
/// the unique minimiser of `½(y − Ax)ᵀΣ⁻¹(y − Ax) + λ·½(x − μ)ᵀC⁻¹(x − μ)`. Where the map is pixelwise or dense and there
/// are fewer measurements than values, it is solved in their space, `x* = μ + CAᵀ(ACAᵀ + λΣ)⁻¹(y − Aμ)`. A map that
/// is known by its products alone takes conjugate gradients.
public struct GaussianPosterior: Sendable {
  private let prior: GaussianPrior
  private let noise: GaussianNoise
  /// WA, and the variance v of the noise of Wy.
  private let map: any LinearMap
  private let variance: Double
  private let solver: Solver

  private enum Solver: Sendable {
    /// `(S C S + λI)⁻¹` on the values that are seen, S² the diagonal of AᵀΣ⁻¹A there.
    case pixels(positions: [Int], roots: [Double], Cholesky)
    /// `(A C Aᵀ + λv I)⁻¹` and `C Aᵀ`.
    case measurements(Cholesky, cross: Matrix)
    /// `(AᵀA + λv C⁻¹)⁻¹`.
    case image(Cholesky)
    /// By products, preconditioned by a metric.
    case products(lambda: Double, Metric)
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
    switch map.normal {
    case .pixelwise(let seen):
      let (positions, roots, covariance) = try prior.seen(by: seen, variance: variance)
      var gram = covariance
      gram.addToDiagonal(lambda)
      solver = .pixels(positions: positions, roots: roots, try Cholesky(gram))
    case .dense(let a) where a.rows <= a.columns:
      let cross = try prior.covariance.timesTransposed(a)
      var gram = try a.times(cross)
      gram.addToDiagonal(s)
      solver = .measurements(try Cholesky(gram), cross: cross)
    case .dense(let a):
      var h = try a.transposedTimes(a)
      h.add(prior.precision, scaledBy: s)
      solver = .image(try Cholesky(h))
    case .unknown: solver = .products(lambda: lambda, try prior.preconditioner(map, variance, lambda, scratch))
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
      case .pixels(let positions, let roots, let factor):
        try map.adjoint(residual, into: pulled, scratch)
        let inner = try scratch.take(positions.count)
        for (k, i) in positions.enumerated() { inner[k] = pulled[i] / (variance * roots[k]) }
        factor.solve(inner)
        pulled.set(0, pool)
        for (k, i) in positions.enumerated() { pulled[i] = roots[k] * inner[k] }
        prior.covariance.multiplySymmetric(pulled, into: x)
      case .measurements(let factor, let cross):
        factor.solve(residual)
        cross.multiply(residual, into: x)
      case .image(let factor):
        try map.adjoint(residual, into: x, scratch)
        factor.solve(x)
      case .products(let lambda, let preconditioner):
        try map.adjoint(residual, into: pulled, scratch)
        pulled.scale(by: 1 / variance, pool)
        x.set(0, pool)
        try prior.solve(
          pulled, into: x, map, variance: variance, lambda: lambda, tolerance: 1e-10, preconditioner, scratch)
      }
      x.add(prior.mean.view, pool)
    }
  }
}

extension GaussianPrior {
  /// The values that a pixelwise map sees, the roots S of its `AᵀA/v` there, and `S C S`.
  fileprivate func seen(by diagonal: Tensor<Double>, variance: Double) throws
    -> (positions: [Int], roots: [Double], covariance: Matrix)
  {
    let positions = (0..<count).filter { diagonal[flat: $0] > 0 }
    let roots = positions.map { (diagonal[flat: $0] / variance).squareRoot() }
    return (
      positions, roots,
      try Matrix(rows: positions.count, columns: positions.count) {
        roots[$0] * roots[$1] * covariance[positions[$0], positions[$1]]
      }
    )
  }

  /// `H⁻¹` for `H = AᵀA/v + λC⁻¹`, the curvature of the objective under this prior, of a map whose noise is white and of
  /// variance v.
  public func metric(for map: any LinearMap, variance: Double, lambda: Double, _ scratch: Scratch) throws -> Metric {
    var h = precision
    h.scale(by: lambda)
    switch map.normal {
    case .pixelwise(let seen): for i in 0..<count { h[i, i] += seen[flat: i] / variance }
    case .dense(let a): h.add(try a.transposedTimes(a), scaledBy: 1 / variance)
    case .unknown:
      let preconditioner = try self.preconditioner(map, variance, lambda, scratch)
      return Metric { v, result, scratch in
        result.set(0, scratch.pool)
        try self.solve(
          v, into: result, map, variance: variance, lambda: lambda, tolerance: Metric.tolerance, preconditioner,
          scratch)
      }
    }
    return Metric(inverse: try Cholesky(h).inverse())
  }

  /// `(AᵀA/v + λC⁻¹) x = b` by conjugate gradients.
  fileprivate func solve(
    _ b: Vector, into x: Vector, _ map: any LinearMap, variance: Double, lambda: Double, tolerance: Double,
    _ preconditioner: Metric, _ scratch: Scratch
  ) throws {
    try scratch.scope {
      let inner = try scratch.take(count)
      try ConjugateGradients.solve(
        b, into: x, tolerance: tolerance, iterations: 2 * count + 20, scratch,
        precondition: { r, z in try preconditioner.solve(r, into: z, scratch) },
        product: { p, y in
          try map.applyNormal(p, into: y, scratch)
          try multiplyPrecision(p, into: inner, scratch)
          y.set(lambda, inner, plus: 1 / variance, scratch.pool)
        })
    }
  }

  /// The same with a multiple of the identity in place of AᵀA: what it is on average.
  fileprivate func preconditioner(
    _ map: any LinearMap, _ variance: Double, _ lambda: Double, _ scratch: Scratch
  ) throws -> Metric {
    let average = try map.meanSquare(scratch) / variance
    var h = precision
    h.scale(by: lambda)
    h.addToDiagonal(average)
    return Metric(inverse: try Cholesky(h).inverse())
  }

  /// The deviation σ of white noise under which the measurements of an image are the most probable,
  ///
  ///     y ~ N(Aμ, ACAᵀ + σ²I)
  ///
  /// at least `NoiseEstimate.floor` and at most the measurements' own root mean square. By the eigenvalues of
  /// ACAᵀ, so of a map that is pixelwise or dense; nil of another. An image that the Gaussian doesn't know well looks
  /// noisier than it is, one that it knows too well less: the estimate is a first guess.
  public func evidenceSigma(_ y: Vector, map: any LinearMap, _ scratch: Scratch) throws -> Double? {
    try scratch.scope {
      let residual = try scratch.take(y.count)
      try map.apply(mean.view, into: residual, scratch)
      residual.set(1, y, plus: -1)
      let projected: Matrix
      let offset: Tensor<Double>
      switch map.normal {
      case .pixelwise(let diagonal):
        let (positions, roots, covariance) = try seen(by: diagonal, variance: 1)
        let pulled = try scratch.take(count)
        try map.adjoint(residual, into: pulled, scratch)
        projected = covariance
        offset = try Tensor(positions.indices.map { pulled[positions[$0]] / roots[$0] })
      case .dense(let a):
        projected = try a.times(covariance).timesTransposed(a)
        offset = try residual.tensor(shape: [y.count])
      case .unknown: return nil
      }
      let (values, vectors) = try projected.symmetricEigen()
      let squares = try scratch.take(offset.count)
      vectors.multiplyTransposed(offset.view, into: squares)
      squares.setEach { $0 * $0 }
      return EvidenceSearch(eigenvalues: values, squares: squares).sigma(
        greatest: (y.dot(y) / Double(max(y.count, 1))).squareRoot())
    }
  }
}

extension LinearMap {
  /// The mean of the diagonal of AᵀA, by one random vector.
  func meanSquare(_ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let signs = try scratch.take(input.count)
      let image = try scratch.take(output.count)
      var random = Philox(seed: 0, purpose: .curvature)
      for i in 0..<signs.count { signs[i] = random.next() & 1 == 0 ? 1 : -1 }
      try apply(signs, into: image, scratch)
      return image.dot(image, scratch.pool) / Double(max(input.count, 1))
    }
  }
}
