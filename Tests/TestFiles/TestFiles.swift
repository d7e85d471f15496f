import CAIPOZlib
import Foundation

/// Puts together pickles, zips and checkpoints, right ones and wrong ones.
package enum TestFiles {
  /// A file of the folder Cases.
  package static func casePath(_ name: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().appending(components: "Cases", name).path
  }

  // MARK: Pickles

  package static func text(_ value: String) -> [UInt8] { [0x58] + word(value.utf8.count) + Array(value.utf8) }
  package static func integer(_ value: Int) -> [UInt8] {
    let bits = UInt64(bitPattern: Int64(value))
    return [0x8A, 8] + (0..<8).map { UInt8(truncatingIfNeeded: bits >> UInt64(8 * $0)) }
  }
  package static func tuple(_ parts: [[UInt8]]) -> [UInt8] { [0x28] + parts.flatMap(\.self) + [0x74] }
  package static func global(_ module: String, _ name: String) -> [UInt8] {
    Array("c\(module)\n\(name)\n".utf8)
  }
  package static let ordered = global("collections", "OrderedDict") + [0x29, 0x52]
  package static func dictionary(_ members: [(String, [UInt8])]) -> [UInt8] {
    ordered + [0x28] + members.flatMap { text($0.0) + $0.1 } + [0x75]
  }
  package static func storage(_ key: String, _ type: String = "FloatStorage", count: Int) -> [UInt8] {
    tuple([text("storage"), global("torch", type), text(key), text("cpu"), integer(count)]) + [0x51]
  }
  package static func tensor(
    _ storage: [UInt8], offset: Int = 0, shape: [Int], strides: [Int]? = nil
  ) -> [UInt8] {
    var running = 1
    var rowMajor: [Int] = []
    for extent in shape.reversed() {
      rowMajor.insert(running, at: 0)
      running = running &* extent
    }
    return global("torch._utils", "_rebuild_tensor_v2")
      + tuple([
        storage, integer(offset), tuple(shape.map(integer)), tuple((strides ?? rowMajor).map(integer)),
        [0x89],
        ordered,
      ]) + [0x52]
  }
  package static func pickle(_ body: [UInt8]) -> [UInt8] { [0x80, 2] + body + [0x2E] }

  package static func word(_ value: Int) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  package static func half(_ value: Int) -> [UInt8] { Array(word(value)[..<2]) }

  // MARK: Zips

  package struct Entry {
    package var name: String
    package var bytes: [UInt8]
    package var deflated = false
    /// What the headers say, where it isn't the truth.
    package var size: Int?
    package var packedSize: Int?
    package var checksum: UInt32?
    package var method: Int?
    package var flags = 0
    package var localName: String?
    /// Where the directory says that the entry begins.
    package var offset: Int?

    package init(
      name: String, bytes: [UInt8], deflated: Bool = false, size: Int? = nil, packedSize: Int? = nil,
      checksum: UInt32? = nil, method: Int? = nil, flags: Int = 0, localName: String? = nil,
      offset: Int? = nil
    ) {
      self.name = name
      self.bytes = bytes
      self.deflated = deflated
      self.size = size
      self.packedSize = packedSize
      self.checksum = checksum
      self.method = method
      self.flags = flags
      self.localName = localName
      self.offset = offset
    }
  }

  package static func deflated(_ bytes: [UInt8]) -> [UInt8] {
    var stream = z_stream()
    deflateInit2_(
      &stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY, zlibVersion(), Int32(MemoryLayout<z_stream>.size))
    var (input, output) = (bytes, [UInt8](repeating: 0, count: Int(deflateBound(&stream, UInt(bytes.count)))))
    let count = input.withUnsafeMutableBufferPointer { input in
      output.withUnsafeMutableBufferPointer { output -> Int in
        stream.next_in = input.baseAddress
        stream.avail_in = UInt32(input.count)
        stream.next_out = output.baseAddress
        stream.avail_out = UInt32(output.count)
        _ = deflate(&stream, Z_FINISH)
        return output.count - Int(stream.avail_out)
      }
    }
    deflateEnd(&stream)
    return Array(output[..<count])
  }

  /// CRC-32, as zip and PNG have it.
  package static func checksum(_ bytes: [UInt8]) -> Int { Int(crc32(0, bytes, UInt32(bytes.count))) }

  package static func zip(_ entries: [Entry], count: Int? = nil, comment: [UInt8] = []) -> [UInt8] {
    var file: [UInt8] = []
    var directory: [UInt8] = []
    for entry in entries {
      let packed = entry.deflated ? deflated(entry.bytes) : entry.bytes
      let checksum = entry.checksum ?? UInt32(Self.checksum(entry.bytes))
      let numbers =
        half(20) + half(entry.flags) + half(entry.method ?? (entry.deflated ? 8 : 0)) + word(0)
        + word(Int(checksum)) + word(entry.packedSize ?? packed.count) + word(entry.size ?? entry.bytes.count)
      let name = Array(entry.name.utf8)
      let local = Array((entry.localName ?? entry.name).utf8)
      let offset = entry.offset ?? file.count
      file += [0x50, 0x4B, 3, 4] + numbers + half(local.count) + half(0) + local + packed
      directory +=
        [0x50, 0x4B, 1, 2] + half(20) + numbers + half(name.count) + half(0) + half(0) + half(0) + half(0)
        + word(0) + word(offset) + name
    }
    let start = file.count
    return file + directory + [0x50, 0x4B, 5, 6] + half(0) + half(0) + half(count ?? entries.count)
      + half(count ?? entries.count) + word(directory.count) + word(start) + half(comment.count) + comment
  }

  package static func floats(_ values: [Float]) -> [UInt8] {
    values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> UInt32(8 * $0)) } }
  }

  /// A zip as torch writes it, of a pickle and storages.
  package static func checkpoint(_ pickle: [UInt8], _ storages: [String: [UInt8]]) -> [UInt8] {
    zip(
      [Entry(name: "model/data.pkl", bytes: pickle)]
        + storages.sorted { $0.key < $1.key }.map { Entry(name: "model/data/\($0.key)", bytes: $0.value) })
  }

  // MARK: Files

  package static func withFile<R>(_ bytes: [UInt8], _ body: (String) throws -> R) throws -> R {
    let path = FileManager.default.temporaryDirectory.appending(component: "aipo-\(UUID().uuidString)").path
    try Data(bytes).write(to: URL(filePath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path)
  }
}
