import AIPOKernels

/// The Berkeley Advanced Reconstruction Toolbox's arrays: complex numbers in `NAME.cfl`, their dimensions in `NAME.hdr`.
///
/// The first dimension is innermost, so they are taken in the opposite order, without those of extent 1 but the first two;
/// real and imaginary part are an axis of two at the end. k-space of 256×256 and 8 coils is `[8, 256, 256, 2]`.
enum CFL {
  private static let longestText = 1 << 16

  /// Nil where a file is neither part of such a pair.
  static func array(_ file: InputFile, beginning: [UInt8]) throws(FileError) -> ArrayData? {
    let name = file.path
    let isHeader = beginning.starts(with: Array("# Dimensions".utf8))
    guard isHeader || name.hasSuffix(".cfl") else { return nil }
    let stem = isHeader && !name.hasSuffix(".hdr") ? name : String(name.dropLast(4))
    let extents = try dimensions(path: isHeader ? name : stem + ".hdr")
    let source = try ByteSource(path: stem + ".cfl", limit: .max)
    var shape = Array(extents.prefix(2))
    shape += extents.dropFirst(2).filter { $0 > 1 }
    let header = ArrayHeader(
      format: "CFL", type: .float32, bigEndian: false, fortranOrder: false, shape: shape.reversed() + [2],
      offset: 0)
    let count = try header.byteCount(path: source.path)
    guard source.count == count else {
      throw source.malformed(
        "CFL array", "\(source.count) bytes", "\(count) for \(extents) as \(stem).hdr says")
    }
    return ArrayData(source, header: header)
  }

  private static func dimensions(path: String) throws(FileError) -> [Int] {
    let text = String(decoding: try InputFile.bytes(path: path, limit: longestText), as: UTF8.self)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let place = lines.firstIndex { $0.hasPrefix("# Dimensions") }
    let words = place.flatMap { $0 + 1 < lines.count ? lines[$0 + 1].split(separator: " ") : nil } ?? []
    let extents = words.compactMap { Int($0) }
    guard (1...16).contains(words.count), extents.count == words.count, extents.allSatisfy({ $0 > 0 }) else {
      throw .malformed(
        path: path, what: "CFL header", found: "\(words.prefix(16).joined(separator: " "))",
        expected: "a line of 1 to 16 positive numbers behind '# Dimensions'")
    }
    return extents.count == 1 ? extents + [1] : extents
  }
}
