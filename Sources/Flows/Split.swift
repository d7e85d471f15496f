import AIPOKernels

/// Multi-scale: the first half of the channels goes on, the second half leaves for the latents.
///
/// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017, §3.6.
public final class Split<Scalar: KernelScalar>: FlowLayer {
  private var before = ImageShape(height: 0, width: 0, channels: 0)
  private var after = ImageShape(height: 0, width: 0, channels: 0)
  private let learnedBase: Bool
  private var base: Actnorm<Scalar>?

  /// `learnedBase`: a mean and a scale per channel of what leaves.
  public init(learnedBase: Bool = false) { self.learnedBase = learnedBase }

  public var parameters: [LayerParameter<Scalar>] { base?.parameters ?? [] }

  public var losesInput: Bool { false }

  public func configure(input: ImageShape) throws -> ImageShape {
    guard input.channels % 2 == 0 else {
      throw FlowError.unsupportedShape(input, reason: "a split needs an even number of channels")
    }
    before = input
    after = input
    after.channels /= 2
    if learnedBase {
      base = Actnorm(channels: after.channels, dataDependent: false)
      _ = try base?.configure(input: after)
    }
    return after
  }

  private var half: Int { after.channels }

  /// Values and cotangents of the second half go to `latents`, the first half stays.
  private func divide(
    _ pass: FlowPass<Scalar>, latents: Memory<Scalar>, cotangents: Memory<Scalar>?
  ) {
    let pixels = pass.count * after.height * after.width
    let parts = { (from: Memory<Scalar>, to: Memory<Scalar>, leaving: Memory<Scalar>) in
      Kernel.copyChannels(
        self.half, pixels: pixels, from: from.from(self.half), stride: 2 * self.half, to: leaving,
        stride: self.half)
      Kernel.copyChannels(
        self.half, pixels: pixels, from: from, stride: 2 * self.half, to: to, stride: self.half)
    }
    pass.rewriteValues(to: after) { parts($0, $1, latents) }
    if let cotangents { pass.rewriteCotangent { parts($0, $1, cotangents) } }
  }

  /// The opposite of `divide`.
  private func join(_ pass: FlowPass<Scalar>, latents: Memory<Scalar>, cotangents: Memory<Scalar>?) {
    let pixels = pass.count * after.height * after.width
    let parts = { (from: Memory<Scalar>, to: Memory<Scalar>, coming: Memory<Scalar>) in
      Kernel.copyChannels(
        self.half, pixels: pixels, from: from, stride: self.half, to: to, stride: 2 * self.half)
      Kernel.copyChannels(
        self.half, pixels: pixels, from: coming, stride: self.half, to: to.from(self.half),
        stride: 2 * self.half)
    }
    pass.rewriteValues(to: before) { parts($0, $1, latents) }
    if let cotangents { pass.rewriteCotangent { parts($0, $1, cotangents) } }
  }

  public func forward(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.emit(after.count)
    divide(pass, latents: latents, cotangents: nil)
    try base?.forwardLatents(latents, pass: pass)
  }

  public func inverse(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.absorb(after.count).values
    try base?.inverseLatents(latents, pass: pass)
    join(pass, latents: latents, cotangents: nil)
  }

  public func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    let (latents, cotangents) = pass.absorb(after.count)
    if let cotangents { try base?.vjpLatents(latents, cotangent: cotangents, pass: pass, inverse: false) }
    join(pass, latents: latents, cotangents: cotangents)
  }

  public func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    let (latents, cotangents) = pass.emitWithCotangent(after.count)
    divide(pass, latents: latents, cotangents: cotangents)
    try base?.vjpLatents(latents, cotangent: cotangents, pass: pass, inverse: true)
  }
}

/// The last layer of every flow: all that is left leaves for the latents.
final class Finish<Scalar: KernelScalar>: FlowLayer {
  private var shape = ImageShape(height: 0, width: 0, channels: 0)
  private let learnedBase: Bool
  private var base: Actnorm<Scalar>?

  init(learnedBase: Bool) { self.learnedBase = learnedBase }

  var parameters: [LayerParameter<Scalar>] { base?.parameters ?? [] }

  var losesInput: Bool { false }

  func configure(input: ImageShape) throws -> ImageShape {
    shape = input
    if learnedBase {
      base = Actnorm(channels: input.channels, dataDependent: false)
      _ = try base?.configure(input: input)
    }
    return input
  }

  func forward(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.emit(shape.count)
    latents.copy(from: pass.values)
    try base?.forwardLatents(latents, pass: pass)
  }

  func inverse(_ pass: FlowPass<Scalar>) throws {
    let latents = pass.absorb(shape.count).values
    try base?.inverseLatents(latents, pass: pass)
    pass.fillValues(shape: shape).values.copy(from: latents)
  }

  func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    let (latents, cotangents) = pass.absorb(shape.count)
    let (values, valueCotangents) = pass.fillValues(shape: shape)
    if let cotangents {
      try base?.vjpLatents(latents, cotangent: cotangents, pass: pass, inverse: false)
      valueCotangents?.copy(from: cotangents)
    }
    values.copy(from: latents)
  }

  func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    let (latents, cotangents) = pass.emitWithCotangent(shape.count)
    latents.copy(from: pass.values)
    cotangents.copy(from: pass.cotangent)
    try base?.vjpLatents(latents, cotangent: cotangents, pass: pass, inverse: true)
  }
}
