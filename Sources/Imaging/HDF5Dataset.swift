import AIPOKernels

/// An array of numbers in an HDF5 file.
struct HDF5Dataset {
  let name: String
  /// As the file has it, the last axis innermost.
  let shape: [Int]
  let type: ElementType
  private let isBigEndian: Bool
  /// Real and imaginary parts in turn.
  private let isComplex: Bool
  private let layout: Layout
  private let filters: [Filter]
  /// The bytes of an element where nothing was written.
  private let fill: [UInt8]
  private let file: HDF5
  private var elementSize: Int { type.size * (isComplex ? 2 : 1) }

  enum Layout {
    case compact([UInt8])
    case contiguous(UInt64)
    /// By the address of a B-tree; nil where there are none yet.
    case chunks([Int], tree: UInt64)
    case single([Int], UInt64, size: Int, mask: Int)
    /// One after another.
    case implicit([Int], UInt64)
    case fixed([Int], UInt64)
  }

  struct Filter {
    var id: Int
    var parameters: [Int]
  }

  /// Throws `malformed` where the messages aren't those of a dataset of numbers.
  init(_ messages: [HDF5.Message], of file: HDF5, name: String) throws(FileError) {
    self.file = file
    self.name = name
    func fields(_ type: Int, _ what: String) throws(FileError) -> FieldReader? {
      guard let message = messages.first(where: { $0.type == type }) else { return nil }
      // 2: it lies elsewhere, as a committed type does.
      if message.flags & 2 != 0 {
        var place = FieldReader(message.bytes, "HDF5 \(what)", path: file.source.path)
        let version = try place.number(1)
        try place.skip(version == 1 ? 7 : 1)
        let object = try place.word(file.offsetSize)
        guard
          let shared = try file.messages(of: object).first(where: { $0.type == type && $0.flags & 2 == 0 })
        else { throw file.source.malformed("HDF5 \(what) of \(name)", "elsewhere", "in its header") }
        return FieldReader(shared.bytes, "HDF5 \(what)", path: file.source.path)
      }
      return FieldReader(message.bytes, "HDF5 \(what)", path: file.source.path)
    }
    guard var space = try fields(1, "shape"), var kind = try fields(3, "type"),
      let place = try fields(8, "layout")
    else {
      throw file.source.malformed("HDF5 dataset \(name)", "without a shape, type or layout", "all three")
    }
    shape = try Self.shape(&space, file, name)
    (type, isBigEndian, isComplex) = try Self.type(&kind, file, name)
    guard !messages.contains(where: { $0.type == 7 }) else {
      throw file.source.malformed("HDF5 dataset \(name)", "in other files", "in this one")
    }
    let size = type.size * (isComplex ? 2 : 1)
    layout = try Self.layout(place, file, name, rank: shape.count, elementSize: size)
    if var filters = try fields(11, "filters") {
      self.filters = try Self.filters(&filters, file, name)
    } else {
      filters = []
    }
    let zero = [UInt8](repeating: 0, count: size)
    if var fill = try fields(5, "fill value") {
      self.fill = try Self.fill(&fill, size: size) ?? zero
    } else {
      fill = zero
    }
  }

  // MARK: The values

  /// The array, MATLAB's with its axes in their order; complex numbers have an axis of two at the end.
  func array() throws(FileError) -> ArrayData {
    let source = file.source
    var header = ArrayHeader(
      format: "HDF5", type: type, bigEndian: isBigEndian, fortranOrder: false,
      shape: isComplex ? shape + [2] : shape, offset: 0)
    let count = try header.byteCount(path: source.path)
    var bytes: [UInt8]
    switch layout {
    case .contiguous(let address) where filters.isEmpty && !(file.isMATLAB && shape.count > 1):
      guard !file.isUndefined(address) || count == 0, let place = file.place(count == 0 ? 0 : address),
        count <= source.count - place
      else { throw beyond(count) }
      header.offset = place
      return ArrayData(source, header: header)
    case .contiguous(let address):
      bytes = try file.bytes(at: address, count: count, "values of \(name)")
    case .compact(let values): bytes = values
    default:
      guard count <= ImageLimits.arrayBytes else {
        throw source.malformed(
          "HDF5 dataset \(name)", "of \(count) bytes", "at most \(ImageLimits.arrayBytes) in chunks")
      }
      bytes = try assembled(count)
    }
    guard bytes.count == count else { throw beyond(count) }
    if file.isMATLAB, shape.count > 1 {
      // Its first axis is innermost, which the file has as the last.
      let reversed = Array(shape.reversed())
      bytes = ArrayData.rowMajor(bytes, shape: reversed, size: elementSize)
      header.shape = isComplex ? reversed + [2] : reversed
    }
    return ArrayData(ByteSource(bytes: bytes, path: source.path), header: header)
  }

