import AIPOKernels

/// A flow as data: its layers from images to latents, and its base density.
///
/// In YAML or JSON either `layers` spelled out, or a family:
///
/// ```yaml
/// base: gaussian
/// glow: {levels: 2, steps: 10, hidden: 64}
/// ```
/// ```yaml
/// vector: {couplings: 12, hidden: [64, 64]}
/// ```
/// ```yaml
/// layers:
///   - squeeze
///   - repeat:
///       times: 8
///       layers: [actnorm, conv1x1, {coupling: {transform: sigmoid, net: {hidden: 64}}}]
/// ```
public struct FlowSpec: Hashable, Sendable {
  /// The density of the latents, of which there are as many as an image has values.
  public enum Base: String, Codable, Sendable, CaseIterable {
    /// N(0, I)
    case gaussian
    /// A mean and a scale per channel of every level, learned; latents are standardised by them.
    case learnedGaussian = "learned-gaussian"
    /// A mean and a scale per value of every level, learned; the flow is then for images of one size.
    case diagonalGaussian = "diagonal-gaussian"
    /// Uniform on [0, 1]^d; outside, the log-density is −∞.
    case uniform
  }

  public var base: Base
  public var layers: [LayerSpec]

  public init(base: Base = .gaussian, layers: [LayerSpec]) {
    self.base = base
    self.layers = layers
  }

  /// Glow: L levels of squeeze, K steps of (actnorm, 1×1 convolution, affine coupling), split; the last without split.
  ///
  /// Without a `scaleBias` a sigmoid's scale may come close to 0. Then the inverse, which divides by it, throws draws of a
  /// young or overfitted flow out of all bounds, since what a coupling blows up drives the next ones' scales further
  /// down. With a bias b a coupling's inverse multiplies by 1/b at most; 0.1 bounds draws and costs no likelihood.
  ///
  /// Source: D. P. Kingma, P. Dhariwal, *Glow*, NeurIPS 2018.
  public static func glow(
    levels: Int, steps: Int, hidden: Int, base: Base = .gaussian, matrix: MatrixForm = .plu,
    transform: CouplingSpec.Transform = .sigmoid, scaleBias: Double = 0,
    activation: NetSpec.Activation = .relu
  ) -> FlowSpec {
    let net = NetSpec(kind: .glow, hidden: hidden, activation: activation)
    let step: [LayerSpec] = [
      .actnorm, .conv1x1(matrix),
      .coupling(
        CouplingSpec(mask: .firstHalf, transform: transform, scaleBias: scaleBias, net: net)),
    ]
    var layers: [LayerSpec] = []
    for level in 0..<max(levels, 0) {
      layers += [.squeeze(.interleaved), .repeated(steps, step)]
      if level < levels - 1 { layers.append(.split) }
    }
    return FlowSpec(base: base, layers: layers)
  }

  /// RealNVP: each level is `couplings` checkerboard couplings, squeeze, `couplings` channel couplings, split; the last
  /// level is checkerboards alone, one more of them. An actnorm goes before each coupling.
  ///
  /// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017.
  public static func realNVP(
    levels: Int, couplings: Int = 3, hidden: Int, blocks: Int = 2, base: Base = .gaussian,
    activation: NetSpec.Activation = .relu
  ) -> FlowSpec {
    let net = NetSpec(kind: .residual, hidden: hidden, blocks: blocks, activation: activation)
    func alternate(_ count: Int, _ masks: [CouplingSpec.Mask]) -> [LayerSpec] {
      (0..<count).flatMap { k -> [LayerSpec] in
        [.actnorm, .coupling(CouplingSpec(mask: masks[k % 2], transform: .exponential, net: net))]
      }
    }
    let checkerboards: [CouplingSpec.Mask] = [.checkerboardEven, .checkerboardOdd]
    var layers: [LayerSpec] = []
    for _ in 0..<max(levels - 1, 0) {
      layers += alternate(couplings, checkerboards)
      layers.append(.squeeze(.interleaved))
      layers += alternate(couplings, [.firstHalf, .secondHalf])
      layers.append(.split)
    }
    layers += alternate(couplings + 1, checkerboards)
    return FlowSpec(base: base, layers: layers)
  }

