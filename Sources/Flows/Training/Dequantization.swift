import AIPOKernels
import AIPOPlatform

/// Uniform dequantisation with b bits: an 8-bit value v becomes `x = (⌊v·2ᵇ/256⌋ + u)/2ᵇ`, u uniform on
/// [0, 1), so that x covers [0, 1) without gaps and a density can be fitted.
///
/// A density of x gives a bound on the code length of the b-bit image:
/// `bits/dim = −log₂ p(x)/d + b`. Fewer bits give a smoother density: 8-bit images have whole regions of
/// one exact value, where the fit would be needle-sharp. With `none` the data are real numbers, taken as they are.
public struct Dequantization: Sendable, Hashable, Codable {
  /// From 1 to 8; 0 for `none`.
  public let bits: Int

  public init(bits: Int) {
    precondition((0...8).contains(bits), "dequantisation has 0 to 8 bits, not \(bits)")
    self.bits = bits
  }

  /// Real-valued data: nothing is quantised, no noise is added, and bits/dim is `−log₂ p(x)/d`.
  public static let none = Dequantization(bits: 0)

  public var isNone: Bool { bits == 0 }

  /// The middles of the darkest and the brightest bin; nil for real-valued data.
  public var pixelRange: ClosedRange<Double>? {
    guard !isNone else { return nil }
    let half = 0.5 / Double(1 << bits)
    return half...(1 - half)
  }

  private enum CodingKeys: CodingKey { case bits }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let bits = try container.decode(Int.self, forKey: .bits)
    guard (0...8).contains(bits) else {
      throw DecodingError.dataCorruptedError(
        forKey: .bits, in: container, debugDescription: "\(bits), expected 0 to 8")
    }
    self.bits = bits
  }

  /// Bins on [0, 1]: 2ᵇ.
  public var binCount: Int { 1 << bits }

  /// The bin of an 8-bit value, `⌊v·2ᵇ/256⌋`.
  public func bin(_ value: UInt8) -> Int { Int(value) >> (8 - bits) }

  /// The middle of an 8-bit value's bin, `(⌊v·2ᵇ/256⌋ + ½)/2ᵇ`.
  public func middle(_ value: UInt8) -> Double { (Double(bin(value)) + 0.5) / Double(binCount) }

  /// Moves every value to the middle of its bin, `(⌊2ᵇx⌋ + ½)/2ᵇ`; values outside [0, 1) go to the
  /// middle of the first or last bin. NaN stays NaN, and `none` moves nothing.
  public func middles<Scalar: KernelScalar>(of images: Tensor<Scalar>) -> Tensor<Scalar> {
    var result = images
    if isNone { return result }
    result.withUnsafeMutableBufferPointer { moveToMiddles($0, bins: Scalar(binCount)) }
    return result
  }

  /// The variance that the noise adds to a pixel, `2^(−2b)/12`.
  public var noiseVariance: Double { isNone ? 0 : 1 / (12 * Double(binCount * binCount)) }

  /// `−log₂ p(x)/d + b` of a log-density in nats; the density is on [0, 1]ᵈ.
  public func bitsPerDim(logProb: Double, dimensions: Int) -> Double {
    -logProb / (Double(dimensions) * log(2)) + Double(bits)
  }

  /// Dequantises 8-bit values with a stream of random numbers.
  ///
  /// u has 24 − b bits, so that x is exact in float32 as well: both precisions see the same numbers,
  /// and none is rounded up to the next bin's edge.
  package func fill<Scalar: KernelScalar>(
    _ out: UnsafeMutableBufferPointer<Scalar>, from values: UnsafeBufferPointer<UInt8>,
    noise: inout Philox
  ) {
    precondition(out.count == values.count)
    fillPixels(out, values, bits: bits, noise: &noise)
  }
}

@_specialize(where Scalar == Float)
@_specialize(where Scalar == Double)
private func fillPixels<Scalar: KernelScalar>(
  _ out: UnsafeMutableBufferPointer<Scalar>, _ values: UnsafeBufferPointer<UInt8>, bits: Int,
  noise: inout Philox
) {
  let unit: Scalar = 0x1p-24
  var word: UInt64 = 0
  for i in out.indices {
    if i % 2 == 0 { word = noise.next() } else { word >>= 32 }
    let bin = UInt32(values[i]) >> UInt32(8 - bits)
    let fraction = UInt32(truncatingIfNeeded: word) >> UInt32(8 + bits)
    out[i] = Scalar(Int32(bitPattern: bin << UInt32(24 - bits) | fraction)) * unit
  }
}

@_specialize(where Scalar == Float)
@_specialize(where Scalar == Double)
private func moveToMiddles<Scalar: KernelScalar>(_ values: UnsafeMutableBufferPointer<Scalar>, bins: Scalar) {
  for i in values.indices where !values[i].isNaN {
    let bin = max(0, min(bins - 1, (values[i] * bins).rounded(.down)))
    values[i] = (bin + 0.5) / bins
  }
}
