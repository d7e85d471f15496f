import AIPOKernels

/// The messages of a dataset's header, read field by field.
extension HDF5Dataset {
  static func shape(_ fields: inout FieldReader, _ file: HDF5, _ name: String) throws(FileError)
    -> [Int]
  {
    let version = try fields.number(1)
    let rank = try fields.number(1)
    guard version == 1 || version == 2, rank <= 32 else {
      throw file.source.malformed(
        "HDF5 shape of \(name)", "of version \(version) and rank \(rank)", "version 1 or 2, rank at most 32")
    }
    try fields.skip(1)
    let kind = try fields.number(1)
    if version == 1 { try fields.skip(4) }
    guard version == 1 || kind < 2 else {
      throw file.source.malformed("HDF5 dataset \(name)", "without a value", "an array")
    }
    var shape = [Int]()
    for _ in 0..<rank { shape.append(try fields.number(file.lengthSize)) }
    return shape
  }

  static func type(
    _ fields: inout FieldReader, _ file: HDF5, _ name: String, isPart: Bool = false
  ) throws(FileError) -> (ElementType, isBigEndian: Bool, isComplex: Bool) {
    let head = try fields.number(1)
    let bits = try fields.number(3)
    let size = try fields.number(4)
    func refuse(_ found: String, _ expected: String = "numbers") -> FileError {
      file.source.malformed("HDF5 type of \(name)", found, expected)
    }
    switch head & 15 {
    case 0:
      try fields.skip(2)
      guard try fields.number(2) == 8 * size else { throw refuse("integers that don't fill their bytes") }
      let isSigned = bits & 8 != 0
      let types: [Int: (ElementType, ElementType)] = [
        1: (.uint8, .int8), 2: (.uint16, .int16), 4: (.uint32, .int32), 8: (.uint64, .int64),
      ]
      guard let type = types[size] else { throw refuse("integers of \(size) bytes", "1, 2, 4 or 8") }
      return (isSigned ? type.1 : type.0, bits & 1 != 0, false)
    case 1:
      try fields.skip(2)
      let precision = try fields.number(2)
      _ = try fields.number(1)
      let exponent = try fields.number(1)
      let types: [Int: (ElementType, exponent: Int)] = [
        2: (.float16, 5), 4: (.float32, 8), 8: (.float64, 11),
      ]
      guard let type = types[size], precision == 8 * size, exponent == type.exponent, bits & 0x40 == 0 else {
        throw refuse("floats of \(precision) bits in \(size) bytes", "those of IEEE of 16, 32 or 64 bits")
      }
      return (type.0, bits & 1 != 0, false)
    case 6 where !isPart:
      return try complex(&fields, version: head >> 4, members: bits & 0xFFFF, size: size, file, name)
    // Of names for integers; h5py's booleans are such.
    case 8 where !isPart: return try Self.type(&fields, file, name, isPart: true)
    case 3: throw refuse("text")
    case 7: throw refuse("references, as MATLAB's cells are")
    case 9: throw refuse("lists of any length")
    default: throw refuse("of class \(head & 15)")
    }
  }

  /// A record of two floats is a complex number, as h5py and MATLAB write it.
  static func complex(
    _ fields: inout FieldReader, version: Int, members: Int, size: Int, _ file: HDF5, _ name: String
  ) throws(FileError) -> (ElementType, isBigEndian: Bool, isComplex: Bool) {
    let refusal = file.source.malformed(
      "HDF5 type of \(name)", "records of \(members) fields", "numbers, real or complex")
    guard members == 2 else { throw refusal }
    var parts = [(ElementType, isBigEndian: Bool)]()
    for k in 0..<2 {
      var length = 1
      while try fields.number(1) != 0 { length += 1 }
      if version < 3 { try fields.skip((8 - length % 8) % 8) }
      let offset = try fields.number(version < 3 ? 4 : size < 256 ? 1 : 2)
      if version == 1 { try fields.skip(28) }
      let (type, isBigEndian, isComplex) = try Self.type(&fields, file, name, isPart: true)
      // What a float's description has beyond what was read.
      try fields.skip(6)
      guard type.isFloating, !isComplex, type.size * 2 == size, offset == k * type.size else { throw refusal }
      parts.append((type, isBigEndian))
    }
    guard parts[0] == parts[1] else { throw refusal }
    return (parts[0].0, parts[0].isBigEndian, true)
  }

