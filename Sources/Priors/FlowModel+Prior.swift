import AIPOFlows
import AIPOKernels

extension FlowModel {
  /// The flow as a prior for images of a size: in patches where the model is one of these (see `PatchPrior`), else as
  /// a whole. The layers need not accept the size: see `ReflectedPrior`.
  ///
  /// - Parameters:
  ///   - flow: this model's, as `makeFlow` gives it.
  ///   - image: the images' shape, of the whole where ranks share one; the flow's own unless told.
  ///   - ranks: those that share the image, where it `canBeShared`.
  /// - Throws: `FlowError.unsupportedShape` where no size around this one is accepted either.
  public func prior<Scalar: KernelScalar>(
    _ flow: Flow<Scalar>, at image: ImageShape? = nil, ranks: any Ranks = OneRank()
  ) throws -> any Prior {
    if let image, let patchStride {
      return try PatchPrior(
        flow, imageShape: image, stride: patchStride, encoding: requantization,
        seesMirrorImages: seesMirrorImages, ranks: ranks)
    }
    if let image, let rows = sharedRows(of: image, ranks) {
      return try FlowPrior(flow, rows, encoding: requantization, seesMirrorImages: seesMirrorImages)
    }
    precondition(ranks.count == 1, "this prior needs images whole")
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

  /// Whether ranks can have some rows each of an image under this prior: of patches, or a flow of convolutions and an image that
  /// is much higher than they reach. In both cases it knows noise.
  public func canBeShared(_ image: ImageShape, ranks: any Ranks) -> Bool {
    guard spec.condition != nil else { return false }
    return patchStride != nil || sharedRows(of: image, ranks) != nil
  }

  private func sharedRows(of image: ImageShape, _ ranks: any Ranks) -> FlowRows? {
    guard spec.condition != nil, accepts(image) else { return nil }
    return FlowRows(spec, imageShape: image, ranks: ranks)
  }
}
