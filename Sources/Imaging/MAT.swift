import AIPOKernels
import CAIPOZlib

/// MATLAB's files of versions 5 to 7, and Octave's `-v6` and `-v7`: variables, each packed by deflate or not. Those of
/// version 7.3 are HDF5.
///
/// An array has the axes that MATLAB shows; complex numbers have an axis of two at the end. Text, cells and structures are
/// passed over.
///
/// Source: The MathWorks, *MAT-File Format*, Level 5.
struct MAT {
  static func isMAT(_ bytes: [UInt8]) -> Bool {
    bytes.count >= 128 && bytes[124..<128].elementsEqual([0, 1] + Array("IM".utf8))
      || bytes.starts(with: Array("MATLAB 5.0".utf8))
  }

  struct Variable {
    let name: String
    let shape: [Int]
    fileprivate let type: ElementType
    fileprivate let isComplex: Bool
    let isSparse: Bool
    /// Of the element in the file, without its tag.
    fileprivate let place: Range<Int>
    fileprivate let isPacked: Bool
  }

  private let source: ByteSource
  /// Of numbers, in the file's order.
  private(set) var variables = [Variable]()

  init(_ source: ByteSource) throws(FileError) {
    self.source = source
    let head = try source.bytes(0..<min(128, source.count))
    guard head.count == 128, head[126...].elementsEqual("IM".utf8) else {
      throw source.malformed(
        "MAT file", head.count < 128 ? "of \(head.count) bytes" : "big-endian or of another version",
        "little-endian of version 5 to 7.3: save('new.mat', 'x', '-v7')")
    }
    var place = 128
    while source.count - place >= 8 {
      var tag = FieldReader(try source.bytes(place..<(place + 8)), "MAT element", path: source.path)
      let kind = try tag.number(4)
      let size = try tag.number(4)
      guard size <= source.count - place - 8 else {
        throw source.malformed("MAT element", "beyond the file", "a whole file (truncated?)")
      }
      let content = (place + 8)..<(place + 8 + size)
      // 15: a packed element; 14: a variable.
      if kind == 15 || kind == 14, let variable = try variable(content, isPacked: kind == 15) {
        variables.append(variable)
        guard variables.count <= 1 << 16 else {
          throw source.malformed("MAT file", "of more than \(1 << 16) variables", "fewer")
        }
      }
      // Only packed elements aren't filled up.
      place = kind == 15 ? content.upperBound : (content.upperBound + 7) / 8 * 8
    }
  }

  private static let headBytes = 4096

  /// By the beginning of an element; nil where it holds no numbers.
  private func variable(_ place: Range<Int>, isPacked: Bool) throws(FileError) -> Variable? {
    let stored = try source.bytes(place.lowerBound..<min(place.upperBound, place.lowerBound + Self.headBytes))
    var head = stored
    if isPacked {
      head = Inflated.beginning(stored, count: Self.headBytes)
      var tag = FieldReader(head, "MAT element", path: source.path)
      guard try tag.number(4) == 14 else { return nil }
      head.removeFirst(min(8, head.count))
    }
    var fields = FieldReader(head, "MAT variable", path: source.path)
    let flags = try element(&fields)
    let kind = Int(flags.first ?? 0)
    let flag = flags.count > 1 ? flags[flags.startIndex + 1] : 0
    let types: [Int: ElementType] = [
      5: .float64, 6: .float64, 7: .float32, 8: .int8, 9: .uint8, 10: .int16, 11: .uint16, 12: .int32,
      13: .uint32, 14: .int64, 15: .uint64,
    ]
    // Objects have other parts.
    guard var type = types[kind] else { return nil }
    // Logical.
    if flag & 2 != 0, type == .uint8 { type = .bool }
    let extents = try element(&fields)
    let name = String(decoding: try element(&fields), as: UTF8.self)
    var numbers = FieldReader(Array(extents), "MAT shape", path: source.path)
    var shape = [Int]()
    while numbers.left >= 4 { shape.append(try numbers.number(4)) }
    guard (2...32).contains(shape.count), shape.allSatisfy({ $0 <= Int(Int32.max) }) else {
      throw source.malformed("MAT shape of \(name)", "\(shape)", "2 to 32 axes")
    }
    return Variable(
      name: name, shape: shape, type: type, isComplex: flag & 8 != 0, isSparse: kind == 5, place: place,
      isPacked: isPacked)
  }

