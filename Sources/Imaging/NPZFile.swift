import AIPOKernels
import CAIPOZlib

/// NumPy's archives: a zip of NPY files, as `np.savez` and `np.savez_compressed` write it.
public enum NPZFile {
  /// Names and arrays, in the order of the archive. Booleans become 0 and 1, integers their value.
  ///
  /// Throws `FileError` where the file is missing or malformed, or holds a non-finite value that is refused;
  /// `TensorError` where memory is short.
  public static func read<Scalar: KernelScalar>(
    _ path: String, as type: Scalar.Type = Scalar.self, nonFinite: NonFinitePolicy = .refused
  ) throws -> [(name: String, array: Tensor<Scalar>)] {
    let archive = try ZipArchive(ByteSource(path: path, limit: ImageLimits.arrayBytes))
    return try archive.entries.map { entry in
      let array = try array(entry, of: archive)
      return (name(entry), try NPYFile.tensor(array, nonFinite: nonFinite))
    }
  }

  /// Writes arrays, deflated, in the precision of their scalars; the same bytes for the same content. Throws
  /// `unwritable`.
  public static func write<Scalar: KernelScalar>(
    _ arrays: [(name: String, array: Tensor<Scalar>)], to path: String
  ) throws(FileError) {
    let file = try AtomicFile(path: path)
    var writer = ZipWriter(file: file)
    for (name, array) in arrays {
      var bytes = NPY.header(descr: NPYFile.descr(Scalar.self), shape: array.shape)
      array.withUnsafeBufferPointer { bytes += UnsafeRawBufferPointer($0) }
      try writer.add(name + ".npy", bytes)
    }
    try writer.finish()
    try file.commit()
  }

  /// The one array of an archive that is to be read where a single one is expected.
  static func only(in file: InputFile) throws(FileError) -> ArrayData {
    guard let source = try ByteSource(file, limit: ImageLimits.arrayBytes) else {
      throw .malformed(path: file.path, what: "zip file", found: "in a pipe", expected: "a regular file")
    }
    let archive = try ZipArchive(source)
    guard archive.entries.count == 1 else {
      let names = archive.entries.prefix(8).map(name).joined(separator: ", ")
      throw source.malformed("NPZ file", "of \(archive.entries.count) arrays (\(names))", "one array")
    }
    return try array(archive.entries[0], of: archive)
  }

  private static func array(_ entry: ZipArchive.Entry, of archive: ZipArchive) throws(FileError) -> ArrayData
  {
    try ArrayData(
      npy: try archive.bytes(entry, limit: ImageLimits.arrayBytes),
      path: "\(archive.source.path):\(entry.name)")
  }

  private static func name(_ entry: ZipArchive.Entry) -> String {
    entry.name.hasSuffix(".npy") ? String(entry.name.dropLast(4)) : entry.name
  }
}

/// Writes entries one after another, deflated, and the directory at the end; without times.
private struct ZipWriter {
  let file: AtomicFile
  private var directory: [UInt8] = []
  private var count = 0

  init(file: AtomicFile) { self.file = file }

  mutating func add(_ name: String, _ bytes: [UInt8]) throws(FileError) {
    let packed = try deflated(bytes)
    let offset = file.byteCount
    guard max(bytes.count, packed.count, offset) < 0xFFFF_FFFF else {
      throw .unwritable(path: file.path, reason: "an NPZ of more than 4 GiB; write NPY files instead")
    }
    let checksum = bytes.withUnsafeBytes { ZipArchive.checksum($0, from: 0) }
    let numbers =
      Self.half(20) + Self.half(0) + Self.half(8) + Self.word(0x21 << 16) + Self.word(Int(checksum))
      + Self.word(packed.count) + Self.word(bytes.count) + Self.half(name.utf8.count) + Self.half(0)
    try file.write([0x50, 0x4B, 3, 4] + numbers + Array(name.utf8))
    try file.write(packed)
    directory +=
      [0x50, 0x4B, 1, 2] + Self.half(20) + numbers + Self.half(0) + Self.half(0) + Self.half(0) + Self.word(0)
      + Self.word(offset) + Array(name.utf8)
    count += 1
  }

  func finish() throws(FileError) {
    let start = file.byteCount
    try file.write(directory)
    try file.write(
      [0x50, 0x4B, 5, 6] + Self.half(0) + Self.half(0) + Self.half(count) + Self.half(count)
        + Self.word(directory.count) + Self.word(start) + Self.half(0))
  }

  private func deflated(_ bytes: [UInt8]) throws(FileError) -> [UInt8] {
    var stream = z_stream()
    guard
      deflateInit2_(
        &stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY, zlibVersion(), Int32(MemoryLayout<z_stream>.size))
        == Z_OK
    else { throw .unwritable(path: file.path, reason: "zlib could not be started") }
    defer { deflateEnd(&stream) }
    var input = bytes
    var result: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 18)
    var position = 0
    var status = Z_OK
    while status == Z_OK {
      input.withUnsafeMutableBufferPointer { input in
        piece.withUnsafeMutableBufferPointer { output in
          let count = min(input.count - position, 1 << 30)
          stream.next_in = input.baseAddress.map { $0 + position }
          stream.avail_in = UInt32(count)
          stream.next_out = output.baseAddress
          stream.avail_out = UInt32(output.count)
          status = deflate(&stream, position + count == input.count ? Z_FINISH : Z_NO_FLUSH)
          position += count - Int(stream.avail_in)
        }
      }
      result += piece[..<(piece.count - Int(stream.avail_out))]
    }
    guard status == Z_STREAM_END else {
      throw .unwritable(path: file.path, reason: "zlib failed (\(status))")
    }
    return result
  }

  private static func half(_ value: Int) -> [UInt8] {
    [UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8)]
  }
  private static func word(_ value: Int) -> [UInt8] { half(value) + half(value >> 16) }
}
