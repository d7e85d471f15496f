import AIPOKernels

extension Safetensors {
  /// What a file holds, its tensors not yet read: names, shapes and places, checked against the file's size.
  public struct Index: Sendable {
    public let metadata: [String: String]
    /// In the order of the header; names are unique.
    public let entries: [Entry]
    /// Where the header ends.
    let dataStart: Int

    /// Reads the header. Throws `malformed` for anything wrong in it.
    public init(_ source: ByteSource) throws(FileError) {
      guard source.count >= 8 else {
        throw source.malformed("file size", "\(source.count) bytes", "a safetensors file of at least 8 bytes")
      }
      // A zip, or the pickle stream of before.
      let beginning = try source.bytes(0..<4)
      guard beginning != [0x50, 0x4B, 3, 4], beginning.prefix(3) != [0x80, 2, 0x8A] else {
        throw source.malformed(
          "file", "a checkpoint of torch",
          "a model of aipo; make one of it by aipo import FILE --out model.safetensors")
      }
      var length: UInt64 = 0
      for (k, byte) in try source.bytes(0..<8).enumerated() { length |= UInt64(byte) << UInt64(8 * k) }
      guard length <= UInt64(headerLimit) else {
        throw source.malformed(
          "header length", "\(length) bytes",
          "at most \(headerLimit); this isn't a safetensors file, or not a whole one")
      }
      guard Int(length) <= source.count - 8 else {
        throw source.malformed(
          "header length", "\(length) bytes",
          "at most the \(source.count - 8) that follow; the file is cut off, so copy or download it again")
      }
      let start = 8 + Int(length)
      let bytes = try source.bytes(8..<start)
      do throws(SafetensorsHeader.Fault) {
        let header = try SafetensorsHeader(bytes: bytes[...])
        try header.check(dataCount: source.count - start)
        metadata = header.metadata
        entries = header.entries.map { Entry($0, start: start) }
      } catch { throw source.malformed(error.what, error.found, error.expected) }
      dataStart = start
    }
  }

  /// A tensor's name, shape and place in a file.
  public struct Entry: Sendable {
    public let name: String
    public let shape: [Int]
    /// Where its bytes lie in the file.
    public let range: Range<Int>
    private let type: SafetensorsType

    init(_ entry: SafetensorsHeader.Entry, start: Int) {
      name = entry.name
      shape = entry.shape
      range = start + entry.begin..<start + entry.end
      type = entry.dtype
    }

    public var isDouble: Bool { type == .float64 }

    /// Reads the tensor's elements. Throws `malformed` where the file has become shorter.
    public func values(from source: ByteSource) throws(FileError) -> NamedTensor.Values {
      switch type {
      case .float32: .float32(try source.elements(range, Float.self))
      case .float64: .float64(try source.elements(range, Double.self))
      case .int64: .int64(try source.elements(range, Int64.self))
      case .uint8: .uint8(try source.elements(range, UInt8.self))
      }
    }
  }
}
