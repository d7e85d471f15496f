import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// A smooth prior in closed form, to test solvers with: `x = μ + L u`, `u_i = ε_i + a sin ε_i`, ε standard
/// normal, |a| < 1, L lower triangular with a positive diagonal. a = 0 is the Gaussian N(μ, L Lᵀ).
public struct WarpedGaussian: LatentPrior {
  public let imageShape: ImageShape
  public let mean: [Double]
  /// L, row-major d × d.
  public let factor: [Double]
  public let warp: Double
  /// log det L.
  private let scaleLogDet: Double

  public init(imageShape: ImageShape, mean: [Double], factor: [Double], warp: Double) {
    let d = imageShape.count
    precondition(mean.count == d && factor.count == d * d && warp.magnitude < 1)
    self.imageShape = imageShape
    self.mean = mean
    self.factor = factor
    self.warp = warp
    scaleLogDet = (0..<d).reduce(0.0) { $0 + log(factor[$1 * d + $1]) }
  }

  /// Random μ in [0, 1], L with a diagonal in [0.1, 0.3] and small entries below it.
  public static func random(imageShape: ImageShape, warp: Double, seed: UInt64) -> WarpedGaussian {
    var random = Philox(seed: seed, purpose: .test)
    let d = imageShape.count
    let mean = (0..<d).map { _ in random.uniform() }
    var factor = [Double](repeating: 0, count: d * d)
    for i in 0..<d {
      for j in 0..<i { factor[i * d + j] = 0.1 * random.normal() / Double(d).squareRoot() }
      factor[i * d + i] = 0.1 + 0.2 * random.uniform()
    }
    return WarpedGaussian(imageShape: imageShape, mean: mean, factor: factor, warp: warp)
  }

  // MARK: Parts

  /// `e ← ε` of x.
  private func setLatents(_ e: Vector, of x: Vector) {
    let d = count
    for i in 0..<d {
      var sum = x[i] - mean[i]
      for j in 0..<i { sum -= factor[i * d + j] * e[j] }
      e[i] = sum / factor[i * d + i]
    }
    e.setEach(nil, unwarped)
  }

  /// The ε of `u = ε + a sin ε`.
  private func unwarped(_ u: Double) -> Double {
    guard u.isFinite else { return u }
    var (low, high) = (u - warp.magnitude, u + warp.magnitude)
    var e = u
    for _ in 0..<100 {
      let miss = e + warp * sin(e) - u
      if miss == 0 { break }
      if miss > 0 { high = e } else { low = e }
      let next = e - miss / (1 + warp * cos(e))
      let safe = next > low && next < high ? next : 0.5 * (low + high)
      if safe == e { break }
      e = safe
    }
    return e
  }

  /// du/dε
  private func slope(_ e: Double) -> Double { 1 + warp * cos(e) }

  /// d log(du/dε)/dε
  private func logSlopeDerivative(_ e: Double) -> Double { -warp * sin(e) / slope(e) }

  /// log|det ∂x/∂ε|
  private func logDet(_ e: Vector) -> Double { scaleLogDet + e.total { log(slope($0)) } }

  /// `w ← L⁻ᵀw`
  private func backSolve(_ w: Vector) {
    let d = count
    for i in stride(from: d - 1, through: 0, by: -1) {
      for j in (i + 1)..<max(d, i + 1) { w[i] -= factor[j * d + i] * w[j] }
      w[i] /= factor[i * d + i]
    }
  }

  /// `−log N(ε; 0, I)`
  private func normalEnergy(_ e: Vector) -> Double { 0.5 * (e.dot(e) + Double(count) * log(2 * Double.pi)) }

  /// `g ← diag(du/dε) Lᵀ x̄ + l̄ ∂log|det|/∂ε`
  private func pullback(_ xbar: Vector, logDetCotangent: Double, latents e: Vector, into g: Vector) {
    let d = count
    for j in 0..<d {
      var sum = 0.0
      for i in j..<d { sum += factor[i * d + j] * xbar[i] }
      g[j] = sum * slope(e[j]) + logDetCotangent * logSlopeDerivative(e[j])
    }
  }

  // MARK: Prior

  public func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let e = try scratch.take(count)
      setLatents(e, of: x)
      if let gradient {
        gradient.setEach(nil, e) { ($0 + logSlopeDerivative($0)) / slope($0) }
        backSolve(gradient)
      }
      return normalEnergy(e) + logDet(e)
    }
  }

  public var probeLength: Int? { count }

  /// `g ← Jᵀv`, J = ∂ε/∂x.
  public func probe(_ v: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let e = try scratch.take(count)
      setLatents(e, of: x)
      g.setEach(nil, v, e) { $0 / slope($1) }
      backSolve(g)
    }
  }

  public func encode(_ x: Vector, into latents: Vector, _ scratch: Scratch) throws -> Double {
    setLatents(latents, of: x)
    return -logDet(latents)
  }

  public func decode(_ latents: Vector, into x: Vector, _ scratch: Scratch) throws -> Double {
    let d = count
    for i in 0..<d {
      var sum = mean[i]
      for j in 0...i { sum += factor[i * d + j] * (latents[j] + warp * sin(latents[j])) }
      x[i] = sum
    }
    return logDet(latents)
  }

  public func decode(
    _ latents: Vector, into x: Vector, gradient: Vector, _ scratch: Scratch,
    cotangents: (_ logDet: Double, _ xbar: Vector) throws -> Double
  ) throws {
    let logDet = try decode(latents, into: x, scratch)
    try scratch.scope {
      let xbar = try scratch.take(count)
      let logDetCotangent = try cotangents(logDet, xbar)
      pullback(xbar, logDetCotangent: logDetCotangent, latents: latents, into: gradient)
    }
  }

  public func decodePullback(_ xbar: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let e = try scratch.take(count)
      setLatents(e, of: x)
      pullback(xbar, logDetCotangent: 0, latents: e, into: g)
    }
  }

  public func baseEnergy(_ latents: Vector, gradient: Vector, _ scratch: Scratch) throws -> Double {
    gradient.set(latents)
    return normalEnergy(latents)
  }
}
