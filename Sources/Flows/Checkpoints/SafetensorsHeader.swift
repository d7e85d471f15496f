/// What a safetensors header says, before it is believed.
struct SafetensorsHeader {
  struct Entry {
    var name: String
    var dtype: SafetensorsType
    var shape: [Int]
    var begin: Int
    var end: Int
  }

  /// What is wrong, what was found and what was expected.
  struct Fault: Error {
    var what: String
    var found: String
    var expected: String
  }

  private(set) var metadata: [String: String] = [:]
  /// In the order of the header.
  private(set) var entries: [Entry] = []

  init(bytes: ArraySlice<UInt8>) throws(Fault) {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw Fault(what: "header", found: "not UTF-8", expected: "JSON in UTF-8")
    }
    var scanner = JSONScanner(text)
    var seen: Set<String> = []
    try scanner.object { (name, scanner) throws(Fault) in
      guard seen.insert(name).inserted else {
        throw Fault(what: "header", found: "the key \(Self.short(name)) twice", expected: "unique names")
      }
      if name == "__metadata__" {
        try scanner.object { (key, scanner) throws(Fault) in
          guard metadata.updateValue(try scanner.string(), forKey: key) == nil else {
            throw Fault(
              what: "metadata", found: "the key \(Self.short(key)) twice", expected: "unique keys")
          }
        }
      } else {
        entries.append(try Self.entry(name: name, &scanner))
      }
    }
    try scanner.end()
  }

  private static func entry(name: String, _ scanner: inout JSONScanner) throws(Fault) -> Entry {
    var dtype: String?
    var shape: [Int]?
    var offsets: [Int]?
    try scanner.object { (key, scanner) throws(Fault) in
      switch (key, dtype, shape, offsets) {
      case ("dtype", nil, _, _): dtype = try scanner.string()
      case ("shape", _, nil, _): shape = try scanner.integers()
      case ("data_offsets", _, _, nil): offsets = try scanner.integers()
      default:
        throw Fault(
          what: "entry of tensor \(short(name))", found: "the key \(short(key))",
          expected: "dtype, shape and data_offsets, once each")
      }
    }
    guard let dtype, let shape, let offsets else {
      throw Fault(
        what: "entry of tensor \(short(name))", found: "incomplete",
        expected: "dtype, shape and data_offsets")
    }
    guard let type = SafetensorsType(rawValue: dtype) else {
      throw Fault(
        what: "dtype of tensor \(short(name))", found: short(dtype), expected: "F32, F64, I64 or U8")
    }
    guard offsets.count == 2, offsets[0] <= offsets[1] else {
      throw Fault(
        what: "data_offsets of tensor \(short(name))", found: "\(offsets.prefix(4))",
        expected: "[begin, end] with begin ≤ end")
    }
    return Entry(name: name, dtype: type, shape: shape, begin: offsets[0], end: offsets[1])
  }

  /// Whether every tensor's bytes are what its shape needs, and all of them together are the data.
  func check(dataCount: Int) throws(Fault) {
    var position = 0
    for entry in entries.sorted(by: { ($0.begin, $0.end) < ($1.begin, $1.end) }) {
      let name = Self.short(entry.name)
      var bytes = entry.dtype.size
      for extent in entry.shape {
        let (product, overflow) = bytes.multipliedReportingOverflow(by: extent)
        guard !overflow else {
          throw Fault(
            what: "shape of tensor \(name)", found: "\(entry.shape.prefix(8))",
            expected: "a size that fits in memory")
        }
        bytes = product
      }
      guard bytes == entry.end - entry.begin else {
        throw Fault(
          what: "data of tensor \(name)", found: "\(entry.end - entry.begin) bytes",
          expected: "\(bytes) for \(entry.dtype.rawValue) of shape \(entry.shape.prefix(8))")
      }
      guard entry.end <= dataCount else {
        throw Fault(
          what: "end of tensor \(name)", found: "byte \(entry.end) of the data",
          expected: "at most \(dataCount) (truncated file?)")
      }
      guard entry.begin == position else {
        throw Fault(
          what: "begin of tensor \(name)", found: "byte \(entry.begin) of the data",
          expected: "\(position), after the tensor before it")
      }
      position = entry.end
    }
    guard position == dataCount else {
      throw Fault(
        what: "data", found: "\(dataCount) bytes", expected: "the \(position) of the header's tensors")
    }
  }

  /// A name as an error shows it.
  static func short(_ text: String) -> String {
    text.count > 60 ? "\"\(text.prefix(60))…\"" : "\"\(text)\""
  }
}

