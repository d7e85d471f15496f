import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// The covariance Σ of Gaussian noise.
public enum NoiseCovariance: Sendable {
  /// σ² for every measurement.
  case isotropic(variance: Double)
  /// A variance a measurement.
  case diagonal(Tensor<Double>)
  /// m × m with its factor.
  case dense(Matrix, Cholesky)
}

/// Gaussian noise N(μ, Σ):
///
///     ½ (y − f(x) − μ)ᵀ Σ⁻¹ (y − f(x) − μ) + ½ log det 2πΣ
///
/// so that λ = 1 is the exact MAP weight. μ is 0 unless told.
public struct GaussianNoise: NoiseModel {
  public let covariance: NoiseCovariance
  /// μ; nil for 0.
  public let mean: Tensor<Double>?

  /// Independent, of deviation σ. σ must be finite and above 0, and σ² and 1/σ² must be representable.
  public init(sigma: Double) throws(ProblemError) {
    try Self.check(sigma)
    self.init(checked: .isotropic(variance: sigma * sigma))
  }

  /// Independent, of a deviation a measurement.
  public init(sigmas: [Double], mean: [Double]? = nil) throws(ProblemError) {
    for sigma in sigmas { try Self.check(sigma) }
    self.init(
      checked: .diagonal(try memory { () throws(TensorError) in try Tensor(sigmas.map { $0 * $0 }) }),
      mean: try Self.tensor(mean))
  }

  /// Of covariance Σ, m × m. Throws where it isn't positive definite.
  public init(covariance: Matrix, mean: [Double]? = nil) throws(ProblemError) {
    let factor = try algebra { () throws(LinearAlgebraError) in try Cholesky(covariance) }
    guard factor.logDeterminant.isFinite else {
      throw .algebra(.notPositiveDefinite(order: covariance.rows))
    }
    self.init(checked: .dense(covariance, factor), mean: try Self.tensor(mean))
  }

  init(checked covariance: NoiseCovariance, mean: Tensor<Double>? = nil) {
    self.covariance = covariance
    self.mean = mean
  }

  private static func tensor(_ values: [Double]?) throws(ProblemError) -> Tensor<Double>? {
    guard let values else { return nil }
    return try memory { () throws(TensorError) in try Tensor(values) }
  }

  private static func check(_ sigma: Double) throws(ProblemError) {
    guard sigma.isFinite, sigma > 0, (sigma * sigma).isNormal, (1 / (sigma * sigma)).isFinite else {
      throw .invalidSigma(sigma)
    }
  }

  /// The mean variance of a measurement, tr Σ / m.
  public var variance: Double {
    switch covariance {
    case .isotropic(let variance): variance
    case .diagonal(let variances): variances.view.total() / Double(max(variances.count, 1))
    case .dense(let matrix, _):
      (0..<matrix.rows).reduce(0.0) { $0 + matrix[$1, $1] } / Double(max(matrix.rows, 1))
    }
  }

  /// Root of the mean variance.
  public var sigma: Double { variance.squareRoot() }

  /// `log det 2πΣ` of m measurements.
  private func logNormalizer(_ m: Int) -> Double {
    let constant = Double(m) * log(2 * Double.pi)
    return switch covariance {
    case .isotropic(let variance): constant + Double(m) * log(variance)
    case .diagonal(let variances): constant + variances.view.total { log($0) }
    case .dense(_, let factor): constant + factor.logDeterminant
    }
  }

  /// `r ← prediction + μ − y`
  private func setResidual(_ r: Vector, _ y: Vector, _ prediction: Vector, _ pool: ThreadPool) {
    precondition(y.count == prediction.count)
    r.setDifference(prediction, y, pool)
    if let mean { r.add(mean.view, pool) }
  }

  /// `v ← Σ⁻¹v`
  public func multiplyPrecision(_ v: Vector, _ pool: ThreadPool? = nil) {
    switch covariance {
    case .isotropic(let variance): v.scale(by: 1 / variance, pool)
    case .diagonal(let variances): v.setEach(pool, v, variances.view) { $0 / $1 }
    case .dense(_, let factor): factor.solve(v)
    }
  }

  public func negativeLogLikelihood(_ y: Vector, prediction: Vector, gradient: Vector, _ scratch: Scratch)
    throws
    -> Double
  {
    try scratch.scope {
      let residual = try scratch.take(y.count)
      setResidual(residual, y, prediction, scratch.pool)
      gradient.set(residual, scratch.pool)
      multiplyPrecision(gradient, scratch.pool)
      return 0.5 * residual.dot(gradient, scratch.pool) + 0.5 * logNormalizer(y.wholeCount(scratch.pool))
    }
  }

  public var scale: Double? { sigma }

  /// `√(rᵀ Σ⁻¹ r / m)` with r = y − μ − f(x); 0 without measurements.
  public func misfit(_ y: Vector, prediction: Vector, _ scratch: Scratch) throws -> Double {
    guard y.wholeCount(scratch.pool) > 0 else { return 0 }
    return try scratch.scope {
      let residual = try scratch.take(y.count)
      let weighted = try scratch.take(y.count)
      setResidual(residual, y, prediction, scratch.pool)
      weighted.set(residual, scratch.pool)
      multiplyPrecision(weighted, scratch.pool)
      return (residual.dot(weighted, scratch.pool) / Double(y.wholeCount(scratch.pool))).squareRoot()
    }
  }

  public func sample(prediction: Vector, into y: Vector, random: inout Philox, _ scratch: Scratch) throws {
    try scratch.scope {
      let noise = try scratch.take(y.count)
      noise.setNormals(&random)
      colour(noise, scratch.pool)
      if let mean { noise.add(mean.view, scratch.pool) }
      y.setEach(scratch.pool, prediction, noise) { $0 + $1 }
    }
  }

