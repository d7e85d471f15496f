import AIPOKernels
import Testing

@testable import AIPOImaging

/// A file that must be refused, and a word that the error must hold.
struct BadInput: Sendable, CustomTestStringConvertible {
  let name: String
  let bytes: [UInt8]
  let word: String

  init(_ name: String, _ bytes: [UInt8], _ word: String) {
    self.name = name
    self.bytes = bytes
    self.word = word
  }

  var testDescription: String { name }

  static func npy(_ header: String, version: UInt8 = 1, data: Int = 0) -> [UInt8] {
    let text = Array((header + "\n").utf8)
    let length = [UInt8(text.count & 255), UInt8(text.count >> 8)] + (version == 1 ? [] : [0, 0])
    return NPY.magic + [version, 0] + length + text + [UInt8](repeating: 0, count: data)
  }

  static func changed(_ fixture: String, at index: Int, to value: UInt8) -> [UInt8] {
    var bytes = Fixtures.bytes(fixture)
    bytes[index] = value
    return bytes
  }

  static func header(_ shape: String, descr: String = "<f4") -> String {
    "{'descr': '\(descr)', 'fortran_order': False, 'shape': \(shape), }"
  }

  static let files: [BadInput] = [
    BadInput("empty", [], "empty"),
    BadInput("text", Array("hello, world, this is text".utf8), "unknown format"),
    BadInput("zip", Array("PK".utf8) + [3, 4] + [UInt8](repeating: 0, count: 60), "end record"),
    BadInput("PNG signature only", PNG.signature, "PNG"),
    BadInput("PNG truncated in the pixels", Fixtures.bytes("rgb8").dropLast(20), "PNG"),
    BadInput("PNG truncated in the header", Array(Fixtures.bytes("rgb8").prefix(25)), "PNG"),
    BadInput("PNG with a wrong checksum", changed("rgb8", at: 20, to: 9), "PNG"),
    BadInput("PNG of enormous size", hugePNG, "image size"),
    BadInput("PNG with fewer pixels than announced", emptyPNG, "file size"),
    BadInput("PNG with transparent pixels", Fixtures.bytes("rgbaTransparent"), "alpha at row 2, column 3"),
    BadInput("PNG with a transparent colour", Fixtures.bytes("transparentColour"), "alpha"),
    BadInput("JPEG signature only", [0xFF, 0xD8, 0xFF], "JPEG"),
    BadInput("JPEG truncated", Array(Fixtures.bytes("jpegColour").dropLast(150)), "JPEG"),
    BadInput("JPEG in CMYK", Fixtures.bytes("jpegCMYK"), "CMYK"),
    BadInput("JPEG of enormous size", hugeJPEG, "size"),
    BadInput("gzip of text", Fixtures.bytes("gzipText"), "unknown format"),
    BadInput("gzip truncated", Array(Fixtures.bytes("idxGzip").dropLast(9)), "gzip"),
    BadInput(
      "gzip with a wrong checksum", changed("idxGzip", at: Fixtures.bytes("idxGzip").count - 6, to: 77),
      "gzip"),
    BadInput("gzip with a broken stream", changed("npyGzip", at: 14, to: 0xFF), "gzip"),
    BadInput("gzip header only", [0x1F, 0x8B, 8, 0], "gzip"),
    BadInput("gzip followed by junk", Fixtures.bytes("idxGzip") + [1, 2, 3], "gzip"),
    BadInput("gzip bomb", Fixtures.bytes("gzipBomb"), "more than"),
    BadInput("gzip of an array beyond the limit", Fixtures.bytes("gzipHuge"), "at most"),
    BadInput("IDX without extents", [0, 0, 8, 3, 0, 0], "IDX header"),
    BadInput(
      "IDX truncated", [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7], "7 bytes"),
    BadInput(
      "IDX with more than announced", [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5, 6], "more than 1 bytes"),
    BadInput("IDX of labels", [0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3], "shape of the images"),
    BadInput("IDX of integers", [0, 0, 0x0C, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], "dtype"),
    BadInput("IDX of unknown type", [0, 0, 0x0A, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5], "unknown format"),
    BadInput("IDX without images", [0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2], "nothing zero"),
    BadInput("IDX beyond all memory", [0, 0, 8, 4] + [UInt8](repeating: 0xFF, count: 16), "fits in memory"),
    BadInput("NPY magic only", NPY.magic, "NPY header"),
    BadInput("NPY of version 9", npy(header("(1, 1)"), version: 9, data: 4), "NPY version"),
    BadInput("NPY with a header beyond the file", Array(npy(header("(1, 1)")).prefix(30)), "NPY header"),
    BadInput("NPY with a header of 4 GiB", NPY.magic + [2, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7B, 0x7D], "length"),
    BadInput("NPY with code for a header", npy("__import__('os').system('true')"), "dictionary"),
    BadInput("NPY without a shape", npy("{'descr': '<f4', 'fortran_order': False}"), "dictionary"),
    BadInput(
      "NPY with two shapes", npy("{'shape': (1,1), 'shape': (1,1), 'descr': '<f4', 'fortran_order': False}"),
      "dictionary"),
    BadInput("NPY with a negative extent", npy(header("(-1, 4)")), "dictionary"),
    BadInput("NPY with a number for a shape", npy(header("(4)")), "dictionary"),
    BadInput(
      "NPY with an extent of thirty digits", npy(header("(1, 999999999999999999999999999999)")), "dictionary"),
    BadInput("NPY beyond all memory", npy(header("(4294967296, 4294967296, 4)")), "fits in memory"),
    BadInput("NPY that announces a terabyte", npy(header("(1000, 16384, 16384)"), data: 64), "64 bytes"),
    BadInput("NPY truncated", npy(header("(1, 2, 2)"), data: 15), "15 bytes"),
    BadInput("NPY with more than announced", npy(header("(1, 2, 2)"), data: 17), "more than 16 bytes"),
    BadInput("NPY of complex numbers", Fixtures.bytes("complex"), "dtype"),
    BadInput("NPY of records", Fixtures.bytes("structured"), "NPY header"),
    BadInput("NPY of objects", npy(header("(1, 1)", descr: "|O"), data: 8), "dtype"),
    BadInput("NPY of long integers as images", npy(header("(1, 1)", descr: "<i8"), data: 8), "dtype"),
    BadInput("NPY of rank 5", npy(header("(1, 1, 1, 1, 1)"), data: 4), "shape of the images"),
    BadInput("NPY of rank 1", Fixtures.bytes("vector"), "shape of the images"),
    BadInput("NPY without images", Fixtures.bytes("empty"), "nothing zero"),
    BadInput("NPY with NaN", Fixtures.bytes("nan"), "row 0, column 1"),
  ]

