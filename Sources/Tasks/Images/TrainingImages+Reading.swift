import AIPOFlows
import AIPOImaging
import AIPOKernels

extension TrainingImages {
  /// Reads images for a training: whole ones, which must have one shape, or, with `patch`, pictures of any sizes
  /// that are at least as large. Real numbers are read as they are, everything else as 8-bit pixels.
  ///
  /// `accept` is shown the shape before anything is read, which may take long, and may throw; `progress` is told of
  /// each picture that is read. Throws `FileError` for what can't be read or doesn't fit,
  /// `TensorError` where memory is short.
  public init(
    reading set: ImageSet, indices: some Collection<Int>, transform: ImageTransform, patch: PixelSize? = nil,
    areReal: Bool, accept: (ImageShape) throws -> Void = { _ in }, progress: (Int) throws -> Void = { _ in }
  ) throws {
    let sizes: [ImageShape]
    if let patch {
      sizes = try Self.sizes(set, indices, transform, atLeast: patch)
    } else {
      sizes = Array(repeating: try set.shape(of: indices, transform: transform), count: indices.count)
    }
    var shape = sizes.first ?? ImageShape(height: 0, width: 0, channels: 0)
    if let patch { (shape.height, shape.width) = (patch.height, patch.width) }
    try accept(shape)
    let count = sizes.reduce(0) { $0 + $1.count }
    try MemoryLimit.require(areReal ? count * MemoryLayout<Double>.size : count, for: set.path)
    // Before the first is read: all together tell best what scale they are on.
    if !areReal { try set.requireScale(of: indices, transform: transform) }
    var pixels: [UInt8] = []
    var reals: [Double] = []
    if areReal { reals.reserveCapacity(count) } else { pixels.reserveCapacity(count) }
    for (k, index) in indices.enumerated() {
      if areReal {
        reals += try set.read([index], as: Double.self, transform: transform).elements
      } else {
        pixels += try set.bytes([index], transform: transform)
      }
      try progress(k + 1)
    }
    self =
      areReal
      ? try TrainingImages(patch: shape, of: sizes, reals: reals)
      : try TrainingImages(patch: shape, of: sizes, pixels: pixels)
  }

  /// As many as help to settle what a checkpoint leaves open and to fit a covariance, evenly from the set.
  public init(sampling set: ImageSet, transform: ImageTransform, areReal: Bool) throws {
    let first = try set.shape(of: [0], transform: transform)
    let count = min(set.count, max(64, min(20_000, (1 << 28) / max(first.count, 1))))
    try self.init(
      reading: set, indices: (0..<count).map { $0 * set.count / count }, transform: transform,
      areReal: areReal)
  }

  private static func sizes(
    _ set: ImageSet, _ indices: some Collection<Int>, _ transform: ImageTransform, atLeast patch: PixelSize
  ) throws(FileError) -> [ImageShape] {
    var sizes: [ImageShape] = []
    for index in indices {
      let size = try set.shape(of: [index], transform: transform)
      guard size.height >= patch.height, size.width >= patch.width else {
        throw .malformed(
          path: set.path, what: "size of image \(set.name(of: index))", found: "\(size)",
          expected: "at least \(patch) for the patches; leave it out, or give a smaller --patch")
      }
      if let first = sizes.first, size.channels != first.channels {
        throw .malformed(
          path: set.path, what: "size of image \(set.name(of: index))", found: "\(size)",
          expected: "\(first.channels) channels as the others, or --grey or --colour")
      }
      sizes.append(size)
    }
    return sizes
  }
}
