import AIPOKernels
import CAIPOZlib

/// A zip file (as `.npz` and torch's `.pt` are), read without believing it: what its directory says is checked against
/// the file before anything is read or allocated.
///
/// Refused: entries that overlap, that lie outside the file, or whose name is unsafe or taken; encryption; other
/// methods than stored and deflate; sizes that no deflate stream could give; more than `entryLimit` entries.
///
/// Source: PKWARE, *APPNOTE.TXT*, 6.3.10, with the 64-bit extension.
public final class ZipArchive {
  public struct Entry: Sendable {
    public let name: String
    /// Bytes when unpacked.
    public let size: Int
    /// Whether the bytes lie in the file as they are.
    public let isStored: Bool
    /// Where they begin in the file, and how many there are.
    let offset: Int
    let packedSize: Int
    let checksum: UInt32
  }

  public static let entryLimit = 1 << 16
  /// The most bytes that an entry may unpack to: 4 GiB.
  public static let sizeLimit = 4 << 30

  /// In the order of the directory.
  public let entries: [Entry]
  public let source: ByteSource
  private let byName: [String: Int]
  private var verified: Set<String> = []

  public static func isZip(_ beginning: [UInt8]) -> Bool {
    beginning.starts(with: [0x50, 0x4B, 0x03, 0x04]) || beginning.starts(with: [0x50, 0x4B, 0x05, 0x06])
  }

  /// Reads the directory. Throws `malformed` for anything wrong in it.
  public init(_ source: ByteSource) throws(FileError) {
    self.source = source
    entries = try ZipDirectory(source).entries()
    var byName: [String: Int] = [:]
    for (k, entry) in entries.enumerated() {
      guard byName.updateValue(k, forKey: entry.name) == nil else {
        throw source.malformed("zip entry", "\"\(entry.name)\" twice", "unique names")
      }
    }
    self.byName = byName
  }

  public subscript(name: String) -> Entry? { byName[name].map { entries[$0] } }

  /// An entry's bytes, its checksum verified. Throws `malformed` where it unpacks to another size than the directory
  /// says, to more than `limit`, or has another checksum.
  public func bytes(_ entry: Entry, limit: Int = sizeLimit) throws(FileError) -> [UInt8] {
    guard entry.size <= limit else {
      throw source.malformed("size of zip entry \"\(entry.name)\"", "\(entry.size) bytes", "at most \(limit)")
    }
    let packed = try source.bytes(entry.offset..<entry.offset + entry.packedSize)
    let result = entry.isStored ? packed : try unpack(packed, entry)
    let checksum = result.withUnsafeBytes { Self.checksum($0, from: 0) }
    try check(checksum, entry)
    return result
  }

  /// Verifies the checksum of a stored entry, once, without keeping its bytes.
  public func verify(_ entry: Entry) throws(FileError) {
    precondition(entry.isStored)
    guard !verified.contains(entry.name) else { return }
    var checksum: UInt = 0
    for start in stride(from: 0, to: entry.size, by: 1 << 22) {
      let piece = try source.bytes(
        entry.offset + start..<entry.offset + min(start + 1 << 22, entry.size))
      checksum = piece.withUnsafeBytes { Self.checksum($0, from: checksum) }
    }
    try check(checksum, entry)
    verified.insert(entry.name)
  }

  /// Where a stored entry's bytes lie in `source`.
  public func range(_ entry: Entry) -> Range<Int> { entry.offset..<entry.offset + entry.size }

  private func check(_ checksum: UInt, _ entry: Entry) throws(FileError) {
    guard UInt32(truncatingIfNeeded: checksum) == entry.checksum else {
      throw source.malformed(
        "zip entry \"\(entry.name)\"", "damaged (its checksum differs)", "the bytes that were packed")
    }
  }

  static func checksum(_ bytes: UnsafeRawBufferPointer, from start: UInt) -> UInt {
    crc32_z(start, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count)
  }

