/// Images and arrays.
extension BadFile {
  private static func npy(_ header: String, version: UInt8 = 1, data: Int = 0) -> [UInt8] {
    let text = Array((header + "\n").utf8)
    let length = [UInt8(text.count & 255), UInt8(text.count >> 8)] + (version == 1 ? [] : [0, 0])
    return npyMagic + [version, 0] + length + text + [UInt8](repeating: 0, count: data)
  }

  private static func changed(_ fixture: String, at index: Int, to value: UInt8) -> [UInt8] {
    var bytes = Fixtures.bytes(fixture)
    bytes[index] = value
    return bytes
  }

  private static func npyHeader(_ shape: String, descr: String = "<f4") -> String {
    "{'descr': '\(descr)', 'fortran_order': False, 'shape': \(shape), }"
  }

  private static let npyMagic: [UInt8] = [0x93] + Array("NUMPY".utf8)
  private static let pngSignature: [UInt8] = [0x89] + Array("PNG\r\n\u{1A}\n".utf8)

  package static let images: [Self] = [
    Self("empty", [], "empty"),
    Self("text", Array("hello, world, this is text".utf8), "unknown format"),
    Self("zip", Array("PK".utf8) + [3, 4] + [UInt8](repeating: 0, count: 60), "end record"),
    Self("PNG signature only", pngSignature, "PNG"),
    Self("PNG truncated in the pixels", Fixtures.bytes("rgb8").dropLast(20), "PNG"),
    Self("PNG truncated in the header", Array(Fixtures.bytes("rgb8").prefix(25)), "PNG"),
    Self("PNG with a wrong checksum", changed("rgb8", at: 20, to: 9), "PNG"),
    Self("PNG of enormous size", hugePNG, "image size"),
    Self("PNG with fewer pixels than announced", emptyPNG, "file size"),
    Self("PNG with transparent pixels", Fixtures.bytes("rgbaTransparent"), "alpha at row 2, column 3"),
    Self("PNG with a transparent colour", Fixtures.bytes("transparentColour"), "alpha"),
    Self("JPEG signature only", [0xFF, 0xD8, 0xFF], "JPEG"),
    Self("JPEG truncated", Array(Fixtures.bytes("jpegColour").dropLast(150)), "JPEG"),
    Self("JPEG in CMYK", Fixtures.bytes("jpegCMYK"), "CMYK"),
    Self("JPEG of enormous size", hugeJPEG, "size"),
    Self("gzip of text", Fixtures.bytes("gzipText"), "unknown format"),
    Self("gzip truncated", Array(Fixtures.bytes("idxGzip").dropLast(9)), "gzip"),
    Self(
      "gzip with a wrong checksum", changed("idxGzip", at: Fixtures.bytes("idxGzip").count - 6, to: 77),
      "gzip"),
    Self("gzip with a broken stream", changed("npyGzip", at: 14, to: 0xFF), "gzip"),
    Self("gzip header only", [0x1F, 0x8B, 8, 0], "gzip"),
    Self("gzip followed by junk", Fixtures.bytes("idxGzip") + [1, 2, 3], "gzip"),
    Self("gzip bomb", Fixtures.bytes("gzipBomb"), "more than"),
    Self("gzip of an array beyond the limit", Fixtures.bytes("gzipHuge"), "at most"),
    Self("IDX without extents", [0, 0, 8, 3, 0, 0], "IDX header"),
    Self(
      "IDX truncated", [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7], "7 bytes"),
    Self(
      "IDX with more than announced", [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5, 6], "more than 1 bytes"),
    Self("IDX of labels", [0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3], "shape of the images"),
    Self("IDX of integers", [0, 0, 0x0C, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], "dtype"),
    Self("IDX of unknown type", [0, 0, 0x0A, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5], "unknown format"),
    Self("IDX without images", [0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2], "nothing zero"),
    Self("IDX beyond all memory", [0, 0, 8, 4] + [UInt8](repeating: 0xFF, count: 16), "fits in memory"),
    Self("NPY magic only", npyMagic, "NPY header"),
    Self("NPY of version 9", npy(npyHeader("(1, 1)"), version: 9, data: 4), "NPY version"),
    Self("NPY with a header beyond the file", Array(npy(npyHeader("(1, 1)")).prefix(30)), "NPY header"),
    Self("NPY with a header of 4 GiB", npyMagic + [2, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7B, 0x7D], "length"),
    Self("NPY with code for a header", npy("__import__('os').system('true')"), "dictionary"),
    Self("NPY without a shape", npy("{'descr': '<f4', 'fortran_order': False}"), "dictionary"),
    Self(
      "NPY with two shapes", npy("{'shape': (1,1), 'shape': (1,1), 'descr': '<f4', 'fortran_order': False}"),
      "dictionary"),
    Self("NPY with a negative extent", npy(npyHeader("(-1, 4)")), "dictionary"),
    Self("NPY with a number for a shape", npy(npyHeader("(4)")), "dictionary"),
    Self(
      "NPY with an extent of thirty digits", npy(npyHeader("(1, 999999999999999999999999999999)")),
      "dictionary"),
    Self("NPY beyond all memory", npy(npyHeader("(4294967296, 4294967296, 4)")), "fits in memory"),
    Self("NPY that announces a terabyte", npy(npyHeader("(1000, 16384, 16384)"), data: 64), "64 bytes"),
    Self("NPY truncated", npy(npyHeader("(1, 2, 2)"), data: 15), "15 bytes"),
    Self("NPY with more than announced", npy(npyHeader("(1, 2, 2)"), data: 17), "more than 16 bytes"),
    Self("NPY of complex numbers", Fixtures.bytes("complex"), "dtype"),
    Self("NPY of records", Fixtures.bytes("structured"), "NPY header"),
    Self("NPY of objects", npy(npyHeader("(1, 1)", descr: "|O"), data: 8), "dtype"),
    Self("NPY of long integers as images", npy(npyHeader("(1, 1)", descr: "<i8"), data: 8), "dtype"),
    Self("NPY of rank 5", npy(npyHeader("(1, 1, 1, 1, 1)"), data: 4), "shape of the images"),
    Self("NPY of rank 1", Fixtures.bytes("vector"), "shape of the images"),
    Self("NPY without images", Fixtures.bytes("empty"), "nothing zero"),
    Self("NPY with NaN", Fixtures.bytes("nan"), "row 0, column 1"),
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
