import AIPOKernels

/// One picture: a PNG, JPEG or WebP file, or a page of a TIFF. Files of a folder are read anew each time, so that a large
/// folder needs no memory.
struct ImageFile: Sendable {
  let path: String
  /// Within its folder, if it was found in one; with `#page` where there are several.
  let name: String
  let shape: ImageShape
  let type: ElementType
  let geometry: ImageGeometry?
  private let kind: FileKind
  /// Where the directory of a TIFF's page is.
  private let page: UInt64
  /// Kept where the file was named itself and may be a pipe.
  private let content: ByteSource?

  /// The pages of a file that was named itself. `beginning` are the bytes read so far.
  static func open(_ file: InputFile, beginning: [UInt8]) throws(FileError) -> [ImageFile] {
    let kind = FileKind(beginning, path: file.path)
    guard kind.isPicture else { throw unknown(path: file.path, kind) }
    let source = try ByteSource.whole(file, beginning: beginning, limit: limit(kind))
    return try pages(kind, source, name: lastComponent(file.path), keep: true)
  }

  /// What a file of a folder is.
  enum Found {
    case pictures([ImageFile])
    case other(FileKind)
  }

  /// Throws `malformed` where a file claims by its name to be a picture, and is of no known kind.
  static func inFolder(_ path: String, name: String) throws(FileError) -> Found {
    let file = try InputFile(path: path)
    let beginning = try file.next(1 << 16)
    let kind = FileKind(beginning, path: path)
    guard kind.isPicture else {
      let claims = [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"].contains(
        where: path.lowercased().hasSuffix)
      guard claims, kind == .other || kind == .empty else { return .other(kind) }
      throw unknown(path: path, kind)
    }
    // The header is nearly always within the first 64 KiB.
    if kind != .tiff,
      let pages = try? pages(kind, ByteSource(bytes: beginning, path: path), name: name, keep: false)
    {
      return .pictures(pages)
    }
    let source = try ByteSource(path: path, limit: limit(kind))
    return .pictures(try pages(kind, source, name: name, keep: false))
  }

  private static func pages(
    _ kind: FileKind, _ source: ByteSource, name: String, keep: Bool
  ) throws(FileError) -> [ImageFile] {
    let content = keep ? source : nil
    #if TIFF
      if kind == .tiff {
        let pages = try TIFF.pages(source)
        return pages.enumerated().map { index, page in
          ImageFile(
            path: source.path, name: pages.count == 1 ? name : "\(name)#\(index)", shape: page.shape,
            type: page.type, geometry: page.geometry, kind: kind, page: page.offset, content: content)
        }
      }
    #endif
    let bytes = try source.bytes(0..<source.count)
    let shape: ImageShape
    var type = ElementType.uint8
    switch kind {
    case .png:
      let header = try PNG.header(bytes, path: source.path)
      shape = header.orientation.shape(of: header.shape)
      if !header.isEightBit { type = .uint16 }
    #if WebP
      case .webp: shape = try WebP.header(bytes, path: source.path)
    #endif
    default: shape = try JPEG.header(bytes, path: source.path)
    }
    return [
      ImageFile(
        path: source.path, name: name, shape: shape, type: type, geometry: nil, kind: kind, page: 0,
        content: content)
    ]
  }

  /// The pixels, `[h, w, c]`.
  func pixels() throws(FileError) -> StoredPixels {
    let source: ByteSource
    if let content { source = content } else { source = try ByteSource(path: path, limit: Self.limit(kind)) }
    let decoded: (shape: ImageShape, pixels: StoredPixels)
    switch kind {
    #if TIFF
      case .tiff: decoded = try TIFF.decode(source, page: page)
    #endif
    #if WebP
      case .webp:
        let (shape, pixels) = try WebP.decode(source.bytes(0..<source.count), path: path)
        decoded = (shape, .bytes(pixels))
    #endif
    case .png: decoded = try PNG.decode(source.bytes(0..<source.count), path: path)
    default:
      let (shape, pixels) = try JPEG.decode(source.bytes(0..<source.count), path: path)
      decoded = (shape, .bytes(pixels))
    }
    guard decoded.shape == shape else {
      throw .malformed(
        path: path, what: "image size", found: "\(decoded.shape)", expected: "\(shape) as when it was opened")
    }
    return decoded.pixels
  }

  /// A TIFF is read in pieces.
  private static func limit(_ kind: FileKind) -> Int { kind == .tiff ? .max : ImageLimits.fileBytes }

  static func lastComponent(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }

  private static func unknown(path: String, _ kind: FileKind) -> FileError {
    let readable =
      kind.isForeignPicture
      ? FileKind.picturesInWords
      : FileKind.pictures.map(\.rawValue).joined(separator: ", ")
        + ", NPY, NPZ, IDX, HDF5, MAT, NIfTI, CFL, gzip of NPY, IDX or NIfTI, or a folder of pictures"
    let remedy = kind.remedy(lastComponent(path)).map { "; \($0)" } ?? ""
    return .malformed(path: path, what: "file", found: kind.words, expected: readable + remedy)
  }
}
