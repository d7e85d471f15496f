import AIPOKernels

/// What a training tells while it runs.
public enum TrainingEvent<Scalar: KernelScalar> {
  /// The training is about to make its first step, or to go on.
  case begun(TrainingStart)
  /// A step was made (1 is the first): its loss in bits/dim, the norm of the gradient before clipping, the
  /// rate, and how many steps there are.
  case step(Int, of: Int, bitsPerDim: Double, gradientNorm: Double, rate: Double)
  /// A step was undone, for this reason; the rate from now on is the schedule's times `rateScale`.
  case rolledBack(step: Int, reason: String, rateScale: Double)
  /// The averaged parameters were measured on the validation images.
  case validation(step: Int, Evaluation)
  /// The density with the averaged parameters drew samples `[n, h, w, c]`. It has them while the event is told.
  case samples(step: Int, Tensor<Scalar>, of: any TrainableFlow<Scalar>)
  /// Everything up to this step is safe on disk.
  case checkpoint(step: Int)
}

/// What a training begins with, or goes on with.
public struct TrainingStart: Sendable, Equatable {
  /// Steps that are made already.
  public var step: Int
  public var steps: Int
  public var split: TrainingSplit
  /// What a density sees of a picture.
  public var shape: ImageShape
  /// Whether it sees patches of larger pictures.
  public var isPatched: Bool
  /// Whether steps that are made had other rates than a run of so many steps has from its start.
  public var hasOtherRates: Bool
  /// The rate of the next step.
  public var rate: Double
  /// What looks like a mistake.
  public var advice: [Advice]
}
