import AIPOPlatform
import Synchronization

/// A file that appears whole or not at all.
///
/// Bytes go to a temporary file in the target's folder; `commit` syncs it and renames it over the
/// target. Without a commit (a thrown error, the object given up) the temporary file is removed and
/// the target stays as it was. A target that exists and is no regular file (a device, a folder, a
/// pipe) is refused before anything is created; a link to a regular file is followed.
///
/// Not for use by two threads at once.
public final class AtomicFile {
  /// The target as the caller named it.
  public let path: String
  /// Bytes written so far.
  public private(set) var byteCount = 0
  private let target: String
  private let temporary: String
  private var descriptor: Int32
  /// Of the names of files that nobody misses once the process that made them has ended.
  package static let prefix = ".aipo-partial-"
  /// Temporary files of this process that exist.
  private static let unfinished = Mutex<Set<String>>([])

  /// Creates the temporary file. Throws `unwritable`.
  public init(path: String) throws(FileError) {
    self.path = path
    let (target, mode) = try Self.resolve(path)
    let slash = target.lastIndex(of: "/")
    let folder = slash.map { String(target[...$0]) } ?? ""
    var generator = SystemRandomNumberGenerator()
    var temporary = ""
    var descriptor: Int32 = -1
    for _ in 0..<100 {
      temporary = folder + Self.prefix + String(generator.next(), radix: 36)
      descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t(0o666))
      if descriptor >= 0 || errno != EEXIST { break }
    }
    guard descriptor >= 0 else { throw .unwritable(path: path, reason: FileError.reason(errno)) }
    if let mode { _ = fchmod(descriptor, mode) }
    self.target = target
    self.temporary = temporary
    self.descriptor = descriptor
    Self.unfinished.withLock { _ = $0.insert(temporary) }
  }

  deinit { discard() }

  /// Appends bytes. Throws `unwritable`, and removes the temporary file, on any failure.
  public func write(_ bytes: UnsafeRawBufferPointer) throws(FileError) {
    try transfer(bytes) { pointer, count, _ in
      #if canImport(Glibc)
        Glibc.write(self.descriptor, pointer, count)
      #else
        Darwin.write(self.descriptor, pointer, count)
      #endif
    }
    byteCount += bytes.count
  }

  public func write(_ bytes: [UInt8]) throws(FileError) {
    try bytes.withUnsafeBufferPointer { buffer throws(FileError) in try write(UnsafeRawBufferPointer(buffer))
    }
  }

  public func write(_ text: String) throws(FileError) { try write(Array(text.utf8)) }

  /// Replaces bytes already written, as a header whose counts are known only at the end.
  public func overwrite(at offset: Int, with bytes: [UInt8]) throws(FileError) {
    precondition(offset >= 0 && offset + bytes.count <= byteCount, "overwrites only what was written")
    try bytes.withUnsafeBufferPointer { buffer throws(FileError) in
      try transfer(UnsafeRawBufferPointer(buffer)) { pointer, count, done in
        pwrite(self.descriptor, pointer, count, off_t(offset + done))
      }
    }
  }

  /// Syncs, closes and renames over the target. Throws `unwritable`; the target is then untouched.
  public func commit() throws(FileError) {
    precondition(descriptor >= 0, "the file was committed or given up before")
    guard fsync(descriptor) == 0 || errno == EINVAL else { throw failure(errno) }
    let closed = close(descriptor)
    descriptor = -1
    defer { Self.unfinished.withLock { _ = $0.remove(temporary) } }
    guard closed == 0 || errno == EINTR, rename(temporary, target) == 0 else {
      let code = errno
      unlink(temporary)
      throw .unwritable(path: path, reason: FileError.reason(code))
    }
    // The rename itself is made durable where the file system can; the data already is.
    let slash = target.lastIndex(of: "/")
    let folder = open(slash.map { String(target[...$0]) } ?? ".", O_RDONLY | O_CLOEXEC)
    if folder >= 0 {
      _ = fsync(folder)
      close(folder)
    }
  }

  /// Removes the temporary file and leaves the target as it was. No effect after `commit`.
  public func discard() {
    guard descriptor >= 0 else { return }
    close(descriptor)
    descriptor = -1
    unlink(temporary)
    Self.unfinished.withLock { _ = $0.remove(temporary) }
  }

  /// Removes the temporary files of all objects, from any thread, for a process that ends without giving them up.
  /// What they still write is lost.
  public static func discardAll() {
    unfinished.withLock { for temporary in $0 { unlink(temporary) } }
  }

  /// Writes a whole file at once.
  public static func write(_ bytes: [UInt8], to path: String) throws(FileError) {
    let file = try AtomicFile(path: path)
    try file.write(bytes)
    try file.commit()
  }

  public static func write(_ text: String, to path: String) throws(FileError) {
    try write(Array(text.utf8), to: path)
  }

  /// Tries whether `path` can be written, to be called before long work: its folder exists and takes
  /// a new file, and what is there, if anything, is a writable regular file. Leaves no trace.
  public static func checkWritable(_ path: String) throws(FileError) {
    try AtomicFile(path: path).discard()
  }

  /// Removes what a killed process left of its unfinished files in a folder. Only for a folder that
  /// nobody else writes to at the moment; `except` names files that are in use.
  public static func removeLeftovers(inFolder folder: String, except: [String] = []) {
    for name in Directory.names(folder) ?? [] where isLeftover(name) && !except.contains(name) {
      unlink("\(folder)/\(name)")
    }
  }

  /// Whether a file of this name was left unfinished, or is being written.
  package static func isLeftover(_ name: String) -> Bool { name.hasPrefix(prefix) }

  private func transfer(
    _ bytes: UnsafeRawBufferPointer,
    by step: (_ pointer: UnsafeRawPointer, _ count: Int, _ done: Int) -> Int
  ) throws(FileError) {
    guard descriptor >= 0 else { throw .unwritable(path: path, reason: "writing failed before") }
    var done = 0
    while done < bytes.count {
      let count = step(bytes.baseAddress! + done, min(bytes.count - done, 1 << 30), done)
      if count < 0 {
        if errno == EINTR { continue }
        throw failure(errno)
      }
      if count == 0 { throw failure(ENOSPC) }
      done += count
    }
  }

  private func failure(_ code: Int32) -> FileError {
    discard()
    return .unwritable(path: path, reason: FileError.reason(code))
  }

  /// The file that `path` names after following links, and the mode of one that exists.
  private static func resolve(_ path: String) throws(FileError) -> (target: String, mode: mode_t?) {
    guard !path.isEmpty else { throw .unwritable(path: "\"\"", reason: "the path is empty") }
    var status = stat()
    guard stat(path, &status) == 0 else {
      let code = errno
      guard code == ENOENT else { throw .unwritable(path: path, reason: FileError.reason(code)) }
      if path.hasSuffix("/") { throw .unwritable(path: path, reason: "the name ends in a slash") }
      guard lstat(path, &status) != 0 else {
        throw .unwritable(path: path, reason: "is a link to nothing")
      }
      if let slash = path.lastIndex(of: "/"), slash != path.startIndex,
        stat(String(path[..<slash]), &status) != 0
      {
        throw .unwritable(path: path, reason: "there is no folder \(path[..<slash])")
      }
      return (path, nil)
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: break
    case S_IFDIR: throw .unwritable(path: path, reason: "is a folder")
    default: throw .unwritable(path: path, reason: "exists and is not a regular file")
    }
    guard access(path, W_OK) == 0 else { throw .unwritable(path: path, reason: FileError.reason(errno)) }
    guard let resolved = realpath(path, nil) else {
      throw .unwritable(path: path, reason: FileError.reason(errno))
    }
    defer { free(resolved) }
    return (String(cString: resolved), status.st_mode & 0o7777)
  }
}