  private func beyond(_ count: Int) -> FileError {
    file.source.malformed(
      "HDF5 dataset \(name)", "without its \(count) bytes of values",
      "all of them (truncated or never written?)")
  }

  private struct Chunk {
    /// Of its first element.
    var start: [Int]
    var address: UInt64
    /// In the file.
    var size: Int
    var mask: Int
  }

  private func assembled(_ count: Int) throws(FileError) -> [UInt8] {
    let source = file.source
    guard let extents = chunkShape, !extents.isEmpty else { throw beyond(count) }
    if count == 0 { return [] }
    var chunkBytes = elementSize
    var cells = 1
    for (extent, whole) in zip(extents, shape) {
      let (product, overflow) = chunkBytes.multipliedReportingOverflow(by: extent)
      guard !overflow, product <= ImageLimits.chunkBytes else {
        throw source.malformed(
          "HDF5 chunks of \(name)", "\(extents)", "at most \(ImageLimits.chunkBytes) bytes")
      }
      chunkBytes = product
      // No more than there are bytes in all.
      cells *= (whole + extent - 1) / extent
    }
    let chunks = try self.chunks(extents, bytes: chunkBytes, most: cells)
    // What was never written is of the fill value; but a file of little else may not ask for memory. Deflate can't expand
    // more than 1032-fold.
    let isPacked = filters.contains { $0.id == 1 || $0.id == 32000 }
    let stored = min(chunks.reduce(0) { $0 + $1.size }, source.count) * (isPacked ? 4 * 1032 : 64)
    guard count <= stored else {
      throw source.malformed(
        "HDF5 dataset \(name)", "of \(cells) chunks, of which \(chunks.count) were written", "more of it")
    }
    try MemoryLimit.require(count + 2 * chunkBytes, for: source.path)
    var result = [UInt8](repeating: 0, count: count)
    if fill.contains(where: { $0 != 0 }), chunks.count < cells {
      for place in 0..<count { result[place] = fill[place % elementSize] }
    }
    for chunk in chunks {
      try copy(try decoded(chunk, bytes: chunkBytes), of: chunk.start, extents, to: &result)
    }
    return result
  }

  private var chunkShape: [Int]? {
    switch layout {
    case .compact, .contiguous: nil
    case .chunks(let extents, _), .single(let extents, _, _, _), .implicit(let extents, _),
      .fixed(let extents, _):
      extents
    }
  }

  private func chunks(_ extents: [Int], bytes: Int, most: Int) throws(FileError) -> [Chunk] {
    var chunks = [Chunk]()
    let source = file.source
    func add(_ chunk: Chunk) throws(FileError) {
      guard chunks.count < most, zip(chunk.start, extents).allSatisfy({ $0 % $1 == 0 }),
        zip(chunk.start, shape).allSatisfy({ $0 < $1 })
      else {
        throw source.malformed(
          "HDF5 chunk of \(name)", "at \(chunk.start)", "one of \(most) places (damaged?)")
      }
      guard chunk.size <= source.count else { throw beyond(chunk.size) }
      chunks.append(chunk)
    }
    /// The start of the chunk with this number, the last axis innermost.
    func start(_ index: Int) -> [Int] {
      var rest = index
      return zip(extents, shape).reversed().map { extent, whole in
        let count = (whole + extent - 1) / extent
        defer { rest /= count }
        return rest % count * extent
      }.reversed()
    }
    switch layout {
    case .compact, .contiguous: break
    case .chunks(_, let tree):
      if file.isUndefined(tree) { break }
      try file.walk(tree, kind: 1, keySize: 8 + 8 * (extents.count + 1)) { (key, child) throws(FileError) in
        var key = FieldReader(Array(key), "HDF5 chunk", path: source.path)
        let size = try key.number(4)
        let mask = try key.number(4)
        var start = [Int]()
        for _ in extents { start.append(try key.number(8)) }
        try add(Chunk(start: start, address: child, size: size, mask: mask))
      }
    case .single(_, let address, let size, let mask):
      if !file.isUndefined(address) {
        try add(
          Chunk(start: start(0), address: address, size: filters.isEmpty ? bytes : size, mask: mask))
      }
    case .implicit(_, let address):
      if file.isUndefined(address) { break }
      guard let place = file.place(address), most <= (source.count - place) / bytes else {
        throw beyond(most * bytes)
      }
      for index in 0..<most {
        try add(Chunk(start: start(index), address: address &+ UInt64(index * bytes), size: bytes, mask: 0))
      }
    case .fixed(_, let address):
      if file.isUndefined(address) { break }
      for (index, entry) in try file.fixedArray(at: address, count: most, chunkBytes: bytes).enumerated()
      where !file.isUndefined(entry.address) {
        try add(Chunk(start: start(index), address: entry.address, size: entry.size, mask: entry.mask))
      }
    }
    return chunks
  }

