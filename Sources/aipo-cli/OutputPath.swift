import AIPO
import AIPOPlatform
import ArgumentParser

/// A file that a verb is going to write, tried before the work starts.
struct OutputPath: ExpressibleByArgument, Hashable {
  let path: String

  init(_ path: String) { self.path = path }

  init?(argument: String) {
    guard !argument.isEmpty else { return nil }
    path = argument
  }

  static var defaultCompletionKind: CompletionKind { .file() }

  /// The path with `text` put in before the suffix of its name.
  func adding(_ text: String) -> OutputPath {
    // Of two parts, as .nii.gz.
    if let suffix = ImageOutputFormat.allCases.flatMap(\.suffixes).filter(path.lowercased().hasSuffix).max(
      by: {
        $0.count < $1.count
      })
    {
      return OutputPath(path.dropLast(suffix.count) + text + path.suffix(suffix.count))
    }
    guard let dot = path.lastIndex(of: "."), !path[dot...].contains("/") else {
      return OutputPath(path + text)
    }
    return OutputPath(path[..<dot] + text + path[dot...])
  }

  /// Refuses a name that says none of these formats.
  func require(_ formats: [ImageOutputFormat], _ flag: String) throws {
    guard !formats.contains(where: { $0 == ImageOutputFormat(path: path) }) else { return }
    let suffixes = formats.flatMap(\.suffixes)
    let words = [suffixes.dropLast().joined(separator: ", "), suffixes[suffixes.count - 1]].filter {
      !$0.isEmpty
    }
    throw ValidationError(
      "\(flag) is '\(path)', expected a name that ends in \(words.joined(separator: " or "))")
  }

  /// Refuses outputs that would replace each other, however their names are spelled.
  static func requireDistinct(_ outputs: [(flag: String, output: OutputPath?)]) throws {
    var seen: [String: String] = [:]
    for (flag, output) in outputs {
      guard let output else { continue }
      if let other = seen.updateValue(flag, forKey: output.resolved) {
        throw ValidationError("\(other) and \(flag) both write '\(output.path)'")
      }
    }
  }

  /// The file itself, or its name in the folder itself where there is none yet.
  private var resolved: String {
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

  /// Throws for the first output that couldn't be written at the end of the work.
  static func checkWritable(_ outputs: [OutputPath?]) throws(FileError) {
    for output in outputs {
      if let output { try AtomicFile.checkWritable(output.path) }
    }
  }
}