/// Just the JSON that a safetensors header is made of: objects, strings, lists of natural numbers.
struct JSONScanner {
  private let bytes: [UInt8]
  private var position = 0

  init(_ text: String) { bytes = Array(text.utf8) }

  private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

  private func fault(_ expected: String) -> SafetensorsHeader.Fault {
    let found = next.map { "\(SafetensorsHeader.short(String(UnicodeScalar($0)))) at byte \(position)" }
    return .init(what: "header", found: found ?? "ending at byte \(position)", expected: expected)
  }

  private mutating func skipSpace() {
    while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
  }

  private mutating func take(_ character: Character) throws(SafetensorsHeader.Fault) {
    guard try takes(character) else { throw fault("\"\(character)\"") }
  }

  private mutating func takes(_ character: Character) throws(SafetensorsHeader.Fault) -> Bool {
    skipSpace()
    guard next == character.asciiValue else { return false }
    position += 1
    return true
  }

  mutating func object(
    _ member: (String, inout JSONScanner) throws(SafetensorsHeader.Fault) -> Void
  ) throws(SafetensorsHeader.Fault) {
    try take("{")
    if try takes("}") { return }
    repeat {
      let key = try string()
      try take(":")
      try member(key, &self)
    } while try takes(",")
    try take("}")
  }

  mutating func integers() throws(SafetensorsHeader.Fault) -> [Int] {
    try take("[")
    var result: [Int] = []
    if try takes("]") { return result }
    repeat { result.append(try integer()) } while try takes(",")
    try take("]")
    return result
  }

  private mutating func integer() throws(SafetensorsHeader.Fault) -> Int {
    skipSpace()
    let start = position
    var value = 0
    while let byte = next, byte >= 0x30, byte <= 0x39 {
      let (tenfold, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = tenfold.addingReportingOverflow(Int(byte - 0x30))
      guard !overflow, !carry else {
        position = start
        throw fault("a number below 2^63")
      }
      value = sum
      position += 1
    }
    guard position > start else { throw fault("a natural number") }
    return value
  }

  mutating func string() throws(SafetensorsHeader.Fault) -> String {
    try take("\"")
    var result: [UInt8] = []
    while let byte = next {
      position += 1
      switch byte {
      case 0x22: return String(decoding: result, as: UTF8.self)
      case 0x5C: result += try escape()
      case ..<0x20:
        position -= 1
        throw fault("no control character in a string")
      default: result.append(byte)
      }
    }
    throw fault("the end of a string")
  }

  private mutating func escape() throws(SafetensorsHeader.Fault) -> [UInt8] {
    guard let byte = next else { throw fault("an escaped character") }
    position += 1
    switch byte {
    case 0x22, 0x5C, 0x2F: return [byte]
    case 0x62: return [0x08]
    case 0x66: return [0x0C]
    case 0x6E: return [0x0A]
    case 0x72: return [0x0D]
    case 0x74: return [0x09]
    case 0x75:
      var code = try hexadecimal()
      if code >= 0xD800, code < 0xDC00 {
        guard next == 0x5C else { throw fault("the second half of a surrogate pair") }
        position += 1
        guard next == 0x75 else { throw fault("the second half of a surrogate pair") }
        position += 1
        let low = try hexadecimal()
        guard low >= 0xDC00, low < 0xE000 else { throw fault("the second half of a surrogate pair") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = UnicodeScalar(code) else { throw fault("a Unicode character") }
      return Array(String(scalar).utf8)
    default:
      position -= 1
      throw fault("an escape that JSON has")
    }
  }

  private mutating func hexadecimal() throws(SafetensorsHeader.Fault) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = next, let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
        throw fault("four hexadecimal digits")
      }
      code = code << 4 | UInt32(digit)
      position += 1
    }
    return code
  }

  mutating func end() throws(SafetensorsHeader.Fault) {
    skipSpace()
    guard next == nil else { throw fault("the header's end") }
  }
}
