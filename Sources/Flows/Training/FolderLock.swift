import AIPOKernels
import AIPOPlatform

/// Keeps a folder for one run: a lock on the file `.lock` in it, which the system gives back when the process
/// ends, however it ends.
public final class FolderLock {
  private let descriptor: Int32

  /// Throws `unwritable` where another run holds the folder or the lock file can't be made.
  public init(folder: String) throws(FileError) {
    descriptor = open(folder + "/.lock", O_RDWR | O_CREAT | O_CLOEXEC, mode_t(0o666))
    guard descriptor >= 0 else {
      throw .unwritable(path: folder, reason: String(cString: strerror(errno)).lowercased())
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      throw .unwritable(path: folder, reason: "another run is using this folder")
    }
  }

  deinit {
    guard descriptor >= 0 else { return }
    // A process that is being started has a copy of the descriptor for a moment, and the lock with it.
    flock(descriptor, LOCK_UN)
    close(descriptor)
  }
}
