/// Bytes that can be read at any place: a regular file, or memory (what came from a pipe or out of an archive).
public struct ByteSource: Sendable {
  private enum Storage: Sendable {
    case file(InputFile)
    case memory([UInt8])
  }

  /// What errors name.
  public let path: String
  public let count: Int
  private let storage: Storage

  public init(bytes: [UInt8], path: String) {
    self.init(storage: .memory(bytes), count: bytes.count, path: path)
  }

  /// Opens a file; a pipe or device is read whole, up to `limit` bytes. Throws `missing` or `malformed`.
  public init(path: String, limit: Int) throws(FileError) {
    let file = try InputFile(path: path)
    if let source = try ByteSource(file, limit: limit) {
      self = source
    } else {
      self.init(bytes: try InputFile.bytes(path: path, limit: limit), path: path)
    }
  }

  /// An open regular file; nil for anything else.
  public init?(_ file: InputFile, limit: Int) throws(FileError) {
    guard let count = file.byteCount else { return nil }
    guard count <= limit else {
      throw .malformed(
        path: file.path, what: "file size", found: "\(count) bytes", expected: "at most \(limit) bytes")
    }
    self.init(storage: .file(file), count: count, path: file.path)
  }

  private init(storage: Storage, count: Int, path: String) {
    self.path = path
    self.count = count
    self.storage = storage
  }

  /// Throws `malformed` where the range isn't in the file (any more).
  public func bytes(_ range: Range<Int>) throws(FileError) -> [UInt8] { try elements(range, UInt8.self) }

  /// Reads into memory that is there already. Throws `malformed` where the file has become shorter.
  public func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(FileError) {
    guard offset >= 0, buffer.count <= count, offset <= count - buffer.count else {
      throw malformed("file", "\(count) bytes", "at least \(offset) and \(buffer.count) more (truncated?)")
    }
    switch storage {
    case .memory(let bytes):
      bytes.withUnsafeBytes {
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + buffer.count]))
      }
    case .file(let file):
      guard try file.read(at: offset, into: buffer) == buffer.count else {
        throw malformed("file", "shorter than when it was opened", "an unchanged file")
      }
    }
  }

  /// The range as elements in the machine's byte order, which must be a whole number of them.
  public func elements<Element: BitwiseCopyable>(
    _ range: Range<Int>, _: Element.Type
  ) throws(FileError) -> [Element] {
    let count = range.count / MemoryLayout<Element>.size
    precondition(count * MemoryLayout<Element>.size == range.count)
    // Before anything is allocated.
    guard range.lowerBound >= 0, range.upperBound <= self.count else {
      throw malformed("file", "\(self.count) bytes", "at least \(range.upperBound) (truncated?)")
    }
    try MemoryLimit.require(range.count, for: path)
    var failure: FileError?
    let result = [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
      do throws(FileError) {
        try read(at: range.lowerBound, into: UnsafeMutableRawBufferPointer(buffer))
        initialized = count
      } catch { failure = error }
    }
    if let failure { throw failure }
    return result
  }

  public func malformed(_ what: String, _ found: String, _ expected: String) -> FileError {
    .malformed(path: path, what: what, found: found, expected: expected)
  }
}
