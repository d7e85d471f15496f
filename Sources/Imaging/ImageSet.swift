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
/// - PNG, JPEG and WebP, one image a file, and TIFF, one a page, turned as EXIF or the page says; or a folder of them and
///   of such folders, sorted by the bytes of their paths. A file in a folder that is none of these is left out, which
///   ``advice`` names, unless it is of no known kind and its name claims otherwise.
/// - NPY of `[n, h, w, c]`, `[n, h, w]` or `[h, w]`, or of the axes that an `ImageLayout` says: bytes, floats of
///   16 to 64 bits, booleans, or other integers where a `ValueRange` says what they mean.
/// - IDX of the same, a dataset of HDF5 (`FILE.h5:/path`) and a variable of MAT (`FILE.mat:name`, in MATLAB's order of
///   axes), or the only one; an array of an NPZ (`FILE.npz:name`); BART's CFL.
/// - NIfTI, whose slices are images.
/// - gzip of NPY, IDX or NIfTI.
///
/// `[n, d]` of NPY and IDX is n vectors, images of 1×1×d, and `[d]` one of them, where the caller says so.
///
/// Values are on [0, 1]: an 8-bit `v` becomes `(v + ½)/256`, a 16-bit one of a PNG or TIFF `(v + ½)/65536`; floats and
/// booleans are taken as they are. A `ValueRange` scales floats and integers of any kind on its own; that of all values of
/// the type, as 0:255, changes nothing for 8-bit images and 16-bit PNG and TIFF. What a header says is never believed beyond
/// the size of the file, and there are limits: 2²⁷ pixels in a picture, 2³² bytes in an array that must be held in
/// memory (gzip, pipes, Fortran order); plain arrays may be as large as they like and stay on disk.
public struct ImageSet: Sendable {
  enum Storage: Sendable {
    case array(ArrayData, ImageLayout.Images)
    case files([ImageFile])
  }

  public let path: String
  /// At least one.
  public let count: Int
  /// What was left out of a folder, if anything.
  public let advice: [Advice]
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

  /// Opens a file or folder and reads headers only. Without a layout an array is `nhwc`, and refused where it doesn't
  /// look so. Throws `missing` or `malformed`.
  public init(path: String, plane: PlaneMeaning = .image, layout: ImageLayout? = nil) throws(FileError) {
    self.path = path
    if let folder = try ImageFolder(path) {
      storage = .files(folder.images)
      count = folder.images.count
      advice = folder.advice.map { [$0] } ?? []
      return
    }
    advice = []
    let place = FilePlace(path)
    let file = try InputFile(path: place.file)
    let beginning = try file.next(ArrayData.headBytes)
    if let array = try ArrayData(file, beginning: beginning, member: place.member) {
      let images = try ImageLayout.images(in: array, as: layout, plane: plane)
      storage = .array(array, images)
      count = images.count
    } else {
      let pages = try ImageFile.open(file, beginning: beginning)
      storage = .files(pages)
      count = pages.count
    }
  }

  /// Images `[n, h, w, c]` of a program, on [0, 1]; at least one. `name` is what messages call them.
  public init(_ images: Tensor<Double>, name: String = "images") {
    precondition(images.shape.count == 4 && images.count > 0, "a batch of images, not \(images.shape)")
    path = name
    count = images.shape[0]
    advice = []
    let shape = ImageShape(height: images.shape[1], width: images.shape[2], channels: images.shape[3])
    storage = .array(
      ArrayData(images, name: name), ImageLayout.Images(count: count, shape: shape, channelsFirst: false))
  }

  /// The shape of one image.
  public func shape(of index: Int) -> ImageShape {
    precondition((0..<count).contains(index))
    switch storage {
    case .array(_, let images): return images.shape
    case .files(let files): return files[index].shape
    }
  }

  /// Of the images at `indices` as slices one after another; those that are at no equal distances are no volume.
  public func geometry(of indices: [Int], transform: ImageTransform = .identity) -> ImageGeometry? {
    guard let first = indices.first, var geometry = geometry(of: first, transform: transform) else {
      return nil
    }
    guard indices.count > 1 else { return geometry }
    let steps = Set(zip(indices, indices.dropFirst()).map { $1 - $0 })
    if steps.count == 1, let step = steps.first, step > 0 { return geometry.every(step) }
    geometry.sliceStep = nil
    geometry.space = nil
    return geometry
  }

