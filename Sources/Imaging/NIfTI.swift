import AIPOKernels

/// The Neuroimaging Informatics Technology Initiative's volumes, versions 1 and 2, in one file, packed by gzip or not.
///
/// Voxels (column, row, slice), the first innermost, are slices `[n, h, w]`; further axes, as time, are slices as well. Rows
/// and columns are as they are stored, whatever they point to in the head. The header's scale is applied.
///
/// Source: R. Cox et al., *The NIfTI-1 Data Format*; nifti1.h and nifti2.h.
struct NIfTI {
  /// Bytes that tell one.
  static let headBytes = 540

  private let isBigEndian: Bool
  private let isSecond: Bool
  private let bytes: [UInt8]
  private let path: String

  /// Nil where the beginning of a file isn't that of a NIfTI's.
  init?(_ bytes: [UInt8], path: String) {
    guard bytes.count >= 348 else { return nil }
    let size = Array(bytes[0..<4])
    func has(_ text: String, at place: Int) -> Bool {
      bytes.dropFirst(place).starts(with: Array(text.utf8))
    }
    if size == [0x5C, 1, 0, 0] || size == [0, 0, 1, 0x5C], has("n+1\0", at: 344) || has("ni1\0", at: 344) {
      isSecond = false
    } else if bytes.count >= Self.headBytes, size == [0x1C, 2, 0, 0] || size == [0, 0, 2, 0x1C],
      has("n+2\0", at: 4) || has("ni2\0", at: 4)
    {
      isSecond = true
    } else {
      return nil
    }
    isBigEndian = size[0] == 0
    self.bytes = bytes
    self.path = path
  }

  private func word(_ place: Int, _ size: Int) -> UInt64 {
    let field = bytes[place..<(place + size)]
    return (isBigEndian ? Array(field) : field.reversed()).reduce(0) { $0 << 8 | UInt64($1) }
  }

  private func integer(_ place: Int, _ size: Int) -> Int {
    size == 2
      ? Int(Int16(truncatingIfNeeded: word(place, 2)))
      : size == 4
        ? Int(Int32(truncatingIfNeeded: word(place, 4))) : Int(Int64(truncatingIfNeeded: word(place, 8)))
  }

  private func float(_ place: Int) -> Double { Double(Float(bitPattern: UInt32(word(place, 4)))) }

  /// A number that version 2 has as a double.
  private func real(_ first: Int, _ second: Int) -> Double {
    isSecond ? Double(bitPattern: word(second, 8)) : float(first)
  }

  /// How much of the file the array takes.
  func header() throws(FileError) -> (array: ArrayHeader, end: Int) {
    func refuse(_ what: String, _ found: String, _ expected: String) -> FileError {
      .malformed(path: path, what: "NIfTI \(what)", found: found, expected: expected)
    }
    guard bytes[isSecond ? 5 : 345] == UInt8(ascii: "+") else {
      throw refuse(
        "file", "a pair of .hdr and .img", "a single file: nibabel.save(nibabel.load('x.hdr'), 'x.nii')")
    }
    let rank = isSecond ? integer(16, 8) : integer(40, 2)
    guard (1...7).contains(rank) else { throw refuse("shape", "of \(rank) axes", "1 to 7") }
    var extents = (1...rank).map { isSecond ? integer(16 + 8 * $0, 8) : integer(40 + 2 * $0, 2) }
    guard extents.allSatisfy({ $0 > 0 }) else { throw refuse("shape", "\(extents)", "positive extents") }
    while extents.count > 2, extents.last == 1 { extents.removeLast() }
    let code = isSecond ? integer(12, 2) : integer(70, 2)
    let types: [Int: ElementType] = [
      2: .uint8, 4: .int16, 8: .int32, 16: .float32, 32: .float32, 64: .float64, 128: .uint8, 256: .int8,
      512: .uint16, 768: .uint32, 1024: .int64, 1280: .uint64, 1792: .float64,
    ]
    guard let type = types[code] else {
      throw refuse("type", "number \(code)", "integers or floats of 8 to 64 bits")
    }
    var slices = 1
    for extent in extents.dropFirst(2) {
      let (product, overflow) = slices.multipliedReportingOverflow(by: extent)
      guard !overflow else { throw refuse("shape", "\(extents)", "an array that fits in memory") }
      slices = product
    }
    var shape = Array(extents.prefix(2).reversed())
    if extents.count > 2 { shape.insert(slices, at: 0) }
    // Complex numbers, and RGB.
    if code == 32 || code == 1792 { shape.append(2) }
    if code == 128 { shape.append(3) }
    let offset = isSecond ? Double(integer(168, 8)) : float(108)
    let least = isSecond ? 544.0 : 352
    guard offset >= least, offset < 0x1p53 else { throw refuse("offset", "\(offset)", "\(least) or more") }
    let header = ArrayHeader(
      format: "NIfTI", type: type, bigEndian: isBigEndian, fortranOrder: false, shape: shape,
      offset: Int(offset))
    let (end, overflow) = header.offset.addingReportingOverflow(try header.byteCount(path: path))
    guard !overflow else { throw refuse("offset", "\(offset)", "one within the file") }
    return (header, end)
  }

