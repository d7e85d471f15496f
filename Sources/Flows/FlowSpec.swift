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
/// dense: {couplings: 8, hidden: [256, 256]}   # for patches: nets that see all of one
/// ```
/// With `condition: noise` the flow knows noisy images as well (`Condition`), and a family begins with a whitening:
///
/// ```yaml
/// condition: noise   # or {noise: {least: 0.005, greatest: 0.5}}
/// whitening: channel # pixel or dense
/// glow: {levels: 2, steps: 8, hidden: 64, activation: silu}
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
  /// What nets and whitening know beside the image: nil for a density of clean images alone.
  public var condition: Condition?
  public var layers: [LayerSpec]

  public init(base: Base = .gaussian, condition: Condition? = nil, layers: [LayerSpec]) {
    self.base = base
    self.condition = condition
    self.layers = layers
  }

  /// The flow conditioned on the noise level, behind a whitening.
  public func conditioned(_ condition: Condition = Condition(), whitening: WhiteningForm = .channel)
    -> FlowSpec
  {
    FlowSpec(base: base, condition: condition, layers: [.whitening(whitening)] + layers)
  }

  /// Glow: L levels of squeeze, K steps of (actnorm, 1×1 convolution, affine coupling), split; the last without split.
  ///
  /// Without a bias a sigmoid's scale may come close to 0. Then the inverse, which divides by it, throws draws of a
  /// young or overfitted flow out of all bounds, since what a coupling blows up drives the next ones' scales further
  /// down. With a bias b a coupling's inverse multiplies by 1/b at most; 0.1 bounds draws and costs no likelihood.
  ///
  /// Source: D. P. Kingma, P. Dhariwal, *Glow*, NeurIPS 2018.
  public static func glow(
    levels: Int, steps: Int, hidden: Int, base: Base = .gaussian, matrix: MatrixForm = .plu,
    transform: CouplingTransform = .sigmoid, activation: NetSpec.Activation = .relu
  ) -> FlowSpec {
    let net = NetSpec(kind: .glow, hidden: hidden, activation: activation)
    let step: [LayerSpec] = [
      .actnorm, .conv1x1(matrix),
      .coupling(CouplingSpec(mask: .firstHalf, transform: transform, net: net)),
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
    func alternate(_ count: Int, _ masks: [CouplingMask]) -> [LayerSpec] {
      (0..<count).flatMap { k -> [LayerSpec] in
        [.actnorm, .coupling(CouplingSpec(mask: masks[k % 2], transform: .exponential, net: net))]
      }
    }
    let checkerboards: [CouplingMask] = [.checkerboardEven, .checkerboardOdd]
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
    couplings: Int, hidden: [Int], base: Base = .gaussian, transform: CouplingTransform = .exponential,
    activation: NetSpec.Activation = .silu
  ) -> FlowSpec {
    let net = MLPSpec(hidden: hidden, activation: activation)
    return FlowSpec(
      base: base,
      layers: (0..<max(couplings, 0)).flatMap { k -> [LayerSpec] in
        let mask: CouplingMask = k % 2 == 0 ? .even : .odd
        return [
          .actnorm, .maskedAffine(MaskedAffineSpec(mask: mask, transform: transform, nets: .joint(net))),
        ]
      })
  }

  /// RealNVP on small images, patches that is, as vectors of all their values: `vector` behind a flattening.
  public static func dense(
    couplings: Int, hidden: [Int], base: Base = .gaussian, transform: CouplingTransform = .exponential,
    activation: NetSpec.Activation = .silu
  ) -> FlowSpec {
    var spec = vector(
      couplings: couplings, hidden: hidden, base: base, transform: transform, activation: activation)
    spec.layers.insert(.flatten, at: 0)
    return spec
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
    try condition?.check()
    try Self.flatten(layers, depth: 0, into: &result)
    let later = result.drop { $0 == .squeeze(.interleaved) }
    let isLate = result.enumerated().contains { place, layer in
      guard let whitening = layer.kind as? WhiteningKind else { return false }
      return place > (whitening.form == .pixel ? result.count - later.count : 0)
    }
    if isLate {
      throw .invalidSpec("a whitening is the first layer; of pixels, the first behind interleaved squeezes")
    }
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
      case .layer(let own):
        try own.kind.check()
        result.append(layer)
      }
      guard result.count <= layerLimit else { throw .invalidSpec("more than \(layerLimit) layers") }
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
      guard let kind = layer.kind else { preconditionFailure("the layers are flattened") }
      guard shape.height % kind.divisor == 0, shape.width % kind.divisor == 0 else {
        throw .unsupportedShape(image, reason: acceptedSizes)
      }
      do {
        shape = try kind.output(for: shape)
      } catch {
        guard case .unsupportedShape(_, let reason) = error else { throw error }
        throw .unsupportedShape(image, reason: reason)
      }
      shapes.append(shape)
    }
    return shapes
  }

  /// Why a flow of this kind is for images of the one size that it was trained on; nil where it isn't.
  public var reasonForOneSize: String? {
    if base == .diagonalGaussian { return "its base density has a mean and a scale for every value" }
    let layers = (try? flattened()) ?? []
    if layers.first == .whitening(.dense) { return "its whitening knows every value's covariance" }
    if layers.contains(.flatten) { return "its nets see all values of an image" }
    return layers.contains(.squeeze(.contiguous)) ? "its contiguous squeeze joins places far apart" : nil
  }

  /// Throws `unsupportedShape` where a flow that was trained on images of one shape doesn't accept another.
  func check(_ image: ImageShape, trainedOn trained: ImageShape) throws(FlowError) {
    guard image.channels == trained.channels else {
      throw .unsupportedShape(image, reason: "it is for images of \(trained.channels) channels")
    }
    _ = try shapes(from: image)
    if image != trained, let reason = reasonForOneSize {
      throw .unsupportedShape(image, reason: "\(reason); \(trained) alone fits")
    }
  }

  /// Which image sizes a flow accepts that was trained on images of this shape, in words.
  public func acceptedSizes(trainedOn image: ImageShape) -> String {
    reasonForOneSize.map { "\(image.height)x\(image.width) alone: \($0)" } ?? acceptedSizes
  }

  /// Which image sizes the layers accept, in words.
  var acceptedSizes: String {
    sideDivisor == 1 ? "any height and width" : "height and width divisible by \(sideDivisor)"
  }

  /// Rows above and below some rows of an image that their latents and log-determinants depend on, in rows of the image; nil
  /// where they depend on all of it.
  package var reach: Int? {
    guard base != .diagonalGaussian, let layers = try? flattened() else { return nil }
    var (reach, scale) = (0, 1)
    for case let kind? in layers.map(\.kind) {
      guard let own = kind.reach else { return nil }
      reach += own * scale
      scale *= kind.divisor
    }
    return reach
  }

  /// What height and width must be divisible by: two for each squeeze.
  package var sideDivisor: Int {
    ((try? flattened()) ?? []).reduce(1) { min($0 * ($1.kind?.divisor ?? 1), 1 << 30) }
  }
}

