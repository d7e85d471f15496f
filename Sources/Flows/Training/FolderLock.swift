import AIPOKernels
import AIPOPlatform

/// Keeps a folder for one run, or a shard of it for one: locks on files `.lock…` in it, which the system gives back when the
/// process ends, however it ends.
public final class FolderLock {
  private var descriptors: [Int32] = []

  package static func isLock(_ name: String) -> Bool { name.hasPrefix(".lock") }

  /// Other shards may work in the folder at the same time. Throws `unwritable` where another run holds the folder or the lock
  /// file can't be made.
  public init(folder: String, shard: Shard? = nil) throws(FileError) {
    try lock(folder, ".lock", shard == nil ? LOCK_EX : LOCK_SH, "another run is using this folder")
    guard let shard else { return }
    try lock(
      folder, ".lock-\(shard.number)-of-\(shard.count)", LOCK_EX,
      "another run is doing shard \(shard) in this folder")
  }

  private func lock(_ folder: String, _ name: String, _ kind: Int32, _ reason: String) throws(FileError) {
    let descriptor = open("\(folder)/\(name)", O_RDWR | O_CREAT | O_CLOEXEC, mode_t(0o666))
    guard descriptor >= 0 else { throw .unwritable(path: folder, reason: FileError.reason(errno)) }
    descriptors.append(descriptor)
    guard flock(descriptor, kind | LOCK_NB) == 0 else { throw .unwritable(path: folder, reason: reason) }
  }

  deinit {
    for descriptor in descriptors {
      // A process that is being started has a copy of the descriptor for a moment, and the lock with it.
      flock(descriptor, LOCK_UN)
      close(descriptor)
    }
  }
}
