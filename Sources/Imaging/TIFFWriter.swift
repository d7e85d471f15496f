import AIPOKernels

/// How many bits a value has in a file of pictures.
public enum PixelDepth: String, Hashable, Sendable, CaseIterable {
  /// `⌊256 x⌋` and `⌊65536 x⌋`, clipped.
  case uint8, uint16
  /// As it is, in the precision of the numbers.
  case float
}

/// Writes a TIFF, a page an image, as they come: uncompressed, little-endian, channels interleaved, and the directories
/// at the end; BigTIFF beyond 4 GiB. The file appears with `finish`.
///
/// Source: Adobe, *TIFF Revision 6.0*; for BigTIFF, LibTIFF's *BigTIFF file format*.
final class TIFFWriter<Scalar: KernelScalar> {
  private let file: AtomicFile
  private let shape: ImageShape
  private let depth: PixelDepth
  private let geometry: ImageGeometry?
  private var values = 0
  private var pages: Int { values / max(shape.count, 1) }
  /// Room for the longer of the two headers.
  private let start = 16

  init(
    path: String, shape: ImageShape, depth: PixelDepth, geometry: ImageGeometry?
  ) throws(FileError) {
    guard shape.height < 1 << 31, shape.width < 1 << 31, shape.channels < 1 << 16 else {
      throw .unwritable(path: path, reason: "a TIFF of \(shape) is impossible")
    }
    self.shape = shape
    self.depth = depth
    self.geometry = geometry
    file = try AtomicFile(path: path)
    try file.write([UInt8](repeating: 0, count: start))
  }

  /// Appends some values of a page, or of several.
  func append(values: UnsafeBufferPointer<Scalar>) throws(FileError) {
    switch depth {
    case .float: try file.write(UnsafeRawBufferPointer(values))
    case .uint8: try file.write(values.map { PixelValue.byte(Double($0)) })
    case .uint16:
      try file.write(
        values.flatMap { value -> [UInt8] in
          let word = PixelValue.word(Double(value))
          return [UInt8(word & 255), UInt8(word >> 8)]
        })
    }
    self.values += values.count
  }

  /// Puts the file in its place. It needs one image at least.
  func finish() throws(FileError) {
    guard pages > 0 else { throw .unwritable(path: file.path, reason: "there are no images to write") }
    let pageBytes = shape.count * valueBytes
    let end = start + pages * pageBytes
    // A directory takes less than 400 bytes and the lists beside it.
    let isBig = end + pages * (400 + 8 * shape.channels) > Int(UInt32.max)
    var place = (end + 7) / 8 * 8
    try file.write([UInt8](repeating: 0, count: place - end))
    try file.overwrite(
      at: 0,
      with: Array("II".utf8)
        + (isBig ? [43, 0, 8, 0, 0, 0] + number(place, 8) : [42, 0] + number(place, 4)))
    for page in 0..<pages {
      let directory = self.directory(
        at: place, pixels: start + page * pageBytes, isBig: isBig, isLast: page == pages - 1)
      try file.write(directory)
      place += directory.count
    }
    try file.commit()
  }

  private var valueBytes: Int {
    switch depth {
    case .uint8: 1
    case .uint16: 2
    case .float: MemoryLayout<Scalar>.size
    }
  }

  /// A page's directory with what doesn't fit into its entries; the next one follows at once.
  private func directory(at place: Int, pixels: Int, isBig: Bool, isLast: Bool) -> [UInt8] {
    let word = isBig ? 8 : 4
    let channels = shape.channels
    // Tag, size of a value (2: SHORT, 4: LONG, 8: LONG8), values.
    var entries: [(tag: Int, size: Int, values: [Int])] = [
      (256, 4, [shape.width]), (257, 4, [shape.height]),
      (258, 2, [Int](repeating: 8 * valueBytes, count: channels)),
      (259, 2, [1]), (262, 2, [channels == 3 ? 2 : 1]), (273, word, [pixels]), (277, 2, [channels]),
      (278, 4, [shape.height]), (279, word, [shape.count * valueBytes]),
    ]
    var rationals: [(tag: Int, value: Double)] = []
    if let geometry {
      rationals = [(282, 10 / geometry.columnStep), (283, 10 / geometry.rowStep)]
      entries.append((296, 2, [3]))
    }
    if channels == 2 || channels > 3 {
      entries.append((338, 2, [Int](repeating: 0, count: channels - 1)))
    }
    entries.append((339, 2, [Int](repeating: depth == .float ? 3 : 1, count: channels)))

    let count = entries.count + rationals.count
    let table = (isBig ? 8 : 2) + count * (isBig ? 20 : 12) + word
    var fields: [(tag: Int, bytes: [UInt8])] = []
    var beside: [UInt8] = []
    func add(_ tag: Int, type: Int, count: Int, _ data: [UInt8]) {
      var field = number(tag, 2) + number(type, 2) + number(count, word)
      if data.count <= word {
        field += data + [UInt8](repeating: 0, count: word - data.count)
      } else {
        field += number(place + (table + 7) / 8 * 8 + beside.count, word)
        beside += data + [UInt8](repeating: 0, count: (8 - data.count % 8) % 8)
      }
      fields.append((tag, field))
    }
    for entry in entries {
      add(
        entry.tag, type: entry.size == 2 ? 3 : entry.size == 4 ? 4 : 16, count: entry.values.count,
        entry.values.flatMap { number($0, entry.size) })
    }
    for (tag, value) in rationals {
      let (numerator, denominator) = Self.rational(value)
      add(tag, type: 5, count: 1, number(numerator, 4) + number(denominator, 4))
    }
    fields.sort { $0.tag < $1.tag }
    let padding = [UInt8](repeating: 0, count: (8 - table % 8) % 8)
    let next = isLast ? 0 : place + table + padding.count + beside.count
    return number(count, isBig ? 8 : 2) + fields.flatMap(\.bytes) + number(next, word) + padding + beside
  }

  private func number(_ value: Int, _ size: Int) -> [UInt8] {
    (0..<size).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  /// A fraction of 32-bit numbers.
  private static func rational(_ value: Double) -> (Int, Int) {
    let limit = Double(UInt32.max)
    guard value >= 1 / limit else { return (1, Int(UInt32.max)) }
    // As many digits as there is room for.
    let denominator = min(max((limit / value).rounded(.down), 1), value < 1 ? limit : 1e6)
    return (Int(min((value * denominator).rounded(), limit)), Int(denominator))
  }
}
