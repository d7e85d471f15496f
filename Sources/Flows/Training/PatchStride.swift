import AIPOKernels

/// How a picture of any size is seen by a model that was trained on patches.
public enum PatchStride: Sendable, Hashable, CustomStringConvertible {
  /// In patches where the flow fits one size alone or knows its noise level, else as a whole.
  case automatic
  /// As one image, which the flow must accept.
  case whole
  /// In patches that lie so many pixels apart.
  case pixels(Int)

  /// `auto`, `whole` or a number of pixels; nil for anything else.
  public init?(_ text: String) {
    switch text {
    case "auto": self = .automatic
    case "whole": self = .whole
    default:
      guard let pixels = Int(text), (1...65536).contains(pixels) else { return nil }
      self = .pixels(pixels)
    }
  }

  /// As `init` reads it.
  public var description: String {
    switch self {
    case .automatic: "auto"
    case .whole: "whole"
    case .pixels(let pixels): "\(pixels)"
    }
  }
}

extension FlowModel {
  private var training: TrainingConfig? { try? TrainingConfig(yaml: recipe, path: path) }
  private var trainedOnPatches: TrainingConfig? { training.flatMap { $0.patch.isEmpty ? nil : $0 } }

  /// Whether its recipe mirrors images, left and right.
  public var isOfMirrorImages: Bool { training?.augmentation.flip ?? false }

  /// Whether its recipe cuts patches out of pictures, which makes it a model of pictures of any size.
  public var isOfPatches: Bool { trainedOnPatches != nil }

  /// Pixels from one patch to the next where a picture of any size is seen in patches; nil where it is seen as a whole.
  public var patchStride: Int? {
    guard let config = trainedOnPatches else { return nil }
    let side = min(imageShape.height, imageShape.width)
    switch config.stride {
    case .whole: return nil
    case .pixels(let pixels): return min(pixels, side)
    case .automatic:
      // Each evaluation of a path in the noise level has another grid, so that large patches need not overlap.
      if spec.condition != nil, side >= 24 { return side }
      return spec.reasonForOneSize != nil || spec.condition != nil ? max(1, side / 2) : nil
    }
  }
}
