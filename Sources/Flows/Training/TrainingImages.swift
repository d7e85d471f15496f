import AIPOKernels

/// Images to train on or to measure with, `[n, h, w, c]`: as 8-bit pixels, or as real numbers that aren't dequantised.
/// Vectors of d values are images of 1×1×d.
public struct TrainingImages: Sendable {
  public let shape: ImageShape
  /// 8-bit pixels; empty for real numbers.
  public let pixels: [UInt8]
  /// Real numbers; empty for pixels.
  public let reals: [Double]

  /// Images in the set.
  public var count: Int { (pixels.count + reals.count) / max(shape.count, 1) }

  /// Throws `pixelCount` where `pixels` is no whole number of images.
  public init(shape: ImageShape, pixels: [UInt8]) throws(TrainingError) {
    guard shape.count > 0, pixels.count % shape.count == 0 else {
      throw .pixelCount(found: pixels.count, shape: "\(shape)")
    }
    self.init(shape: shape, checked: pixels, reals: [])
  }

  /// Real numbers, for a training without dequantisation. Throws `pixelCount` where they are no whole number of
  /// images, `nonFinite`.
  public init(shape: ImageShape, reals: [Double]) throws(TrainingError) {
    guard shape.count > 0, reals.count % shape.count == 0 else {
      throw .pixelCount(found: reals.count, shape: "\(shape)")
    }
    if let bad = reals.firstIndex(where: { !$0.isFinite }) {
      throw .nonFinite(value: reals[bad], image: bad / shape.count, position: bad % shape.count)
    }
    self.init(shape: shape, checked: [], reals: reals)
  }

  /// Images `[n, h, w, c]` on [0, 1], taken to 8 bits by `⌊256x⌋` (1 counts as 255).
  ///
  /// Nothing that training uses is lost: dequantisation keeps at most the 8 leading bits.
  /// Throws `invalidPixel` for a value that isn't in [0, 1].
  public init<Scalar: KernelScalar>(_ images: Tensor<Scalar>) throws(TrainingError) {
    precondition(images.shape.count == 4, "images have shape [n, h, w, c]")
    let shape = ImageShape(height: images.shape[1], width: images.shape[2], channels: images.shape[3])
    var pixels = [UInt8](repeating: 0, count: images.count)
    let wrong = images.withUnsafeBufferPointer { quantize8($0, into: &pixels) }
    if let wrong {
      let size = max(shape.count, 1)
      throw .invalidPixel(
        value: Double(images[flat: wrong]), image: wrong / size, position: wrong % size)
    }
    try self.init(shape: shape, pixels: pixels)
  }

  /// The images at `indices`, in that order.
  public func subset(_ indices: some Collection<Int>) -> TrainingImages {
    let size = shape.count
    func rows<Value>(_ values: [Value]) -> [Value] {
      var result: [Value] = []
      guard !values.isEmpty else { return result }
      result.reserveCapacity(indices.count * size)
      for i in indices { result += values[(i * size)..<((i + 1) * size)] }
      return result
    }
    return TrainingImages(shape: shape, checked: rows(pixels), reals: rows(reals))
  }

  private init(shape: ImageShape, checked pixels: [UInt8], reals: [Double]) {
    self.shape = shape
    self.pixels = pixels
    self.reals = reals
  }

  /// Tells other images apart: shape, count and a digest of the values.
  var fingerprint: String {
    let bytes = reals.isEmpty ? pixels : reals.withUnsafeBytes { Array($0) }
    return "\(count)x\(shape) \(SHA256.hexDigest(bytes))"
  }

  /// The one value that everything has, or nil where values differ (or there are none).
  var constantValue: Double? {
    func constant<Value: Equatable>(_ values: [Value]) -> Value? {
      guard let first = values.first, values.allSatisfy({ $0 == first }) else { return nil }
      return first
    }
    return constant(reals) ?? constant(pixels).map { Double($0) }
  }

  /// Image i as a density takes it: changed by `augmentation`, then dequantised by `noise`; real numbers as they are.
  func fill<Scalar: KernelScalar>(
    _ out: UnsafeMutableBufferPointer<Scalar>, image i: Int, augmentation: Augmentation, random: inout Philox,
    dequantization: Dequantization, noise: inout Philox
  ) {
    let range = i * shape.count..<(i + 1) * shape.count
    if pixels.isEmpty {
      let changed = augmentation.apply(to: reals[range], shape: shape, random: &random)
      for (k, value) in changed.enumerated() { out[k] = Scalar(value) }
    } else {
      augmentation.apply(to: pixels[range], shape: shape, random: &random).withUnsafeBufferPointer {
        dequantization.fill(out, from: $0, noise: &noise)
      }
    }
  }
}

/// Gives the position of the first value outside [0, 1], if any.
@_specialize(where Scalar == Float)
@_specialize(where Scalar == Double)
private func quantize8<Scalar: KernelScalar>(
  _ values: UnsafeBufferPointer<Scalar>, into pixels: inout [UInt8]
) -> Int? {
  for i in values.indices {
    guard values[i] >= 0, values[i] <= 1 else { return i }
    pixels[i] = UInt8(min(255, values[i] * 256))
  }
  return nil
}