  /// The shape that all images have, or nil where they differ.
  public var commonShape: ImageShape? {
    switch storage {
    case .array(_, let images): images.shape
    case .files(let files): files.allSatisfy { $0.shape == files[0].shape } ? files[0].shape : nil
    }
  }

  /// Whether an array of three axes, taken for grey images, may be one image of `shape` with channels first.
  public func looksChannelsFirst(for shape: ImageShape) -> Bool {
    guard case .array(let array, _) = storage, shape.channels > 1 else { return false }
    return array.header.shape == [shape.channels, shape.height, shape.width]
  }

  /// Whether all images are stored as 8-bit values.
  public var isEightBit: Bool {
    switch storage {
    case .array(let array, _): array.header.type == .uint8
    case .files(let files): files.allSatisfy { $0.type == .uint8 }
    }
  }

  /// Where the pixels of an image are in space once it is transformed, if the file says.
  public func geometry(of index: Int, transform: ImageTransform = .identity) -> ImageGeometry? {
    let stored = shape(of: index)
    let geometry =
      switch storage {
      case .array(let array, _): array.geometry?.from(slice: index)
      case .files(let files): files[index].geometry
      }
    return geometry?.transformed(transform, height: stored.height, width: stored.width)
  }

  /// The file's name, with `#index` where it holds several.
  public func name(of index: Int) -> String {
    precondition((0..<count).contains(index))
    switch storage {
    case .array(let array, _):
      let name = FilePlace(path).name
      return array.header.shape.count <= 2 && count == 1 ? name : "\(name)#\(index)"
    case .files(let files): return files[index].name
    }
  }

  /// The shape that all images at `indices` have after `transform`. Throws `malformed` where an index
  /// is beyond the data, a crop beyond the image, the shapes differ, or integers need a range.
  public func shape(
    of indices: some Collection<Int>, transform: ImageTransform = .identity
  ) throws(FileError) -> ImageShape {
    if case .array(let array, _) = storage, transform.range == nil {
      try requireScale(of: array.header.type, "\(array.header.format) dtype of the images", words: false)
    }
    var common: (shape: ImageShape, index: Int)?
    for index in indices {
      guard (0..<count).contains(index) else {
        throw .malformed(
          path: path, what: "image index", found: "\(index)", expected: count == 1 ? "0" : "0 to \(count - 1)"
        )
      }
      // Those of an array all have one.
      if common != nil, case .array = storage { continue }
      if case .files(let files) = storage, transform.range == nil {
        try requireScale(of: files[index].type, "type of \(files[index].name)", words: true)
      }
      let stored = shape(of: index)
      guard let shape = transform.shape(of: stored) else {
        throw .malformed(
          path: path, what: "size of image \(name(of: index))", found: "\(stored)",
          expected: transform.crop.map { "at least \($0) for the crop" } ?? "one or three channels")
      }
      if let common, common.shape != shape {
        throw differing(common, (shape, index), transform)
      }
      common = common ?? (shape, index)
    }
    return common?.shape ?? transform.shape(of: shape(of: 0)) ?? shape(of: 0)
  }

  /// Throws where nobody said what integers mean; 16-bit ones of a picture are of their full scale.
  private func requireScale(of type: ElementType, _ what: String, words: Bool) throws(FileError) {
    guard type != .uint8, type != .bool, !type.isFloating, !(words && type == .uint16) else { return }
    throw .malformed(
      path: path, what: what, found: "\(type)",
      expected:
        "uint8, \(words ? "uint16" : "bool") or floats; for others give --range \(ValueRange.argument(nil))")
  }

