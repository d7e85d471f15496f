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

  /// A grey TIFF of 4 bytes, whatever its tags say.
  private static func tiff(
    width: Int, height: Int, samples: Int = 1, compression: Int = 1, tile: Int? = nil, next: Int = 0
  ) -> [UInt8] {
    var entries = [
      (256, width), (257, height), (258, 8), (259, compression), (262, 1), (273, 8), (277, samples),
      (278, height), (279, 4),
    ]
    if let tile {
      entries.removeAll { [273, 278, 279].contains($0.0) }
      entries += [(322, tile), (323, tile), (324, 8), (325, 4)]
    }
    var bytes = Array("II*\0".utf8)
    bytes += TestFiles.word(12)
    bytes += [1, 2, 3, 4]
    bytes += TestFiles.half(entries.count)
    for (tag, value) in entries {
      bytes += TestFiles.half(tag)
      bytes += [4, 0]
      bytes += TestFiles.word(1)
      bytes += TestFiles.word(value)
    }
    return bytes + TestFiles.word(next)
  }

  /// The header of a NIfTI of floats.
  private static func nifti(_ extents: [Int]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 352)
    func put(_ part: some Sequence<UInt8>, at place: Int) {
      for (k, byte) in part.enumerated() { bytes[place + k] = byte }
    }
    put(TestFiles.word(348), at: 0)
    for (k, extent) in ([extents.count] + extents).enumerated() {
      put(TestFiles.half(extent), at: 40 + 2 * k)
    }
    bytes[70] = 16
    put([0, 0, 0xB0, 0x43], at: 108)
    put("n+1".utf8, at: 344)
    return bytes
  }

  private static let hdf5Signature: [UInt8] = [0x89] + Array("HDF\r\n\u{1A}\n".utf8)

  package static let images: [Self] = [
    Self("TIFF signature only", Array("II*\0".utf8), "TIFF"),
    Self("TIFF of enormous size", tiff(width: 1 << 20, height: 1 << 20), "image size"),
    Self(
      "TIFF of all sizes overflowing", tiff(width: Int(UInt32.max), height: Int(UInt32.max), samples: 65535),
      "TIFF"),
    Self(
      "TIFF of enormously many channels", tiff(width: 1 << 13, height: 1 << 13, samples: 65535),
      "size of the TIFF"),
    Self("TIFF with fewer pixels than announced", tiff(width: 1 << 12, height: 1 << 12), "file size"),
    Self(
      "TIFF that deflates from nothing", tiff(width: 1 << 13, height: 1 << 13, compression: 8), "file size"),
    Self("TIFF with an enormous tile", tiff(width: 2, height: 2, tile: 1 << 16), "TIFF tile"),
    Self("TIFF that is its own next page", tiff(width: 2, height: 2, next: 12), "TIFF"),
    Self("TIFF in old JPEG", tiff(width: 2, height: 2, compression: 6), "old JPEG"),
    Self("WebP signature only", Array("RIFF\u{1}\u{1}\u{1}\u{1}WEBPVP8 ".utf8), "WebP"),
    Self("HDF5 signature only", hdf5Signature, "superblock"),
    Self("HDF5 of zeros", hdf5Signature + [UInt8](repeating: 0, count: 600), "HDF5 superblock"),
    Self(
      "MAT header only", [UInt8](repeating: 32, count: 124) + [0, 1] + Array("IM".utf8),
      "variables of numbers is 0"),
    Self("NIfTI beyond all memory", nifti([32767, 32767, 32767, 32767, 32767]), "NIfTI"),
    Self("NIfTI of a terabyte", nifti([16384, 16384, 1000]), "truncated"),
    Self("NIfTI without extent", nifti([4, 0]), "positive extents"),
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
