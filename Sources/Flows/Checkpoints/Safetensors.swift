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
    try Safetensors(ByteSource(path: path, limit: sizeLimit))
  }

  /// Parses a file's bytes; `path` is what errors name. Throws `malformed`.
  public init(bytes: [UInt8], path: String) throws(FileError) {
    try self.init(ByteSource(bytes: bytes, path: path))
  }

  /// Reads a file one tensor after another. Throws `missing` or `malformed`.
  public init(_ source: ByteSource) throws(FileError) {
    var digest = SHA256()
    try self.init(source, digest: &digest)
  }

  /// The same, and adds the whole file, byte by byte as it was read, to a digest.
  init(_ source: ByteSource, digest: inout SHA256) throws(FileError) {
    let index = try Index(source)
    metadata = index.metadata
    digest.update(try source.bytes(0..<index.dataStart))
    var read: [String: NamedTensor] = [:]
    // In the order of the data, which the tensors cover without a gap.
    for entry in index.entries.sorted(by: {
      ($0.range.lowerBound, $0.range.count) < ($1.range.lowerBound, $1.range.count)
    }) {
      let values = try entry.values(from: source)
      values.withUnsafeBytes { digest.update($0) }
      read[entry.name] = NamedTensor(name: entry.name, shape: entry.shape, values: values)
    }
    tensors = index.entries.compactMap { read.removeValue(forKey: $0.name) }
  }

  /// The header with the length before it, and the tensors in the order of their data.
  private var layout: (header: [UInt8], tensors: [NamedTensor]) {
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
    var text = Array("{\(fields.joined(separator: ","))}".utf8)
    while text.count % 8 != 0 { text.append(0x20) }
    let length = (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) }
    return (length + text, ordered)
  }

  /// The file's bytes; the same for the same content.
  public var bytes: [UInt8] {
    let (header, ordered) = layout
    var result = header
    result.reserveCapacity(
      header.count + ordered.reduce(0) { $0 + $1.count * $1.values.elementSize })
    for tensor in ordered { tensor.values.withUnsafeBytes { result.append(contentsOf: $0) } }
    return result
  }

  /// Writes the file whole, by rename. Throws `unwritable`.
  public func save(path: String) throws(FileError) { _ = try saved(path: path) }

  /// Writes the file, a tensor at a time; gives its SHA-256.
  func saved(path: String) throws(FileError) -> String {
    precondition(Set(tensors.map(\.name)).count == tensors.count, "tensors' names must differ")
    let file = try AtomicFile(path: path)
    var digest = SHA256()
    let (header, ordered) = layout
    digest.update(header)
    try file.write(header)
    for tensor in ordered {
      try tensor.values.withUnsafeBytes { bytes throws(FileError) in
        digest.update(bytes)
        try file.write(bytes)
      }
    }
    try file.commit()
    return digest.hexDigest()
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

  func withUnsafeBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
    switch self {
    case .float32(let values): try bytes(of: values, body)
    case .float64(let values): try bytes(of: values, body)
    case .int64(let values): try bytes(of: values, body)
    case .uint8(let values): try bytes(of: values, body)
    }
  }

  private func bytes<Element, R, E: Error>(
    of values: [Element], _ body: (UnsafeRawBufferPointer) throws(E) -> R
  ) throws(E) -> R {
    try values.withUnsafeBufferPointer { buffer throws(E) in try body(UnsafeRawBufferPointer(buffer)) }
  }
}
