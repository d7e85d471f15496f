import AIPOKernels

/// Writes images as they come: to a PNG (8-bit `⌊256 x⌋` clipped; several images become a grid) or to
/// an NPY or NPZ file (`[n, h, w, c]`, vectors `[n, d]`; unclipped, in the scalar's precision), by the suffix of the
/// name. The file appears with `finish`; what was appended so far is a valid result whenever that is called.
public final class ImageOutput<Scalar: KernelScalar> {
  private enum Target {
    case array(NPYWriter<Scalar>)
    case png(AtomicFile)
  }

  public let path: String
  public let imageShape: ImageShape
  private let target: Target
  private var pixels = [[UInt8]]()

  /// Throws `unwritable`: also where the suffix is none of `.png`, `.npy` and `.npz`, or where a PNG can't hold
  /// images of that many channels.
  public init(path: String, imageShape: ImageShape) throws(FileError) {
    self.path = path
    self.imageShape = imageShape
    switch ImageOutputFormat(path: path) {
    case .array:
      target = .array(
        try NPYWriter(path: path, rowShape: Self.rowShape(imageShape)))
    case .png:
      guard imageShape.channels == 1 || imageShape.channels == 3 else {
        throw .unwritable(path: path, reason: "a PNG can't hold \(imageShape.channels) channels, NPY can")
      }
      target = .png(try AtomicFile(path: path))
    case nil: throw .unwritable(path: path, reason: "the suffix is none of .png, .npy and .npz")
    }
  }

  /// Appends a batch `[k, h, w, c]`.
  public func append(_ batch: Tensor<Scalar>) throws(FileError) {
    precondition(batch.shape.count == 4 && batch.rowLength == imageShape.count || batch.shape[0] == 0)
    switch target {
    case .array(let writer): try writer.append(batch.reshaped([batch.shape[0]] + Self.rowShape(imageShape)))
    case .png: pixels += PixelValue.images(batch)
    }
  }

  private static func rowShape(_ shape: ImageShape) -> [Int] {
    shape.isVector ? [shape.channels] : [shape.height, shape.width, shape.channels]
  }

  /// Puts the file in its place. A PNG needs one image at least.
  public func finish() throws(FileError) {
    switch target {
    case .array(let writer): try writer.finish()
    case .png(let file):
      guard !pixels.isEmpty else { throw .unwritable(path: path, reason: "there are no images to write") }
      let grid = ImageGrid(images: pixels, shape: imageShape)
      try file.write(grid.png(path: path))
      try file.commit()
    }
  }

  /// Writes a batch `[n, h, w, c]` at once.
  public static func write(_ images: Tensor<Scalar>, to path: String) throws(FileError) {
    precondition(images.shape.count == 4)
    let output = try ImageOutput(
      path: path,
      imageShape: ImageShape(height: images.shape[1], width: images.shape[2], channels: images.shape[3]))
    try output.append(images)
    try output.finish()
  }
}

/// The formats that images are written in, told by the suffix of the name.
public enum ImageOutputFormat: Sendable {
  case png
  /// NPY, or NPZ of one array.
  case array

  /// Nil for another suffix.
  public init?(path: String) {
    let name = path.lowercased()
    if name.hasSuffix(".png") {
      self = .png
    } else if name.hasSuffix(".npy") || name.hasSuffix(".npz") {
      self = .array
    } else {
      return nil
    }
  }
}

extension PixelValue {
  /// Each image of a batch as 8-bit values.
  static func images<Scalar: KernelScalar>(_ batch: Tensor<Scalar>) -> [[UInt8]] {
    let size = batch.rowLength
    return batch.withUnsafeBufferPointer { buffer in
      (0..<(batch.shape.first ?? 0)).map { k in (0..<size).map { byte(Double(buffer[k * size + $0])) } }
    }
  }
}
