import AIPOKernels
import AIPOPlatform
import CAIPOPNG

/// Portable Network Graphics: grey, RGB and palettes (read as RGB) of up to 16 bits. An alpha channel
/// is dropped where every pixel is opaque, and refused otherwise: there is no right background.
/// Colour profiles and gamma are ignored; stored values are what counts. The orientation of an eXIf chunk before the
/// pixels is applied.
package enum PNG {
  static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

  struct Header {
    /// Without alpha, as stored.
    var shape: ImageShape
    var orientation: Orientation
    var storedChannels: Int
    var isEightBit: Bool

    fileprivate func withoutAlpha<Word: FixedWidthInteger>(
      _ values: [Word], opaque: Word, path: String
    ) throws(FileError) -> [Word] {
      if storedChannels == shape.channels { return values }
      return try StoredPixels.withoutAlpha(
        values, stored: storedChannels, alpha: shape.channels, opaque: opaque, width: shape.width, path: path)
    }
  }

  /// The header of a whole file in memory, or of its beginning up to the pixels.
  static func header(_ bytes: [UInt8], path: String) throws(FileError) -> Header {
    var raw = try read(bytes, path: path, pixels: nil, rowBytes: 0)
    let channels = Int(raw.channels)
    let shape = ImageShape(
      height: Int(raw.height), width: Int(raw.width), channels: channels - (channels + 1) % 2)
    try ImageLimits.check(shape, path: path)
    let exif = withUnsafeBytes(of: &raw.exif) { Array($0.prefix(Int(raw.exif_count))) }
    return Header(
      shape: shape, orientation: Orientation(exif: exif[...]), storedChannels: channels,
      isEightBit: raw.depth == 8)
  }

  /// The pixels as they are to be seen.
  static func decode(_ bytes: [UInt8], path: String) throws(FileError) -> (ImageShape, StoredPixels) {
    let header = try header(bytes, path: path)
    let rowBytes = header.shape.width * header.storedChannels * (header.isEightBit ? 1 : 2)
    // Deflate can't expand more than 1032-fold; the expansion to bytes of 1-bit values adds 8, a
    // palette's 24 (with alpha 32).
    try ImageLimits.check(
      pixelBytes: header.shape.height * rowBytes, fileBytes: bytes.count, ratio: 1032 * 32, path: path)
    try MemoryLimit.require(header.shape.height * rowBytes, for: path)
    let stored: StoredPixels
    if header.isEightBit {
      var values = [UInt8](repeating: 0, count: header.shape.height * rowBytes)
      try fill(&values, bytes, rowBytes: rowBytes, path: path)
      stored = .bytes(try header.withoutAlpha(values, opaque: 255, path: path))
    } else {
      var values = [UInt16](repeating: 0, count: header.shape.height * rowBytes / 2)
      try fill(&values, bytes, rowBytes: rowBytes, path: path)
      stored = .words(try header.withoutAlpha(values, opaque: 65535, path: path))
    }
    return (
      header.orientation.shape(of: header.shape), stored.turned(header.orientation, stored: header.shape)
    )
  }

  /// An 8-bit image of one or three channels as a file's bytes.
  package static func encode(_ pixels: [UInt8], shape: ImageShape, path: String) throws(FileError) -> [UInt8]
  {
    precondition(pixels.count == shape.count && (shape.channels == 1 || shape.channels == 3))
    guard shape.height > 0, shape.width > 0, shape.height < 1 << 24, shape.width < 1 << 24 else {
      throw .unwritable(path: path, reason: "a PNG of \(shape.height)x\(shape.width) pixels is impossible")
    }
    var buffer = aipo_png_buffer()
    defer { free(buffer.bytes) }
    var message = [CChar](repeating: 0, count: Int(AIPO_PNG_MESSAGE))
    let status = aipo_png_write(
      pixels, UInt32(shape.width), UInt32(shape.height), Int32(shape.channels), &buffer, &message)
    guard status == 0 else { throw .unwritable(path: path, reason: text(message)) }
    return Array(UnsafeBufferPointer(start: buffer.bytes, count: buffer.count))
  }

  private static func fill<Word>(
    _ values: inout [Word], _ bytes: [UInt8], rowBytes: Int, path: String
  ) throws(FileError) {
    try values.withUnsafeMutableBufferPointer { buffer throws(FileError) in
      let raw = UnsafeMutableRawBufferPointer(buffer)
      _ = try read(
        bytes, path: path, pixels: raw.baseAddress?.assumingMemoryBound(to: UInt8.self), rowBytes: rowBytes)
    }
  }

  private static func read(
    _ bytes: [UInt8], path: String, pixels: UnsafeMutablePointer<UInt8>?, rowBytes: Int
  ) throws(FileError) -> aipo_png_header {
    var header = aipo_png_header()
    var message = [CChar](repeating: 0, count: Int(AIPO_PNG_MESSAGE))
    guard aipo_png_read(bytes, bytes.count, &header, pixels, rowBytes, &message) == 0 else {
      throw .malformed(
        path: path, what: "PNG", found: "damaged (\(text(message)))", expected: "a whole PNG image")
    }
    return header
  }

  private static func text(_ message: [CChar]) -> String {
    String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
