import AIPOKernels

/// What the trainer needs of a density: its parameters as one list, and the gradient of its likelihood.
///
/// `Flow` conforms; a density of one's own can be trained too.
public protocol TrainableFlow<Scalar>: AnyObject {
  associatedtype Scalar: KernelScalar
  var imageShape: ImageShape { get }
  /// The threads that the optimiser works on; one by default.
  var pool: ThreadPool { get }

  /// The noise levels that it is to learn; nil, the default, for a density of clean images.
  var condition: Condition? { get }
  /// The density of noisy images, a noise level for each image of a batch, with the same parameters.
  func smoothed(by levels: [Double]) throws -> Self
  /// Takes what it needs of the training images' mean and covariance; nothing by default.
  func whiten(_ statistics: ImageStatistics) throws

  /// Trainable scalars.
  var parameterCount: Int { get }
  /// The trainable scalars in a fixed order.
  var parameters: [Scalar] { get }
  /// Replaces all of them. Throws `FlowError.unusableParameters` where a density can't be made of them; the
  /// trainer then goes back to the last ones.
  func setParameters(_ values: [Scalar]) throws
  /// Everything that a checkpoint must hold: trainable tensors and buffers.
  var namedTensors: [NamedTensor] { get }
  /// Takes what `namedTensors` gave.
  func load(_ tensors: [NamedTensor]) throws

  /// Initialises what depends on the data (actnorm) from a batch `[n, h, w, c]`.
  func initialize(from batch: Tensor<Scalar>) throws

  /// `−log p(x)` in nats, one an image; writes the gradient of the batch's mean to `gradient`.
  func trainingGradient(_ x: Tensor<Scalar>, gradient: inout [Scalar]) throws -> [Double]

  /// Densities with the same numbers, `count` of them, of which each takes gradients of batches of `images` on one thread
  /// while the others do; nil, the default, where there is only this one, or memory for less. What a density holds beside its
  /// parameters doesn't change any more.
  func lanes(_ count: Int, images: Int) throws -> [Self]?

  /// `log p(x)` in nats, one an image.
  func logProb(_ x: Tensor<Scalar>) throws -> [Double]

  /// Draws the images with the given indices: each depends on (seed, index) alone.
  func sample(indices: Range<Int>, temperature: Double, seed: UInt64) throws -> Tensor<Scalar>
}

extension TrainableFlow {
  public var pool: ThreadPool { ThreadPool(threads: 1) }
  public var condition: Condition? { nil }
  public func smoothed(by levels: [Double]) throws -> Self {
    preconditionFailure("a density without a condition is not asked for noisy images")
  }
  public func whiten(_ statistics: ImageStatistics) throws {}
  public func lanes(_ count: Int, images: Int) throws -> [Self]? { nil }

  /// The density that a training batch is of: of noisy images where there are noise levels.
  func density(of batch: TrainingBatch<Scalar>) throws -> Self {
    batch.noise.isEmpty ? self : try smoothed(by: batch.noise)
  }
}
