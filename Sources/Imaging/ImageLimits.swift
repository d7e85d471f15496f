import AIPOKernels

/// What a header is believed: never more than these, and never more than the file's size allows.
enum ImageLimits {
  /// Pixels in one picture.
  static let pixels = 1 << 27
  /// Bytes of a file that must be held in memory: a picture but TIFF, whatever comes from a pipe.
  static let fileBytes = 1 << 30
  /// Bytes of an array that must be held in memory: compressed, from a pipe, or in Fortran order.
  static let arrayBytes = 1 << 32
  /// Bytes of a chunk of HDF5.
  static let chunkBytes = 1 << 28
  /// Pages of a TIFF.
  static let pages = 1 << 20

  static func check(_ shape: ImageShape, path: String) throws(FileError) {
    let (pixels, overflow) = shape.height.multipliedReportingOverflow(by: shape.width)
    guard !overflow, pixels <= Self.pixels else {
      throw .malformed(
        path: path, what: "image size", found: "\(shape.height)x\(shape.width)",
        expected: "at most \(Self.pixels) pixels")
    }
  }

  static func check(pixelBytes: Int, fileBytes: Int, ratio: Int, path: String) throws(FileError) {
    guard pixelBytes / ratio <= fileBytes else {
      throw .malformed(
        path: path, what: "file size", found: "\(fileBytes) bytes",
        expected: "more for the \(pixelBytes) bytes of pixels that its header announces")
    }
  }
}