  /// RealNVP on vectors: an actnorm and a masked affine coupling, `couplings` times, with even and odd channels
  /// conditioning in turn. A vector of d values is an image of 1×1×d.
  public static func vector(
    couplings: Int, hidden: [Int], base: Base = .gaussian, transform: CouplingSpec.Transform = .exponential,
    activation: NetSpec.Activation = .silu
  ) -> FlowSpec {
    let net = MLPSpec(hidden: hidden, activation: activation)
    return FlowSpec(
      base: base,
      layers: (0..<max(couplings, 0)).flatMap { k -> [LayerSpec] in
        let mask: MaskedAffineSpec.Mask = k % 2 == 0 ? .even : .odd
        return [
          .actnorm, .maskedAffine(MaskedAffineSpec(mask: mask, transform: transform, nets: .joint(net))),
        ]
      })
  }

  /// The most layers that a flow may have, and channels that a net may have: a stranger's file can't ask for more.
  static let layerLimit = 4096
  static let widthLimit = 8192
  /// The most rows and columns that an image may have.
  static let extentLimit = 65536

  /// Whether no net has kinks, as ReLU has.
  public var isSmooth: Bool { layers.allSatisfy(\.isSmooth) }

  /// The layers with repetitions written out.
  public func flattened() throws(FlowError) -> [LayerSpec] {
    var result: [LayerSpec] = []
    try Self.flatten(layers, depth: 0, into: &result)
    return result
  }

  private static func flatten(_ layers: [LayerSpec], depth: Int, into result: inout [LayerSpec])
    throws(FlowError)
  {
    guard depth < 8 else { throw .invalidSpec("repetitions are nested more than 8 deep") }
    for layer in layers {
      switch layer {
      case .repeated(let times, let inner):
        guard times >= 0, times <= layerLimit else {
          throw .invalidSpec("repeat: times is \(times), expected 0 to \(layerLimit)")
        }
        // Written out once, then copied: a repetition of nothing costs nothing, however often.
        var once: [LayerSpec] = []
        try flatten(inner, depth: depth + 1, into: &once)
        guard times * once.count + result.count <= layerLimit else {
          throw .invalidSpec("more than \(layerLimit) layers")
        }
        if !once.isEmpty { for _ in 0..<times { result += once } }
      case .coupling(let coupling):
        guard (1...widthLimit).contains(coupling.net.hidden) else {
          throw .invalidSpec("coupling: hidden is \(coupling.net.hidden), expected 1 to \(widthLimit)")
        }
        guard (0...64).contains(coupling.net.blocks) else {
          throw .invalidSpec("coupling: blocks is \(coupling.net.blocks), expected 0 to 64")
        }
        guard coupling.net.padding.isFinite, coupling.net.lastPadding?.isFinite ?? true else {
          throw .invalidSpec("coupling: padding is not finite")
        }
        try check(coupling)
        result.append(layer)
      case .maskedAffine(let masked):
        try check(masked)
        result.append(layer)
      case .logit(let margin):
        guard (0..<0.5).contains(margin) else {
          throw .invalidSpec("logit: margin is \(margin), expected at least 0 and below 0.5")
        }
        result.append(layer)
      case .permutation(.given(let order)):
        guard order.sorted() == Array(0..<order.count) else {
          throw .invalidSpec("permutation: the order is no permutation of 0..<\(order.count)")
        }
        result.append(layer)
      default: result.append(layer)
      }
      guard result.count <= layerLimit else { throw .invalidSpec("more than \(layerLimit) layers") }
    }
  }

  private static func check(_ coupling: CouplingSpec) throws(FlowError) {
    guard (0...1e3).contains(coupling.scaleBias), coupling.scaleBias == 0 || coupling.transform == .sigmoid
    else {
      throw .invalidSpec(
        "coupling: scaleBias is \(coupling.scaleBias), expected 0 to 1000 with transform sigmoid, else 0")
    }
    guard coupling.order == .shiftFirst || [.sigmoid, .inverseSigmoid].contains(coupling.transform) else {
      throw .invalidSpec("coupling: order shift-last goes with the transforms sigmoid and inverse-sigmoid")
    }
  }