  /// 16,777,216 × 16,777,216 pixels in 45 bytes, checksum of the header right.
  private static let hugePNG = Fixtures.bytes("pngHuge")
  /// 8000 × 8000 pixels without any.
  private static let emptyPNG = Fixtures.bytes("pngEmpty")

  /// The height and width of the frame header set to 65500.
  private static let hugeJPEG: [UInt8] = {
    var bytes = Fixtures.bytes("jpegGrey")
    let frame = bytes.indices.first { bytes[$0] == 0xFF && bytes[$0 + 1] == 0xC0 }!
    bytes.replaceSubrange((frame + 5)..<(frame + 9), with: [0xFF, 0xDC, 0xFF, 0xDC])
    return bytes
  }()
}

struct BadInputTests {
  @Test(arguments: BadInput.files)
  func isRefused(input: BadInput) {
    let folder = TemporaryFolder()
    let path = folder.write(input.bytes, "input")
    let error = #expect(throws: FileError.self) {
      let set = try ImageSet(path: path)
      _ = try set.read(0..<set.count, as: Float.self)
    }
    guard case .malformed = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(error?.path == path)
    #expect(error?.description.contains(input.word) == true, "\(error?.description ?? "")")
    #expect(error?.description.contains { $0.isNewline } == false)
  }

  @Test func missingFiles() {
    let folder = TemporaryFolder()
    let error = #expect(throws: FileError.self) { try ImageSet(path: folder.file("none.png")) }
    #expect(error == .missing(path: folder.file("none.png"), reason: "no such file or directory"))
  }

  @Test func foldersWithoutImages() {
    let folder = TemporaryFolder()
    #expect(throws: FileError.self) { try ImageSet(path: folder.path) }
    folder.write(Array("text".utf8), "a.txt")
    #expect(throws: FileError.self) { try ImageSet(path: folder.path) }
    folder.write(Fixtures.bytes("grey8"), "a.png")
    folder.write(Array("text".utf8), "b.png")
    let error = #expect(throws: FileError.self) { try ImageSet(path: folder.path) }
    #expect(error?.path == folder.file("b.png"))
  }

  @Test func indicesAndCropsBeyondTheData() throws {
    let folder = TemporaryFolder()
    let set = try ImageSet(path: folder.write(Fixtures.bytes("u1"), "a.npy"))
    let cases: [([Int], ImageTransform, String)] = [
      ([0, 2], .identity, "0 to 1"), ([-1], .identity, "0 to 1"),
      ([0], ImageTransform(crop: PixelSize(height: 4, width: 4)), "at least 4x4"),
    ]
    for (indices, transform, word) in cases {
      let error = #expect(throws: FileError.self) {
        try set.read(indices, as: Float.self, transform: transform)
      }
      #expect(error?.description.contains(word) == true)
    }
  }

  @Test func aFileThatShrinksMeanwhile() throws {
    let folder = TemporaryFolder()
    let path = folder.write(Fixtures.bytes("u1"), "a.npy")
    let set = try ImageSet(path: path)
    folder.write(Array(Fixtures.bytes("u1").dropLast(5)), "a.npy")
    #expect(throws: FileError.self) { try set.bytes([1]) }
  }
}
