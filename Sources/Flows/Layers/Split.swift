import AIPOKernels

/// A split in a flow as data.
struct SplitKind: LayerKind {
  static let name = "split"
  static let plain: Self? = Self()
  var reach: Int? { 0 }

  func output(for input: ImageShape) throws(FlowError) -> ImageShape {
    guard input.channels % 2 == 0 else {
      throw .unsupportedShape(
        input, reason: "a split meets \(input.channels) channels, expected an even number")
    }
    return ImageShape(height: input.height, width: input.width, channels: input.channels / 2)
  }

  func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) -> any FlowLayer<Scalar> { Split<Scalar>(base: flow.base, input: input) }
}

extension SplitKind {
  init(from decoder: any Decoder) throws { _ = try KnownKeys(decoder, []) }
}

/// Multi-scale: the first half of the channels goes on, the second half leaves for the latents.
///
/// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017, §3.6.
public final class Split<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let base: Actnorm<Scalar>?

  public init() { base = nil }

  /// A split of images of the shape `input`, of whose leaving half `kind` may have means and scales to learn.
  public init(base kind: FlowSpec.Base, input: ImageShape) {
    base = kind.standardization(
      of: ImageShape(height: input.height, width: input.width, channels: input.channels / 2))
  }

  public var parameters: [LayerParameter<Scalar>] { base?.parameters ?? [] }

  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int { 0 }
  func startGradient(input: ImageShape) throws {
    var half = input
    half.channels /= 2
    try base?.startGradient(input: half)
  }
  func finishGradient() { base?.finishGradient() }

  public func output(for input: ImageShape) throws -> ImageShape {
    guard input.channels % 2 == 0 else {
      throw FlowError.unsupportedShape(input, reason: "a split needs an even number of channels")
    }
    var after = input
    after.channels /= 2
    return after
  }

  /// The second half of what travels goes to the latents, the first half stays.
  private func divide(
    _ pass: FlowPass<Scalar>, _ latents: (values: Memory<Scalar>, cotangent: Memory<Scalar>?)
  )
    throws
  {
    var after = pass.shape
    after.channels /= 2
    let half = after.channels
    let pixels = pass.count * after.height * after.width
    func part(_ from: Memory<Scalar>, _ to: Memory<Scalar>, _ leaving: Memory<Scalar>) throws {
      try pass.split(pixels, minimum: 8192 / half) { range in
        let from = from.from(range.lowerBound * 2 * half)
        let slice = range.lowerBound * half..<range.upperBound * half
        Kernel.copyChannels(
          half, pixels: range.count, from: from.from(half), stride: 2 * half, to: leaving[slice], stride: half
        )
        Kernel.copyChannels(
          half, pixels: range.count, from: from, stride: 2 * half, to: to[slice], stride: half)
      }
    }
    if pass.carriesValues { try pass.rewriteValues(to: after) { try part($0, $1, latents.values) } }
    if let cotangent = latents.cotangent {
      try pass.rewriteCotangent(to: after) { try part($0, $1, cotangent) }
    }
  }

  /// The opposite of `divide`.
  private func join(_ pass: FlowPass<Scalar>, _ latents: (values: Memory<Scalar>, cotangent: Memory<Scalar>?))
    throws
  {
    var before = pass.shape
    let half = before.channels
    before.channels *= 2
    let pixels = pass.count * before.height * before.width
    func part(_ from: Memory<Scalar>, _ to: Memory<Scalar>, _ coming: Memory<Scalar>) throws {
      try pass.split(pixels, minimum: 8192 / half) { range in
        let to = to.from(range.lowerBound * 2 * half)
        let slice = range.lowerBound * half..<range.upperBound * half
        Kernel.copyChannels(
          half, pixels: range.count, from: from[slice], stride: half, to: to, stride: 2 * half)
        Kernel.copyChannels(
          half, pixels: range.count, from: coming[slice], stride: half, to: to.from(half), stride: 2 * half)
      }
    }
    if pass.carriesValues { try pass.rewriteValues(to: before) { try part($0, $1, latents.values) } }
    if let cotangent = latents.cotangent {
      try pass.rewriteCotangent(to: before) { try part($0, $1, cotangent) }
    }
  }

  public func forward(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.emit(pass.shape.count / 2)
    try divide(pass, latents)
    try base?.apply(.forward, latents.values, pass)
  }

  public func inverse(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.absorb(pass.shape.count)
    try base?.apply(.inverse, latents.values, pass)
    try join(pass, latents)
  }

  public func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.absorb(pass.shape.count)
    try base?.back(.forward, latents.values, cotangent: latents.cotangent!, pass)
    try join(pass, latents)
  }

  public func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.emit(pass.shape.count / 2)
    try divide(pass, latents)
    try base?.back(.inverse, latents.values, cotangent: latents.cotangent!, pass)
  }
}

/// The last layer of every flow: all that is left leaves for the latents.
final class Finish<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let base: Actnorm<Scalar>?

  init(base kind: FlowSpec.Base, input: ImageShape) {
    base = kind.standardization(of: input)
  }

  var parameters: [LayerParameter<Scalar>] { base?.parameters ?? [] }

  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int { 0 }
  func startGradient(input: ImageShape) throws { try base?.startGradient(input: input) }
  func finishGradient() { base?.finishGradient() }

  func forward(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.emit(pass.shape.count).values
    latents.copy(from: pass.values)
    try base?.apply(.forward, latents, pass)
  }

  func inverse(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.absorb(pass.shape.count).values
    try base?.apply(.inverse, latents, pass)
    pass.fillValues().values.copy(from: latents)
  }

  func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.absorb(pass.shape.count)
    try base?.back(.forward, latents.values, cotangent: latents.cotangent!, pass)
    let (values, cotangent) = pass.fillValues()
    values.copy(from: latents.values)
    cotangent!.copy(from: latents.cotangent!)
  }

  func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.emit(pass.shape.count)
    if pass.carriesValues { latents.values.copy(from: pass.values) }
    latents.cotangent!.copy(from: pass.cotangent)
    try base?.back(.inverse, latents.values, cotangent: latents.cotangent!, pass)
  }
}

extension FlowSpec.Base {
  /// What standardises latents of this shape; nil where there is nothing to learn.
  fileprivate func standardization<Scalar>(of shape: ImageShape) -> Actnorm<Scalar>? {
    switch self {
    case .gaussian, .uniform: nil
    case .learnedGaussian: Actnorm(channels: shape.channels, dataDependent: false)
    case .diagonalGaussian: Actnorm(channels: shape.count, dataDependent: false)
    }
  }
}
