import AIPOKernels

/// NumPy's array files, versions 1 to 3: a magic string, a version, the length of the header, and the
/// header: a Python dictionary of `descr`, `fortran_order` and `shape`.
///
/// Source: NumPy, *NEP 1 — A simple file format for NumPy arrays*.
enum NPY {
  static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)
  private static let longestHeader = 1 << 20

  static func isNPY(_ bytes: [UInt8]) -> Bool { bytes.starts(with: magic) }

  /// Bytes before the elements, from the first 12 of the file.
  static func headerLength(_ bytes: [UInt8], path: String) throws(FileError) -> Int {
    guard bytes.count >= 12 else {
      throw .malformed(path: path, what: "NPY header", found: "\(bytes.count) bytes", expected: "more")
    }
    guard (1...3).contains(bytes[6]) else {
      throw .malformed(
        path: path, what: "NPY version", found: "\(bytes[6]).\(bytes[7])", expected: "1, 2 or 3")
    }
    let short = Int(bytes[8]) | Int(bytes[9]) << 8
    let length = bytes[6] == 1 ? 10 + short : 12 + (short | Int(bytes[10]) << 16 | Int(bytes[11]) << 24)
    guard length <= longestHeader else {
      throw .malformed(
        path: path, what: "length of the NPY header", found: "\(length) bytes",
        expected: "at most \(longestHeader)")
    }
    return length
  }

  static func header(_ bytes: [UInt8], length: Int, path: String) throws(FileError) -> ArrayHeader {
    guard bytes.count >= length else {
      throw .malformed(
        path: path, what: "NPY header", found: "\(bytes.count) bytes", expected: "\(length) bytes")
    }
    let text = bytes[(bytes[6] == 1 ? 10 : 12)..<length]
    var parser = HeaderParser(text: Array(text))
    guard let fields = parser.parse() else {
      throw .malformed(
        path: path, what: "NPY header", found: String(decoding: text.prefix(100), as: UTF8.self),
        expected: "a dictionary of descr, fortran_order and shape")
    }
    let (type, bigEndian) = try type(fields.descr, path: path)
    return ArrayHeader(
      format: "NPY", type: type, bigEndian: bigEndian,
      fortranOrder: fields.fortranOrder && fields.shape.count > 1,
      shape: fields.shape, offset: length)
  }

  /// Version 1.0, little-endian, C order; padded to a multiple of 64 bytes and at least 128, so that
  /// the header of a file that grows keeps its length.
  static func header(descr: String, shape: [Int]) -> [UInt8] {
    let extents = shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? "," : "")
    let text = "{'descr': '\(descr)', 'fortran_order': False, 'shape': (\(extents)), }"
    let length = max(128, (11 + text.utf8.count + 63) / 64 * 64)
    let padding = String(repeating: " ", count: length - 11 - text.utf8.count)
    let size = UInt16(length - 10)
    return magic + [1, 0, UInt8(size & 255), UInt8(size >> 8)] + Array((text + padding + "\n").utf8)
  }

  private static func type(_ descr: String, path: String) throws(FileError) -> (ElementType, Bool) {
    let known: [String: ElementType] = [
      "b1": .bool, "u1": .uint8, "i1": .int8, "u2": .uint16, "i2": .int16, "u4": .uint32, "i4": .int32,
      "u8": .uint64, "i8": .int64, "f2": .float16, "f4": .float32, "f8": .float64,
    ]
    let order = descr.first.flatMap { "<>|=".contains($0) ? $0 : nil }
    let code = String(order == nil ? descr[...] : descr.dropFirst())
    guard let type = known[code] else {
      let (found, expected) = unreadable(code)
      throw .malformed(path: path, what: "NPY dtype", found: "'\(descr)', \(found)", expected: expected)
    }
    #if _endian(little)
      return (type, order == ">")
    #else
      return (type, order != "<")
    #endif
  }

  /// What a type is that holds no real numbers as processors know them, and what to do about it, in Python.
  private static func unreadable(_ code: String) -> (found: String, expected: String) {
    switch code.first {
    case "c": ("complex numbers", "real numbers: save a.real and a.imag, or abs(a)")
    case "O": ("Python objects", "numbers: save numpy.stack(list(a)).astype(numpy.float32)")
    case "U", "S", "a": ("text", "numbers: save a.astype(numpy.float32)")
    case "M", "m": ("dates or times", "numbers: save a.astype(numpy.int64)")
    case "f": ("floats of another size", "float16, float32 or float64: save a.astype(numpy.float32)")
    default: ("a type that isn't known", "real numbers: save a.astype(numpy.float32)")
    }
  }
}

/// Just enough of Python's literals for an NPY header.
private struct HeaderParser {
  var text: [UInt8]
  var position = 0

  init(text: [UInt8]) { self.text = text }

  mutating func parse() -> (descr: String, fortranOrder: Bool, shape: [Int])? {
    var descr: String?
    var fortranOrder: Bool?
    var shape: [Int]?
    guard take("{") else { return nil }
    while !take("}") {
      guard let key = string(), take(":") else { return nil }
      switch key {
      case "descr":
        guard descr == nil, let value = string() else { return nil }
        descr = value
      case "fortran_order":
        guard fortranOrder == nil else { return nil }
        if take("True") {
          fortranOrder = true
        } else if take("False") {
          fortranOrder = false
        } else {
          return nil
        }
      case "shape":
        guard shape == nil, let value = tuple() else { return nil }
        shape = value
      default: return nil
      }
      if !take(",") {
        guard take("}") else { return nil }
        break
      }
    }
    skipSpace()
    guard position == text.count, let descr, let fortranOrder, let shape else { return nil }
    return (descr, fortranOrder, shape)
  }

  private mutating func skipSpace() {
    while position < text.count, [0x20, 0x09, 0x0A, 0x0D].contains(text[position]) { position += 1 }
  }

  private mutating func take(_ word: StaticString) -> Bool {
    skipSpace()
    let bytes = word.withUTF8Buffer { Array($0) }
    guard text[position...].starts(with: bytes) else { return false }
    position += bytes.count
    return true
  }

  private mutating func string() -> String? {
    skipSpace()
    guard position < text.count, text[position] == 0x27 || text[position] == 0x22 else { return nil }
    let quote = text[position]
    guard let end = text[(position + 1)...].firstIndex(of: quote) else { return nil }
    let value = text[(position + 1)..<end]
    guard !value.contains(UInt8(ascii: "\\")) else { return nil }
    position = end + 1
    return String(decoding: value, as: UTF8.self)
  }

  private mutating func tuple() -> [Int]? {
    guard take("(") else { return nil }
    var extents = [Int]()
    while !take(")") {
      guard extents.count < 32, let extent = integer() else { return nil }
      extents.append(extent)
      if !take(",") {
        // One element without a comma is a number in brackets, no tuple.
        guard extents.count > 1, take(")") else { return nil }
        break
      }
    }
    return extents
  }

  private mutating func integer() -> Int? {
    skipSpace()
    var value: Int?
    while position < text.count, (0x30...0x39).contains(text[position]) {
      let (product, overflow) = (value ?? 0).multipliedReportingOverflow(by: 10)
      guard !overflow, product < Int.max - 10 else { return nil }
      value = product + Int(text[position] - 0x30)
      position += 1
    }
    _ = take("L")
    return value
  }
}
