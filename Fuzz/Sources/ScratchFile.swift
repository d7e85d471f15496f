#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A file that readers of paths are given, in memory where the system has such a folder.
struct ScratchFile: Sendable {
  static let shared = ScratchFile()

  private let path: String

  private init() {
    let folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
    path = "\(folder)/aipo-fuzz-\(getpid())"
  }

  func with(_ bytes: [UInt8], _ body: (_ path: String) throws -> Void) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode_t(0o600))
    guard descriptor >= 0, write(descriptor, bytes, bytes.count) == bytes.count, close(descriptor) == 0 else {
      fatalError("cannot write \(path)")
    }
    defer { unlink(path) }
    try body(path)
  }
}
