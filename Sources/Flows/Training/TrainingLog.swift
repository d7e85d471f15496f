import AIPOKernels
import AIPOPlatform

/// The log of a run: JSON lines, appended as the steps are made.
///
/// A resumed run first cuts what was written after its checkpoint, so that the log is the same as an
/// uninterrupted run's.
final class TrainingLog {
  private let path: String
  private let descriptor: Int32
  private(set) var byteCount: Int

  /// Opens the log with just its first `keep` bytes. Throws `unwritable`, or `malformed` where the
  /// file is shorter.
  init(path: String, keep: Int) throws(FileError) {
    self.path = path
    descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode_t(0o666))
    byteCount = keep
    guard descriptor >= 0 else { throw Self.unwritable(path) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw Self.unwritable(path) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw .unwritable(path: path, reason: "exists and is not a regular file")
    }
    guard status.st_size >= keep else {
      throw .malformed(
        path: path, what: "length of the log", found: "\(status.st_size) bytes",
        expected: "at least the \(keep) of the checkpoint")
    }
    guard ftruncate(descriptor, off_t(keep)) == 0, lseek(descriptor, off_t(keep), SEEK_SET) >= 0 else {
      throw Self.unwritable(path)
    }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  func append(_ line: String) throws(FileError) {
    let bytes = Array((line + "\n").utf8)
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress! + done, bytes.count - done) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw Self.unwritable(path) }
      done += count
    }
    byteCount += bytes.count
  }

  /// Makes what was appended durable.
  func sync() throws(FileError) {
    guard fsync(descriptor) == 0 || errno == EINVAL else { throw Self.unwritable(path) }
  }

  private static func unwritable(_ path: String) -> FileError {
    .unwritable(path: path, reason: String(cString: strerror(errno)).lowercased())
  }
}
