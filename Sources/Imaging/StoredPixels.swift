import AIPOKernels

/// Values as a file stores them, `[h, w, c]`.
enum StoredPixels: Sendable {
  case bytes([UInt8])
  /// Of a picture; those of an array are values.
  case words([UInt16])
  case values([Double])

  /// Unscaled.
  var values: [Double] {
    switch self {
    case .bytes(let bytes): bytes.map { Double($0) }
    case .words(let words): words.map { Double($0) }
    case .values(let values): values
    }
  }

  /// Some rows of an image.
  func rows(_ rows: Range<Int>, of shape: ImageShape) -> StoredPixels {
    let size = shape.width * shape.channels
    let part = rows.lowerBound * size..<rows.upperBound * size
    return switch self {
    case .bytes(let bytes): .bytes(Array(bytes[part]))
    case .words(let words): .words(Array(words[part]))
    case .values(let values): .values(Array(values[part]))
    }
  }

  /// As they are to be seen.
  func turned(_ orientation: Orientation, stored: ImageShape) -> StoredPixels {
    switch self {
    case .bytes(let bytes): .bytes(orientation.apply(bytes, stored: stored))
    case .words(let words): .words(orientation.apply(words, stored: stored))
    case .values(let values): .values(orientation.apply(values, stored: stored))
    }
  }

  /// Pixels of `stored` values each without the last, `alpha`, which must be opaque: there is no right background.
  static func withoutAlpha<Value: Equatable>(
    _ values: [Value], stored: Int, alpha: Int, opaque: Value, width: Int, path: String
  ) throws(FileError) -> [Value] {
    precondition(alpha == stored - 1)
    let pixels = values.count / stored
    var result = [Value]()
    result.reserveCapacity(pixels * alpha)
    for pixel in 0..<pixels {
      guard values[pixel * stored + alpha] == opaque else {
        throw .malformed(
          path: path, what: "alpha at row \(pixel / width), column \(pixel % width)",
          found: "\(values[pixel * stored + alpha])",
          expected:
            "\(opaque), as only opaque images can be used; ImageMagick puts white behind: "
            + "magick in.png -background white -flatten out.png")
      }
      result += values[(pixel * stored)..<(pixel * stored + alpha)]
    }
    return result
  }
}
