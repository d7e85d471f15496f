import AIPOKernels
import AIPOPlatform

/// A file, and what is meant of it where it holds several arrays: `FILE.h5:/path`, `FILE.mat:name`, `FILE.npz:name`.
struct FilePlace: Hashable, Sendable {
  let file: String
  let member: String?

  /// A name with a colon is a file's where there is one of that name, and else a place in the file of the name before it.
  init(_ text: String) {
    var status = stat()
    var split = text.firstIndex(of: ":")
    while stat(text, &status) != 0, let colon = split {
      let file = String(text[..<colon])
      if stat(file, &status) == 0, status.st_mode & S_IFMT != S_IFDIR {
        self.file = file
        member = String(text[text.index(after: colon)...])
        return
      }
      split = text[text.index(after: colon)...].firstIndex(of: ":")
    }
    file = text
    member = nil
  }

  /// For messages and lists.
  var name: String { ImageFile.lastComponent(file) + (member.map { ":\($0)" } ?? "") }
}

extension ByteSource {
  /// The whole of an open file, of which `beginning` was read: a regular file in place, a pipe up to a limit in memory.
  static func whole(
    _ file: InputFile, beginning: [UInt8], limit: Int = .max
  ) throws(FileError) -> ByteSource {
    if let regular = try ByteSource(file, limit: limit) { return regular }
    let bytes = try ByteStream(file, pending: beginning).read(ImageLimits.fileBytes + 1)
    guard bytes.count <= ImageLimits.fileBytes else {
      throw .malformed(
        path: file.path, what: "file size", found: "more than \(ImageLimits.fileBytes) bytes",
        expected: "fewer from a pipe")
    }
    return ByteSource(bytes: bytes, path: file.path)
  }
}
