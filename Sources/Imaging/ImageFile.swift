import AIPOKernels

/// One PNG or JPEG file. Files of a folder are read anew each time, so that a large folder needs no memory.
struct ImageFile: Sendable {
  let path: String
  /// Within its folder, if it was found in one.
  let name: String
  let shape: ImageShape
  let isEightBit: Bool
  /// Kept where the file was named itself and may be a pipe.
  private let content: [UInt8]?

  /// `beginning` are the bytes read so far.
  init(_ file: InputFile, beginning: [UInt8]) throws(FileError) {
    guard Self.isImage(beginning) else { throw Self.unknown(path: file.path, beginning) }
    let bytes = try ByteStream(file, pending: beginning).read(ImageLimits.fileBytes + 1)
    try self.init(path: file.path, name: Self.lastComponent(file.path), bytes: bytes, keep: bytes)
  }

  private init(path: String, name: String, bytes: [UInt8], keep: [UInt8]?) throws(FileError) {
    self.path = path
    self.name = name
    content = keep
    guard bytes.count <= ImageLimits.fileBytes else {
      throw .malformed(
        path: path, what: "file size", found: "more than \(ImageLimits.fileBytes) bytes",
        expected: "a smaller image")
    }
    if bytes.starts(with: PNG.signature) {
      let header = try PNG.header(bytes, path: path)
      shape = header.orientation.shape(of: header.shape)
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

  /// What a file of a folder is.
  enum Found {
    case picture(ImageFile)
    case other(FileKind)
  }

  /// Throws `malformed` where a file claims by its name to be a picture, and is of no known kind.
  static func inFolder(_ path: String, name: String) throws(FileError) -> Found {
    let file = try InputFile(path: path)
    let beginning = try file.next(1 << 16)
    guard isImage(beginning) else {
      let kind = FileKind(beginning, path: path)
      let claims = [".png", ".jpg", ".jpeg"].contains(where: path.lowercased().hasSuffix)
      guard claims, kind == .other || kind == .empty else { return .other(kind) }
      throw unknown(path: path, beginning)
    }
    // The header is nearly always within the first 64 KiB.
    if let image = try? ImageFile(path: path, name: name, bytes: beginning, keep: nil) {
      return .picture(image)
    }
    let bytes = try ByteStream(file, pending: beginning).read(ImageLimits.fileBytes + 1)
    return .picture(try ImageFile(path: path, name: name, bytes: bytes, keep: nil))
  }

  static func lastComponent(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }

  private static func isImage(_ bytes: [UInt8]) -> Bool {
    bytes.starts(with: PNG.signature) || bytes.starts(with: JPEG.signature)
  }

  private static func unknown(path: String, _ bytes: [UInt8]) -> FileError {
    let kind = FileKind(bytes, path: path)
    let readable =
      kind.isForeignPicture
      ? "PNG or JPEG" : "PNG, JPEG, NPY, IDX, gzip of NPY or IDX, or a folder of PNG and JPEG files"
    let remedy = kind.remedy(lastComponent(path)).map { "; \($0)" } ?? ""
    return .malformed(path: path, what: "file", found: kind.words, expected: readable + remedy)
  }
}