  /// Inflates in growing pieces, so that memory is taken only for bytes that are there.
  private func unpack(_ packed: [UInt8], _ entry: Entry) throws(FileError) -> [UInt8] {
    let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    stream.initialize(to: z_stream())
    defer {
      inflateEnd(stream)
      stream.deallocate()
    }
    guard inflateInit2_(stream, -15, zlibVersion(), Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
      throw .missing(path: source.path, reason: "zlib could not be started")
    }
    var packed = packed
    var result: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 18)
    var status = Z_OK
    var position = 0
    while status == Z_OK {
      var made = 0
      packed.withUnsafeMutableBufferPointer { input in
        piece.withUnsafeMutableBufferPointer { output in
          let count = min(input.count - position, 1 << 30)
          stream.pointee.next_in = input.baseAddress.map { $0 + position }
          stream.pointee.avail_in = UInt32(count)
          stream.pointee.next_out = output.baseAddress
          stream.pointee.avail_out = UInt32(output.count)
          status = inflate(stream, Z_NO_FLUSH)
          position += count - Int(stream.pointee.avail_in)
          made = output.count - Int(stream.pointee.avail_out)
        }
      }
      guard made <= entry.size - result.count else {
        throw source.malformed(
          "zip entry \"\(entry.name)\"", "more than its \(entry.size) bytes", "the size in the directory")
      }
      try MemoryLimit.require(2 * result.count, for: source.path)
      result += piece[..<made]
    }
    guard status == Z_STREAM_END, result.count == entry.size, position == packed.count else {
      throw source.malformed(
        "zip entry \"\(entry.name)\"", "damaged (\(result.count) of \(entry.size) bytes)",
        "a whole deflate stream"
      )
    }
    return result
  }
}

/// The directory at the end of a zip file.
private struct ZipDirectory {
  let source: ByteSource
  private var start = 0
  private var size = 0
  private var count = 0

  /// Bytes of the record that ends a zip file, without its comment.
  private static let endSize = 22

  init(_ source: ByteSource) throws(FileError) {
    self.source = source
    let tail = min(source.count, Self.endSize + 0xFFFF)
    let bytes = try source.bytes(source.count - tail..<source.count)
    let at = stride(from: bytes.count - Self.endSize, through: 0, by: -1).first { k in
      bytes.u32(k) == 0x0605_4B50 && k + Self.endSize + bytes.u16(k + 20) == bytes.count
    }
    guard let at else {
      throw source.malformed(
        "zip file", "without an end record",
        "a whole zip file; this one is cut off, so copy or download it again")
    }
    count = bytes.u16(at + 10)
    size = bytes.u32(at + 12)
    start = bytes.u32(at + 16)
    let split = [bytes.u16(at + 4), bytes.u16(at + 6)]
    var end = source.count - tail + at
    if count == 0xFFFF || size == 0xFFFF_FFFF || start == 0xFFFF_FFFF {
      end = try readLarge(endRecord: end)
    } else if split != [0, 0] {
      throw source.malformed("zip file", "one of several parts", "a single file")
    }
    guard count <= ZipArchive.entryLimit else {
      throw source.malformed("zip directory", "\(count) entries", "at most \(ZipArchive.entryLimit)")
    }
    guard size <= end, start <= end - size, count * 46 <= size else {
      throw source.malformed(
        "zip directory", "\(count) entries in \(size) bytes at \(start)", "a directory inside the file")
    }
  }

  /// The 64-bit end record; gives where it begins.
  private mutating func readLarge(endRecord: Int) throws(FileError) -> Int {
    let wrong = source.malformed("zip file", "without a usable 64-bit end record", "one inside the file")
    guard endRecord >= 20 else { throw wrong }
    let locator = try source.bytes(endRecord - 20..<endRecord)
    guard locator.u32(0) == 0x0706_4B50, let at = locator.u63(8), at <= endRecord - 20 - 56 else {
      throw wrong
    }
    let record = try source.bytes(at..<at + 56)
    guard record.u32(0) == 0x0606_4B50, let entries = record.u63(32), let bytes = record.u63(40),
      let first = record.u63(48)
    else { throw wrong }
    (count, size, start) = (entries, bytes, first)
    return at
  }

  func entries() throws(FileError) -> [ZipArchive.Entry] {
    let bytes = try source.bytes(start..<start + size)
    var result: [ZipArchive.Entry] = []
    var position = 0
    for k in 0..<count {
      guard position + 46 <= bytes.count, bytes.u32(position) == 0x0201_4B50 else {
        throw source.malformed("zip directory", "broken at entry \(k)", "\(count) entries")
      }
      let lengths = [28, 30, 32].map { bytes.u16(position + $0) }
      let next = position + 46 + lengths.reduce(0, +)
      guard next <= bytes.count else {
        throw source.malformed("zip directory", "cut off in entry \(k)", "\(count) entries")
      }
      let nameBytes = bytes[position + 46..<position + 46 + lengths[0]]
      let extraStart = position + 46 + lengths[0]
      result.append(
        try entry(
          Array(bytes[position..<position + 46]), name: try name(nameBytes, index: k),
          extra: Array(bytes[extraStart..<extraStart + lengths[1]])))
      position = next
    }
    try requireApart(result)
    return result.filter { !$0.name.hasSuffix("/") }
  }

