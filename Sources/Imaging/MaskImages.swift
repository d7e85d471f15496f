import AIPOKernels

/// Which values of images are observed, from a file: those where the mask isn't zero.
///
/// An NPY or IDX array (`[h, w]`, `[h, w, c]`, `[n, h, w]` or `[n, h, w, c]`) or pictures. A mask of other channels
/// than the image's hides a pixel where all its channels are zero. A mask has two values, or one: with more it was
/// blurred or scaled, and is refused unless a threshold says which of them are observed.
public struct MaskImages: Sendable {
  /// One mask for all images, or one an image of the source; h, w, c order.
  private let masks: [[Bool]]
  /// Whether the masks went through what the images go through; else they were of their final size.
  public let followsImages: Bool

  /// - `shape`: of the images once they are transformed.
  /// - `stored`: of the images before, where all have one. A mask of this size goes through the same crop and resizing,
  ///   in which a value is observed where all that it is made of are.
  /// - `count`: images of the source.
  /// - `readArray`: reads a file that is no picture.
  /// - `threshold`: a value is observed from this share of the mask's greatest on.
  public init(
    path: String, shape: ImageShape, stored: ImageShape?, transform: ImageTransform, count: Int,
    threshold: Double? = nil, readArray: (String) throws -> Tensor<Double> = { try NPYFile.read($0) }
  ) throws {
    let (extents, values) = try Self.read(path, readArray)
    let places = [stored, shape].compactMap(\.self)
    guard
      let (own, layout) = places.lazy.compactMap({ own in
        Self.layout(extents, own, count: count).map { (own, $0) }
      }).first
    else {
      let sizes = Set(places.map { [$0.height, $0.width] }).map { "\($0)" }.sorted().joined(separator: " or ")
      let many = count == 1 ? "" : ", or \(count) such masks"
      throw FileError.malformed(
        path: path, what: "shape of the mask", found: "\(extents)", expected: "\(sizes)\(many)")
    }
    // Where the channels aren't the image's, the greatest of a pixel's decides.
    let isByValue = layout.channels == shape.channels
    let levels =
      isByValue
      ? values
      : stride(from: 0, to: values.count, by: layout.channels).map {
        values[$0..<($0 + layout.channels)].max() ?? 0
      }
    let least: Double
    if let threshold {
      least = threshold * (levels.max() ?? 0)
    } else {
      least = .leastNonzeroMagnitude
      try Self.requireTwoValues(levels, path: path)
    }
    func isObserved(_ level: Double) -> Bool { threshold == nil ? level != 0 : level >= least && level > 0 }
    let place = ImageTransform(crop: transform.crop, resize: transform.resize)
    followsImages = own == stored
    let size = levels.count / layout.count
    let channels = isByValue ? layout.channels : 1
    let plane = ImageShape(height: own.height, width: own.width, channels: channels)
    masks = (0..<layout.count).map { image in
      var mask = levels[(image * size)..<((image + 1) * size)].map { isObserved($0) ? 1.0 : 0.0 }
      if own == stored, place != .identity { mask = place.apply(mask, plane) }
      let observed = mask.map { $0 > 1 - 1e-9 }
      return isByValue ? observed : observed.flatMap { [Bool](repeating: $0, count: shape.channels) }
    }
  }

  /// Whether all images share the mask.
  public var isShared: Bool { masks.count == 1 }

  /// The observed values of the image at this index of its source.
  public func observed(index: Int) -> [Bool] { masks[isShared ? 0 : index] }

  /// How many masks of how many channels an array holds for images of a shape; nil where it can't be such.
  private static func layout(_ extents: [Int], _ shape: ImageShape, count: Int) -> (
    count: Int, channels: Int
  )? {
    var dimensions = extents
    if dimensions.count == 2 { dimensions.append(1) }
    let size = [shape.height, shape.width]
    if dimensions.count == 3 {
      // [h, w, c] where it can be, else [n, h, w].
      if Array(dimensions.prefix(2)) == size { dimensions.insert(1, at: 0) } else { dimensions.append(1) }
    }
    guard dimensions.count == 4, Array(dimensions[1...2]) == size, dimensions[3] > 0,
      dimensions[0] == 1 || dimensions[0] == count
    else { return nil }
    return (dimensions[0], dimensions[3])
  }

  private static func requireTwoValues(_ levels: [Double], path: String) throws(FileError) {
    let distinct = Set(levels)
    guard distinct.count > 2 else { return }
    throw .malformed(
      path: path, what: "mask", found: "of \(distinct.count) different values",
      expected:
        "two, 0 where a pixel is hidden: save it as PNG, which doesn't blur its edges as JPEG does, or give "
        + "--mask-threshold 0.5, which observes from half of its greatest value on")
  }

  /// 8-bit values as they are stored, others on [0, 1] with black as 0.
  private static func read(_ path: String, _ readArray: (String) throws -> Tensor<Double>) throws -> (
    shape: [Int], values: [Double]
  ) {
    guard try isPicture(path) else {
      let array = try readArray(path)
      return (array.shape, array.elements)
    }
    let images = try ImageSet(path: path)
    let indices = 0..<images.count
    let shape = try images.shape(of: indices)
    let extents = [images.count, shape.height, shape.width, shape.channels]
    if images.isEightBit { return (extents, try images.bytes(indices).map { Double($0) }) }
    let black = 0.5 / 65536
    return (extents, try images.read(indices, as: Double.self).elements.map { $0 - black })
  }

  /// Whether the file is to be read as a picture, which says so where it can't be.
  private static func isPicture(_ path: String) throws(FileError) -> Bool {
    let kind = FileKind(try InputFile(path: FilePlace(path).file).next(ArrayData.headBytes), path: path)
    return kind != .tiff && (kind.isPicture || kind.isForeignPicture)
  }
}
