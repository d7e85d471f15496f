import AIPO
import AIPOImaging

/// A mask from a file: the observed pixels are those that aren't zero.
struct MaskFile {
  /// One mask for all images, or one an image of the source; h, w, c order.
  private let masks: [[Bool]]

  /// Reads an NPY or IDX array (`[h, w]`, `[h, w, c]`, `[n, h, w]` or `[n, h, w, c]`) or images. A mask of
  /// other channels than the image's hides a pixel where all its channels are zero.
  init(path: String, shape: ImageShape, sourceCount: Int) throws {
    let (extents, values) = try Self.read(path)
    var dimensions = extents
    if dimensions.count == 2 { dimensions.append(1) }
    let size = [shape.height, shape.width]
    if dimensions.count == 3 {
      // [h, w, c] where it can be, else [n, h, w].
      if Array(dimensions.prefix(2)) == size { dimensions.insert(1, at: 0) } else { dimensions.append(1) }
    }
    guard dimensions.count == 4, Array(dimensions[1...2]) == size, dimensions[3] > 0,
      dimensions[0] == 1 || dimensions[0] == sourceCount
    else {
      let many = sourceCount == 1 ? "" : ", or \(sourceCount) such masks"
      throw CommandFailure(
        .badData, "\(path): the mask has shape \(extents), expected \(size) for images of \(shape)\(many)")
    }
    let channels = dimensions[3]
    let pixels = shape.height * shape.width
    masks = (0..<dimensions[0]).map { image in
      (0..<pixels).flatMap { pixel in
        let start = (image * pixels + pixel) * channels
        let seen = values[start..<(start + channels)]
        return channels == shape.channels
          ? Array(seen) : [Bool](repeating: seen.contains(true), count: shape.channels)
      }
    }
  }

  /// Whether all images share the mask.
  var isShared: Bool { masks.count == 1 }

  /// The observed values of the image at this index of its source.
  func observed(index: Int) -> [Bool] { masks[isShared ? 0 : index] }

  private static func read(_ path: String) throws -> (shape: [Int], values: [Bool]) {
    guard try isPicture(path) else {
      let array = try ArrayFile.read(path, as: Double.self)
      return (array.shape, array.elements.map { $0 != 0 })
    }
    let images = try AIPOImaging.ImageSet(path: path)
    let bytes = try images.bytes(0..<images.count)
    let shape = try images.shape(of: 0..<images.count)
    return ([images.count, shape.height, shape.width, shape.channels], bytes.map { $0 != 0 })
  }

  /// Whether the file begins as a PNG or JPEG does.
  private static func isPicture(_ path: String) throws(FileError) -> Bool {
    let file = try InputFile(path: path)
    var beginning = [UInt8](repeating: 0, count: 4)
    let count = try beginning.withUnsafeMutableBufferPointer { buffer throws(FileError) in
      try file.read(into: UnsafeMutableRawBufferPointer(buffer))
    }
    return count == 4
      && (beginning == [0x89, 0x50, 0x4E, 0x47] || beginning.starts(with: [0xFF, 0xD8, 0xFF]))
  }
}
