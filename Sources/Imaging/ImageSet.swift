import AIPOKernels

/// Whether NaN and infinities may be in what is read.
public enum NonFinitePolicy: Sendable {
  /// They are an error that says where.
  case refused
  /// They are handed on, as hidden pixels of an observation may be anything.
  case allowed

  /// Where the first value is that is refused: not finite, or beyond what the scalar can hold.
  func firstRefused<Scalar: KernelScalar>(_ values: [Double], _: Scalar.Type) -> Int? {
    guard self == .refused else { return nil }
    let limit = Double(Scalar.greatestFiniteMagnitude)
    return values.firstIndex { !(abs($0) <= limit) }
  }
}

/// Images of a file or a folder, read when asked for. Their format is told by content:
///
/// - PNG and JPEG, one image a file; or a folder of them, sorted by the bytes of their names. A file in
///   a folder that is neither is passed over, unless its name claims otherwise.
/// - NPY of `[n, h, w, c]`, `[n, h, w]` or `[h, w]`: `u1`, `f4` or `f8`.
/// - IDX of `[n, h, w, c]`, `[n, h, w]` or `[h, w]`: unsigned bytes, floats or doubles.
/// - gzip of NPY or IDX.
///
/// `[n, d]` of NPY and IDX is n vectors, images of 1×1×d, and `[d]` one of them, where the caller says so.
///
/// Values are on [0, 1]: an 8-bit `v` becomes `(v + ½)/256`, a 16-bit one `(v + ½)/65536`; floats are
/// taken as they are. What a header says is never believed beyond the size of the file, and there are
/// limits: 2²⁷ pixels in a PNG or JPEG, 2³² bytes in an array that must be held in memory (gzip, pipes,
/// Fortran order); plain arrays may be as large as they like and stay on disk.
public struct ImageSet: Sendable {
  enum Storage: Sendable {
    case array(ArrayData, ImageShape)
    case files([ImageFile])
  }

  public let path: String
  /// At least one.
  public let count: Int
  let storage: Storage

  /// What an array of two axes holds.
  public enum PlaneMeaning: Sendable {
    /// One image, `[h, w]`.
    case image
    /// Vectors, `[n, d]`; an array of one axis is one vector.
    case vectors

    /// Vectors where images of this shape are.
    public init(for shape: ImageShape) { self = shape.isVector ? .vectors : .image }
  }

  /// Opens a file or folder and reads headers only. Throws `missing` or `malformed`.
  public init(path: String, plane: PlaneMeaning = .image) throws(FileError) {
    self.path = path
    if let files = try ImageFile.folder(path) {
      storage = .files(files)
      count = files.count
      return
    }
    let file = try InputFile(path: path)
    let beginning = try file.next(16)
    if let array = try ArrayData(file, beginning: beginning) {
      let (count, shape) = try Self.imageShape(array, plane)
      storage = .array(array, shape)
      self.count = count
    } else {
      storage = .files([try ImageFile(file, beginning: beginning)])
      count = 1
    }
  }

  /// The shape of one image.
  public func shape(of index: Int) -> ImageShape {
    precondition((0..<count).contains(index))
    switch storage {
    case .array(_, let shape): return shape
    case .files(let files): return files[index].shape
    }
  }

  /// The shape that all images have, or nil where they differ.
  public var commonShape: ImageShape? {
    switch storage {
    case .array(_, let shape): shape
    case .files(let files): files.allSatisfy { $0.shape == files[0].shape } ? files[0].shape : nil
    }
  }

  /// Whether all images are stored as 8-bit values.
  public var isEightBit: Bool {
    switch storage {
    case .array(let array, _): array.header.type == .uint8
    case .files(let files): files.allSatisfy(\.isEightBit)
    }
  }

  /// The file's name, with `#index` where it holds several.
  public func name(of index: Int) -> String {
    precondition((0..<count).contains(index))
    switch storage {
    case .array(let array, _):
      let name = ImageFile.lastComponent(path)
      return array.header.shape.count <= 2 && count == 1 ? name : "\(name)#\(index)"
    case .files(let files): return files[index].name
    }
  }

  /// The shape that all images at `indices` have after `transform`. Throws `malformed` where an index
  /// is beyond the data, a crop beyond the image, or the shapes differ.
  public func shape(
    of indices: some Collection<Int>, transform: ImageTransform = .identity
  ) throws(FileError) -> ImageShape {
    var common: ImageShape?
    for index in indices {
      guard (0..<count).contains(index) else {
        throw .malformed(
          path: path, what: "image index", found: "\(index)", expected: count == 1 ? "0" : "0 to \(count - 1)"
        )
      }
      // Those of an array all have one.
      if common != nil, case .array = storage { continue }
      let stored = shape(of: index)
      guard let shape = transform.shape(of: stored) else {
        throw .malformed(
          path: path, what: "size of image \(name(of: index))", found: "\(stored)",
          expected: transform.crop.map { "at least \($0) for the crop" } ?? "one or three channels")
      }
      if let common, common != shape {
        throw .malformed(
          path: path, what: "size of image \(name(of: index))", found: "\(shape)",
          expected: "\(common) as the others, or a resize or crop")
      }
      common = shape
    }
    return common ?? transform.shape(of: shape(of: 0)) ?? shape(of: 0)
  }