  /// The bytes of the next part of a variable; short ones lie in the tag.
  private func element(_ fields: inout FieldReader) throws(FileError) -> ArraySlice<UInt8> {
    try part(&fields).bytes
  }

  private func part(_ fields: inout FieldReader) throws(FileError) -> (type: Int, bytes: ArraySlice<UInt8>) {
    let kind = try fields.number(4)
    if kind >> 16 != 0 {
      let bytes = try fields.bytes(4)
      guard kind >> 16 <= 4 else {
        throw source.malformed("MAT element", "of \(kind >> 16) bytes in four", "at most 4")
      }
      return (kind & 0xFFFF, bytes.prefix(kind >> 16))
    }
    let size = try fields.number(4)
    let bytes = try fields.bytes(size)
    try fields.skip(min((8 - size % 8) % 8, fields.left))
    return (kind, bytes)
  }

  // MARK: Values

  /// The variable of a name, or the only one.
  func variable(_ name: String?) throws(FileError) -> Variable {
    let found = variables.filter { name == nil || $0.name == name }
    guard found.count == 1 else {
      let list =
        variables.prefix(6).map { "\($0.name) \($0.shape)" }.joined(separator: ", ")
        + (variables.count > 6 ? ", …" : "")
      if let name, found.isEmpty {
        throw source.malformed("variable '\(name)'", "missing", "one of \(list)")
      }
      throw source.malformed(
        "number of variables of numbers", "\(found.count)\(found.isEmpty ? "" : " (\(list))")",
        found.first.map {
          "1, or a name behind the file's: \(ImageFile.lastComponent(source.path)):\($0.name)"
        } ?? "1")
    }
    return found[0]
  }

  func array(_ name: String?) throws(FileError) -> ArrayData {
    let variable = try variable(name)
    guard !variable.isSparse else {
      throw source.malformed(
        "MAT variable \(variable.name)", "sparse", "an array; a sparse matrix is for --operator alone")
    }
    let header = ArrayHeader(
      format: "MAT", type: variable.type, bigEndian: false, fortranOrder: false,
      shape: variable.shape + (variable.isComplex ? [2] : []), offset: 0)
    let count = try header.byteCount(path: source.path)
    var fields = try content(of: variable)
    for _ in 0..<3 { _ = try element(&fields) }
    let size = variable.type.size
    let elements = count / size / (variable.isComplex ? 2 : 1)
    let real = try values(&fields, variable.type, count: elements, variable)
    var bytes = real
    if variable.isComplex {
      let imaginary = try values(&fields, variable.type, count: elements, variable)
      bytes = []
      bytes.reserveCapacity(count)
      for k in stride(from: 0, to: real.count, by: size) {
        bytes += real[k..<(k + size)]
        bytes += imaginary[k..<(k + size)]
      }
    }
    let whole = size * (variable.isComplex ? 2 : 1)
    bytes = ArrayData.rowMajor(bytes, shape: variable.shape, size: whole)
    return ArrayData(ByteSource(bytes: bytes, path: source.path), header: header)
  }

  /// By columns, as MATLAB keeps it.
  func sparse(_ name: String?) throws(FileError) -> SparseMatrix? {
    let variable = try variable(name)
    guard variable.isSparse else { return nil }
    guard variable.shape.count == 2, !variable.isComplex else {
      throw source.malformed(
        "MAT variable \(variable.name)", "complex or of \(variable.shape.count) axes", "a real matrix")
    }
    var fields = try content(of: variable)
    for _ in 0..<3 { _ = try element(&fields) }
    func integers(_ part: (type: Int, bytes: ArraySlice<UInt8>)) throws(FileError) -> [Int] {
      guard part.type == 5 || part.type == 6 else {
        throw source.malformed("MAT indices of \(variable.name)", "of type \(part.type)", "32-bit integers")
      }
      var numbers = FieldReader(Array(part.bytes), "MAT indices", path: source.path)
      var result = [Int]()
      result.reserveCapacity(part.bytes.count / 4)
      while numbers.left >= 4 { result.append(try numbers.number(4)) }
      return result
    }
    try SparseFile.requireSize(
      variable.shape[0], variable.shape[1], entries: variable.place.count, path: source.path)
    let rows = try integers(try part(&fields))
    let starts = try integers(try part(&fields))
    let columns = variable.shape[1]
    guard starts.count == columns + 1, let count = starts.last, count <= rows.count, starts.first == 0,
      zip(starts, starts.dropFirst()).allSatisfy({ $0 <= $1 }), rows.allSatisfy({ $0 <= Int(Int32.max) })
    else {
      throw source.malformed(
        "MAT matrix \(variable.name)", "of column starts that don't rise", "a sparse matrix")
    }
    let bytes = try values(&fields, .float64, count: count, variable)
    var values = [Double](repeating: 0, count: count)
    ArrayHeader(format: "MAT", type: .float64, bigEndian: false, fortranOrder: false, shape: [], offset: 0)
      .forEachValue(bytes) { values[$0] = $1 }
    return try SparseFile.checked(source.path) { () throws(SparseMatrix.Fault) in
      try SparseMatrix(
        rows: columns, columns: variable.shape[0], rowStarts: starts,
        columnIndices: rows.prefix(count).map { Int32($0) },
        values: values
      ).transposed
    }
  }

