import AIPOKernels

/// Types of numbers that files hold.
enum ElementType: Sendable {
  case bool, uint8, int8, uint16, int16, uint32, int32, uint64, int64, float16, float32, float64

  var size: Int {
    switch self {
    case .bool, .uint8, .int8: 1
    case .uint16, .int16, .float16: 2
    case .uint32, .int32, .float32: 4
    case .uint64, .int64, .float64: 8
    }
  }

  var isFloating: Bool { self == .float16 || self == .float32 || self == .float64 }
}

/// The value of IEEE 754's binary16; Swift's Float16 isn't there on every machine.
func halfPrecision(_ bits: UInt16) -> Double {
  let exponent = Int(bits >> 10 & 31)
  let fraction = Double(bits & 1023)
  let magnitude: Double =
    switch exponent {
    case 0: fraction * 0x1p-24
    case 31: fraction == 0 ? .infinity : .nan
    default: Double(sign: .plus, exponent: exponent - 25, significand: 1024 + fraction)
    }
  return bits >> 15 == 0 ? magnitude : -magnitude
}

/// What the header of an NPY or IDX file says.
struct ArrayHeader: Sendable {
  var format: String
  var type: ElementType
  var bigEndian: Bool
  var fortranOrder: Bool
  var shape: [Int]
  /// Where the elements begin in the file.
  var offset: Int

  /// Bytes of all elements.
  func byteCount(path: String) throws(FileError) -> Int {
    var bytes = type.size
    for extent in shape {
      let (product, overflow) = bytes.multipliedReportingOverflow(by: extent)
      guard !overflow, product < Int.max / 2 else {
        throw .malformed(
          path: path, what: "\(format) shape", found: "\(shape)", expected: "an array that fits in memory")
      }
      bytes = product
    }
    return bytes
  }

  /// `bytes` hold whole elements; calls `body` with the position and value of each.
  func forEachValue(_ bytes: [UInt8], _ body: (Int, Double) -> Void) {
    bytes.withUnsafeBytes { raw in
      switch type {
      case .bool: for i in 0..<raw.count { body(i, raw[i] == 0 ? 0 : 1) }
      case .uint8: for i in 0..<raw.count { body(i, Double(raw[i])) }
      case .int8: for i in 0..<raw.count { body(i, Double(Int8(bitPattern: raw[i]))) }
      case .uint16: words(raw, UInt16.self) { body($0, Double($1)) }
      case .int16: words(raw, Int16.self) { body($0, Double($1)) }
      case .uint32: words(raw, UInt32.self) { body($0, Double($1)) }
      case .int32: words(raw, Int32.self) { body($0, Double($1)) }
      case .uint64: words(raw, UInt64.self) { body($0, Double($1)) }
      case .int64: words(raw, Int64.self) { body($0, Double($1)) }
      case .float16: words(raw, UInt16.self) { body($0, halfPrecision($1)) }
      case .float32: words(raw, UInt32.self) { body($0, Double(Float(bitPattern: $1))) }
      case .float64: words(raw, UInt64.self) { body($0, Double(bitPattern: $1)) }
      }
    }
  }

  private func words<Word: FixedWidthInteger>(
    _ raw: UnsafeRawBufferPointer, _: Word.Type, _ body: (Int, Word) -> Void
  ) {
    let size = MemoryLayout<Word>.size
    for i in 0..<(raw.count / size) {
      let word = raw.loadUnaligned(fromByteOffset: i * size, as: Word.self)
      body(i, bigEndian ? Word(bigEndian: word) : Word(littleEndian: word))
    }
  }
}