  private func differing(
    _ first: (shape: ImageShape, index: Int), _ other: (shape: ImageShape, index: Int),
    _ transform: ImageTransform
  ) -> FileError {
    var same = other.shape
    same.channels = first.shape.channels
    guard same == first.shape, Set([first.shape.channels, other.shape.channels]) == [1, 3] else {
      return .malformed(
        path: path, what: "size of image \(name(of: other.index))", found: "\(other.shape)",
        expected:
          "\(first.shape) as \(name(of: first.index)); --crop HxW or --resize HxW bring all to one size, --indices takes those of one"
      )
    }
    let (grey, colour) = first.shape.channels == 1 ? (first.index, other.index) : (other.index, first.index)
    return .malformed(
      path: path, what: "folder",
      found: "of grey pictures (\(name(of: grey))) and colour pictures (\(name(of: colour)))",
      expected: "one kind; give --grey to turn all to grey, or --colour to give grey ones three channels")
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

  /// Rows of one image as it is stored but for the range, `[rows, w, c]`: of an array in a file nothing else is read.
  public func read(
    _ index: Int, rows: Range<Int>, range: ValueRange?, nonFinite: NonFinitePolicy = .refused
  ) throws -> Tensor<Double> {
    let shape = shape(of: index)
    let values = try values(
      of: index, rows: rows, as: Double.self, transform: ImageTransform(range: range), nonFinite: nonFinite)
    return try Tensor(shape: [rows.count, shape.width, shape.channels], elements: values)
  }

  /// The images at `indices` as 8-bit values, `[n, h, w, c]`: as stored where they are 8-bit and not
  /// changed, else `⌊256 x⌋` clipped. For training, which dequantises them itself. Throws where the values are on
  /// another scale, so that clipping would leave black and white.
  public func bytes(
    _ indices: some Collection<Int>, transform: ImageTransform = .identity
  ) throws(FileError) -> [UInt8] {
    let shape = try shape(of: indices, transform: transform)
    try MemoryLimit.require(indices.count * shape.count, for: path)
    try requireScale(extent(of: indices, range: transform.range))
    var result = [UInt8]()
    result.reserveCapacity(indices.count * shape.count)
    for index in indices {
      if !transform.changes(self.shape(of: index)), case .bytes(let bytes) = try stored(index),
        isNatural(transform.range)
      {
        result += bytes
      } else {
        let values = try values(of: index, as: Double.self, transform: transform, nonFinite: .refused)
        result += values.map(PixelValue.byte)
      }
    }
    return result
  }

  /// Throws `malformed` where nobody said what the values of the images at `indices` mean, and they are on another scale
  /// than that of their type.
  public func requireScale(of indices: some Collection<Int>, transform: ImageTransform) throws(FileError) {
    guard transform.range == nil else { return }
    try requireScale(extent(of: indices, range: nil))
    guard let scale = try unusedScale(indices) else { return }
    throw .malformed(
      path: path, what: "greatest value", found: "\(scale.found) of \(scale.possible)",
      expected:
        "more than next to black; give --range 0:\(scale.end) if \(scale.end) is white, or --range "
        + "0:\(scale.possible) to take the images as they are")
  }

  private func requireScale(_ extent: ValueExtent) throws(FileError) {
    guard extent.range == nil, extent.isElsewhere else { return }
    throw .malformed(
      path: path, what: "range of the values", found: extent.found, expected: extent.expected)
  }

  /// What stands out about the values of the images at `indices`: that they are on another scale than [0, 1] or the
  /// given range; or that some are outside and clipped, for what `purpose` says (nil: they are kept).
  public func advice(
    _ indices: some Collection<Int>, transform: ImageTransform, clippedFor purpose: String? = nil
  ) throws(FileError) -> [Advice] {
    let name = ImageFile.lastComponent(path)
    let extent = try extent(of: indices, range: transform.range)
    if let advice = extent.advice(name, clippedFor: purpose) { return [advice] }
    guard transform.range == nil, let scale = try unusedScale(indices) else { return [] }
    return [
      Advice(
        "range", of: name,
        "no value is above \(scale.found) of \(scale.possible), so the images are all but black; give --range "
          + "0:\(scale.end) if \(scale.end) is white")
    ]
  }

  /// Where 8-bit or 16-bit values use next to nothing of their scale: the greatest, and what their own scale may end at.
  /// Nothing is read beyond the first image that tells otherwise.
  private func unusedScale(
    _ indices: some Collection<Int>
  ) throws(FileError) -> (found: Int, end: Int, possible: Int)? {
    var greatest = 0
    var possible = 0
    for index in indices {
      switch try stored(index) {
      case .bytes(let bytes): (greatest, possible) = (max(greatest, Int(bytes.max() ?? 0)), 255)
      case .words(let words): (greatest, possible) = (max(greatest, Int(words.max() ?? 0)), 65535)
      case .values: return nil
      }
      if greatest > (possible == 255 ? 1 : 4095) { return nil }
    }
    guard greatest > 0, let end = [1, 255, 1023, 4095].first(where: { greatest <= $0 }) else { return nil }
    return (greatest, end, possible)
  }

  /// The extent of the values that the images at `indices` hold, before they are scaled. Where no value of the type can
  /// be outside the range nothing is read.
  func extent(of indices: some Collection<Int>, range: ValueRange?) throws(FileError) -> ValueExtent {
    var extent = ValueExtent(range: range)
    if isNatural(range) { return extent }
    for index in indices {
      switch try stored(index) {
      case .bytes(let bytes): extent.include(bytes.lazy.map { Double($0) })
      case .words(let words): extent.include(words.lazy.map { Double($0) })
      case .values(let values): extent.include(values)
      }
    }
    return extent
  }

  /// Whether the range is all that the stored type can hold.
  private func isNatural(_ range: ValueRange?) -> Bool {
    switch storage {
    case .array(let array, _):
      switch array.header.type {
      case .uint8: range == nil || range == .bytes
      case .bool: range == nil || range == .unit
      default: false
      }
    case .files(let files):
      files.allSatisfy {
        switch $0.type {
        case .uint8: range == nil || range == .bytes
        case .uint16: range == nil || range == .words
        default: false
        }
      }
    }
  }

  /// Some rows of an image, or all.
  private func stored(_ index: Int, rows: Range<Int>? = nil) throws(FileError) -> StoredPixels {
    let shape = shape(of: index)
    switch storage {
    case .array(let array, let images):
      if let rows, images.channelsFirst { return try stored(index).rows(rows, of: shape) }
      let rowSize = shape.width * shape.channels
      let rows = rows ?? 0..<images.shape.height
      let first = index * images.shape.count
      let size = array.header.type.size
      let bytes = try array.bytes(
        (first + rows.lowerBound * rowSize) * size..<(first + rows.upperBound * rowSize) * size)
      if array.header.type == .uint8 {
        return .bytes(images.channelsFirst ? ImageLayout.channelsLast(bytes, images.shape) : bytes)
      }
      var values = [Double](repeating: 0, count: rows.count * rowSize)
      array.header.forEachValue(bytes) { values[$0] = $1 }
      return .values(images.channelsFirst ? ImageLayout.channelsLast(values, images.shape) : values)
    case .files(let files):
      let pixels = try files[index].pixels()
      return rows.map { pixels.rows($0, of: shape) } ?? pixels
    }
  }

  private func values<Scalar: KernelScalar>(
    of index: Int, rows: Range<Int>? = nil, as type: Scalar.Type, transform: ImageTransform,
    nonFinite: NonFinitePolicy
  ) throws(FileError) -> [Double] {
    let shape = shape(of: index)
    let range = transform.range
    var values: [Double]
    switch try stored(index, rows: rows) {
    case .bytes(let bytes):
      if let range, range != .bytes {
        values = bytes.map { range.scaled(Double($0)) }
      } else {
        values = bytes.map(PixelValue.scalar)
      }
    case .words(let words):
      if let range, range != .words {
        values = words.map { range.scaled(Double($0)) }
      } else {
        values = words.map { (Double($0) + 0.5) / 65536 }
      }
    case .values(let floats):
      values = range.map { range in floats.map(range.scaled) } ?? floats
    }
    if let place = nonFinite.firstRefused(values, type) {
      throw .malformed(
        path: path,
        what: "value at row \((rows?.lowerBound ?? 0) + place / (shape.width * shape.channels)), "
          + "column \(place / shape.channels % shape.width) of image \(name(of: index))",
        found: "\(values[place])", expected: "a finite \(type)")
    }
    return transform.changes(shape) ? transform.apply(values, shape) : values
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

  /// `⌊65536 x⌋` clipped to 0 … 65535; 0 for NaN.
  static func word(_ value: Double) -> UInt16 {
    value >= 0 ? UInt16(min(65536 * value, 65535)) : 0
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
