import AIPOKernels

/// Little-endian fields one after another in bytes of a file, which end where they end.
struct FieldReader {
  /// What errors call the bytes.
  let what: String
  let path: String
  private let bytes: [UInt8]
  private(set) var place = 0

  init(_ bytes: [UInt8], _ what: String, path: String) {
    self.bytes = bytes
    self.what = what
    self.path = path
  }

  var left: Int { bytes.count - place }

  mutating func bytes(_ count: Int) throws(FileError) -> ArraySlice<UInt8> {
    guard count >= 0, count <= left else {
      throw .malformed(
        path: path, what: what, found: "\(bytes.count) bytes", expected: "more (truncated or damaged?)")
    }
    defer { place += count }
    return bytes[place..<(place + count)]
  }

  mutating func skip(_ count: Int) throws(FileError) { _ = try bytes(count) }

  /// Of 1 to 8 bytes.
  mutating func word(_ size: Int) throws(FileError) -> UInt64 {
    try bytes(size).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// One that counts or measures something.
  mutating func number(_ size: Int) throws(FileError) -> Int {
    let word = try word(size)
    guard let number = Int(exactly: word) else {
      throw .malformed(path: path, what: what, found: "of a number \(word)", expected: "one below 2^63")
    }
    return number
  }
}