  private func name(_ bytes: ArraySlice<UInt8>, index: Int) throws(FileError) -> String {
    guard let name = String(validating: bytes, as: UTF8.self), !name.isEmpty else {
      throw source.malformed("name of zip entry \(index)", "no UTF-8 text", "a name")
    }
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    guard !name.hasPrefix("/"), !name.utf8.contains(0), !name.contains("\\"), !name.contains(":"),
      !parts.contains(where: { $0 == ".." || $0 == "." })
    else {
      throw source.malformed(
        "name of zip entry \(index)", "\"\(name.prefix(80))\"", "a path inside the archive")
    }
    return name
  }

  private func entry(_ record: [UInt8], name: String, extra: [UInt8]) throws(FileError) -> ZipArchive.Entry {
    func wrong(_ what: String, _ found: String, _ expected: String) -> FileError {
      source.malformed("\(what) of zip entry \"\(name)\"", found, expected)
    }
    guard record.u16(8) & 0x2041 == 0 else { throw wrong("encryption", "on", "none") }
    let method = record.u16(10)
    guard method == 0 || method == 8 else { throw wrong("method", "\(method)", "0 (stored) or 8 (deflate)") }
    var fields = [record.u32(24), record.u32(20), record.u32(42)]
    let large = fields.indices.filter { fields[$0] == 0xFFFF_FFFF }
    if !large.isEmpty {
      guard let values = Self.largeFields(extra, count: large.count) else {
        throw wrong("64-bit sizes", "missing", "an extra field with them")
      }
      for (k, value) in zip(large, values) { fields[k] = value }
    }
    let (size, packed, header) = (fields[0], fields[1], fields[2])
    guard size <= ZipArchive.sizeLimit else {
      throw wrong("size", "\(size) bytes", "at most \(ZipArchive.sizeLimit)")
    }
    // Deflate packs 258 bytes into two bits at best.
    guard method == 8 ? size <= 1032 * (packed + 16) : size == packed else {
      throw wrong(
        "size", "\(size) bytes from \(packed)", method == 8 ? "a possible ratio" : "as many as are stored")
    }
    guard header <= start - 30, packed <= start - 30 - header else {
      throw wrong("place", "byte \(header) and \(packed) more", "inside the file, before the directory")
    }
    let local = try source.bytes(header..<header + 30)
    guard local.u32(0) == 0x0403_4B50 else { throw wrong("place", "byte \(header)", "where its header is") }
    let offset = header + 30 + local.u16(26) + local.u16(28)
    guard packed <= start - offset else { throw wrong("end", "byte \(offset + packed)", "at most \(start)") }
    let localName = try source.bytes(header + 30..<header + 30 + local.u16(26))
    guard localName == Array(name.utf8), local.u16(8) == method else {
      throw wrong("local header", "another name or method than the directory's", "the same")
    }
    return ZipArchive.Entry(
      name: name, size: size, isStored: method == 0, offset: offset, packedSize: packed,
      checksum: UInt32(record.u32(16)))
  }

  /// The first numbers of the 64-bit extra field.
  private static func largeFields(_ extra: [UInt8], count: Int) -> [Int]? {
    var position = 0
    while position + 4 <= extra.count {
      let length = extra.u16(position + 2)
      guard position + 4 + length <= extra.count else { return nil }
      if extra.u16(position) == 1 {
        guard length >= 8 * count else { return nil }
        let values = (0..<count).compactMap { extra.u63(position + 4 + 8 * $0) }
        return values.count == count ? values : nil
      }
      position += 4 + length
    }
    return nil
  }

  private func requireApart(_ entries: [ZipArchive.Entry]) throws(FileError) {
    var end = 0
    for entry in entries.sorted(by: { ($0.offset, $0.packedSize) < ($1.offset, $1.packedSize) }) {
      guard entry.offset >= end + 30 || end == 0 else {
        throw source.malformed(
          "zip entry \"\(entry.name)\"", "overlapping another at byte \(entry.offset)", "entries apart")
      }
      end = entry.offset + entry.packedSize
    }
  }
}

extension [UInt8] {
  /// Little-endian numbers.
  func u16(_ at: Int) -> Int { Int(self[at]) | Int(self[at + 1]) << 8 }
  func u32(_ at: Int) -> Int { u16(at) | u16(at + 2) << 16 }
  /// nil where it doesn't fit an `Int`.
  func u63(_ at: Int) -> Int? { self[at + 7] < 0x80 ? u32(at) | u32(at + 4) << 32 : nil }
}
