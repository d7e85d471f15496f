import AIPOKernels
import CAIPOTurboJPEG

/// JPEG files, grey or colour (read as RGB); baseline and progressive. CMYK is refused. Anything that
/// libjpeg warns about (damaged or missing data) is an error. The orientation of EXIF is applied.
enum JPEG {
  static let signature: [UInt8] = [0xFF, 0xD8, 0xFF]

  /// The shape of the picture as it is to be seen.
  static func header(_ bytes: [UInt8], path: String) throws(FileError) -> ImageShape {
    let stored = try withDecoder(path: path) { decoder throws(FileError) in
      try header(decoder, bytes, path: path)
    }
    return Orientation(jpeg: bytes).shape(of: stored)
  }

  /// The picture as it is to be seen.
  static func decode(_ bytes: [UInt8], path: String) throws(FileError) -> (ImageShape, [UInt8]) {
    try withDecoder(path: path) { decoder throws(FileError) in
      let shape = try header(decoder, bytes, path: path)
      // At least one bit for each block of 64 samples, chroma halved both ways.
      try ImageLimits.check(pixelBytes: shape.count, fileBytes: bytes.count, ratio: 2048, path: path)
      try MemoryLimit.require(shape.count, for: path)
      var pixels = [UInt8](repeating: 0, count: shape.count)
      let status = tjDecompress2(
        decoder, bytes, UInt(bytes.count), &pixels, Int32(shape.width), 0, Int32(shape.height),
        Int32(shape.channels == 1 ? TJPF_GRAY.rawValue : TJPF_RGB.rawValue),
        TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS)
      guard status == 0 else { throw damaged(decoder, path: path) }
      let orientation = Orientation(jpeg: bytes)
      return (orientation.shape(of: shape), orientation.apply(pixels, stored: shape))
    }
  }

  private static func header(
    _ decoder: tjhandle, _ bytes: [UInt8], path: String
  ) throws(FileError) -> ImageShape {
    var width: Int32 = 0
    var height: Int32 = 0
    var subsampling: Int32 = 0
    var colours: Int32 = 0
    guard
      tjDecompressHeader3(
        decoder, bytes, UInt(bytes.count), &width, &height, &subsampling, &colours) == 0,
      width > 0, height > 0
    else { throw damaged(decoder, path: path) }
    let channels: Int
    switch UInt32(bitPattern: colours) {
    case UInt32(TJCS_GRAY.rawValue): channels = 1
    case UInt32(TJCS_YCbCr.rawValue), UInt32(TJCS_RGB.rawValue): channels = 3
    default: throw .malformed(path: path, what: "JPEG", found: "CMYK", expected: "grey or RGB")
    }
    let shape = ImageShape(height: Int(height), width: Int(width), channels: channels)
    try ImageLimits.check(shape, path: path)
    return shape
  }

  private static func withDecoder<R>(
    path: String, _ body: (tjhandle) throws(FileError) -> R
  ) throws(FileError) -> R {
    guard let decoder = tjInitDecompress() else {
      throw .missing(path: path, reason: "not enough memory for a JPEG decoder")
    }
    defer { tjDestroy(decoder) }
    return try body(decoder)
  }

  private static func damaged(_ decoder: tjhandle, path: String) -> FileError {
    let message = tjGetErrorStr2(decoder).map { String(cString: $0) } ?? "unknown error"
    return .malformed(path: path, what: "JPEG", found: "damaged (\(message))", expected: "a whole JPEG image")
  }
}
