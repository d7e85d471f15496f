import AIPOFlows
import AIPOKernels

extension FlowModel {
  /// The flow as a prior for images of a size: in patches where the model is one of these (see `PatchPrior`), else as
  /// a whole. The layers need not accept the size: see `ReflectedPrior`.
  ///
  /// - Parameters:
  ///   - flow: this model's, as `makeFlow` gives it.
  ///   - ranks: those that share the image, of a model of patches.
  /// - Throws: `FlowError.unsupportedShape` where no size around this one is accepted either.
  public func prior<Scalar: KernelScalar>(
    _ flow: Flow<Scalar>, at image: ImageShape? = nil, ranks: any Ranks = OneRank()
  ) throws -> any Prior {
    if let image, let patchStride {
      return try PatchPrior(
        flow, imageShape: image, stride: patchStride, encoding: requantization,
        seesMirrorImages: seesMirrorImages, ranks: ranks)
    }
    precondition(ranks.count == 1, "a prior of whole images isn't shared")
    guard let image, image != flow.imageShape, !accepts(image) else {
      return FlowPrior(
        try flow.at(image ?? flow.imageShape), encoding: requantization, seesMirrorImages: seesMirrorImages)
    }
    let divisor = spec.sideDivisor
    func rounded(_ side: Int) -> Int { (side + divisor - 1) / divisor * divisor }
    let outer = ImageShape(
      height: rounded(image.height), width: rounded(image.width), channels: image.channels)
    // Throws where the channels are wrong, or one size alone fits.
    return ReflectedPrior(
      FlowPrior(
        try flow.at(accepts(outer) ? outer : image), encoding: requantization,
        seesMirrorImages: seesMirrorImages), imageShape: image)
  }
}
