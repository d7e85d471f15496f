import AIPOKernels

/// Which prior of pictures a model is.
public enum PriorKind: Sendable, Hashable {
  /// A density of whole images like those that it was trained on.
  case images
  /// A density of pictures of any size as wholes, trained on patches of them.
  case pictures
  /// A density of the patches of pictures of any size, so many pixels from one patch to the next.
  case patches(stride: Int)

  /// What a training makes of a flow of images of this shape.
  public init(_ config: TrainingConfig, _ spec: FlowSpec, _ image: ImageShape) {
    let side = min(image.height, image.width)
    switch config.stride {
    case _ where config.patch.isEmpty: self = .images
    case .pixels(let pixels): self = .patches(stride: min(pixels, side))
    // Each evaluation of a path in the noise level has another grid, so that large patches need not overlap.
    case .automatic where spec.condition != nil && side >= 24: self = .patches(stride: side)
    case .automatic where spec.reasonForOneSize != nil || spec.condition != nil:
      self = .patches(stride: max(1, side / 2))
    case .automatic, .whole: self = .pictures
    }
  }
}

extension PriorKind: Codable {
  private enum Name: String, Codable { case images, pictures, patches }

  public init(from decoder: any Decoder) throws {
    let keys = try KnownKeys(decoder, ["kind", "stride"])
    switch try keys.get("kind", Name.self) {
    case .images: self = .images
    case .pictures: self = .pictures
    case .patches: self = .patches(stride: try keys.bounded("stride", 1...65536))
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: AnyKey.self)
    switch self {
    case .images: try container.encode(Name.images, forKey: AnyKey("kind"))
    case .pictures: try container.encode(Name.pictures, forKey: AnyKey("kind"))
    case .patches(let stride):
      try container.encode(Name.patches, forKey: AnyKey("kind"))
      try container.encode(stride, forKey: AnyKey("stride"))
    }
  }
}
