import AIPOKernels
import CAIPOZlib

/// Writes grey images as the slices of a NIfTI-1 volume, as they come; packed where the name ends in `.gz`. The file
/// appears with `finish`.
final class NIfTIWriter<Scalar: KernelScalar> {
  private let file: AtomicFile
  private let shape: ImageShape
  private let geometry: ImageGeometry?
  private let packer: GzipPacker?
  private var values = 0
  private var slices: Int { values / max(shape.count, 1) }

  init(path: String, shape: ImageShape, geometry: ImageGeometry?) throws(FileError) {
    guard shape.channels == 1, shape.height <= Int16.max, shape.width <= Int16.max else {
      throw .unwritable(
        path: path,
        reason:
          "a NIfTI of images of \(shape) is impossible, at most \(Int16.max) grey pixels each way; TIFF and NPY can"
      )
    }
    self.shape = shape
    self.geometry = geometry
    file = try AtomicFile(path: path)
    packer = path.lowercased().hasSuffix(".gz") ? try GzipPacker(path: path) : nil
    try file.write(head)
  }

  /// Appends some values of a slice, or of several.
  func append(values: UnsafeBufferPointer<Scalar>) throws(FileError) {
    self.values += values.count
    guard slices <= Int16.max else {
      throw .unwritable(path: file.path, reason: "a NIfTI holds at most \(Int16.max) slices, NPY more")
    }
    let bytes = UnsafeRawBufferPointer(values)
    if let packer { try file.write(packer.packed(bytes)) } else { try file.write(bytes) }
  }

  /// Puts the file in its place. It needs one image at least.
  func finish() throws(FileError) {
    guard slices > 0 else { throw .unwritable(path: file.path, reason: "there are no images to write") }
    if let packer { try file.write(packer.end()) }
    try file.overwrite(at: 0, with: head)
    try file.commit()
  }

  /// The header; in a gzip file a member of its own that isn't deflated, so that its length stays.
  private var head: [UInt8] {
    let header = self.header
    guard packer != nil else { return header }
    let (count, inverse) = (UInt16(header.count), ~UInt16(header.count))
    let checksum = UInt32(crc32(0, header, UInt32(header.count)))
    // 8: deflate; no time; unknown system. Then one block that is stored, the last.
    return [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255, 1] + number(count) + number(inverse) + header
      + number(checksum)
      + number(UInt32(header.count))
  }

  private var header: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 352)
    func put<Word: FixedWidthInteger>(_ word: Word, at place: Int) {
      bytes.replaceSubrange(place..<(place + MemoryLayout<Word>.size), with: number(word))
    }
    func putReal(_ value: Double, at place: Int) { put(Float(value).bitPattern, at: place) }
    put(Int32(348), at: 0)
    let extents = [slices > 1 ? 3 : 2, shape.width, shape.height, slices, 1, 1, 1, 1]
    for (k, extent) in extents.enumerated() { put(Int16(extent), at: 40 + 2 * k) }
    let isSingle = MemoryLayout<Scalar>.size == 4
    put(Int16(isSingle ? 16 : 64), at: 70)
    put(Int16(isSingle ? 32 : 64), at: 72)
    let steps = [1, geometry?.columnStep ?? 1, geometry?.rowStep ?? 1, geometry?.sliceStep ?? 1, 1, 1, 1, 1]
    for (k, step) in steps.enumerated() { putReal(step, at: 76 + 4 * k) }
    putReal(352, at: 108)
    putReal(1, at: 112)
    if geometry != nil { bytes[123] = 2 }
    if let space = geometry?.space {
      put(Int16(1), at: 254)
      for k in 0..<12 { putReal(space[k / 4][k % 4], at: 280 + 4 * k) }
    }
    bytes.replaceSubrange(344..<348, with: Array("n+1\0".utf8))
    return bytes
  }

  private func number<Word: FixedWidthInteger>(_ word: Word) -> [UInt8] {
    (0..<MemoryLayout<Word>.size).map { UInt8(truncatingIfNeeded: word >> Word(8 * $0)) }
  }
}

/// zlib's deflate as one member of a gzip file.
private final class GzipPacker {
  private let stream: UnsafeMutablePointer<z_stream>
  private let path: String

  init(path: String) throws(FileError) {
    self.path = path
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    guard
      deflateInit2_(
        stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, zlibVersion(),
        Int32(MemoryLayout<z_stream>.size))
        == Z_OK
    else { throw .unwritable(path: path, reason: "zlib could not be started") }
  }

  deinit {
    deflateEnd(stream)
    stream.deallocate()
  }

  func packed(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var result = [UInt8]()
    // zlib counts in 32 bits.
    for start in stride(from: 0, to: bytes.count, by: 1 << 24) {
      result += run(
        UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + 1 << 24, bytes.count)]), Z_NO_FLUSH)
    }
    return result
  }

  func end() -> [UInt8] { run(UnsafeRawBufferPointer(start: nil, count: 0), Z_FINISH) }

  private func run(_ bytes: UnsafeRawBufferPointer, _ flush: Int32) -> [UInt8] {
    stream.pointee.next_in = UnsafeMutablePointer(
      mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
    stream.pointee.avail_in = UInt32(bytes.count)
    var result = [UInt8]()
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    repeat {
      piece.withUnsafeMutableBufferPointer { buffer in
        stream.pointee.next_out = buffer.baseAddress
        stream.pointee.avail_out = UInt32(buffer.count)
        deflate(stream, flush)
      }
      result += piece.prefix(piece.count - Int(stream.pointee.avail_out))
    } while stream.pointee.avail_out == 0
    return result
  }
}
