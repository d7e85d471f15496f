import AIPOKernels

/// Types of numbers that NPY and IDX files hold.
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

/// The elements of an array: in memory, or left in a regular file until wanted.
struct ArrayData: Sendable {
  private enum Storage: Sendable {
    case memory([UInt8])
    case file(InputFile)
  }

  let path: String
  /// In C order by now.
  let header: ArrayHeader
  private let storage: Storage

  /// Opens what `file` holds if it is NPY, IDX, a gzip file of these, or an NPZ of one array; nil where it is something
  /// else.
  init?(_ file: InputFile, beginning: [UInt8]) throws(FileError) {
    if ZipArchive.isZip(beginning) {
      self = try NPZFile.only(in: file)
      return
    }
    path = file.path
    let isGzip = beginning.starts(with: [0x1F, 0x8B])
    guard isGzip || NPY.isNPY(beginning) || IDX.isIDX(beginning) else { return nil }
    let stream =
      isGzip ? try ByteStream(gzip: file, pending: beginning) : ByteStream(file, pending: beginning)
    var bytes = try stream.read(16)
    var header: ArrayHeader
    if NPY.isNPY(bytes) {
      let length = try NPY.headerLength(bytes, path: path)
      bytes += try stream.read(max(0, length - bytes.count))
      header = try NPY.header(bytes, length: length, path: path)
    } else if IDX.isIDX(bytes) {
      bytes += try stream.read(max(0, 4 + 4 * Int(bytes[3]) - bytes.count))
      header = try IDX.header(bytes, path: path)
    } else {
      throw .malformed(
        path: path, what: "content of the gzip file", found: "of unknown format", expected: "IDX or NPY")
    }
    let expected = try header.byteCount(path: path)
    if !isGzip, !header.fortranOrder, let size = file.byteCount {
      guard size == header.offset + expected else {
        throw Self.wrongSize(size - header.offset, expected, header, path: path)
      }
      self.header = header
      storage = .file(file)
      return
    }
    guard expected <= ImageLimits.arrayBytes else {
      throw .malformed(
        path: path, what: "\(header.format) array", found: "\(expected) bytes",
        expected: "at most \(ImageLimits.arrayBytes) where it isn't a plain file in C order")
    }
    var data = Array(bytes[min(header.offset, bytes.count)...])
    if data.count <= expected { data += try stream.read(expected + 1 - data.count) }
    guard data.count == expected else {
      throw Self.wrongSize(data.count, expected, header, path: path)
    }
    if header.fortranOrder {
      data = Self.rowMajor(data, shape: header.shape, size: header.type.size)
      header.fortranOrder = false
    }
    self.header = header
    storage = .memory(data)
  }

  /// An NPY array in memory, as an archive holds it.
  init(npy bytes: [UInt8], path: String) throws(FileError) {
    self.path = path
    guard NPY.isNPY(bytes) else {
      throw .malformed(path: path, what: "content", found: "of unknown format", expected: "an NPY array")
    }
    let length = try NPY.headerLength(bytes, path: path)
    var header = try NPY.header(bytes, length: length, path: path)
    let expected = try header.byteCount(path: path)
    guard bytes.count - length == expected else {
      throw Self.wrongSize(bytes.count - length, expected, header, path: path)
    }
    var data = Array(bytes[length...])
    if header.fortranOrder {
      data = Self.rowMajor(data, shape: header.shape, size: header.type.size)
      header.fortranOrder = false
    }
    self.header = header
    storage = .memory(data)
  }

  /// Numbers of a program.
  init(_ values: Tensor<Double>, name: String) {
    path = name
    header = ArrayHeader(
      format: "tensor", type: .float64, bigEndian: false, fortranOrder: false, shape: values.shape, offset: 0)
    storage = .memory(
      values.withUnsafeBufferPointer {
        $0.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) }
      })
  }

  /// The bytes of `range` among those of the elements.
  func bytes(_ range: Range<Int>) throws(FileError) -> [UInt8] {
    switch storage {
    case .memory(let bytes): return Array(bytes[range])
    case .file(let file):
      var result = [UInt8](repeating: 0, count: range.count)
      let found = try result.withUnsafeMutableBufferPointer { buffer throws(FileError) in
        try file.read(at: header.offset + range.lowerBound, into: UnsafeMutableRawBufferPointer(buffer))
      }
      guard found == range.count else {
        throw .malformed(
          path: path, what: "file", found: "shorter than when it was opened", expected: "an unchanged file")
      }
      return result
    }
  }

  private static func wrongSize(
    _ found: Int, _ expected: Int, _ header: ArrayHeader, path: String
  ) -> FileError {
    .malformed(
      path: path, what: "data of the \(header.format) array \(header.shape)",
      found: found > expected ? "more than \(expected) bytes" : "\(max(found, 0)) bytes",
      expected: "\(expected) bytes")
  }

  /// Column-major elements in row-major order.
  private static func rowMajor(_ data: [UInt8], shape: [Int], size: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: data.count)
    var strides = [Int]()
    var stride = size
    for extent in shape {
      strides.append(stride)
      stride *= extent
    }
    var target = 0
    forEachPlace(shape: shape, strides: strides) { source in
      for byte in 0..<size { result[target + byte] = data[source + byte] }
      target += size
    }
    return result
  }
}
