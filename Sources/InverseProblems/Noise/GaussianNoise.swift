import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The covariance Σ of Gaussian noise.
public enum NoiseCovariance: Sendable {
  /// σ² for every measurement.
  case isotropic(variance: Double)
  /// A variance a measurement.
  case diagonal([Double])
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
  /// μ; empty for 0.
  public let mean: [Double]

  /// Independent, of deviation σ. σ must be finite and above 0, and σ² and 1/σ² must be representable.
  public init(sigma: Double) throws(ProblemError) {
    try Self.check(sigma)
    self.init(checked: .isotropic(variance: sigma * sigma))
  }

  /// Independent, of a deviation a measurement.
  public init(sigmas: [Double], mean: [Double] = []) throws(ProblemError) {
    for sigma in sigmas { try Self.check(sigma) }
    self.init(checked: .diagonal(sigmas.map { $0 * $0 }), mean: mean)
  }

  /// Of covariance Σ, m × m. Throws where it isn't positive definite.
  public init(covariance: Matrix, mean: [Double] = []) throws(ProblemError) {
    let factor = try algebra { () throws(LinearAlgebraError) in try Cholesky(covariance) }
    guard factor.logDeterminant.isFinite else {
      throw .algebra(.notPositiveDefinite(order: covariance.rows))
    }
    self.init(checked: .dense(covariance, factor), mean: mean)
  }