  /// A variable's parts.
  private func content(of variable: Variable) throws(FileError) -> FieldReader {
    var bytes = try source.bytes(variable.place)
    if variable.isPacked {
      var tag = FieldReader(Inflated.beginning(bytes, count: 8), "MAT element", path: source.path)
      _ = try tag.number(4)
      let size = try tag.number(4)
      guard size / 1032 <= bytes.count, size <= ImageLimits.arrayBytes else {
        throw source.malformed(
          "MAT variable \(variable.name)", "of \(size) bytes from \(bytes.count)", "fewer")
      }
      try MemoryLimit.require(3 * size, for: source.path)
      guard let whole = HDF5Filter.inflated(bytes, most: 8 + size), whole.count == 8 + size else {
        throw source.malformed("MAT variable \(variable.name)", "damaged", "a whole one")
      }
      bytes = Array(whole[8...])
    }
    return FieldReader(bytes, "MAT variable \(variable.name)", path: source.path)
  }

  /// Values in the type of the variable, which MATLAB may keep as a smaller one.
  private func values(
    _ fields: inout FieldReader, _ type: ElementType, count: Int, _ variable: Variable
  ) throws(FileError) -> [UInt8] {
    let (kind, bytes) = try part(&fields)
    let types: [Int: ElementType] = [
      1: .int8, 2: .uint8, 3: .int16, 4: .uint16, 5: .int32, 6: .uint32, 7: .float32, 9: .float64, 12: .int64,
      13: .uint64,
    ]
    guard let stored = types[kind], bytes.count % stored.size == 0, bytes.count / stored.size == count else {
      throw source.malformed(
        "MAT values of \(variable.name)", "\(bytes.count) bytes of type \(kind)", "\(count) numbers")
    }
    if stored == type || type == .bool && stored == .uint8 { return Array(bytes) }
    let header = ArrayHeader(
      format: "MAT", type: stored, bigEndian: false, fortranOrder: false, shape: [], offset: 0)
    guard type == .float64 || type == .float32 else {
      throw source.malformed("MAT values of \(variable.name)", "\(stored)", "\(type)")
    }
    try MemoryLimit.require(count * type.size, for: source.path)
    var result = [UInt8](repeating: 0, count: count * type.size)
    result.withUnsafeMutableBytes { buffer in
      header.forEachValue(Array(bytes)) { place, value in
        if type == .float64 {
          buffer.storeBytes(of: value.bitPattern.littleEndian, toByteOffset: 8 * place, as: UInt64.self)
        } else {
          buffer.storeBytes(
            of: Float(value).bitPattern.littleEndian, toByteOffset: 4 * place, as: UInt32.self)
        }
      }
    }
    return result
  }
}

/// Parts of what deflate packed.
enum Inflated {
  /// The first bytes of a zlib stream, of which only the beginning may be there; fewer where that is damaged.
  static func beginning(_ bytes: [UInt8], count: Int) -> [UInt8] {
    var stream = z_stream()
    guard inflateInit_(&stream, zlibVersion(), Int32(MemoryLayout<z_stream>.size)) == Z_OK else { return [] }
    defer { inflateEnd(&stream) }
    var input = bytes
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      input.withUnsafeMutableBufferPointer { input in
        stream.next_in = input.baseAddress
        stream.avail_in = UInt32(min(input.count, 1 << 20))
        stream.next_out = buffer.baseAddress
        stream.avail_out = UInt32(count)
        _ = inflate(&stream, Z_SYNC_FLUSH)
        initialized = count - Int(stream.avail_out)
      }
    }
  }
}
