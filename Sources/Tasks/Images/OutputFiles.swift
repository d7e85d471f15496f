import AIPOImaging
import AIPOKernels
import AIPOPlatform

/// The names of files that a job is going to write, checked before its work starts.
package enum OutputFiles {
  /// Throws a usage error where the name says none of these formats.
  package static func require(_ path: String?, _ formats: [ImageOutputFormat], key: String) throws(TaskError)
  {
    try require(path, suffixes: formats.flatMap(\.suffixes), key: key)
  }

  /// Throws a usage error where the name ends otherwise.
  package static func require(_ path: String?, suffixes: [String], key: String) throws(TaskError) {
    guard let path, !suffixes.contains(where: path.lowercased().hasSuffix) else { return }
    let words = [suffixes.dropLast().joined(separator: ", "), suffixes[suffixes.count - 1]].filter {
      !$0.isEmpty
    }
    throw TaskError(
      .usage, key: key,
      "--\(key) is '\(path)', expected a name that ends in \(words.joined(separator: " or "))")
  }

  /// Throws a usage error where files would replace each other, however their names are spelled.
  static func requireDistinct(_ files: [(key: String, path: String)]) throws(TaskError) {
    var seen: [String: String] = [:]
    for (key, path) in files {
      if let other = seen.updateValue(key, forKey: resolved(path)) {
        throw TaskError(.usage, key: key, "--\(other) and --\(key) both write '\(path)'")
      }
    }
  }

  /// The file itself, or its name in the folder itself where there is none yet.
  private static func resolved(_ path: String) -> String {
    func real(_ path: String) -> String? {
      guard let found = realpath(path, nil) else { return nil }
      defer { free(found) }
      return String(cString: found)
    }
    if let file = real(path) { return file }
    let slash = path.lastIndex(of: "/")
    let folder = slash.map { String(path[...$0]) } ?? "."
    let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
    return real(folder).map { $0 + "/" + name } ?? path
  }
}
