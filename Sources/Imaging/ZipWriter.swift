import AIPOKernels
import CAIPOZlib

/// Writes a zip file's entries one after another, deflated, and the directory at the end; without times, so that the
/// same content gives the same bytes, in whatever pieces it comes. The file appears with `finish`.
final class ZipWriter {
  private let file: AtomicFile
  private var directory: [UInt8] = []
  private var count = 0
  private var entry: Entry?

  /// The entry that is being written.
  private struct Entry {
    var name: String
    /// Where its local header begins.
    var offset: Int
    var head: [UInt8]
    /// Of what follows the head.
    var size = 0
    var checksum: UInt = 0
    let stream: Deflater
  }

  init(path: String) throws(FileError) { file = try AtomicFile(path: path) }

  /// Bytes between an entry's local header and its head: a stored block's header.
  private static let blockSize = 5

  /// Begins an entry. Its first bytes, `head`, aren't deflated, so that `end` can replace them.
  func begin(_ name: String, head: [UInt8]) throws(FileError) {
    precondition(entry == nil && head.count <= 0xFFFF)
    entry = Entry(name: name, offset: file.byteCount, head: head, stream: try Deflater(path: file.path))
    try file.write([UInt8](repeating: 0, count: 30) + Array(name.utf8))
    try file.write([0] + Self.half(head.count) + Self.half(~head.count) + head)
  }

  func append(_ bytes: UnsafeRawBufferPointer) throws(FileError) {
    guard var current = entry else { preconditionFailure("begin an entry first") }
    current.size += bytes.count
    current.checksum = ZipArchive.checksum(bytes, from: current.checksum)
    entry = current
    try current.stream.append(bytes, to: file)
  }

  /// Ends the entry; `head` replaces what was given at its beginning, by as many bytes.
  func end(head: [UInt8]? = nil) throws(FileError) {
    guard let current = entry else { preconditionFailure("begin an entry first") }
    entry = nil
    try current.stream.finish(to: file)
    let head = head ?? current.head
    precondition(head.count == current.head.count)
    let name = Array(current.name.utf8)
    let start = current.offset + 30 + name.count
    let (size, packed) = (head.count + current.size, file.byteCount - start)
    guard max(size, file.byteCount) < 0xFFFF_FFFF else {
      throw .unwritable(path: file.path, reason: "an NPZ of more than 4 GiB; write NPY files instead")
    }
    let checksum = crc32_combine(
      head.withUnsafeBytes { ZipArchive.checksum($0, from: 0) }, current.checksum, current.size)
    let numbers =
      Self.half(20) + Self.half(0) + Self.half(8) + Self.word(0x21 << 16) + Self.word(Int(checksum))
      + Self.word(packed) + Self.word(size) + Self.half(name.count) + Self.half(0)
    try file.overwrite(at: current.offset, with: [0x50, 0x4B, 3, 4] + numbers)
    try file.overwrite(at: start + Self.blockSize, with: head)
    directory +=
      [0x50, 0x4B, 1, 2] + Self.half(20) + numbers + Self.half(0) + Self.half(0) + Self.half(0) + Self.word(0)
      + Self.word(current.offset) + name
    count += 1
  }

  /// Writes the directory and puts the file in its place.
  func finish() throws(FileError) {
    precondition(entry == nil)
    let start = file.byteCount
    try file.write(directory)
    try file.write(
      [0x50, 0x4B, 5, 6] + Self.half(0) + Self.half(0) + Self.half(count) + Self.half(count)
        + Self.word(directory.count) + Self.word(start) + Self.half(0))
    try file.commit()
  }

  private static func half(_ value: Int) -> [UInt8] {
    [UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8)]
  }
  private static func word(_ value: Int) -> [UInt8] { half(value) + half(value >> 16) }
}

/// zlib's deflate, without header, given pieces of one size whatever it gets.
private final class Deflater {
  private let stream: UnsafeMutablePointer<z_stream>
  private var pending: [UInt8] = []
  private var piece = [UInt8](repeating: 0, count: pieceSize)
  private static let pieceSize = 1 << 18

  init(path: String) throws(FileError) {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    guard
      deflateInit2_(
        stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY, zlibVersion(), Int32(MemoryLayout<z_stream>.size))
        == Z_OK
    else { throw .unwritable(path: path, reason: "zlib could not be started") }
  }

  deinit {
    deflateEnd(stream)
    stream.deallocate()
  }

  func append(_ bytes: UnsafeRawBufferPointer, to file: AtomicFile) throws(FileError) {
    var start = 0
    while start < bytes.count {
      let end = min(bytes.count, start + Self.pieceSize - pending.count)
      pending += bytes[start..<end]
      start = end
      if pending.count == Self.pieceSize { try deflate(Z_NO_FLUSH, to: file) }
    }
  }

  func finish(to file: AtomicFile) throws(FileError) { try deflate(Z_FINISH, to: file) }

  private func deflate(_ flush: Int32, to file: AtomicFile) throws(FileError) {
    var position = 0
    var made = 0
    repeat {
      var status = Z_OK
      pending.withUnsafeMutableBufferPointer { input in
        piece.withUnsafeMutableBufferPointer { output in
          stream.pointee.next_in = input.baseAddress.map { $0 + position }
          stream.pointee.avail_in = UInt32(input.count - position)
          stream.pointee.next_out = output.baseAddress
          stream.pointee.avail_out = UInt32(output.count)
          status = CAIPOZlib.deflate(stream, flush)
          position = input.count - Int(stream.pointee.avail_in)
          made = output.count - Int(stream.pointee.avail_out)
        }
      }
      guard status != Z_STREAM_ERROR else {
        throw .unwritable(path: file.path, reason: "zlib failed (\(status))")
      }
      try piece.withUnsafeBufferPointer { bytes throws(FileError) in
        try file.write(UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: bytes[..<made])))
      }
      // A full piece: there is more.
    } while made == piece.count
    pending.removeAll(keepingCapacity: true)
  }
}
