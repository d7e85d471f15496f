import AIPOFlows
import AIPOImaging
import AIPOKernels

/// Images of a file or folder in a shape that a model takes.
public struct ModelImages: Sendable {
  public let images: ImageSet
  public let transform: ImageTransform
  public let shape: ImageShape
  /// The images to take, in order.
  public let indices: [Int]

  /// Opens images and checks that those at `indices` come in one shape, that of the model's training or another that the
  /// model accepts; the error says what may help.
  public init(
    path: String, reading: ImageReading = ImageReading(), model: FlowModel, indices: IndexSelection? = nil
  ) throws {
    try self.init(
      path: path, reading: reading, shape: model.imageShape, indices: indices,
      sizes: model.patchStride == nil
        ? model.acceptedSizes
        : "\(model.acceptedSizes) (its density is that of a patch; reconstruct takes any size)",
      accepts: model.accepts)
  }

  /// The same for images of one shape alone. `isMeasured`: resizing changes the noise of an observation, so that the
  /// error doesn't offer it.
  public init(
    path: String, set: ImageSet? = nil, reading: ImageReading = ImageReading(), shape: ImageShape,
    indices: IndexSelection? = nil,
    isMeasured: Bool = false, sizes: String? = nil, accepts: (ImageShape) -> Bool = { _ in false }
  ) throws {
    images = try set ?? ImageSet(path: path, plane: .init(for: shape), layout: reading.layout)
    transform = reading.transform
    self.indices = try indices?.indices(count: images.count, source: path) ?? Array(0..<images.count)
    let found = try images.shape(of: self.indices, transform: transform)
    self.shape = found
    guard found == shape || accepts(found) else {
      var remedies: [String] = []
      let recoloured = ImageShape(height: found.height, width: found.width, channels: shape.channels)
      if images.looksChannelsFirst(for: shape), reading.layout == nil {
        remedies.append("--layout chw")
      } else {
        // A model that takes any size needs no other.
        let isSizeRight = recoloured == shape || accepts(recoloured)
        if !isSizeRight, found.height != shape.height || found.width != shape.width {
          if !isMeasured { remedies.append("--resize \(shape.height)x\(shape.width)") }
          if found.height >= shape.height, found.width >= shape.width {
            remedies.append("--crop \(shape.height)x\(shape.width)")
          }
        }
        if found.channels == 3, shape.channels == 1 { remedies.append("--grey") }
        if found.channels == 1, shape.channels == 3 { remedies.append("--colour") }
      }
      var remedy = remedies.isEmpty ? "" : "; \(remedies.joined(separator: " or ")) may help"
      if remedies.isEmpty, isMeasured {
        remedy = "; resizing would change its noise, so it needs a prior of its size"
      }
      throw TaskError(
        .data,
        "\(path): images are \(found), expected \(found.channels == shape.channels ? sizes ?? "\(shape)" : "\(shape)") "
          + "for this model\(remedy)")
    }
  }

  /// What was left out of a folder, and what stands out about the images' values, unless they are no pixels.
  public func advice(clippedFor purpose: String? = nil) throws -> [Advice] {
    guard !shape.isVector else { return images.advice }
    return images.advice + (try images.advice(indices, transform: transform, clippedFor: purpose))
  }

  public var count: Int { indices.count }

  /// Where the images are in space, if their file says.
  var geometry: ImageGeometry? { images.geometry(of: indices, transform: transform) }

  /// The images at these places of `indices`.
  public func read<Scalar: KernelScalar>(
    _ range: Range<Int>, as type: Scalar.Type = Scalar.self, nonFinite: NonFinitePolicy = .refused
  ) throws -> Tensor<Scalar> {
    try images.read(indices[range], as: Scalar.self, transform: transform, nonFinite: nonFinite)
  }
}
