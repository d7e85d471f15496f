import AIPOKernels

/// Multi-scale: the first half of the channels goes on, the second half leaves for the latents.
///
/// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017, §3.6.
public final class Split<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private var before = ImageShape(height: 0, width: 0, channels: 0)
  private var after = ImageShape(height: 0, width: 0, channels: 0)
  private let kind: FlowSpec.Base
  private var base: Actnorm<Scalar>?

  /// `base` says whether what leaves has a mean and a scale to learn.
  public init(base: FlowSpec.Base = .gaussian) { kind = base }

  public var parameters: [LayerParameter<Scalar>] { base?.parameters ?? [] }

  func keptCount(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Int { 0 }
  func startGradient() { base?.startGradient() }
  func finishGradient() { base?.finishGradient() }

  public func configure(input: ImageShape) throws -> ImageShape {
    guard input.channels % 2 == 0 else {
      throw FlowError.unsupportedShape(input, reason: "a split needs an even number of channels")
    }
    before = input
    after = input
    after.channels /= 2
    base = try kind.standardization(of: after)
    return after
  }

  private var half: Int { after.channels }

  /// The second half of what travels goes to the latents, the first half stays.
  private func divide(
    _ pass: FlowPass<Scalar>, _ latents: (values: Memory<Scalar>, cotangent: Memory<Scalar>?)
  )
    throws
  {
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
    let pixels = pass.count * after.height * after.width
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
    let latents = pass.emit(after.count)
    try divide(pass, latents)
    try base?.apply(.forward, latents.values, pass)
  }

  public func inverse(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.absorb(after.count)
    try base?.apply(.inverse, latents.values, pass)
    try join(pass, latents)
  }

  public func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.absorb(after.count)
    try base?.back(.forward, latents.values, cotangent: latents.cotangent!, pass)
    try join(pass, latents)
  }

  public func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.emit(after.count)
    try divide(pass, latents)
    try base?.back(.inverse, latents.values, cotangent: latents.cotangent!, pass)
  }
}

/// The last layer of every flow: all that is left leaves for the latents.
final class Finish<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private var shape = ImageShape(height: 0, width: 0, channels: 0)
  private let kind: FlowSpec.Base
  private var base: Actnorm<Scalar>?

  init(base: FlowSpec.Base) { kind = base }

  var parameters: [LayerParameter<Scalar>] { base?.parameters ?? [] }

  func keptCount(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Int { 0 }
  func startGradient() { base?.startGradient() }
  func finishGradient() { base?.finishGradient() }

  func configure(input: ImageShape) throws -> ImageShape {
    shape = input
    base = try kind.standardization(of: input)
    return input
  }

  func forward(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.emit(shape.count).values
    latents.copy(from: pass.values)
    try base?.apply(.forward, latents, pass)
  }

  func inverse(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.absorb(shape.count).values
    try base?.apply(.inverse, latents, pass)
    pass.fillValues(shape: shape).values.copy(from: latents)
  }

  func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.absorb(shape.count)
    try base?.back(.forward, latents.values, cotangent: latents.cotangent!, pass)
    let (values, cotangent) = pass.fillValues(shape: shape)
    values.copy(from: latents.values)
    cotangent!.copy(from: latents.cotangent!)
  }

  func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.emit(shape.count)
    if pass.carriesValues { latents.values.copy(from: pass.values) }
    latents.cotangent!.copy(from: pass.cotangent)
    try base?.back(.inverse, latents.values, cotangent: latents.cotangent!, pass)
  }
}

extension FlowSpec.Base {
  /// What standardises latents of this shape; nil where there is nothing to learn.
  fileprivate func standardization<Scalar>(of shape: ImageShape) throws -> Actnorm<Scalar>? {
    let values: ImageShape
    switch self {
    case .gaussian, .uniform: return nil
    case .learnedGaussian: values = shape
    case .diagonalGaussian: values = ImageShape(height: 1, width: 1, channels: shape.count)
    }
    let result = Actnorm<Scalar>(channels: values.channels, dataDependent: false)
    _ = try result.configure(input: values)
    return result
  }
}
