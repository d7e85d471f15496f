import AIPOKernels

/// NumPy's archives: a zip of NPY files, as `np.savez` and `np.savez_compressed` write it.
public enum NPZFile {
  /// Names and arrays, in the order of the archive. Booleans become 0 and 1, integers their value.
  ///
  /// Throws `FileError` where the file is missing or malformed, holds a non-finite value that is refused, or would
  /// unpack to more than 4 GiB altogether; `TensorError` where memory is short.
  public static func read<Scalar: KernelScalar>(
    _ path: String, as type: Scalar.Type = Scalar.self, nonFinite: NonFinitePolicy = .refused
  ) throws -> [(name: String, array: Tensor<Scalar>)] {
    let archive = try ZipArchive(ByteSource(path: path, limit: ImageLimits.arrayBytes))
    let size = archive.entries.reduce(0) { $0 + $1.size }
    guard size <= ImageLimits.arrayBytes else {
      throw archive.source.malformed(
        "NPZ file", "of arrays of \(size) bytes together", "at most \(ImageLimits.arrayBytes)")
    }
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
    let writer = try NPZWriter(path: path)
    for (name, array) in arrays { try writer.add(name, array) }
    try writer.finish()
  }

  static func archive(_ file: InputFile) throws(FileError) -> ZipArchive {
    guard let source = try ByteSource(file, limit: ImageLimits.arrayBytes) else {
      throw .malformed(path: file.path, what: "zip file", found: "in a pipe", expected: "a regular file")
    }
    return try ZipArchive(source)
  }

  /// The array of this name, or the only one, where a single one is expected.
  static func array(_ member: String?, in file: InputFile) throws(FileError) -> ArrayData {
    let archive = try archive(file)
    let source = archive.source
    guard !archive.entries.contains(where: { $0.name.hasSuffix("data.pkl") }) else {
      throw source.malformed(
        "file", "one of torch.save", "an NPY array; save it from Python: numpy.save('x.npy', tensor.numpy())")
    }
    let found = archive.entries.filter { member == nil || name($0) == member }
    guard found.count == 1 else {
      let names = archive.entries.prefix(8).map(name).joined(separator: ", ")
      throw source.malformed(
        "NPZ file",
        "\(member.map { "without '\($0)', " } ?? "")of \(archive.entries.count) arrays (\(names))",
        "one, or its name behind the file's, as \(ImageFile.lastComponent(source.path)):"
          + (archive.entries.first.map(name) ?? "x"))
    }
    return try array(found[0], of: archive)
  }

  /// A short text, as NumPy keeps it: bytes, or 32-bit characters; nothing where it is something else.
  static func text(_ name: String, of archive: ZipArchive) throws(FileError) -> String {
    guard let entry = archive.entries.first(where: { $0.name == name }) else { return "" }
    let bytes = try archive.bytes(entry, limit: 1 << 12)
    let length = try NPY.headerLength(bytes, path: archive.source.path)
    return String(decoding: bytes.dropFirst(length).filter { $0 != 0 }.prefix(100), as: UTF8.self)
  }

  static func array(_ entry: ZipArchive.Entry, of archive: ZipArchive) throws(FileError) -> ArrayData {
    try ArrayData(
      npy: try archive.bytes(entry, limit: ImageLimits.arrayBytes),
      path: "\(archive.source.path):\(entry.name)")
  }

  private static func name(_ entry: ZipArchive.Entry) -> String {
    entry.name.hasSuffix(".npy") ? String(entry.name.dropLast(4)) : entry.name
  }
}

/// Writes an archive of arrays one after another, deflated; it appears with `finish`.
public final class NPZWriter {
  private let zip: ZipWriter

  /// Throws `unwritable`.
  public init(path: String) throws(FileError) { zip = try ZipWriter(path: path) }

  /// Adds an array in the precision of its scalars.
  public func add<Scalar: KernelScalar>(_ name: String, _ array: Tensor<Scalar>) throws(FileError) {
    try zip.begin(name + ".npy", head: NPY.header(descr: NPYFile.descr(Scalar.self), shape: array.shape))
    try array.withUnsafeBufferPointer { buffer throws(FileError) in
      try zip.append(UnsafeRawBufferPointer(buffer))
    }
    try zip.end()
  }

  /// Puts the file in its place.
  public func finish() throws(FileError) { try zip.finish() }
}
