import AIPOKernels
import CAIPOZlib

/// A sequence of pictures as one PNG that plays them over and over (APNG): programs that don't know it show the first.
///
/// Source: the third edition of the PNG specification, chunks acTL, fcTL and fdAT.
public enum AnimatedPNG {
  /// Writes images of one shape, `[n, h, w, c]` of one or three channels, clipped to [0, 1].
  ///
  /// - `scale`: every pixel becomes a square of so many pixels.
  /// - `framesPerSecond`: how fast they follow each other.
  ///
  /// Throws `unwritable`.
  public static func write<Scalar: KernelScalar>(
    _ images: Tensor<Scalar>, to path: String, scale: Int = 1, framesPerSecond: Int = 5
  ) throws(FileError) {
    precondition(images.shape.count == 4 && images.shape[0] > 0 && scale > 0 && framesPerSecond > 0)
    guard [1, 3].contains(images.shape[3]) else {
      throw .unwritable(path: path, reason: "a PNG can't hold \(images.shape[3]) channels")
    }
    let shape = ImageShape(height: images.shape[1], width: images.shape[2], channels: images.shape[3])
    var file: [UInt8] = []
    var sequence: UInt32 = 0
    for (k, frame) in PixelValue.images(images).enumerated() {
      let picture = ImageGrid(images: [frame], shape: shape, columns: 1, scale: scale, gap: 0)
      let chunks = try chunks(of: picture.png(path: path))
      if k == 0 {
        file += PNG.signature
        for chunk in chunks where chunk.type == "IHDR" { file += bytes(chunk.type, chunk.data) }
        file += bytes("acTL", word(UInt32(images.shape[0])) + word(0))
      }
      file += bytes(
        "fcTL",
        word(sequence) + word(UInt32(picture.shape.width)) + word(UInt32(picture.shape.height)) + word(0)
          + word(0) + half(1) + half(UInt16(framesPerSecond)) + [0, 0])
      sequence += 1
      for chunk in chunks where chunk.type == "IDAT" {
        if k == 0 {
          file += bytes("IDAT", chunk.data)
        } else {
          file += bytes("fdAT", word(sequence) + chunk.data)
          sequence += 1
        }
      }
    }
    try AtomicFile.write(file + bytes("IEND", []), to: path)
  }

  /// The chunks of a PNG that was just written.
  private static func chunks(of png: [UInt8]) -> [(type: String, data: [UInt8])] {
    var chunks: [(String, [UInt8])] = []
    var place = PNG.signature.count
    while place + 12 <= png.count {
      let count = Int(png[place..<place + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
      let type = String(decoding: png[place + 4..<place + 8], as: UTF8.self)
      chunks.append((type, Array(png[place + 8..<place + 8 + count])))
      place += count + 12
    }
    return chunks
  }

  private static func bytes(_ type: String, _ data: [UInt8]) -> [UInt8] {
    let body = Array(type.utf8) + data
    return word(UInt32(data.count)) + body + word(UInt32(crc32(0, body, UInt32(body.count))))
  }

  private static func word(_ value: UInt32) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
  }

  private static func half(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 255)] }
}
