import AIPOFlows
import AIPOImaging
import AIPOKernels

extension TorchTensor {
  /// The elements in row-major order: float types exactly in float32 or float64, integers in 64 bits.
  func values(in bytes: StoredBytes, of source: ByteSource) throws(FileError) -> NamedTensor.Values {
    let size = storage.element.size
    switch bytes {
    case .range(let range): return try read(source, at: range.lowerBound)
    case .entry(let archive, let entry):
      if entry.isStored {
        try archive.verify(entry)
        return try read(source, at: archive.range(entry).lowerBound)
      }
      let unpacked = try archive.bytes(entry)
      precondition(unpacked.count == storage.count * size)
      return try read(ByteSource(bytes: unpacked, path: source.path), at: 0)
    }
  }

  private var isContiguous: Bool {
    var expected = 1
    for (extent, stride) in zip(shape, strides).reversed() {
      if extent != 1, stride != expected { return false }
      expected *= extent
    }
    return true
  }

  private func read(_ source: ByteSource, at start: Int) throws(FileError) -> NamedTensor.Values {
    switch storage.element {
    case .float32: .float32(try elements(source, start, Float.self))
    case .float64: .float64(try elements(source, start, Double.self))
    case .float16: .float32(try elements(source, start, UInt16.self).map(Self.float(half:)))
    case .bfloat16:
      .float32(try elements(source, start, UInt16.self).map { Float(bitPattern: UInt32($0) << 16) })
    case .int64: .int64(try elements(source, start, Int64.self))
    case .int32: .int64(try elements(source, start, Int32.self).map(Int64.init))
    case .int16: .int64(try elements(source, start, Int16.self).map(Int64.init))
    case .int8: .int64(try elements(source, start, Int8.self).map(Int64.init))
    case .uint8, .bool: .uint8(try elements(source, start, UInt8.self))
    }
  }

  /// In one piece where the tensor is contiguous, else through the part of the storage that it touches.
  private func elements<Element: BitwiseCopyable>(
    _ source: ByteSource, _ start: Int, _: Element.Type
  ) throws(FileError) -> [Element] {
    let size = MemoryLayout<Element>.size
    func read(_ count: Int) throws(FileError) -> [Element] {
      let first = start + offset * size
      return try source.elements(first..<first + count * size, Element.self)
    }
    if count == 0 { return [] }
    if isContiguous { return try read(count) }
    let span = 1 + zip(shape, strides).reduce(0) { $0 + ($1.0 - 1) * $1.1 }
    let all = try read(span)
    var result: [Element] = []
    result.reserveCapacity(count)
    forEachPlace(shape: shape, strides: strides) { result.append(all[$0]) }
    return result
  }

  /// IEEE binary16.
  private static func float(half bits: UInt16) -> Float {
    let sign: Float = bits & 0x8000 == 0 ? 1 : -1
    let (exponent, fraction) = (Int(bits >> 10 & 0x1F), Float(bits & 0x3FF))
    switch exponent {
    case 0: return sign * fraction * 0x1p-24
    case 31: return fraction == 0 ? sign * .infinity : .nan
    default: return sign * Float(sign: .plus, exponent: exponent - 15, significand: 1 + fraction * 0x1p-10)
    }
  }
}
