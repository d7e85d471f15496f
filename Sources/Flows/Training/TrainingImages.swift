import AIPOKernels

/// Images to train on or to measure with, as 8-bit pixels `[n, h, w, c]`.
public struct TrainingImages: Sendable {
  public let shape: ImageShape
  public let pixels: [UInt8]

  /// Images in the set.
  public var count: Int { pixels.count / max(shape.count, 1) }

  /// Throws `pixelCount` where `pixels` is no whole number of images.
  public init(shape: ImageShape, pixels: [UInt8]) throws(TrainingError) {
    guard shape.count > 0, pixels.count % shape.count == 0 else {
      throw .pixelCount(found: pixels.count, shape: "\(shape)")
    }
    self.shape = shape
    self.pixels = pixels
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
    var result: [UInt8] = []
    result.reserveCapacity(indices.count * size)
    for i in indices { result += pixels[(i * size)..<((i + 1) * size)] }
    return TrainingImages(shape: shape, checked: result)
  }

  private init(shape: ImageShape, checked pixels: [UInt8]) {
    self.shape = shape
    self.pixels = pixels
  }

  /// Tells other images apart: shape, count and a digest of the pixels.
  var fingerprint: String { "\(count)x\(shape) \(SHA256.hexDigest(pixels))" }

  /// The one value that every pixel has, or nil where they differ (or there are none).
  var constantValue: UInt8? {
    guard let first = pixels.first, pixels.allSatisfy({ $0 == first }) else { return nil }
    return first
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