  /// The array in the file whose beginning this is.
  func array(_ source: ByteSource) throws(FileError) -> ArrayData {
    var (header, end) = try header()
    guard end <= source.count else {
      throw source.malformed("NIfTI", "\(source.count) bytes", "\(end) (truncated?)")
    }
    let (slope, intercept) = (real(112, 176), real(116, 184))
    let isScaled = slope.isFinite && slope != 0 && intercept.isFinite && (slope != 1 || intercept != 0)
    guard isScaled, word(isSecond ? 12 : 70, 2) != 128 else {
      return ArrayData(source, header: header, geometry: geometry)
    }
    let count = end - header.offset
    let elements = count / header.type.size
    guard elements <= ImageLimits.arrayBytes / 8 else {
      throw source.malformed("NIfTI", "\(elements) scaled values", "at most \(ImageLimits.arrayBytes / 8)")
    }
    try MemoryLimit.require(8 * elements + count, for: path)
    var values = [UInt8](repeating: 0, count: 8 * elements)
    let stored = try source.bytes(header.offset..<end)
    values.withUnsafeMutableBytes { buffer in
      header.forEachValue(stored) { place, value in
        buffer.storeBytes(
          of: (slope * value + intercept).bitPattern.littleEndian, toByteOffset: 8 * place, as: UInt64.self)
      }
    }
    header.type = .float64
    header.bigEndian = false
    header.offset = 0
    return ArrayData(ByteSource(bytes: values, path: path), header: header, geometry: geometry)
  }

  /// Voxels in space, in millimetres.
  private var geometry: ImageGeometry? {
    let units = isSecond ? integer(500, 4) : Int(bytes[123])
    let scale =
      switch units & 7 {
      case 1: 1000.0
      case 3: 1e-3
      default: 1.0
      }
    let steps = (1...3).map { scale * abs(real(76 + 4 * $0, 104 + 8 * $0)) }
    guard steps.prefix(2).allSatisfy({ $0.isFinite && $0 > 0 }) else { return nil }
    var geometry = ImageGeometry(
      columnStep: steps[0], rowStep: steps[1], sliceStep: steps[2].isFinite && steps[2] > 0 ? steps[2] : nil)
    if (isSecond ? integer(348, 4) : integer(254, 2)) > 0 {
      geometry.space = (0..<3).map { row in
        func entry(_ k: Int) -> Double { scale * real(280 + 16 * row + 4 * k, 400 + 32 * row + 8 * k) }
        return SIMD4(entry(0), entry(1), entry(2), entry(3))
      }
    } else if (isSecond ? integer(344, 4) : integer(252, 2)) > 0 {
      geometry.space = rotation(steps).enumerated().map { row, axes in
        SIMD4(axes, scale * real(268 + 4 * row, 376 + 8 * row))
      }
    }
    if geometry.space?.allSatisfy({ row in (0..<4).allSatisfy { row[$0].isFinite } }) == false {
      geometry.space = nil
    }
    return geometry
  }

  /// The axes by a quaternion, each times its step.
  private func rotation(_ steps: [Double]) -> [SIMD3<Double>] {
    let (b, c, d) = (real(256, 352), real(260, 360), real(264, 368))
    let a = max(0, 1 - b * b - c * c - d * d).squareRoot()
    // Whether the third axis points the other way.
    let side = real(76, 104) < 0 ? -1.0 : 1.0
    let axes: [SIMD3<Double>] = [
      [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
      [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
      [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    return axes.map { $0 * [steps[0], steps[1], steps[2] * side] }
  }
}