  /// `b ← Lb` with Σ = LLᵀ, of covariance Σ where b is white.
  public func colour(_ b: Vector, _ pool: ThreadPool? = nil) {
    switch covariance {
    case .isotropic(let variance): b.scale(by: variance.squareRoot(), pool)
    case .diagonal(let variances): b.setEach(pool, b, variances.view) { $0 * $1.squareRoot() }
    case .dense(_, let factor): factor.multiplyFactor(b)
    }
  }

  /// `b ← L⁻ᵀb` with Σ = LLᵀ, of covariance Σ⁻¹ where b is white: what moves the score `∂(−log p)/∂f` as the noise
  /// does.
  public func drawScore(_ b: Vector, _ pool: ThreadPool? = nil) {
    colour(b, pool)
    multiplyPrecision(b, pool)
  }

  public func matched(_ y: Vector) -> GaussianNoise { self }

  public func restricted(to positions: [Int]) throws(ProblemError) -> any NoiseModel {
    func part(_ values: Tensor<Double>) throws(ProblemError) -> Tensor<Double> {
      try memory { () throws(TensorError) in try Tensor(positions.map { values[flat: $0] }) }
    }
    let mean: Tensor<Double>? = if let mean { try part(mean) } else { nil }
    switch covariance {
    case .isotropic: return GaussianNoise(checked: covariance, mean: mean)
    case .diagonal(let variances): return GaussianNoise(checked: .diagonal(try part(variances)), mean: mean)
    case .dense(let matrix, _):
      let part = try algebra { () throws(LinearAlgebraError) in
        try Matrix(rows: positions.count, columns: positions.count) { matrix[positions[$0], positions[$1]] }
      }
      return try GaussianNoise(covariance: part, mean: mean?.elements)
    }
  }

  public func check(_ y: Vector) throws(ProblemError) {
    let own: Int? =
      switch covariance {
      case .isotropic: mean?.count
      case .diagonal(let variances): variances.count
      case .dense(let matrix, _): matrix.rows
      }
    guard own == nil || own == y.count, mean == nil || mean?.count == y.count else {
      throw .shapeMismatch(what: "noise covariance", found: [own ?? mean?.count ?? 0], expected: [y.count])
    }
  }
}

/// Whitening: with `W Σ Wᵀ = v I`, the noise of `W(y − μ) = WA x + W(e − μ)` is white and of variance v. White
/// noise stays as it is, v = σ²; any other gets v = 1.
extension GaussianNoise {
  /// v.
  public var whiteVariance: Double {
    if case .isotropic(let variance) = covariance { variance } else { 1 }
  }

  /// `v ← Wv`
  public func whiten(_ v: Vector, _ pool: ThreadPool? = nil) {
    switch covariance {
    case .isotropic: break
    case .diagonal(let variances): v.setEach(pool, v, variances.view) { $0 / $1.squareRoot() }
    case .dense(_, let factor): factor.whiten(v)
    }
  }

  /// `v ← Wᵀv`
  public func whitenTransposed(_ v: Vector, _ pool: ThreadPool? = nil) {
    if case .dense(_, let factor) = covariance { factor.whitenTransposed(v) } else { whiten(v, pool) }
  }

  /// `y ← W(y − μ)`
  public func whitenObservation(_ y: Vector, _ pool: ThreadPool? = nil) {
    if let mean { y.add(mean.view, times: -1, pool) }
    whiten(y, pool)
  }

  /// `WA`; A itself where the noise is white.
  public func whitened(_ a: any LinearMap, _ scratch: Scratch) throws -> any LinearMap {
    if case .isotropic = covariance { return a }
    return try WhitenedMap(a, noise: self, scratch)
  }
}

/// `WA` of a map whose noise is made white.
struct WhitenedMap: LinearMap {
  let map: any LinearMap
  let noise: GaussianNoise
  let normal: NormalForm
  let nearNormal: Spectrum?
  var input: ImageShape { map.input }
  var output: ImageShape { map.output }

  init(_ map: any LinearMap, noise: GaussianNoise, _ scratch: Scratch) throws {
    self.map = map
    self.noise = noise
    nearNormal = try map.nearNormal?.scaled(by: 1 / noise.variance)
    switch (map.normal, noise.covariance) {
    case (_, .isotropic): normal = map.normal
    case (.pixelwise, .diagonal):
      // A row has one entry a, and 1 shows it: a²/σ² at its pixel.
      normal = .pixelwise(
        try scratch.scope {
          let ones = try scratch.take(map.input.count)
          let rows = try scratch.take(map.output.count)
          ones.set(1)
          try map.apply(ones, into: rows, scratch)
          noise.multiplyPrecision(rows)
          var diagonal = try Tensor(count: map.input.count)
          try diagonal.withMemory { try map.adjoint(rows, into: $0, scratch) }
          return diagonal
        })
    case (.dense(let matrix), .diagonal(let variances)):
      normal = .dense(
        try Matrix(rows: matrix.rows, columns: matrix.columns) {
          matrix[$0, $1] / variances[flat: $0].squareRoot()
        })
    case (.dense(let matrix), .dense(_, let factor)): normal = .dense(factor.whiten(matrix))
    default: normal = .unknown
    }
  }

  func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try map.apply(x, into: y, scratch)
    noise.whiten(y, scratch.pool)
  }

  func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let coloured = try scratch.take(u.count)
      coloured.set(u, scratch.pool)
      noise.whitenTransposed(coloured, scratch.pool)
      try map.adjoint(coloured, into: x, scratch)
    }
  }
}
