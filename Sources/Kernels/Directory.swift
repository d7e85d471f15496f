import AIPOPlatform

/// Folders of files whose names are this program's own.
package enum Directory {
  /// The names in a folder, in no order; nil where it can't be read, and `errno` says why.
  package static func names(_ path: String) -> [String]? {
    guard let stream = opendir(path) else { return nil }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      names.append(
        withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 1) { String(cString: $0) }
        })
    }
    return names
  }

  /// Makes a folder where there is none. Throws `unwritable`.
  package static func make(_ path: String) throws(FileError) {
    guard mkdir(path, 0o777) != 0, errno != EEXIST else { return }
    throw .unwritable(path: path, reason: FileError.reason(errno))
  }
}
