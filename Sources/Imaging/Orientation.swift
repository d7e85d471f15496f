import AIPOKernels

/// How a camera was held: the corner that row 0 and column 0 of the stored pixels belong to, by the numbers of EXIF.
///
/// Source: CIPA DC-008, *Exchangeable image file format for digital still cameras*, tag 0x0112; the PNG chunk is
/// `eXIf`.
enum Orientation: Int, CaseIterable, Sendable {
  case upright = 1
  case mirrored, upsideDown, flipped, transposed
  /// To be turned right, clockwise, by a quarter.
  case turnRight
  case transversed
  case turnLeft

  /// Whether height and width change places.
  var swapsAxes: Bool { rawValue >= 5 }

  /// Of the picture as it is to be seen.
  func shape(of stored: ImageShape) -> ImageShape {
    swapsAxes
      ? ImageShape(height: stored.width, width: stored.height, channels: stored.channels) : stored
  }

  /// Stored pixels `[h, w, c]` as they are to be seen.
  func apply<Value>(_ pixels: [Value], stored: ImageShape) -> [Value] {
    if self == .upright { return pixels }
    let seen = shape(of: stored)
    let (height, width) = (stored.height, stored.width)
    // The stored place of the pixel that is seen at the top left, and the steps from there down and across.
    let (first, down, across) =
      switch self {
      case .upright: (0, width, 1)
      case .mirrored: (width - 1, width, -1)
      case .upsideDown: (height * width - 1, -width, -1)
      case .flipped: ((height - 1) * width, -width, 1)
      case .transposed: (0, 1, width)
      case .turnRight: ((height - 1) * width, 1, -width)
      case .transversed: (height * width - 1, -1, -width)
      case .turnLeft: (width - 1, -1, width)
      }
    let channels = stored.channels
    return [Value](unsafeUninitializedCapacity: pixels.count) { result, count in
      for y in 0..<seen.height {
        for x in 0..<seen.width {
          let place = (first + y * down + x * across) * channels
          for channel in 0..<channels {
            result.initializeElement(at: count, to: pixels[place + channel])
            count += 1
          }
        }
      }
    }
  }

  // MARK: Reading

  private static let prefix = Array("Exif\0\0".utf8)

  /// Of a JPEG file, or of its beginning up to the pixels. What isn't EXIF as it should be tells no orientation.
  init(jpeg bytes: [UInt8]) {
    self = .upright
    var place = 2
    // Segments: FF, a marker, the big-endian length of what follows with its own two bytes.
    while place + 4 <= bytes.count, bytes[place] == 0xFF {
      let marker = bytes[place + 1]
      if marker == 0xFF {
        place += 1
        continue
      }
      // The pixels begin.
      if marker == 0xDA || marker == 0xD9 { return }
      let length = Int(bytes[place + 2]) << 8 | Int(bytes[place + 3])
      guard length >= 2, place + 2 + length <= bytes.count else { return }
      let content = (place + 4)..<(place + 2 + length)
      if marker == 0xE1, bytes[content].starts(with: Self.prefix) {
        self.init(exif: bytes[content])
        return
      }
      place = content.upperBound
    }
  }

  /// Of EXIF data: a TIFF header with directories, with or without `Exif\0\0` before it.
  init(exif: ArraySlice<UInt8>) {
    self = .upright
    let tiff = Array(exif.starts(with: Self.prefix) ? exif.dropFirst(Self.prefix.count) : exif)
    let isBig = tiff.starts(with: Array("MM\0*".utf8))
    guard isBig || tiff.starts(with: Array("II*\0".utf8)) else { return }
    /// The number of so many bytes at a place; 0 beyond the data.
    func number(_ place: Int, _ size: Int) -> Int {
      guard place <= tiff.count - size else { return 0 }
      let bytes = tiff[place..<(place + size)]
      return (isBig ? Array(bytes) : bytes.reversed()).reduce(0) { $0 << 8 | Int($1) }
    }
    // A directory: the number of entries, then 12 bytes each: tag, type, count, value.
    let directory = number(4, 4)
    guard directory >= 8 else { return }
    for entry in 0..<number(directory, 2) {
      let place = directory + 2 + 12 * entry
      guard place + 12 <= tiff.count else { return }
      guard number(place, 2) == 0x0112 else { continue }
      guard number(place + 2, 2) == 3, number(place + 4, 4) == 1 else { return }
      self = Orientation(rawValue: number(place + 8, 2)) ?? .upright
      return
    }
  }
}
