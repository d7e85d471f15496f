import AIPOPlatform

/// A file open for reading. It is read with `read` and `pread`, never mapped, so that a file that
/// shrinks meanwhile gives an error and not a signal.
public final class InputFile: Sendable {
  public let path: String
  /// The size when opened, or nil for a pipe or a device.
  public let byteCount: Int?
  private let descriptor: Int32

  /// Throws `missing` where there is no such file, it is a folder or it can't be opened.
  public init(path: String) throws(FileError) {
    self.path = path
    guard !path.isEmpty else { throw .missing(path: "\"\"", reason: "the path is empty") }
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .missing(path: path, reason: FileError.reason(errno)) }
    var status = stat()
    // A throw from here on closes the descriptor: all properties are set, so deinit runs.
    guard fstat(descriptor, &status) == 0 else {
      byteCount = nil
      throw .missing(path: path, reason: FileError.reason(errno))
    }
    byteCount = status.st_mode & S_IFMT == S_IFREG ? Int(status.st_size) : nil
    if status.st_mode & S_IFMT == S_IFDIR { throw .missing(path: path, reason: "is a folder") }
  }

  deinit { close(descriptor) }

  /// Reads on from the current position; fewer bytes than asked only at the end of the file.
  public func read(into buffer: UnsafeMutableRawBufferPointer) throws(FileError) -> Int {
    try transfer(into: buffer) { pointer, count, _ in
      #if canImport(Glibc)
        Glibc.read(self.descriptor, pointer, count)
      #else
        Darwin.read(self.descriptor, pointer, count)
      #endif
    }
  }

  /// Reads at `offset`, whatever the current position; safe from many threads at once.
  public func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(FileError) -> Int {
    try transfer(into: buffer) { pointer, count, done in
      pread(self.descriptor, pointer, count, off_t(offset + done))
    }
  }

  private func transfer(
    into buffer: UnsafeMutableRawBufferPointer,
    by step: (_ pointer: UnsafeMutableRawPointer, _ count: Int, _ done: Int) -> Int
  ) throws(FileError) -> Int {
    var done = 0
    while done < buffer.count {
      let count = step(buffer.baseAddress! + done, min(buffer.count - done, 1 << 30), done)
      if count == 0 { break }
      if count < 0 {
        if errno == EINTR { continue }
        throw .missing(path: path, reason: FileError.reason(errno))
      }
      done += count
    }
    return done
  }

  /// The whole of a file, pipe or device of at most `limit` bytes; `malformed` where it is larger.
  public static func bytes(path: String, limit: Int) throws(FileError) -> [UInt8] {
    let file = try InputFile(path: path)
    if let size = file.byteCount {
      if size > limit { throw file.tooLarge("\(size) bytes", limit: limit) }
      try MemoryLimit.require(size, for: path)
    }
    var result = [UInt8]()
    var chunk = [UInt8](repeating: 0, count: min(max(file.byteCount ?? 0, 1 << 12) + 1, 1 << 24))
    while true {
      let count = try chunk.withUnsafeMutableBufferPointer { buffer throws(FileError) in
        try file.read(into: UnsafeMutableRawBufferPointer(buffer))
      }
      if count > limit - result.count { throw file.tooLarge("more", limit: limit) }
      // A growing array moves to one of twice its size.
      try MemoryLimit.require(2 * result.count, for: path)
      if result.isEmpty, count < chunk.count {
        chunk.removeLast(chunk.count - count)
        return chunk
      }
      if result.isEmpty { result.reserveCapacity(file.byteCount ?? 0) }
      result += chunk[..<count]
      if count < chunk.count { return result }
    }
  }

  private func tooLarge(_ found: String, limit: Int) -> FileError {
    .malformed(path: path, what: "file size", found: found, expected: "at most \(limit) bytes")
  }
}