/// One layer of a `FlowSpec`: of the library's kinds, by their names below, or of one's own.
public indirect enum LayerSpec: Hashable, Sendable {
  case layer(AnyLayerKind)
  case repeated(Int, [LayerSpec])

  public init(_ kind: any LayerKind) { self = .layer(AnyLayerKind(kind)) }

  public static let actnorm = LayerSpec(ActnormKind())
  public static func conv1x1(_ form: MatrixForm) -> LayerSpec { LayerSpec(Conv1x1Kind(form: form)) }
  public static func coupling(_ coupling: CouplingSpec) -> LayerSpec { LayerSpec(coupling) }
  public static func maskedAffine(_ coupling: MaskedAffineSpec) -> LayerSpec { LayerSpec(coupling) }
  public static func permutation(_ order: ChannelOrder) -> LayerSpec { LayerSpec(order) }
  public static func squeeze(_ form: SqueezeForm) -> LayerSpec { LayerSpec(SqueezeKind(form: form)) }
  public static let split = LayerSpec(SplitKind())
  public static let flatten = LayerSpec(FlattenKind())
  public static let logistic = LayerSpec(LogisticKind())
  public static func whitening(_ form: WhiteningForm) -> LayerSpec { LayerSpec(WhiteningKind(form: form)) }
  /// y = log(u/(1 − u)) with u = α + (1 − 2α)·x, for pixels on [0, 1]; α is the margin.
  public static func logit(margin: Double) -> LayerSpec { LayerSpec(LogitKind(margin: margin)) }

  /// What the layer is; nil for a repetition.
  public var kind: (any LayerKind)? { if case .layer(let layer) = self { layer.kind } else { nil } }

  var isSmooth: Bool {
    switch self {
    case .layer(let layer): layer.kind.isSmooth
    case .repeated(_, let layers): layers.allSatisfy(\.isSmooth)
    }
  }
}
