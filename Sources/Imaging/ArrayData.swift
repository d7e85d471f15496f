import AIPOKernels

/// The elements of an array: in memory, or left in a regular file until wanted.
struct ArrayData: Sendable {
  /// In C order by now.
  let header: ArrayHeader
  /// Of slices, if the file says.
  let geometry: ImageGeometry?
  private let source: ByteSource

  var path: String { source.path }

  /// Elements from the header's offset on, which are there.
  init(_ source: ByteSource, header: ArrayHeader, geometry: ImageGeometry? = nil) {
    self.source = source
    self.header = header
    self.geometry = geometry
  }

  /// What tells a file's format.
  static let headBytes = 1024

  /// Opens what `file` holds if it is an array of any format, or an archive of one or with one that is named `member`; nil
  /// where it is something else.
  init?(_ file: InputFile, beginning: [UInt8], member: String? = nil) throws(FileError) {
    if ZipArchive.isZip(beginning) {
      self = try NPZFile.array(member, in: file)
      return
    }
    switch FileKind(beginning, path: file.path) {
    case .hdf5:
      self = try HDF5(.whole(file, beginning: beginning)).dataset(member).array()
      return
    case .matlab:
      self = try MAT(.whole(file, beginning: beginning)).array(member)
      return
    default: break
    }
    if let member {
      throw .malformed(
        path: file.path, what: "file", found: "none that has a part '\(member)'", expected: "HDF5, MAT or NPZ"
      )
    }
    if beginning.starts(with: [0x1F, 0x8B]) {
      self = try Self.unpacked(file, beginning)
    } else if NPY.isNPY(beginning) || IDX.isIDX(beginning) {
      self = try Self.plain(file, beginning)
    } else if let volume = NIfTI(beginning, path: file.path) {
      self = try volume.array(.whole(file, beginning: beginning))
    } else if let array = try CFL.array(file, beginning: beginning) {
      self = array
    } else {
      return nil
    }
  }

  /// NPY or IDX that isn't packed.
  private static func plain(_ file: InputFile, _ beginning: [UInt8]) throws(FileError) -> ArrayData {
    let stream = ByteStream(file, pending: beginning)
    let (header, bytes) = try Self.header(stream)
    if !header.fortranOrder, let source = try ByteSource(file, limit: .max) {
      let expected = try header.byteCount(path: file.path)
      guard source.count == header.offset + expected else {
        throw wrongSize(source.count - header.offset, expected, header, path: file.path)
      }
      return ArrayData(source, header: header)
    }
    return try inMemory(stream, header, bytes)
  }

  private static func unpacked(_ file: InputFile, _ beginning: [UInt8]) throws(FileError) -> ArrayData {
    let stream = try ByteStream(gzip: file, pending: beginning)
    let head = try stream.peek(NIfTI.headBytes)
    if let volume = NIfTI(head, path: file.path) {
      let (header, end) = try volume.header()
      guard end <= ImageLimits.arrayBytes else { throw tooLarge(end, header, path: file.path) }
      let bytes = try stream.read(end)
      return try volume.array(ByteSource(bytes: bytes, path: file.path))
    }
    guard NPY.isNPY(head) || IDX.isIDX(head) else {
      throw .malformed(
        path: file.path, what: "content of the gzip file", found: "of unknown format",
        expected: "IDX, NPY or NIfTI")
    }
    let (header, bytes) = try Self.header(stream)
    return try inMemory(stream, header, bytes)
  }

  /// The header of an NPY or IDX, and the bytes that were read for it.
  private static func header(_ stream: ByteStream) throws(FileError) -> (ArrayHeader, [UInt8]) {
    let path = stream.path
    var bytes = try stream.read(16)
    if NPY.isNPY(bytes) {
      let length = try NPY.headerLength(bytes, path: path)
      bytes += try stream.read(max(0, length - bytes.count))
      return (try NPY.header(bytes, length: length, path: path), bytes)
    }
    bytes += try stream.read(max(0, 4 + 4 * Int(bytes[3]) - bytes.count))
    return (try IDX.header(bytes, path: path), bytes)
  }

  private static func inMemory(
    _ stream: ByteStream, _ header: ArrayHeader, _ bytes: [UInt8]
  ) throws(FileError) -> ArrayData {
    let expected = try header.byteCount(path: stream.path)
    guard expected <= ImageLimits.arrayBytes else { throw tooLarge(expected, header, path: stream.path) }
    var data = Array(bytes[min(header.offset, bytes.count)...])
    if data.count <= expected { data += try stream.read(expected + 1 - data.count) }
    guard data.count == expected else {
      throw wrongSize(data.count, expected, header, path: stream.path)
    }
    return ArrayData(data, header: header, path: stream.path)
  }

  /// An NPY array in memory, as an archive holds it.
  init(npy bytes: [UInt8], path: String) throws(FileError) {
    guard NPY.isNPY(bytes) else {
      throw .malformed(path: path, what: "content", found: "of unknown format", expected: "an NPY array")
    }
    let length = try NPY.headerLength(bytes, path: path)
    let header = try NPY.header(bytes, length: length, path: path)
    let expected = try header.byteCount(path: path)
    guard bytes.count - length == expected else {
      throw Self.wrongSize(bytes.count - length, expected, header, path: path)
    }
    self.init(Array(bytes[length...]), header: header, path: path)
  }

  /// All elements, in any order.
  private init(_ data: [UInt8], header: ArrayHeader, path: String) {
    var header = header
    var data = data
    if header.fortranOrder {
      data = Self.rowMajor(data, shape: header.shape, size: header.type.size)
      header.fortranOrder = false
    }
    header.offset = 0
    self.init(ByteSource(bytes: data, path: path), header: header)
  }

  /// Numbers of a program.
  init(_ values: Tensor<Double>, name: String) {
    let bytes = values.withUnsafeBufferPointer {
      $0.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) }
    }
    self.init(
      ByteSource(bytes: bytes, path: name),
      header: ArrayHeader(
        format: "tensor", type: .float64, bigEndian: false, fortranOrder: false, shape: values.shape,
        offset: 0))
  }

  /// The bytes of `range` among those of the elements.
  func bytes(_ range: Range<Int>) throws(FileError) -> [UInt8] {
    try source.bytes((header.offset + range.lowerBound)..<(header.offset + range.upperBound))
  }

  private static func tooLarge(_ bytes: Int, _ header: ArrayHeader, path: String) -> FileError {
    .malformed(
      path: path, what: "\(header.format) array", found: "\(bytes) bytes",
      expected: "at most \(ImageLimits.arrayBytes) where it isn't a plain file in C order")
  }

  private static func wrongSize(
    _ found: Int, _ expected: Int, _ header: ArrayHeader, path: String
  ) -> FileError {
    .malformed(
      path: path, what: "data of the \(header.format) array \(header.shape)",
      found: found > expected ? "more than \(expected) bytes" : "\(max(found, 0)) bytes",
      expected: "\(expected) bytes")
  }

  /// Column-major elements in row-major order.
  static func rowMajor(_ data: [UInt8], shape: [Int], size: Int) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: data.count)
    var strides = [Int]()
    var stride = size
    for extent in shape {
      strides.append(stride)
      stride *= extent
    }
    var target = 0
    forEachPlace(shape: shape, strides: strides) { source in
      for byte in 0..<size { result[target + byte] = data[source + byte] }
      target += size
    }
    return result
  }
}