  init(checked covariance: NoiseCovariance, mean: [Double] = []) {
    self.covariance = covariance
    self.mean = mean
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
    case .diagonal(let variances): variances.reduce(0, +) / Double(max(variances.count, 1))
    case .dense(let matrix, _):
      (0..<matrix.rows).reduce(0.0) { $0 + matrix[$1, $1] } / Double(max(matrix.rows, 1))
    }
  }

  /// Root of the mean variance.
  public var sigma: Double { variance.squareRoot() }

  public func negativeLogLikelihood(_ y: [Double], prediction: [Double])
    -> (value: Double, gradient: [Double])
  {
    precondition(y.count == prediction.count)
    var residual = prediction
    for i in residual.indices { residual[i] -= y[i] }
    if !mean.isEmpty { residual = adding(residual, mean, scaledBy: 1) }
    let constant = 0.5 * Double(y.count) * log(2 * Double.pi)
    switch covariance {
    case .isotropic(let variance):
      let value = 0.5 * dot(residual, residual) / variance + 0.5 * Double(y.count) * log(variance) + constant
      return (value, residual.map { $0 / variance })
    case .diagonal(let variances):
      let gradient = residual.indices.map { residual[$0] / variances[$0] }
      let logDeterminant = variances.reduce(0.0) { $0 + log($1) }
      return (0.5 * dot(residual, gradient) + 0.5 * logDeterminant + constant, gradient)
    case .dense(_, let factor):
      let gradient = factor.solve(residual)
      return (0.5 * dot(residual, gradient) + 0.5 * factor.logDeterminant + constant, gradient)
    }
  }

  public var scale: Double? { sigma }

  /// `√(rᵀ Σ⁻¹ r / m)` with r = y − μ − f(x); 0 without measurements.
  public func misfit(_ y: [Double], prediction: [Double]) -> Double {
    guard !y.isEmpty else { return 0 }
    let residual =
      mean.isEmpty
      ? adding(y, prediction, scaledBy: -1)
      : adding(adding(y, prediction, scaledBy: -1), mean, scaledBy: -1)
    let square: Double =
      switch covariance {
      case .isotropic(let variance): dot(residual, residual) / variance
      case .diagonal(let variances):
        residual.indices.reduce(0.0) { $0 + residual[$1] * residual[$1] / variances[$1] }
      case .dense(_, let factor): dot(residual, factor.solve(residual))
      }
    return (square / Double(y.count)).squareRoot()
  }

  public func sample(prediction: [Double], random: inout Philox) -> [Double] {
    let noise = coloured(prediction.map { _ in random.normal() })
    let center = mean.isEmpty ? prediction : adding(prediction, mean, scaledBy: 1)
    return adding(center, noise, scaledBy: 1)
  }

  /// `Lb` with Σ = LLᵀ, of covariance Σ where b is white.
  public func coloured(_ b: [Double]) -> [Double] {
    switch covariance {
    case .isotropic(let variance): b.map { variance.squareRoot() * $0 }
    case .diagonal(let variances): b.indices.map { variances[$0].squareRoot() * b[$0] }
    case .dense(_, let factor): factor.factorTimes(b)
    }
  }

  public func matched(_ y: [Double]) -> GaussianNoise { self }

  public func restricted(to positions: [Int]) throws(ProblemError) -> any NoiseModel {
    let mean = self.mean.isEmpty ? [] : positions.map { self.mean[$0] }
    switch covariance {
    case .isotropic: return GaussianNoise(checked: covariance, mean: mean)
    case .diagonal(let variances):
      return GaussianNoise(checked: .diagonal(positions.map { variances[$0] }), mean: mean)
    case .dense(let matrix, _):
      let part = try algebra { () throws(LinearAlgebraError) in
        try Matrix(rows: positions.count, columns: positions.count) { matrix[positions[$0], positions[$1]] }
      }
      return try GaussianNoise(covariance: part, mean: mean)
    }
  }

  public func check(_ y: [Double]) throws(ProblemError) {
    let own: Int? =
      switch covariance {
      case .isotropic: mean.isEmpty ? nil : mean.count
      case .diagonal(let variances): variances.count
      case .dense(let matrix, _): matrix.rows
      }
    guard own == nil || own == y.count, mean.isEmpty || mean.count == y.count else {
      throw .shapeMismatch(what: "noise covariance", found: [own ?? mean.count], expected: [y.count])
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

  /// `W(y − μ)`.
  public func whiten(_ y: [Double]) -> [Double] {
    let centred = mean.isEmpty ? y : adding(y, mean, scaledBy: -1)
    return switch covariance {
    case .isotropic: centred
    case .diagonal(let variances): centred.indices.map { centred[$0] / variances[$0].squareRoot() }
    case .dense(_, let factor): factor.whiten(centred)
    }
  }

  /// `L⁻ᵀb` with Σ = LLᵀ, of covariance Σ⁻¹ where b is white: what moves the score `∂(−log p)/∂f` as the noise
  /// does.
  public func scoreDraw(_ b: [Double]) -> [Double] {
    switch covariance {
    case .isotropic(let variance): b.map { $0 / variance.squareRoot() }
    case .diagonal(let variances): b.indices.map { b[$0] / variances[$0].squareRoot() }
    case .dense(_, let factor): factor.solve(factor.factorTimes(b))
    }
  }

  /// `WA`.
  public func whiten(_ a: any LinearOperator) throws(ProblemError) -> any LinearOperator {
    switch covariance {
    case .isotropic: return a
    case .diagonal(let variances):
      let weights = variances.map { 1 / $0.squareRoot() }
      if case .selection(let positions, let scale) = a.form {
        return ScaledSelection(
          positions: positions, scale: scale.indices.map { scale[$0] * weights[$0] }, inputCount: a.inputCount
        )
      }
      let matrix = try a.matrix()
      return try DenseOperator(
        try algebra { () throws(LinearAlgebraError) in
          try Matrix(rows: matrix.rows, columns: matrix.columns) { weights[$0] * matrix[$0, $1] }
        })
    case .dense(_, let factor): return try DenseOperator(factor.whiten(try a.matrix()))
    }
  }
}

/// Picks positions of an image, each at most once, and scales them: a selection whose noise was made white.
struct ScaledSelection: LinearOperator {
  let positions: [Int]
  let scale: [Double]
  let inputCount: Int
  var outputCount: Int { positions.count }
  var isInjective: Bool { positions.count == inputCount }
  var form: OperatorForm { .selection(positions, scale: scale) }

  func apply(_ x: [Double]) -> [Double] { positions.indices.map { scale[$0] * x[positions[$0]] } }

  func adjoint(_ u: [Double]) -> [Double] {
    precondition(u.count == positions.count)
    var x = [Double](repeating: 0, count: inputCount)
    for (k, i) in positions.enumerated() { x[i] = scale[k] * u[k] }
    return x
  }

  func pseudoInverse(_ y: [Double]) -> [Double] {
    adjoint(y.indices.map { y[$0] / (scale[$0] * scale[$0]) })
  }

  func curvatureSolver(dataWeight: Double, damping: [Double]) -> any CurvatureSolver {
    var diagonal = damping
    for (k, i) in positions.enumerated() { diagonal[i] += dataWeight * scale[k] * scale[k] }
    return DiagonalCurvature(diagonal: diagonal)
  }
}
