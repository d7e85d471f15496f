import AIPOKernels

/// Arrays of any rank in NPY files and all others that hold arrays (``ImageSet``), TIFF among them: observations, operators,
/// masks, latents.
public enum NPYFile {
  /// Reads a whole array. Booleans become 0 and 1, integers their value: nothing is scaled. A TIFF's is `[h, w]` with the
  /// number of channels behind and that of pages before, where there are several.
  ///
  /// Throws `FileError` where the file is missing or malformed, or holds a non-finite value that is
  /// refused; `TensorError` where memory is short.
  public static func read<Scalar: KernelScalar>(
    _ path: String, as type: Scalar.Type = Scalar.self, nonFinite: NonFinitePolicy = .refused
  ) throws -> Tensor<Scalar> {
    let place = FilePlace(path)
    let file = try InputFile(path: place.file)
    let beginning = try file.next(ArrayData.headBytes)
    guard let array = try ArrayData(file, beginning: beginning, member: place.member) else {
      let kind = FileKind(beginning, path: path)
      if kind == .tiff { return try pages(try ImageFile.open(file, beginning: beginning), nonFinite) }
      let remedy =
        kind.isForeignPicture ? nil : kind.remedy(ImageFile.lastComponent(path)).map { "; \($0)" }
      throw FileError.malformed(
        path: path, what: "file", found: kind.words, expected: "an NPY array\(remedy ?? "")")
    }
    return try tensor(array, nonFinite: nonFinite)
  }

  /// The values of all pages, which must be of one shape.
  private static func pages<Scalar: KernelScalar>(
    _ pages: [ImageFile], _ nonFinite: NonFinitePolicy
  ) throws -> Tensor<Scalar> {
    let shape = pages[0].shape
    if let other = pages.first(where: { $0.shape != shape }) {
      throw FileError.malformed(
        path: other.path, what: "size of page \(other.name)", found: "\(other.shape)",
        expected: "\(shape) as the first")
    }
    var result = try Tensor<Scalar>(
      shape: (pages.count > 1 ? [pages.count] : []) + [shape.height, shape.width]
        + (shape.channels > 1 ? [shape.channels] : []))
    try result.withUnsafeMutableBufferPointer { out in
      for (k, page) in pages.enumerated() {
        let values = try page.pixels().values
        if let bad = nonFinite.firstRefused(values, Scalar.self) {
          throw FileError.malformed(
            path: page.path,
            what: "value at \(indices(of: bad, in: [shape.height, shape.width, shape.channels]))",
            found: "\(values[bad])", expected: "a finite \(Scalar.self)")
        }
        store(values, into: UnsafeMutableBufferPointer(rebasing: out[(k * shape.count)...]))
      }
    }
    return result
  }

  static func tensor<Scalar: KernelScalar>(
    _ array: ArrayData, nonFinite: NonFinitePolicy
  ) throws -> Tensor<Scalar> {
    let header = array.header
    var result = try Tensor<Scalar>(shape: header.shape)
    let count = result.count
    try result.withUnsafeMutableBufferPointer { out in
      // In pieces, so that the file's bytes never need memory of their own.
      let piece = 1 << 16
      var values = [Double](repeating: 0, count: min(piece, count))
      for start in stride(from: 0, to: count, by: piece) {
        let end = min(start + piece, count)
        let bytes = try array.bytes((start * header.type.size)..<(end * header.type.size))
        if values.count != end - start { values.removeLast(values.count - (end - start)) }
        header.forEachValue(bytes) { values[$0] = $1 }
        if let bad = nonFinite.firstRefused(values, Scalar.self) {
          throw FileError.malformed(
            path: array.path, what: "value at \(indices(of: start + bad, in: header.shape))",
            found: "\(values[bad])", expected: "a finite \(Scalar.self)")
        }
        store(values, into: UnsafeMutableBufferPointer(rebasing: out[start..<end]))
      }
    }
    return result
  }

  /// Writes a whole array in the precision of its scalars. Throws `unwritable`.
  public static func write<Scalar: KernelScalar>(_ tensor: Tensor<Scalar>, to path: String) throws(FileError)
  {
    let file = try AtomicFile(path: path)
    try file.write(NPY.header(descr: descr(Scalar.self), shape: tensor.shape))
    try append(tensor, to: file)
    try file.commit()
  }

  static func descr<Scalar: KernelScalar>(_: Scalar.Type) -> String {
    MemoryLayout<Scalar>.size == 4 ? "<f4" : "<f8"
  }

  static func append<Scalar: KernelScalar>(_ tensor: Tensor<Scalar>, to file: AtomicFile) throws(FileError) {
    #if _endian(little)
      try tensor.withUnsafeBufferPointer { buffer throws(FileError) in
        try file.write(UnsafeRawBufferPointer(buffer))
      }
    #else
      #error("NPY files are written little-endian; swap bytes here")
    #endif
  }

  private static func indices(of position: Int, in shape: [Int]) -> [Int] {
    var rest = position
    var result = [Int]()
    for extent in shape.reversed() {
      result.append(rest % extent)
      rest /= extent
    }
    return result.reversed()
  }
}

/// Writes an NPY file whose number of rows is known only at the end, a batch at a time, or an NPZ of one array, deflated,
/// where the name ends in `.npz`. The file appears with `finish`; what was appended so far is a valid result whenever
/// that is called.
public final class NPYWriter<Scalar: KernelScalar> {
  private enum Target {
    case plain(AtomicFile)
    case archive(ZipWriter)
  }
  private let target: Target
  private let rowShape: [Int]
  private var values = 0
  public var rows: Int { values / max(rowShape.reduce(1, *), 1) }

  /// `rowShape` is the shape behind the first axis. Throws `unwritable`.
  public init(path: String, rowShape: [Int]) throws(FileError) {
    self.rowShape = rowShape
    if path.lowercased().hasSuffix(".npz") {
      let archive = try ZipWriter(path: path)
      target = .archive(archive)
      // The name that NumPy gives an array without one.
      try archive.begin("arr_0.npy", head: header)
    } else {
      let file = try AtomicFile(path: path)
      target = .plain(file)
      try file.write(header)
    }
  }

  /// Appends `[k] + rowShape`.
  public func append(_ batch: Tensor<Scalar>) throws(FileError) {
    precondition(Array(batch.shape.dropFirst()) == rowShape, "rows of \(batch.shape) for \(rowShape)")
    try batch.withUnsafeBufferPointer { buffer throws(FileError) in try append(values: buffer) }
  }

  /// Appends some values of a row, or of several.
  func append(values: UnsafeBufferPointer<Scalar>) throws(FileError) {
    #if !_endian(little)
      #error("NPY files are written little-endian; swap bytes here")
    #endif
    switch target {
    case .plain(let file): try file.write(UnsafeRawBufferPointer(values))
    case .archive(let archive): try archive.append(UnsafeRawBufferPointer(values))
    }
    self.values += values.count
  }

  /// Completes the header and puts the file in its place.
  public func finish() throws(FileError) {
    switch target {
    case .plain(let file):
      try file.overwrite(at: 0, with: header)
      try file.commit()
    case .archive(let archive):
      try archive.end(head: header)
      try archive.finish()
    }
  }

  private var header: [UInt8] { NPY.header(descr: NPYFile.descr(Scalar.self), shape: [rows] + rowShape) }
}
