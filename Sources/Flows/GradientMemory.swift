/// How much a gradient keeps on its way to the latents or the images, for its way back.
///
/// What is kept saves the way back from computing the couplings' nets again, and from recomputing inputs that outputs no
/// longer tell. Every amount gives an image the same bits but `flat`, which agrees to rounding where it works. None turns
/// into `flat` by itself.
public enum GradientMemory: Sendable, Hashable {
  /// Nothing: each layer recomputes its input from its output, and memory doesn't grow with depth. Where a coupling
  /// scales a value down below the rounding of its neighbours, which happens far from the data, what is recomputed is
  /// wrong and the gradient with it, or not finite.
  case flat
  /// Everything, of the whole batch.
  case kept
  /// Everything, or the couplings' inputs alone (their nets are then computed again), a part of the batch at a time, so
  /// that what is kept takes at most so many bytes. Where the inputs of one image, or for parameter gradients of an
  /// eighth of the batch, take more, the gradient throws `FlowError.gradientMemory`.
  case upTo(bytes: Int)
  /// Parts of up to 256 MB, or 2 GB for parameter gradients, which keep the nets' outputs as well, and for which every
  /// part of a batch reads and writes all parameters' sums. Where the least part takes more, it keeps what
  /// takes the fewest bytes and is exact; the gradient throws `TensorError.outOfMemory` where they can't be had.
  case automatic

  /// What a pass keeps; each case includes the ones before it.
  enum Kept: Int, Sendable {
    case nothing
    /// What couplings condition on, and the slopes of their transforms.
    case inputs
    /// What the nets' derivatives need: a bit a ReLU, or the input of a smooth activation; for parameter gradients also
    /// the hidden layers' outputs.
    case nets
  }

  /// What to keep, and of how many of `count` images at a time, a multiple of `unit` unless it is all.
  func plan(count: Int, unit: Int, parameterGradients: Bool, bytes: (Kept) -> Int) throws(FlowError) -> (
    kept: Kept, images: Int
  ) {
    let limit: Int
    switch self {
    case .flat: return (.nothing, max(count, 1))
    case .kept: return (.nets, max(count, 1))
    case .upTo(let bytes): limit = bytes
    case .automatic: limit = parameterGradients ? 1 << 31 : 1 << 28
    }
    for kept in [Kept.nets, .inputs] {
      let units = limit / max(1, unit * bytes(kept))
      if units > 0 { return (kept, min(units * unit, max(count, 1))) }
    }
    let least = bytes(.nets) < bytes(.inputs) ? Kept.nets : .inputs
    if case .upTo = self { throw .gradientMemory(needed: unit * bytes(least), limit: limit) }
    return (least, min(unit, max(count, 1)))
  }
}

/// A layer that keeps by itself what its way back needs (`FlowPass.keep`). For other layers the flow keeps the output.
protocol KeepingLayer: AnyObject {
  /// Values an image that it keeps.
  func keptCount(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Int

  /// Called before the first and after the last part of a batch whose parameter gradients are wanted, for sums over all
  /// of it.
  func startGradient() throws
  func finishGradient()
}

extension KeepingLayer {
  func startGradient() throws {}
  func finishGradient() {}
}