  private static func check(_ masked: MaskedAffineSpec) throws(FlowError) {
    let nets: [MLPSpec]
    switch masked.nets {
    case .joint(let net): nets = [net]
    case .separate(let shift, let scale):
      nets = [shift, scale].compactMap(\.self)
      guard !nets.isEmpty else { throw .invalidSpec("masked-affine: there is neither a shift nor a scale") }
      guard scale == nil || masked.transform != .additive else {
        throw .invalidSpec("masked-affine: an additive transform has no scale")
      }
    }
    for net in nets {
      guard net.hidden.count <= 64 else {
        throw .invalidSpec("masked-affine: \(net.hidden.count) hidden layers, expected 64 at most")
      }
      if let width = net.hidden.first(where: { !(1...widthLimit).contains($0) }) {
        throw .invalidSpec("masked-affine: hidden is \(width), expected 1 to \(widthLimit)")
      }
    }
  }

  /// The shape of an image before each layer and after the last; throws where a layer doesn't accept it.
  public func shapes(from image: ImageShape) throws(FlowError) -> [ImageShape] {
    guard image.height > 0, image.width > 0, image.channels > 0 else {
      throw .unsupportedShape(image, reason: "every extent must be positive")
    }
    guard max(image.height, image.width) <= Self.extentLimit, image.channels <= Self.widthLimit else {
      throw .unsupportedShape(
        image, reason: "height and width are limited to \(Self.extentLimit), channels to \(Self.widthLimit)")
    }
    var shapes = [image]
    var shape = image
    for layer in try flattened() {
      switch layer {
      case .squeeze:
        guard shape.height % 2 == 0, shape.width % 2 == 0 else {
          throw .unsupportedShape(image, reason: acceptedSizes)
        }
        guard shape.channels <= Self.widthLimit / 4 else {
          throw .unsupportedShape(image, reason: "a squeeze would make more than \(Self.widthLimit) channels")
        }
        shape = ImageShape(height: shape.height / 2, width: shape.width / 2, channels: shape.channels * 4)
      case .split:
        guard shape.channels % 2 == 0 else {
          throw .unsupportedShape(
            image, reason: "a split meets \(shape.channels) channels, expected an even number")
        }
        shape.channels /= 2
      case .coupling(let coupling):
        if [.firstHalf, .secondHalf].contains(coupling.mask), shape.channels < 2 {
          throw .unsupportedShape(
            image,
            reason: "a coupling of channels meets a single channel; squeeze first or use a checkerboard")
        }
      case .maskedAffine(let masked): _ = try masked.conditioning(shape)
      case .permutation(let order): _ = try order.indices(for: shape)
      default: break
      }
      shapes.append(shape)
    }
    return shapes
  }

  /// Which image sizes fit, in words.
  public var acceptedSizes: String {
    sideDivisor == 1 ? "any height and width" : "height and width divisible by \(sideDivisor)"
  }

  /// What height and width must be divisible by: two for each squeeze.
  var sideDivisor: Int {
    let squeezes = ((try? flattened()) ?? []).count { if case .squeeze = $0 { true } else { false } }
    return 1 << min(squeezes, 30)
  }
}

/// One layer of a `FlowSpec`.
public indirect enum LayerSpec: Hashable, Sendable {
  case actnorm
  case conv1x1(MatrixForm)
  case coupling(CouplingSpec)
  case maskedAffine(MaskedAffineSpec)
  case permutation(ChannelOrder)
  case squeeze(SqueezeForm)
  case split
  case logistic
  /// y = log(u/(1 − u)) with u = α + (1 − 2α)·x, for pixels on [0, 1]; α is the margin.
  case logit(margin: Double)
  case repeated(Int, [LayerSpec])

  var isSmooth: Bool {
    switch self {
    case .coupling(let coupling): coupling.net.isSmooth
    case .maskedAffine(let coupling):
      switch coupling.nets {
      case .joint(let net): net.isSmooth
      case .separate(let shift, let scale): (shift?.isSmooth ?? true) && (scale?.isSmooth ?? true)
      }
    case .repeated(_, let layers): layers.allSatisfy(\.isSmooth)
    case .actnorm, .conv1x1, .permutation, .squeeze, .split, .logistic, .logit: true
    }
  }
}
