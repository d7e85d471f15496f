import AIPOKernels

/// One invertible layer of a flow. `forward` goes from images to latents (x → z), `inverse` from latents to images.
///
/// A layer has numbers but no size: the images' height and width are those of the pass. It works in place on the batch
/// that a `FlowPass` holds, adds its log-determinant per image, and can go
/// *back*: from its output and the output's cotangent it recomputes its input and the input's cotangent, so that
/// nothing need be kept from the way there and memory doesn't grow with depth. Where memory allows
/// (`Flow.gradientMemory`) the output that it meets on the way back is the one that it gave, kept by the flow.
///
/// With cotangents ȳ of the output and ℓ̄ of the log-determinant, `x̄ = Jᵀȳ + ℓ̄ ∇ₓ log|det J|`; parameter
/// gradients are accumulated, and only if the pass wants them. Several passes may go through a layer at once, each on a
/// thread of its own; only those that want parameter gradients, `initialize` and `refresh` are alone.
public protocol FlowLayer<Scalar>: AnyObject {
  associatedtype Scalar: KernelScalar

  /// The layer's numbers, in a fixed order. Their memory is bound by the flow.
  var parameters: [LayerParameter<Scalar>] { get }

  /// The shape of an image after the layer; by default that before it. Throws `FlowError.unsupportedShape` where the
  /// layer doesn't accept the image.
  func output(for input: ImageShape) throws -> ImageShape

  /// The parameters have changed: recompute what depends on them.
  func refresh() throws

  /// Sets parameters from the batch about to go forward (data-dependent initialisation). Must then refresh.
  func initialize(_ pass: FlowPass<Scalar>) throws

  func forward(_ pass: FlowPass<Scalar>) throws
  func inverse(_ pass: FlowPass<Scalar>) throws

  /// Back through `forward`: the pass holds y and ȳ, and holds x and x̄ afterwards.
  func forwardVJP(_ pass: FlowPass<Scalar>) throws

  /// Back through `inverse`: the pass holds x and x̄, and holds y and ȳ afterwards.
  func inverseVJP(_ pass: FlowPass<Scalar>) throws
}

extension FlowLayer {
  public var parameters: [LayerParameter<Scalar>] { [] }
  public func output(for input: ImageShape) throws -> ImageShape { input }
  public func refresh() throws {}
  public func initialize(_ pass: FlowPass<Scalar>) throws {}
}

/// One array of numbers of a layer.
public final class LayerParameter<Scalar: KernelScalar> {
  public let name: String
  public let shape: [Int]
  /// Whether training moves it; the others (a permutation, signs) only travel with checkpoints.
  public let isTrainable: Bool
  /// The value at the start, from a random stream of the parameter's own.
  let initial: (inout Philox) -> [Double]

  private var bound: Memory<Scalar>?
  private var boundGradient: Memory<Scalar>?

  public init(
    _ name: String, shape: [Int], isTrainable: Bool = true, initial: @escaping (inout Philox) -> [Double]
  ) {
    self.name = name
    self.shape = shape
    self.isTrainable = isTrainable
    self.initial = initial
  }

  public var count: Int { shape.reduce(1, *) }

  /// The numbers.
  public var values: Memory<Scalar> {
    guard let bound else { preconditionFailure("\(name) is used before the flow has bound it") }
    return bound
  }

  /// Where their gradient is accumulated; only for trainable parameters, and in a pass that wants it.
  public var gradient: Memory<Scalar> {
    guard let boundGradient else { preconditionFailure("\(name) has no gradient") }
    return boundGradient
  }

  public func bind(values: Memory<Scalar>, gradient: Memory<Scalar>?) {
    precondition(values.count == count)
    bound = values
    boundGradient = gradient
  }

  func bindGradient(_ gradient: Memory<Scalar>?) {
    precondition((gradient?.count ?? count) == count)
    boundGradient = gradient
  }
}
