import AIPOKernels

/// Where the pixels of an image are in space, in millimetres, as its file says.
public struct ImageGeometry: Hashable, Sendable {
  /// From one column to the next, and from one row to the next.
  public var columnStep: Double
  public var rowStep: Double
  /// From one image of the file to the next, where they are slices of a volume.
  public var sliceStep: Double?
  /// Three rows of four: what a pixel's column, row and slice, all from 0, and 1 are multiplied with to give its centre in
  /// the coordinates of the scanner.
  public var space: [SIMD4<Double>]?

  public init(columnStep: Double, rowStep: Double, sliceStep: Double? = nil, space: [SIMD4<Double>]? = nil) {
    precondition(space.map { $0.count == 3 } ?? true)
    self.columnStep = columnStep
    self.rowStep = rowStep
    self.sliceStep = sliceStep
    self.space = space
  }

  /// Of the slices from one on.
  package func from(slice: Int) -> ImageGeometry { moved(column: 0, row: 0, slice: Double(slice)) }

  /// Of every so many slices.
  func every(_ step: Int) -> ImageGeometry {
    var result = self
    result.sliceStep = sliceStep.map { $0 * Double(step) }
    result.space = space?.map { $0 * [1, 1, Double(step), 1] }
    return result
  }

  /// Of the same pictures in another number of pixels: edges stay.
  package func resized(from shape: ImageShape, to other: ImageShape) -> ImageGeometry {
    transformed(
      ImageTransform(resize: PixelSize(height: other.height, width: other.width)), height: shape.height,
      width: shape.width)
  }

  /// Of images after a transform, from those of `shape`.
  func transformed(_ transform: ImageTransform, height: Int, width: Int) -> ImageGeometry {
    var result = self
    var (height, width) = (height, width)
    if let crop = transform.crop {
      result = moved(
        column: Double((width - crop.width) / 2), row: Double((height - crop.height) / 2), slice: 0)
      (height, width) = (crop.height, crop.width)
    }
    if let resize = transform.resize {
      let factors = [Double(width) / Double(resize.width), Double(height) / Double(resize.height)]
      // Edges stay, so the centre of the first pixel moves.
      result = result.moved(column: (factors[0] - 1) / 2, row: (factors[1] - 1) / 2, slice: 0)
      result.columnStep *= factors[0]
      result.rowStep *= factors[1]
      result.space = result.space?.map { $0 * [factors[0], factors[1], 1, 1] }
    }
    return result
  }

  private func moved(column: Double, row: Double, slice: Double) -> ImageGeometry {
    var result = self
    result.space = space?.map { $0 + [0, 0, 0, column * $0[0] + row * $0[1] + slice * $0[2]] }
    return result
  }
}
