import AIPOKernels

/// What a training tells while it runs.
public enum TrainingEvent<Scalar: KernelScalar> {
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
