import AIPOPlatform

/// N(μ, C) over images of any size, with one mean a channel and a covariance that depends on the pixels' distance alone:
/// what is known of a kind of images up to second order, wherever in the image. Products, densities and draws cost two
/// Fourier transforms.
public final class StationaryGaussian: Sendable {
  /// `[c]`
  public let mean: [Double]
  public let covariance: StationaryCovariance

  public var shape: ImageShape { covariance.shape }

  public init(mean: [Double], covariance: StationaryCovariance) {
    precondition(mean.count == covariance.shape.channels)
    self.mean = mean
    self.covariance = covariance
  }

  /// `−log N(x; μ, C) = ½((x − μ)ᵀC⁻¹(x − μ) + log det C + d log 2π)` in nats; the gradient becomes `C⁻¹(x − μ)`.
  public func negativeLogProb(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let offset = try scratch.take(shape.count)
      offset.set(x, scratch.pool)
      addMean(to: offset, times: -1)
      let product = try gradient ?? scratch.take(shape.count)
      try precisionTimes(offset, into: product, scratch)
      let constants = covariance.logDeterminant + Double(shape.count) * log(2 * Double.pi)
      return 0.5 * (offset.dot(product, scratch.pool) + constants)
    }
  }

  /// `y ← C⁻¹x`. x may be y.
  public func precisionTimes(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try covariance.apply({ 1 / $0 }, x, into: y, scratch)
  }

  /// `y ← Cx`. x may be y.
  public func covarianceTimes(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try covariance.apply({ $0 }, x, into: y, scratch)
  }

  /// The diagonal of C⁻¹ averaged over channels; it is the same in all pixels.
  public var meanPrecision: Double { covariance.trace { 1 / $0 } / Double(shape.count) }

  /// A draw `μ + C^½ ε`, keyed by the image's index.
  public func sample(
    into x: Vector, seed: UInt64, index: Int, purpose: RandomPurpose = .sample, _ scratch: Scratch
  ) throws {
    var random = Philox(seed: seed, index: UInt64(index), purpose: purpose)
    for i in 0..<x.count { x[i] = random.normal() }
    try covariance.apply({ $0.squareRoot() }, x, into: x, scratch)
    addMean(to: x)
  }

  /// `x ← x + factor·μ`
  public func addMean(to x: Vector, times factor: Double = 1) {
    precondition(x.count == shape.count)
    for pixel in stride(from: 0, to: x.count, by: mean.count) {
      for (a, value) in mean.enumerated() { x.base[pixel + a] += factor * value }
    }
  }
}
