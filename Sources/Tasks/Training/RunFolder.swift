import AIPOFlows
import AIPOKernels
import AIPOPlatform

/// The folder of a run that can be resumed.
public final class RunFolder {
  public let path: String
  private let existed: Bool
  /// Whether another run had left something in it.
  private var hadContent = false
  private var isMade = false

  /// Checks that the folder can be used, without making it: it doesn't exist yet but can, or it is empty, or
  /// `isOwn` finds in its content the run that is to go on; `remedy` says what to do where it doesn't. `file`
  /// is one that the run writes.
  public init(path: String, file: String, remedy: String, isOwn: (_ content: [String]) -> Bool) throws {
    self.path = path
    var status = stat()
    existed = stat(path, &status) == 0
    guard existed else {
      // Whatever keeps a file of that name from being made keeps a folder from it, too.
      var name = path
      while name.count > 1, name.hasSuffix("/") { name.removeLast() }
      try AtomicFile.checkWritable(name)
      return
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw FileError.unwritable(path: path, reason: "exists and is no folder")
    }
    let content = try Self.content(path)
    hadContent = !content.isEmpty
    if let name = content.first, !isOwn(content) {
      throw FileError.unwritable(path: path, reason: "the folder isn't empty (\(name)); \(remedy)")
    }
    try AtomicFile.checkWritable(path + "/\(file)")
  }

  /// The folder as a rank sees it that writes nothing to it.
  package init(ofAnotherRank path: String) {
    self.path = path
    existed = true
  }

  /// Makes the folder where it isn't there yet. Throws `unwritable`.
  public func create() throws(FileError) {
    guard !existed, !isMade else { return }
    guard mkdir(path, 0o777) == 0 else {
      throw .unwritable(path: path, reason: String(cString: strerror(errno)).lowercased())
    }
    isMade = true
  }

  /// What a training has made before its first checkpoint.
  private static let early = ["log.jsonl", "settings.yaml"]

  /// Takes back what was made where a run failed before its first checkpoint had anything to keep.
  public func removeIfUntouched() {
    guard !hadContent else { return }
    // It may have failed because the folder is another run's.
    guard let lock = try? FolderLock(folder: path) else { return }
    defer { withExtendedLifetime(lock) {} }
    guard let content = try? Self.content(path), content.allSatisfy(Self.early.contains) else { return }
    var status = stat()
    guard stat(path + "/log.jsonl", &status) != 0 || status.st_size == 0 else { return }
    for name in Self.early + [".lock"] { unlink("\(path)/\(name)") }
    if !existed { rmdir(path) }
  }

  /// Names in the folder, but for the lock's and what a killed run left half-written.
  private static func content(_ path: String) throws(FileError) -> [String] {
    guard let names = Directory.names(path) else {
      throw .unwritable(path: path, reason: FileError.reason(errno))
    }
    return names.filter {
      ![".", ".."].contains($0) && !FolderLock.isLock($0) && !AtomicFile.isLeftover($0)
    }.sorted()
  }
}
