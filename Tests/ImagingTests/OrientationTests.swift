import AIPOKernels
import AIPOTestFiles
import Testing

@testable import AIPOImaging

/// EXIF's eight ways to hold a camera, in JPEG and PNG.
struct OrientationTests {
  /// Where EXIF says that row 0 and column 0 are seen.
  private static let sides: [Int: (row: String, column: String)] = [
    1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
    5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
  ]

  /// Stored pixels `[h, w, c]` put where their sides are seen.
  private func seen(_ pixels: [UInt8], _ shape: ImageShape, _ orientation: Int) -> (ImageShape, [UInt8]) {
    let sides = Self.sides[orientation]!
    let isTurned = sides.row == "left" || sides.row == "right"
    let shown =
      isTurned
      ? ImageShape(height: shape.width, width: shape.height, channels: shape.channels) : shape
    var result = [UInt8](repeating: 0, count: pixels.count)
    for row in 0..<shape.height {
      for column in 0..<shape.width {
        var (y, x) = (0, 0)
        for (side, place) in [(sides.row, row), (sides.column, column)] {
          switch side {
          case "top": y = place
          case "bottom": y = shown.height - 1 - place
          case "left": x = place
          default: x = shown.width - 1 - place
          }
        }
        for c in 0..<shape.channels {
          result[(y * shown.width + x) * shape.channels + c] =
            pixels[(row * shape.width + column) * shape.channels + c]
        }
      }
    }
    return (shown, result)
  }

  private func number(_ value: Int, _ size: Int, big: Bool) -> [UInt8] {
    let bytes = (0..<size).map { UInt8(value >> (8 * $0) & 255) }
    return big ? bytes.reversed() : bytes
  }

  /// EXIF of one directory that has the orientation behind another tag.
  private func exif(_ orientation: Int, big: Bool, type: Int = 3) -> [UInt8] {
    func n(_ value: Int, _ size: Int) -> [UInt8] { number(value, size, big: big) }
    return Array((big ? "MM" : "II").utf8) + n(42, 2) + n(8, 4) + n(2, 2)
      + n(0x010F, 2) + n(2, 2) + n(4, 4) + Array("ABC\0".utf8)
      + n(0x0112, 2) + n(type, 2) + n(1, 4) + n(orientation, 2) + [0, 0] + n(0, 4)
  }

  private func segment(_ marker: UInt8, _ content: [UInt8]) -> [UInt8] {
    [0xFF, marker] + number(content.count + 2, 2, big: true) + content
  }

  private func jpeg(_ fixture: String, _ segments: [[UInt8]]) -> [UInt8] {
    let bytes = Fixtures.bytes(fixture)
    return Array(bytes[..<2] + segments.joined() + bytes[2...])
  }

  private func png(_ fixture: String, _ exif: [UInt8]) -> [UInt8] {
    let bytes = Fixtures.bytes(fixture)
    // Signature and IHDR are 33 bytes.
    let chunk = Array("eXIf".utf8) + exif
    let whole = number(exif.count, 4, big: true) + chunk + number(TestFiles.checksum(chunk), 4, big: true)
    return Array(bytes[..<33] + whole + bytes[33...])
  }

