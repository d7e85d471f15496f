import AIPOKernels

/// A safetensors file: named tensors and strings.
///
/// Layout: 8 bytes of little-endian header length, a JSON header
/// `{"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …}`, then the data.
/// Written with the metadata first, tensors sorted by name and the header padded to a multiple of
/// eight bytes, so that the same content gives the same bytes. Read back exactly, bit for bit.
///
/// Read: F32, F64, I64, U8. Everything that the header claims is checked against the size of the file
/// before memory is taken: offsets must cover the data once, without gap or overlap.
///
/// Source: <https://huggingface.co/docs/safetensors>.
public struct Safetensors: Sendable, Equatable {
  /// Free strings, as `__metadata__` holds them.
  public var metadata: [String: String]
  /// Names are unique.
  public var tensors: [NamedTensor]

  /// The largest file that is read, in bytes: 4 GiB.
  public static let sizeLimit = 4 << 30
  /// The largest header, in bytes: 100 MB, as in the reference implementation.
  public static let headerLimit = 100_000_000

  public init(metadata: [String: String] = [:], tensors: [NamedTensor]) {
    self.metadata = metadata
    self.tensors = tensors
  }

  public subscript(name: String) -> NamedTensor? { tensors.first { $0.name == name } }

  /// Reads a file. Throws `missing` where there is none, `malformed` for anything wrong in it.
  public static func load(path: String) throws(FileError) -> Safetensors {
    try Safetensors(bytes: InputFile.bytes(path: path, limit: sizeLimit), path: path)
  }

  /// Parses a file's bytes; `path` is what errors name. Throws `malformed`.
  public init(bytes: [UInt8], path: String) throws(FileError) {
    func malformed(_ what: String, _ found: String, _ expected: String) -> FileError {
      .malformed(path: path, what: what, found: found, expected: expected)
    }
    guard bytes.count >= 8 else {
      throw malformed("file size", "\(bytes.count) bytes", "a safetensors file of at least 8 bytes")
    }
    var length: UInt64 = 0
    for k in 0..<8 { length |= UInt64(bytes[k]) << UInt64(8 * k) }
    guard length <= UInt64(Self.headerLimit) else {
      throw malformed("header length", "\(length) bytes", "at most \(Self.headerLimit) (is it safetensors?)")
    }
    guard Int(length) <= bytes.count - 8 else {
      throw malformed("header length", "\(length) bytes", "at most the \(bytes.count - 8) that follow")
    }
    let start = 8 + Int(length)
    let header: SafetensorsHeader
    do { header = try SafetensorsHeader(bytes: bytes[8..<start]) } catch {
      throw malformed(error.what, error.found, error.expected)
    }
    do { try header.check(dataCount: bytes.count - start) } catch {
      throw malformed(error.what, error.found, error.expected)
    }
    metadata = header.metadata
    tensors = bytes.withUnsafeBytes { all in
      header.entries.map { entry in
        let slice = UnsafeRawBufferPointer(rebasing: all[(start + entry.begin)..<(start + entry.end)])
        return NamedTensor(name: entry.name, shape: entry.shape, values: entry.dtype.values(slice))
      }
    }
  }

  /// The file's bytes; the same for the same content.
  public var bytes: [UInt8] {
    let sorted = tensors.sorted { $0.name < $1.name }
    var fields: [String] = []
    if !metadata.isEmpty {
      let strings = metadata.sorted { $0.key < $1.key }
        .map { "\(JSONText.quoted($0.key)):\(JSONText.quoted($0.value))" }
      fields.append("\"__metadata__\":{\(strings.joined(separator: ","))}")
    }
    var offset = 0
    // Wider elements first, so that every tensor stays aligned to its element; then by name.
    let ordered =
      sorted.filter { $0.values.elementSize == 8 } + sorted.filter { $0.values.elementSize == 4 }
      + sorted.filter { $0.values.elementSize == 1 }
    for tensor in ordered {
      let end = offset + tensor.count * tensor.values.elementSize
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      fields.append(
        "\(JSONText.quoted(tensor.name)):{\"dtype\":\"\(tensor.values.dtype.rawValue)\",\"shape\":[\(shape)],"
          + "\"data_offsets\":[\(offset),\(end)]}")
      offset = end
    }
    var header = Array("{\(fields.joined(separator: ","))}".utf8)
    while header.count % 8 != 0 { header.append(0x20) }
    var result: [UInt8] = []
    result.reserveCapacity(8 + header.count + offset)
    for k in 0..<8 { result.append(UInt8(truncatingIfNeeded: header.count >> (8 * k))) }
    result += header
    for tensor in ordered { tensor.values.withUnsafeBytes { result.append(contentsOf: $0) } }
    return result
  }

  /// Writes the file whole, by rename. Throws `unwritable`.
  public func save(path: String) throws(FileError) {
    precondition(Set(tensors.map(\.name)).count == tensors.count, "tensors' names must differ")
    try AtomicFile.write(bytes, to: path)
  }
}

/// The element types that are read and written. Values are little-endian, as on every platform that
/// this library is built for.
enum SafetensorsType: String {
  case float32 = "F32"
  case float64 = "F64"
  case int64 = "I64"
  case uint8 = "U8"

  var size: Int {
    switch self {
    case .float32: 4
    case .float64, .int64: 8
    case .uint8: 1
    }
  }

  func values(_ bytes: UnsafeRawBufferPointer) -> NamedTensor.Values {
    func array<T>(_: T.Type) -> [T] {
      let count = bytes.count / MemoryLayout<T>.stride
      return [T](unsafeUninitializedCapacity: count) { buffer, initialized in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(from: bytes)
        initialized = count
      }
    }
    return switch self {
    case .float32: .float32(array(Float.self))
    case .float64: .float64(array(Double.self))
    case .int64: .int64(array(Int64.self))
    case .uint8: .uint8(array(UInt8.self))
    }
  }
}

extension NamedTensor.Values {
  var dtype: SafetensorsType {
    switch self {
    case .float32: .float32
    case .float64: .float64
    case .int64: .int64
    case .uint8: .uint8
    }
  }

  var elementSize: Int { dtype.size }

  func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
    switch self {
    case .float32(let values): values.withUnsafeBytes(body)
    case .float64(let values): values.withUnsafeBytes(body)
    case .int64(let values): values.withUnsafeBytes(body)
    case .uint8(let values): values.withUnsafeBytes(body)
    }
  }
}