  private func decoded(_ chunk: Chunk, bytes: Int) throws(FileError) -> [UInt8] {
    var data = try file.bytes(at: chunk.address, count: chunk.size, "chunk of \(name)")
    for (k, filter) in filters.enumerated().reversed() where chunk.mask >> k & 1 == 0 {
      guard
        let result = HDF5Filter.decode(
          filter.id, filter.parameters, data, size: bytes, elementSize: elementSize)
      else {
        throw file.source.malformed(
          "HDF5 chunk of \(name)", "damaged (\(HDF5Filter.names[filter.id] ?? ""))", "a whole one")
      }
      data = result
    }
    guard data.count == bytes else {
      throw file.source.malformed("HDF5 chunk of \(name)", "\(data.count) bytes", "\(bytes)")
    }
    return data
  }

  /// The part of a chunk that is within the array.
  private func copy(_ chunk: [UInt8], of start: [Int], _ extents: [Int], to result: inout [UInt8])
    throws(FileError)
  {
    let rank = shape.count
    let inner = min(extents[rank - 1], shape[rank - 1] - start[rank - 1]) * elementSize
    let outer = (0..<(rank - 1)).map { min(extents[$0], shape[$0] - start[$0]) }
    var index = [Int](repeating: 0, count: rank - 1)
    for _ in 0..<outer.reduce(1, *) {
      var (from, to) = (0, 0)
      for axis in 0..<rank {
        let place = axis < rank - 1 ? index[axis] : 0
        from = from * extents[axis] + place
        to = to * shape[axis] + start[axis] + place
      }
      result.replaceSubrange(
        (to * elementSize)..<(to * elementSize + inner),
        with: chunk[(from * elementSize)..<(from * elementSize + inner)])
      var axis = rank - 2
      while axis >= 0 {
        index[axis] += 1
        if index[axis] < outer[axis] { break }
        index[axis] = 0
        axis -= 1
      }
    }
  }
}

extension HDF5 {
  /// The addresses of chunks in an array of fixed length, which is the newest format's way for datasets that can't grow.
  func fixedArray(
    at address: UInt64, count: Int, chunkBytes: Int
  ) throws(FileError) -> [(address: UInt64, size: Int, mask: Int)] {
    var head = try fields(at: address, count: 8 + lengthSize + offsetSize, "chunk array")
    guard try head.bytes(4).elementsEqual("FAHD".utf8) else {
      throw source.malformed("HDF5 chunk array", "something else", "FAHD (damaged?)")
    }
    try head.skip(1)
    let isFiltered = try head.number(1) == 1
    let entrySize = try head.number(1)
    let pageBits = try head.number(1)
    guard try head.number(lengthSize) == count, pageBits < 32,
      entrySize == offsetSize || isFiltered && (offsetSize + 5...offsetSize + 12).contains(entrySize)
    else {
      throw source.malformed("HDF5 chunk array", "of another length than the chunks", "\(count) (damaged?)")
    }
    // Beyond a page's worth entries come in pages, each with a checksum, behind a bit for each that is used.
    let isPaged = count > 1 << pageBits
    let block = try head.word(offsetSize)
    let pages = isPaged ? (count + (1 << pageBits) - 1) >> pageBits : 1
    let start = 6 + offsetSize + (isPaged ? (pages + 7) / 8 + 4 : 0)
    var check = try fields(at: block, count: 4, "chunk array")
    guard try check.bytes(4).elementsEqual("FADB".utf8) else {
      throw source.malformed("HDF5 chunk array", "something else", "FADB (damaged?)")
    }
    let (size, overflow) = count.multipliedReportingOverflow(by: entrySize)
    guard !overflow, size <= source.count else {
      throw source.malformed("HDF5 chunk array", "of \(count) entries", "fewer than the file has bytes")
    }
    var fields = try fields(
      at: block &+ UInt64(start), count: size + (isPaged ? 4 * (pages - 1) : 0), "chunk array")
    var entries = [(address: UInt64, size: Int, mask: Int)]()
    for index in 0..<count {
      if isPaged, index > 0, index & ((1 << pageBits) - 1) == 0 { try fields.skip(4) }
      let address = try fields.word(offsetSize)
      let size = isFiltered ? try fields.number(entrySize - offsetSize - 4) : chunkBytes
      entries.append((address, size, isFiltered ? try fields.number(4) : 0))
    }
    return entries
  }
}
