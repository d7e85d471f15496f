import AIPOKernels
import AIPOPlatform

/// The pictures of a folder and of the folders in it, sorted by the bytes of their paths. What is hidden and what
/// macOS adds to archives (`__MACOSX`) is passed over; whatever else is no picture is counted and named.
struct ImageFolder {
  private(set) var images = [ImageFile]()
  /// Files that they are in.
  private var pictures = 0
  private let path: String
  /// Of each kind how many, and the first few.
  private var leftOut = [(kind: FileKind, count: Int, names: [String])]()

  private static let deepest = 16
  private static let named = 3

  /// Nil where `path` is no folder. Throws `malformed` where it holds no picture, is nested too deeply, or a file claims
  /// by its name to be a picture and is none.
  init?(_ path: String) throws(FileError) {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
    self.path = path
    var files = [[UInt8]]()
    var seen: Set = [FileNumber(status)]
    try list([], depth: 0, into: &files, seen: &seen)
    for name in files.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
      try add(String(decoding: name, as: UTF8.self))
    }
    guard !images.isEmpty else {
      throw .malformed(
        path: path, what: "folder",
        found: "without a picture that can be read\(leftOut.isEmpty ? "" : ": \(list)")",
        expected: "\(FileKind.picturesInWords) files in it\(remedy.map { "; \($0)" } ?? "")")
    }
  }

  /// What was left out, and what to do about it.
  var advice: Advice? {
    guard !leftOut.isEmpty else { return nil }
    let count = leftOut.reduce(0) { $0 + $1.count }
    return Advice(
      "left out", of: path,
      "\(count) of \(count + pictures) files \(count == 1 ? "is" : "are") left out: \(list)"
        + (remedy.map { "; \($0)" } ?? ""))
  }

  private var list: String {
    leftOut.map { kind, count, names in
      "\(count) \(kind.rawValue) (\(names.joined(separator: ", "))\(count > names.count ? ", …" : ""))"
    }.joined(separator: ", ")
  }

  /// For the first kind that has one; the others are much the same.
  private var remedy: String? {
    leftOut.lazy.compactMap { $0.kind.remedy($0.names[0], of: "pictures") }.first
  }

  /// A folder or file whatever its names.
  private struct FileNumber: Hashable {
    var device: UInt64
    var node: UInt64

    init(_ status: stat) {
      device = UInt64(status.st_dev)
      node = UInt64(status.st_ino)
    }
  }

  /// Adds the paths of all files below a folder, which is named by its own path within this one.
  private func list(
    _ folder: [UInt8], depth: Int, into files: inout [[UInt8]], seen: inout Set<FileNumber>
  ) throws(FileError) {
    let full = absolute(String(decoding: folder, as: UTF8.self))
    guard depth <= Self.deepest else {
      throw .malformed(
        path: full, what: "folder", found: "nested more than \(Self.deepest) deep", expected: "fewer levels")
    }
    var folders = [[UInt8]]()
    for name in try Self.entries(full) {
      guard name.first != UInt8(ascii: "."), name != Array("__MACOSX".utf8) else { continue }
      let child = folder.isEmpty ? name : folder + [UInt8(ascii: "/")] + name
      var status = stat()
      guard stat(absolute(String(decoding: child, as: UTF8.self)), &status) == 0 else { continue }
      switch status.st_mode & S_IFMT {
      case S_IFREG: files.append(child)
      case S_IFDIR:
        // A link may lead to where we are.
        if seen.insert(FileNumber(status)).inserted { folders.append(child) }
      default: break
      }
    }
    for child in folders { try list(child, depth: depth + 1, into: &files, seen: &seen) }
  }

  private func absolute(_ name: String) -> String {
    name.isEmpty ? path : path + (path.hasSuffix("/") ? "" : "/") + name
  }

  /// The names in a folder, sorted by their bytes.
  private static func entries(_ path: String) throws(FileError) -> [[UInt8]] {
    guard let stream = opendir(path) else {
      throw .missing(path: path, reason: String(cString: strerror(errno)))
    }
    defer { closedir(stream) }
    var names = [[UInt8]]()
    while let entry = readdir(stream) {
      names.append(
        withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: UInt8.self, capacity: 1) {
            Array(UnsafeBufferPointer(start: $0, count: strlen($0)))
          }
        })
    }
    return names.sorted { $0.lexicographicallyPrecedes($1) }
  }

  private mutating func add(_ name: String) throws(FileError) {
    switch try ImageFile.inFolder(absolute(name), name: name) {
    case .pictures(let pages):
      images += pages
      pictures += 1
    case .other(let kind):
      let place = leftOut.firstIndex { $0.kind == kind } ?? leftOut.count
      if place == leftOut.count { leftOut.append((kind, 0, [])) }
      leftOut[place].count += 1
      if leftOut[place].names.count < Self.named { leftOut[place].names.append(name) }
    }
  }
}
