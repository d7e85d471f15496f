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
    try self.init(
      reading: set, indices: indices, transform: transform, patch: patch, areReal: areReal,
      streaming: { _ in nil }, accept: accept, progress: progress)
  }

  /// Reads images, and keeps them in files where `streaming` says for the bytes that they take. `progress` is told of those that this
  /// rank reads.
  package init(
    reading set: ImageSet, indices: some Collection<Int>, transform: ImageTransform, patch: PixelSize?,
    areReal: Bool, streaming: (_ bytes: Int) throws -> PictureFiles.Place?,
    accept: (ImageShape) throws -> Void, progress: (Int) throws -> Void
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
    let bytes = areReal ? count * MemoryLayout<Double>.size : count
    let place = try streaming(bytes)
    if place == nil { try MemoryLimit.require(bytes, for: set.path) }
    // Before the first is read: all together tell best what scale they are on.
    if !areReal { try set.requireScale(of: indices, transform: transform) }
    func pixels(_ index: Int) throws -> [UInt8] { try set.bytes([index], transform: transform) }
    func reals(_ index: Int) throws -> [Double] {
      try set.read([index], as: Double.self, transform: transform).elements
    }
    if let place {
      let indices = Array(indices)
      func store<Value: BitwiseCopyable>(_ read: (_ index: Int) throws -> [Value]) throws -> TrainingImages {
        try TrainingImages(patch: shape, of: sizes, in: place) { k in
          let values = try read(indices[k])
          try progress(k + 1)
          return values
        }
      }
      self = areReal ? try store(reals) : try store(pixels)
      return
    }
    func all<Value>(_ read: (_ index: Int) throws -> [Value]) throws -> [Value] {
      var all: [Value] = []
      all.reserveCapacity(count)
      for (k, index) in indices.enumerated() {
        all += try read(index)
        try progress(k + 1)
      }
      return all
    }
    self =
      areReal
      ? try TrainingImages(patch: shape, of: sizes, reals: try all(reals))
      : try TrainingImages(patch: shape, of: sizes, pixels: try all(pixels))
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