  private func check(_ file: [UInt8], as plain: [UInt8], orientation: Int, _ comment: Comment) throws {
    let folder = TemporaryFolder()
    let stored = try ImageSet(path: folder.write(plain, "plain"))
    let (shape, pixels) = seen(try stored.bytes([0]), stored.shape(of: 0), orientation)
    let set = try ImageSet(path: folder.write(file, "turned"))
    #expect(set.shape(of: 0) == shape, comment)
    #expect(try set.bytes([0]) == pixels, comment)
    #expect(
      try set.read([0], as: Double.self).elements == pixels.map(PixelValue.scalar), comment)
  }

  @Test(arguments: 1...8, [false, true]) func isApplied(_ orientation: Int, _ big: Bool) throws {
    for fixture in ["jpegGrey", "jpegColour"] {
      let exif = Array("Exif\0\0".utf8) + exif(orientation, big: big)
      // Behind a segment of somebody else's.
      let file = jpeg(
        fixture, [segment(0xE1, Array("http://ns.adobe.com/xap/1.0/\0".utf8)), segment(0xE1, exif)])
      try check(file, as: Fixtures.bytes(fixture), orientation: orientation, "\(fixture) \(orientation)")
    }
    for fixture in ["grey8", "rgb8"] {
      let file = png(fixture, exif(orientation, big: big))
      try check(file, as: Fixtures.bytes(fixture), orientation: orientation, "\(fixture) \(orientation)")
    }
  }

  @Test func sixteenBits() throws {
    let folder = TemporaryFolder()
    let set = try ImageSet(path: folder.write(png("grey16", exif(8, big: true)), "a"))
    #expect(set.shape(of: 0) == ImageShape(height: 5, width: 4, channels: 1))
    let words = ramp(20, mul: 3001, mod: 65536).map { (Double($0) + 0.5) / 65536 }
    // Seen from the top left: down the last stored column.
    #expect(
      try set.read([0], as: Double.self).elements
        == (0..<5).flatMap { y in (0..<4).map { x in words[x * 5 + 4 - y] } })
  }

  /// What isn't EXIF as it should be turns nothing, and nothing crashes.
  @Test func damagedEXIFIsPassedOver() throws {
    let prefix = Array("Exif\0\0".utf8)
    let whole = exif(6, big: false)
    // Behind the entry come four bytes that nobody needs.
    var contents = (0..<(whole.count - 4)).map { prefix + whole.prefix($0) }
    contents += [
      prefix + exif(0, big: true), prefix + exif(9, big: true), prefix + exif(6, big: true, type: 4),
      // A directory before the header's end, and one beyond all.
      prefix + Array("II*\0".utf8) + [0, 0, 0, 0] + [UInt8](repeating: 0xFF, count: 40),
      prefix + Array("MM\0*".utf8) + [0xFF, 0xFF, 0xFF, 0xFF] + [UInt8](repeating: 0xFF, count: 40),
      prefix + Array("MM\0*".utf8) + [0, 0, 0, 8, 0xFF, 0xFF] + [UInt8](repeating: 0, count: 40),
    ]
    for content in contents {
      try check(
        jpeg("jpegGrey", [segment(0xE1, content)]), as: Fixtures.bytes("jpegGrey"), orientation: 1,
        "\(content)")
    }
    for bytes: [UInt8] in [
      [], [0xFF], [0xFF, 0xD8, 0xFF], [0xFF, 0xD8, 0xFF, 0xE1, 0, 0], [0xFF, 0xD8, 0xFF, 0xE1, 0, 1, 2],
      [0xFF, 0xD8, 0xFF, 0xE1, 0xFF, 0xFF] + prefix, [0xFF, 0xD8, 0xFF, 0xFF, 0xFF, 0xFF],
    ] {
      #expect(Orientation(jpeg: bytes) == .upright)
    }
  }

  /// Random bytes in the directory: whatever they say, nothing is read beyond the data.
  @Test func randomEXIF() {
    var random = Philox(seed: 5, index: 0, purpose: .test)
    var found: Set<Orientation> = []
    for _ in 0..<20_000 {
      var bytes = exif(Int(random.next() % 10), big: random.next() % 2 == 0)
      for _ in 0..<(random.next() % 3) {
        bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
      }
      bytes.removeLast(Int(random.next() % 8))
      found.insert(Orientation(exif: bytes[...]))
    }
    #expect(found.count == 8)
  }

  @Test func aCameraThatWasTurned() throws {
    let path = Cases.path("10-exif-orientation-6.jpg")
    let set = try ImageSet(path: path)
    var plain = try bytes(of: path)
    // The same file without its segment of EXIF.
    let start = try #require((0..<plain.count - 10).first { plain[$0...].starts(with: [0xFF, 0xE1]) })
    let length = Int(plain[start + 2]) << 8 | Int(plain[start + 3])
    plain.removeSubrange(start..<(start + 2 + length))
    let folder = TemporaryFolder()
    let stored = try ImageSet(path: folder.write(plain, "plain.jpg"))
    #expect(try set.bytes([0]) != stored.bytes([0]))
    #expect(try set.bytes([0]) == seen(stored.bytes([0]), stored.shape(of: 0), 6).1)
  }
}
