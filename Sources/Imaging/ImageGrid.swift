import AIPOKernels

/// Images of one shape side by side on white: sample sheets, and what a PNG of several images holds.
public struct ImageGrid: Sendable {
  /// 8-bit, `[h, w, c]` of `shape`.
  public let pixels: [UInt8]
  public let shape: ImageShape

  /// Lays out a batch `[n, h, w, c]` of one or three channels, row by row.
  ///
  /// `columns` is about the square root of n unless given; every pixel becomes a square of `scale`
  /// pixels; `gap` pixels lie between images.
  public init<Scalar: KernelScalar>(
    _ images: Tensor<Scalar>, columns: Int? = nil, scale: Int = 1, gap: Int = 2
  ) {
    precondition(images.shape.count == 4 && images.count > 0, "a batch of images, not \(images.shape)")
    let shape = ImageShape(height: images.shape[1], width: images.shape[2], channels: images.shape[3])
    self.init(images: PixelValue.images(images), shape: shape, columns: columns, scale: scale, gap: gap)
  }

  init(images: [[UInt8]], shape: ImageShape, columns: Int? = nil, scale: Int = 1, gap: Int = 2) {
    precondition(scale > 0 && gap >= 0 && (columns ?? 1) > 0 && !images.isEmpty)
    let columns = min(columns ?? Int(Double(images.count).squareRoot().rounded(.up)), images.count)
    let rows = (images.count + columns - 1) / columns
    let (height, width) = (shape.height * scale, shape.width * scale)
    let grid = ImageShape(
      height: rows * (height + gap) - gap, width: columns * (width + gap) - gap, channels: shape.channels)
    var pixels = [UInt8](repeating: 255, count: grid.count)
    for (k, image) in images.enumerated() {
      for y in 0..<height {
        let top = k / columns * (height + gap) + y
        var target = (top * grid.width + k % columns * (width + gap)) * shape.channels
        for x in 0..<width {
          let source = (y / scale * shape.width + x / scale) * shape.channels
          for channel in 0..<shape.channels { pixels[target + channel] = image[source + channel] }
          target += shape.channels
        }
      }
    }
    self.pixels = pixels
    self.shape = grid
  }

  /// Writes a PNG. Throws `unwritable`.
  public func write(to path: String) throws(FileError) {
    guard shape.channels == 1 || shape.channels == 3 else {
      throw .unwritable(path: path, reason: "a PNG can't hold \(shape.channels) channels")
    }
    try AtomicFile.write(png(path: path), to: path)
  }

  func png(path: String) throws(FileError) -> [UInt8] { try PNG.encode(pixels, shape: shape, path: path) }
}
