import AIPOKernels

/// What a coupling transforms, how, and by which convolutional net.
public struct CouplingSpec: Hashable, Sendable {
  public var mask: CouplingMask
  public var transform: CouplingTransform
  public var net: NetSpec

  public init(mask: CouplingMask = .firstHalf, transform: CouplingTransform = .sigmoid, net: NetSpec) {
    self.mask = mask
    self.transform = transform
    self.net = net
  }

  fileprivate func chain(_ parts: CouplingParts) -> NetChain {
    net.chain(
      inChannels: parts.condition.count, outChannels: parts.transformed.count * transform.scalar.headCount)
  }
}

extension CouplingSpec: LayerKind {
  public static let name = "coupling"

  public func check() throws(FlowError) {
    try net.check()
    try transform.scalar.check()
  }

  public func output(for input: ImageShape) throws(FlowError) -> ImageShape {
    _ = try mask.parts(input)
    return input
  }

  public var isSmooth: Bool { net.isSmooth }

  public var reach: Int? { net.reach }

  public func multiplyAdds(for input: ImageShape) throws(FlowError) -> Int {
    chain(try mask.parts(input)).multiplyAdds
  }

  public func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) throws -> any FlowLayer<Scalar> {
    try Coupling<Scalar>(self, channels: input.channels, condition: flow.condition)
  }
}

extension Coupling {
  /// Throws `unsupportedShape` where the mask doesn't fit the number of channels.
  public convenience init(_ spec: CouplingSpec, channels: Int, condition: Condition? = nil) throws {
    let parts = try spec.mask.parts(ImageShape(height: 1, width: 1, channels: channels))
    let chain = spec.chain(parts)
    try self.init(
      parts, spec.transform.scalar, channels: channels,
      net: ConvNet([chain], headChannels: chain.outChannels, condition: condition))
  }

  public convenience init(_ spec: MaskedAffineSpec, channels: Int, condition: Condition? = nil) throws {
    let parts = try spec.mask.parts(ImageShape(height: 1, width: 1, channels: channels))
    let transform = spec.effectiveTransform.scalar
    // A scale alone comes behind the shifts that nobody gives.
    var offset = 0
    if case .separate(nil, _) = spec.nets { offset = parts.transformed.count }
    try self.init(
      parts, transform, channels: channels,
      net: ConvNet(
        spec.chains(parts), headChannels: parts.transformed.count * transform.headCount, headOffset: offset,
        condition: condition))
  }
}

/// A coupling on vectors, or on the channels of every pixel by itself, by fully connected nets.
public struct MaskedAffineSpec: Hashable, Sendable {
  /// The nets that give what moves the transformed channels.
  public enum Nets: Hashable, Sendable {
    /// One net for everything: for an affine transform its outputs are the shifts, then the scales.
    case joint(MLPSpec)
    /// One each for the shift and the scale of an affine transform; what an absent one would give is zero.
    case separate(shift: MLPSpec?, scale: MLPSpec?)
  }

  public var mask: CouplingMask
  public var transform: CouplingTransform
  public var nets: Nets

  public init(mask: CouplingMask, transform: CouplingTransform = .exponential, nets: Nets) {
    self.mask = mask
    self.transform = transform
    self.nets = nets
  }

  /// The transform that is left when there may be no net for the scale.
  fileprivate var effectiveTransform: CouplingTransform {
    if case .separate(_, nil) = nets { return .additive }
    return transform
  }

  private var all: [MLPSpec] {
    switch nets {
    case .joint(let net): [net]
    case .separate(let shift, let scale): [shift, scale].compactMap(\.self)
    }
  }

  fileprivate func chains(_ parts: CouplingParts) -> [NetChain] {
    let (inputs, outputs) = (parts.condition.count, parts.transformed.count)
    switch nets {
    case .joint(let net):
      return [
        net.chain("net", inChannels: inputs, outChannels: outputs * effectiveTransform.scalar.headCount)
      ]
    case .separate(let shift, let scale):
      return [("shift", shift), ("scale", scale)].compactMap { name, net in
        net?.chain(name, inChannels: inputs, outChannels: outputs)
      }
    }
  }
}

extension MaskedAffineSpec: LayerKind {
  public static let name = "masked-affine"

  public func check() throws(FlowError) {
    if case .separate(_, let scale) = nets {
      guard !all.isEmpty else { throw .invalidSpec("masked-affine: there is neither a shift nor a scale") }
      guard scale == nil || transform != .additive else {
        throw .invalidSpec("masked-affine: an additive transform has no scale")
      }
      guard case .affine = transform else {
        throw .invalidSpec("masked-affine: a \(transform.name) has one net, no shift and scale")
      }
    }
    for net in all { try net.check() }
    try transform.scalar.check()
  }

  public func output(for input: ImageShape) throws(FlowError) -> ImageShape {
    _ = try mask.parts(input)
    return input
  }

  public var isSmooth: Bool { all.allSatisfy(\.isSmooth) }

  public var reach: Int? { 0 }

  public func multiplyAdds(for input: ImageShape) throws(FlowError) -> Int {
    chains(try mask.parts(input)).reduce(0) { $0 + $1.multiplyAdds }
  }

  public func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) throws -> any FlowLayer<Scalar> {
    try Coupling<Scalar>(self, channels: input.channels, condition: flow.condition)
  }
}
