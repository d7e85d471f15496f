import AIPOKernels

/// The format of the MNIST data sets: two zero bytes, a type, the number of axes, a big-endian
/// 32-bit extent an axis, then the elements, big-endian in C order.
enum IDX {
  static func isIDX(_ bytes: [UInt8]) -> Bool {
    bytes.count >= 4 && bytes[0] == 0 && bytes[1] == 0 && type(bytes[2]) != nil && (1...8).contains(bytes[3])
  }

  /// `bytes` hold at least the header, if the file does.
  static func header(_ bytes: [UInt8], path: String) throws(FileError) -> ArrayHeader {
    let axes = Int(bytes[3])
    guard bytes.count >= 4 + 4 * axes, let type = type(bytes[2]) else {
      throw .malformed(
        path: path, what: "IDX header", found: "\(bytes.count) bytes", expected: "\(4 + 4 * axes) bytes")
    }
    let shape = (0..<axes).map { axis in
      bytes[(4 + 4 * axis)..<(8 + 4 * axis)].reduce(0) { $0 << 8 | Int($1) }
    }
    return ArrayHeader(
      format: "IDX", type: type, bigEndian: true, fortranOrder: false, shape: shape, offset: 4 + 4 * axes)
  }

  private static func type(_ code: UInt8) -> ElementType? {
    switch code {
    case 0x08: .uint8
    case 0x09: .int8
    case 0x0B: .int16
    case 0x0C: .int32
    case 0x0D: .float32
    case 0x0E: .float64
    default: nil
    }
  }
}