  static func layout(
    _ fields: FieldReader, _ file: HDF5, _ name: String, rank: Int, elementSize: Int
  ) throws(FileError) -> Layout {
    var fields = fields
    func refuse(_ found: String, _ expected: String = HDF5.remedy) -> FileError {
      file.source.malformed("HDF5 layout of \(name)", found, expected)
    }
    let version = try fields.number(1)
    guard (3...5).contains(version) else { throw refuse("of version \(version)") }
    switch try fields.number(1) {
    case 0: return .compact(Array(try fields.bytes(try fields.number(2))))
    case 1: return .contiguous(try fields.word(file.offsetSize))
    case 2: break
    case 3: throw refuse("virtual, made of other datasets")
    default: throw refuse("of an unknown kind")
    }
    func chunk(_ extents: [Int]) throws(FileError) -> [Int] {
      guard extents.count == rank + 1, extents[rank] == elementSize, extents.allSatisfy({ $0 > 0 }) else {
        throw refuse("in chunks of \(extents)", "positive extents, one an axis, and the size of an element")
      }
      return Array(extents.dropLast())
    }
    if version == 3 {
      let count = try fields.number(1)
      let tree = try fields.word(file.offsetSize)
      var extents = [Int]()
      for _ in 0..<count { extents.append(try fields.number(4)) }
      return .chunks(try chunk(extents), tree: tree)
    }
    let flags = try fields.number(1)
    let count = try fields.number(1)
    let size = try fields.number(1)
    guard (1...8).contains(size) else { throw refuse("of numbers of \(size) bytes", "1 to 8") }
    var extents = [Int]()
    for _ in 0..<count { extents.append(try fields.number(size)) }
    let wanted = try chunk(extents)
    switch try fields.number(1) {
    case 1:
      var (size, mask) = (0, 0)
      if flags & 2 != 0 {
        size = try fields.number(file.lengthSize)
        mask = try fields.number(4)
      }
      return .single(wanted, try fields.word(file.offsetSize), size: size, mask: mask)
    case 2: return .implicit(wanted, try fields.word(file.offsetSize))
    case 3:
      try fields.skip(1)
      return .fixed(wanted, try fields.word(file.offsetSize))
    default: throw refuse("in chunks of the newest format that can grow")
    }
  }

  static func filters(
    _ fields: inout FieldReader, _ file: HDF5, _ name: String
  ) throws(FileError) -> [Filter] {
    let version = try fields.number(1)
    let count = try fields.number(1)
    guard version == 1 || version == 2 else {
      throw file.source.malformed("HDF5 filters of \(name)", "of version \(version)", "1 or 2")
    }
    if version == 1 { try fields.skip(6) }
    var filters = [Filter]()
    for _ in 0..<count {
      let id = try fields.number(2)
      let length = version == 1 || id >= 256 ? try fields.number(2) : 0
      try fields.skip(2)
      let values = try fields.number(2)
      try fields.skip(version == 1 ? (length + 7) / 8 * 8 : length)
      var parameters = [Int]()
      for _ in 0..<values { parameters.append(try fields.number(4)) }
      if version == 1, values % 2 == 1 { try fields.skip(4) }
      guard HDF5Filter.names[id] != nil else {
        let known = [
          4: "szip", 5: "n-bit", 6: "scale-offset", 32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle",
          32013: "ZFP", 32015: "zstd",
        ]
        throw file.source.malformed(
          "HDF5 filter of \(name)", known[id] ?? "number \(id)",
          "\(HDF5Filter.names.sorted { $0.key < $1.key }.map(\.value).joined(separator: ", ")); save it anew with compression='gzip'"
        )
      }
      filters.append(Filter(id: id, parameters: parameters))
    }
    return filters
  }

  static func fill(_ fields: inout FieldReader, size: Int) throws(FileError) -> [UInt8]? {
    let version = try fields.number(1)
    if version == 3 {
      guard try fields.number(1) & 0x20 != 0 else { return nil }
    } else {
      try fields.skip(2)
      let isDefined = try fields.number(1) != 0
      if version == 2, !isDefined { return nil }
    }
    let count = try fields.number(4)
    return count == size ? Array(try fields.bytes(count)) : nil
  }
}
