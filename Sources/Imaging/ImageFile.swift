import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// One PNG or JPEG file. Files of a folder are read anew each time, so that a large folder needs no memory.
struct ImageFile: Sendable {
  let path: String
  let name: String
  let shape: ImageShape
  let isEightBit: Bool
  /// Kept where the file was named itself and may be a pipe.
  private let content: [UInt8]?

  /// `beginning` are the bytes read so far.
  init(_ file: InputFile, beginning: [UInt8]) throws(FileError) {
    guard Self.isImage(beginning) else { throw Self.unknown(path: file.path, beginning) }
    let bytes = try ByteStream(file, pending: beginning).read(ImageLimits.fileBytes + 1)
    try self.init(path: file.path, bytes: bytes, keep: bytes)
  }

  private init(path: String, bytes: [UInt8], keep: [UInt8]?) throws(FileError) {
    self.path = path
    name = Self.lastComponent(path)
    content = keep
    guard bytes.count <= ImageLimits.fileBytes else {
      throw .malformed(
        path: path, what: "file size", found: "more than \(ImageLimits.fileBytes) bytes",
        expected: "a smaller image")
    }
    if bytes.starts(with: PNG.signature) {
      let header = try PNG.header(bytes, path: path)
      shape = header.shape
      isEightBit = header.isEightBit
    } else if bytes.starts(with: JPEG.signature) {
      shape = try JPEG.header(bytes, path: path)
      isEightBit = true
    } else {
      throw Self.unknown(path: path, bytes)
    }
  }

  /// The pixels, `[h, w, c]`.
  func pixels() throws(FileError) -> StoredPixels {
    let bytes: [UInt8]
    if let content {
      bytes = content
    } else {
      bytes = try InputFile.bytes(path: path, limit: ImageLimits.fileBytes)
    }
    let decoded: (shape: ImageShape, pixels: StoredPixels)
    if bytes.starts(with: PNG.signature) {
      decoded = try PNG.decode(bytes, path: path)
    } else {
      let (shape, pixels) = try JPEG.decode(bytes, path: path)
      decoded = (shape, .bytes(pixels))
    }
    guard decoded.shape == shape else {
      throw .malformed(
        path: path, what: "image size", found: "\(decoded.shape)", expected: "\(shape) as when it was opened")
    }
    return decoded.pixels
  }

  /// The images of a folder, sorted by the bytes of their names; nil where `path` is no folder.
  static func folder(_ path: String) throws(FileError) -> [ImageFile]? {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
    guard let stream = opendir(path) else {
      throw .missing(path: path, reason: String(cString: strerror(errno)))
    }
    defer { closedir(stream) }
    var names = [[UInt8]]()
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: UInt8.self, capacity: 1) {
          Array(UnsafeBufferPointer(start: $0, count: strlen($0)))
        }
      }
      if name.first != UInt8(ascii: ".") { names.append(name) }
    }
    var images = [ImageFile]()
    for name in names.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
      let file = (path.hasSuffix("/") ? path : path + "/") + String(decoding: name, as: UTF8.self)
      guard stat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { continue }
      if let image = try ofFolder(file) { images.append(image) }
    }
    guard !images.isEmpty else {
      throw .malformed(
        path: path, what: "folder", found: "without images", expected: "PNG or JPEG files directly in it")
    }
    return images
  }

  /// Nil where the file is no image and doesn't claim to be one by its name.
  private static func ofFolder(_ path: String) throws(FileError) -> ImageFile? {
    let file = try InputFile(path: path)
    let beginning = try file.next(1 << 16)
    guard isImage(beginning) else {
      let name = path.lowercased()
      guard [".png", ".jpg", ".jpeg"].contains(where: name.hasSuffix) else { return nil }
      throw unknown(path: path, beginning)
    }
    // The header is nearly always within the first 64 KiB.
    if let image = try? ImageFile(path: path, bytes: beginning, keep: nil) { return image }
    let bytes = try ByteStream(file, pending: beginning).read(ImageLimits.fileBytes + 1)
    return try ImageFile(path: path, bytes: bytes, keep: nil)
  }

  static func lastComponent(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }

  private static func isImage(_ bytes: [UInt8]) -> Bool {
    bytes.starts(with: PNG.signature) || bytes.starts(with: JPEG.signature)
  }

  private static func unknown(path: String, _ bytes: [UInt8]) -> FileError {
    .malformed(
      path: path, what: "file", found: bytes.isEmpty ? "empty" : "of unknown format",
      expected: "PNG, JPEG, NPY, IDX, gzip of NPY or IDX, or a folder of PNG and JPEG files")
  }
}
