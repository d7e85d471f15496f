import AIPOKernels
import CAIPOZlib

/// Bytes in order from a file, a pipe, or what a gzip file (of one or more members) holds.
final class ByteStream {
  private enum Source {
    case file(InputFile)
    case gzip(InputFile, Inflater)
  }

  let path: String
  private let source: Source
  private var pending: [UInt8]

  /// `pending` are bytes that were read from the file already, to find its kind.
  init(_ file: InputFile, pending: [UInt8]) {
    path = file.path
    source = .file(file)
    self.pending = pending
  }

  init(gzip file: InputFile, pending: [UInt8]) throws(FileError) {
    path = file.path
    source = .gzip(file, try Inflater(path: file.path, input: pending))
    self.pending = []
  }

  /// The next bytes, up to `count`, which are read again.
  func peek(_ count: Int) throws(FileError) -> [UInt8] {
    let bytes = try read(count)
    pending = bytes + pending
    return bytes
  }

  /// Up to `count` bytes; fewer only at the end.
  func read(_ count: Int) throws(FileError) -> [UInt8] {
    var result = pending.count <= count ? pending : Array(pending[..<count])
    pending.removeFirst(result.count)
    var piece = 1 << 16
    while result.count < count {
      let wanted = min(count - result.count, piece)
      piece = min(2 * piece, 1 << 22)
      let chunk: [UInt8]
      switch source {
      case .file(let file): chunk = try file.next(wanted)
      case .gzip(let file, let inflater): chunk = try inflater.next(wanted, from: file)
      }
      if chunk.isEmpty { break }
      // A growing array moves to one of twice its size.
      try MemoryLimit.require(2 * result.count, for: path)
      result += chunk
    }
    return result
  }
}

extension InputFile {
  /// The next bytes, at most `count`.
  func next(_ count: Int) throws(FileError) -> [UInt8] {
    var chunk = [UInt8](repeating: 0, count: count)
    let found = try chunk.withUnsafeMutableBufferPointer { buffer throws(FileError) in
      try read(into: UnsafeMutableRawBufferPointer(buffer))
    }
    chunk.removeLast(count - found)
    return chunk
  }
}

/// zlib's inflate for gzip members one after another, checksums verified.
private final class Inflater {
  private let stream: UnsafeMutablePointer<z_stream>
  private let path: String
  private var input: [UInt8]
  private var ended = false  // between two members

  init(path: String, input: [UInt8]) throws(FileError) {
    self.path = path
    self.input = input
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    guard
      inflateInit2_(stream, 15 + 16, zlibVersion(), Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else { throw .missing(path: path, reason: "zlib could not be started") }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  func next(_ count: Int, from file: InputFile) throws(FileError) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: count)
    var produced = 0
    while produced < count {
      if input.isEmpty { input = try file.next(1 << 18) }
      if input.isEmpty {
        guard ended else { throw damaged("truncated") }
        break
      }
      if ended {
        guard input[0] == 0x1F else { throw damaged("followed by other data") }
        inflateReset(stream)
        ended = false
      }
      var used = 0
      var made = 0
      let status = input.withUnsafeMutableBufferPointer { source in
        output.withUnsafeMutableBufferPointer { target in
          stream.pointee.next_in = source.baseAddress
          stream.pointee.avail_in = UInt32(source.count)
          stream.pointee.next_out = target.baseAddress! + produced
          stream.pointee.avail_out = UInt32(count - produced)
          let status = inflate(stream, Z_NO_FLUSH)
          used = source.count - Int(stream.pointee.avail_in)
          made = count - produced - Int(stream.pointee.avail_out)
          return status
        }
      }
      input.removeFirst(used)
      produced += made
      switch status {
      case Z_OK, Z_BUF_ERROR: break
      case Z_STREAM_END: ended = true
      default: throw damaged(stream.pointee.msg.map { String(cString: $0) } ?? "error \(status)")
      }
    }
    output.removeLast(count - produced)
    return output
  }

  private func damaged(_ how: String) -> FileError {
    .malformed(path: path, what: "gzip data", found: "damaged (\(how))", expected: "a whole gzip file")
  }
}
