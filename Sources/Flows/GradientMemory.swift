import AIPOKernels

/// How much a gradient keeps on its way to the latents or the images, for its way back.
///
/// What is kept saves the way back from computing the couplings' nets again, and from recomputing inputs that outputs no
/// longer tell. Every amount gives an image the same bits but `flat`, which agrees to rounding where it works. What can't
/// be had is refused (`FlowError.tooLarge`), never replaced by less.
public enum GradientMemory: Sendable, Hashable {
  /// Nothing: each layer recomputes its input from its output, and memory doesn't grow with depth. Where a coupling
  /// scales a value down below the rounding of its neighbours, which happens far from the data, what is recomputed is
  /// wrong and the gradient with it, or not finite.
  case flat
  /// Everything, of the whole batch.
  case kept
  /// Everything, or the couplings' inputs alone (their nets are then computed again), a part of the batch at a time, so
  /// that all scratch memory of a call takes at most so many bytes.
  case upTo(bytes: Int)
  /// Everything or the inputs alone, of as much of a batch at a time as takes 256 MB (2 GB for parameter gradients, which
  /// keep the nets' outputs as well, and for which every part of a batch reads and writes all parameters' sums); of one
  /// image as much as it takes, within what other arrays leave of `MemoryLimit.bytes` and of the system's memory.
  case automatic

  /// Whether the memory that there is doesn't matter.
  var isGiven: Bool {
    switch self {
    case .kept, .upTo: true
    case .flat, .automatic: false
    }
  }

  /// What a pass keeps; each case includes the ones before it.
  enum Kept: Int, Sendable {
    case nothing
    /// What couplings condition on, and the slopes of their transforms.
    case inputs
    /// What the nets' derivatives need: a bit a ReLU, or the slope of a smooth activation; for parameter gradients also
    /// the hidden layers' outputs.
    case nets
  }
}

/// Values of scratch memory that a pass takes at most.
struct ScratchCount: Hashable {
  /// Of the first worker, whose memory also holds what all of them share.
  var first = 0
  /// Of every other one.
  var others = 0

  /// What covers both, one after the other.
  static func largest(_ a: ScratchCount, _ b: ScratchCount) -> ScratchCount {
    ScratchCount(first: max(a.first, b.first), others: max(a.others, b.others))
  }

  /// What covers both at once.
  static func + (a: ScratchCount, b: ScratchCount) -> ScratchCount {
    ScratchCount(first: a.first + b.first, others: a.others + b.others)
  }
}

/// A layer that says how much scratch memory it takes; others take next to none.
protocol ScratchLayer: AnyObject {
  /// What a pass over images of this shape takes.
  func scratchCount(input: ImageShape, _ work: FlowWork) -> ScratchCount
}

/// A layer that keeps by itself what its way back needs (`FlowPass.keep`). For other layers the flow keeps the output.
protocol KeepingLayer: ScratchLayer {
  /// Values that it keeps of an image.
  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int

  /// Called before the first and after the last part of a batch whose parameter gradients are wanted, for sums over all
  /// of it.
  func startGradient(input: ImageShape) throws
  func finishGradient()
}

extension KeepingLayer {
  func scratchCount(input: ImageShape, _ work: FlowWork) -> ScratchCount { ScratchCount() }
  func startGradient(input: ImageShape) throws {}
  func finishGradient() {}
}