  /// The images at `indices`, in that order, as `[n, h, w, c]`. Throws `FileError` where a file can't be
  /// read or holds a non-finite value that is refused, or `TensorError` where memory is short.
  public func read<Scalar: KernelScalar>(
    _ indices: some Collection<Int>, as type: Scalar.Type = Scalar.self,
    transform: ImageTransform = .identity, nonFinite: NonFinitePolicy = .refused
  ) throws -> Tensor<Scalar> {
    let shape = try shape(of: indices, transform: transform)
    var result = try Tensor<Scalar>(shape: [indices.count, shape.height, shape.width, shape.channels])
    try result.withUnsafeMutableBufferPointer { out in
      for (k, index) in indices.enumerated() {
        let values = try values(of: index, as: Scalar.self, transform: transform, nonFinite: nonFinite)
        store(values, into: UnsafeMutableBufferPointer(rebasing: out[(k * shape.count)...]))
      }
    }
    return result
  }

  /// The images at `indices` as 8-bit values, `[n, h, w, c]`: as stored where they are 8-bit and not
  /// resized, else `⌊256 x⌋` clipped. For training, which dequantises them itself.
  public func bytes(
    _ indices: some Collection<Int>, transform: ImageTransform = .identity
  ) throws(FileError) -> [UInt8] {
    let shape = try shape(of: indices, transform: transform)
    try MemoryLimit.require(indices.count * shape.count, for: path)
    var result = [UInt8]()
    result.reserveCapacity(indices.count * shape.count)
    for index in indices {
      if transform == .identity, case .bytes(let bytes) = try stored(index) {
        result += bytes
      } else {
        let values = try values(of: index, as: Double.self, transform: transform, nonFinite: .refused)
        result += values.map(PixelValue.byte)
      }
    }
    return result
  }

  private enum Stored {
    case bytes([UInt8])
    case values([Double])
  }

  private func stored(_ index: Int) throws(FileError) -> Stored {
    switch storage {
    case .array(let array, let shape):
      let size = shape.count * array.header.type.size
      let bytes = try array.bytes((index * size)..<((index + 1) * size))
      if array.header.type == .uint8 { return .bytes(bytes) }
      var values = [Double](repeating: 0, count: shape.count)
      array.header.forEachValue(bytes) { values[$0] = $1 }
      return .values(values)
    case .files(let files):
      switch try files[index].pixels() {
      case .bytes(let bytes): return .bytes(bytes)
      case .words(let words): return .values(words.map { (Double($0) + 0.5) / 65536 })
      }
    }
  }

  private func values<Scalar: KernelScalar>(
    of index: Int, as type: Scalar.Type, transform: ImageTransform, nonFinite: NonFinitePolicy
  ) throws(FileError) -> [Double] {
    let shape = shape(of: index)
    var values: [Double]
    switch try stored(index) {
    case .bytes(let bytes): values = bytes.map(PixelValue.scalar)
    case .values(let floats):
      values = floats
      if let place = nonFinite.firstRefused(values, type) {
        throw .malformed(
          path: path,
          what: "value at row \(place / (shape.width * shape.channels)), "
            + "column \(place / shape.channels % shape.width) of image \(name(of: index))",
          found: "\(values[place])", expected: "a finite \(type)")
      }
    }
    if transform != .identity { values = transform.apply(values, shape) }
    return values
  }

  private static func imageShape(_ array: ArrayData, _ plane: PlaneMeaning) throws(FileError) -> (
    count: Int, ImageShape
  ) {
    let header = array.header
    guard header.type == .uint8 || header.type.isFloating else {
      throw .malformed(
        path: array.path, what: "\(header.format) dtype of the images", found: "\(header.type)",
        expected: "uint8, float32 or float64")
    }
    var shape = header.shape
    if plane == .vectors {
      if shape.count == 1 { shape.insert(1, at: 0) }
      if shape.count == 2 { shape.insert(contentsOf: [1, 1], at: 1) }
    }
    if shape.count == 2 { shape.insert(1, at: 0) }
    if shape.count == 3 { shape.append(1) }
    guard shape.count == 4, shape.allSatisfy({ $0 > 0 }) else {
      throw .malformed(
        path: array.path, what: "shape of the images", found: "\(header.shape)",
        expected: "[n, h, w, c], [n, h, w] or \(plane == .vectors ? "[n, d]" : "[h, w]") with nothing zero")
    }
    return (shape[0], ImageShape(height: shape[1], width: shape[2], channels: shape[3]))
  }
}

/// Between 8-bit values and the unit interval.
public enum PixelValue {
  /// The middle of the bin, `(v + ½)/256`.
  public static func scalar(_ byte: UInt8) -> Double { (Double(byte) + 0.5) / 256 }

  /// `⌊256 x⌋` clipped to 0 … 255; 0 for NaN.
  public static func byte(_ value: Double) -> UInt8 {
    value >= 0 ? UInt8(min(256 * value, 255)) : 0
  }
}

/// Converts into a buffer with loops made for Float and Double.
func store<Scalar: KernelScalar>(_ values: [Double], into buffer: UnsafeMutableBufferPointer<Scalar>) {
  if let floats = buffer as? UnsafeMutableBufferPointer<Float> {
    for (i, value) in values.enumerated() { floats[i] = Float(value) }
  } else if let doubles = buffer as? UnsafeMutableBufferPointer<Double> {
    for (i, value) in values.enumerated() { doubles[i] = value }
  } else {
    for (i, value) in values.enumerated() { buffer[i] = Scalar(value) }
  }
}
