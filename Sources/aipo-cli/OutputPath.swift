import AIPO
import ArgumentParser

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A file that a verb is going to write, tried before the work starts.
struct OutputPath: ExpressibleByArgument, Hashable {
  let path: String

  init(_ path: String) { self.path = path }

  init?(argument: String) {
    guard !argument.isEmpty else { return nil }
    path = argument
  }

  static var defaultCompletionKind: CompletionKind { .file() }

  /// Whether the name ends in `suffix`, in either case.
  func hasSuffix(_ suffix: String) -> Bool { path.lowercased().hasSuffix(suffix) }

  /// The path with `text` put in before the suffix of its name.
  func adding(_ text: String) -> OutputPath {
    guard let dot = path.lastIndex(of: "."), !path[dot...].contains("/") else {
      return OutputPath(path + text)
    }
    return OutputPath(path[..<dot] + text + path[dot...])
  }

  /// Refuses a name that doesn't say whether the images go to a PNG or an array.
  func requireImageSuffix(_ flag: String) throws {
    guard ImageOutputFormat(path: path) != nil else {
      throw ValidationError("\(flag) is '\(path)', expected a name that ends in .png, .npy or .npz")
    }
  }

  /// Refuses a name that doesn't say NPY or NPZ.
  func requireArraySuffix(_ flag: String) throws {
    guard ImageOutputFormat(path: path) == .array else {
      throw ValidationError("\(flag) is '\(path)', expected a name that ends in .npy or .npz")
    }
  }

  /// Refuses a name that doesn't say PNG.
  func requirePNG(_ flag: String) throws {
    guard ImageOutputFormat(path: path) == .png else {
      throw ValidationError("\(flag) is '\(path)', expected a name that ends in .png")
    }
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
