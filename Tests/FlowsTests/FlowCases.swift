import AIPOFlows
import AIPOKernels
import Testing

/// The list of all flows and layers: every property runs over all of it, so a new layer is tested by one line here.
struct FlowCase: Sendable, CustomTestStringConvertible {
  enum Layers: Sendable {
    case spec(FlowSpec)
    /// Conditioned, behind a whitening with a mean and a covariance.
    case whitened(FlowSpec, WhiteningForm)
    case leaky
    case householder
    /// A split, then a layer of one's own that meets half the channels.
    case householderAfterSplit
  }

  var name: String
  var shape: ImageShape
  var layers: Layers
  /// Single precision: 1e-4, more where the flow is deep.
  var floatRoundTrip = 1e-4

  var testDescription: String { name }

  var spec: FlowSpec? { if case .spec(let spec) = layers { spec } else { nil } }

  init(_ name: String, _ h: Int, _ w: Int, _ c: Int, _ layers: Layers) {
    self.name = name
    shape = ImageShape(height: h, width: w, channels: c)
    self.layers = layers
  }

  init(_ name: String, _ h: Int, _ w: Int, _ c: Int, base: FlowSpec.Base = .gaussian, _ layers: [LayerSpec]) {
    self.init(name, h, w, c, .spec(FlowSpec(base: base, layers: layers)))
  }

  func make<Scalar: KernelScalar>(_: Scalar.Type, pool: ThreadPool = ThreadPool(threads: 1)) throws -> Flow<
    Scalar
  > {
    let own: [any FlowLayer<Scalar>]
    switch layers {
    case .spec(let spec):
      let flow = try Flow<Scalar>(spec: spec, imageShape: shape, seed: 3, pool: pool)
      try flow.whiten(Self.statistics(shape.count))
      return flow
    case .whitened(let spec, let form):
      let flow = try Flow<Scalar>(
        spec: spec.conditioned(whitening: form), imageShape: shape, seed: 3, pool: pool)
      try flow.whiten(Self.statistics(shape.count))
      return flow
    case .leaky: own = [LeakyLayer(slope: 0.3)]
    case .householder: own = [HouseholderLayer(channels: shape.channels), Actnorm(channels: shape.channels)]
    case .householderAfterSplit:
      own = [
        try Conv1x1(channels: shape.channels), Split(), HouseholderLayer(channels: shape.channels / 2),
        LeakyLayer(slope: 2), HouseholderLayer(channels: shape.channels / 2),
      ]
    }
    return try Flow(layers: own, imageShape: shape, seed: 3, pool: pool)
  }

  /// A mean and a covariance `AAᵀ/4 + I/100` of d values.
  private static func statistics(_ d: Int) -> ImageStatistics {
    var random = Philox(seed: 8, purpose: .test)
    let a = (0..<d * d).map { _ in random.normal() / Double(d).squareRoot() }
    var triangle: [Float] = []
    for i in 0..<d {
      for j in 0...i {
        let product = (0..<d).reduce(0.0) { $0 + a[i * d + $1] * a[j * d + $1] }
        triangle.append(Float(product / 4 + (i == j ? 0.01 : 0)))
      }
    }
    return ImageStatistics(
      mean: (0..<d).map { _ in Float(random.uniform()) }, covariance: .full(lowerTriangle: triangle))
  }

  static func coupling(
    _ mask: CouplingMask = .firstHalf, _ transform: CouplingTransform = .sigmoid,
    _ kind: NetSpec.Kind = .glow, _ activation: NetSpec.Activation = .silu, padding: Double = 0,
    hidden: Int = 4,
    blocks: Int = 1
  ) -> LayerSpec {
    .coupling(
      CouplingSpec(
        mask: mask, transform: transform,
        net: NetSpec(kind: kind, hidden: hidden, blocks: blocks, activation: activation, padding: padding)))
  }

  private static func linked(
    _ scale: AffineTransform.Scale, _ order: AffineTransform.Order, bias: Double = 0
  ) -> LayerSpec {
    .coupling(
      CouplingSpec(
        mask: .secondHalf, transform: .affine(AffineTransform(scale, order: order, bias: bias)),
        net: NetSpec(hidden: 4, activation: .silu)))
  }

  /// Every option of a coupling with every other that it touches.
  static let couplings: [FlowCase] = {
    var cases: [FlowCase] = []
    let transforms =
      AffineTransform.Scale.allCases.map { CouplingTransform.affine(AffineTransform($0)) }
      + [.spline(SplineTransform(bins: 3, bound: 1.5))]
    for mask in CouplingMask.named.map(\.mask) {
      for transform in transforms {
        for kind in NetSpec.Kind.allCases where (kind == .linear) == (mask == .nothing) {
          for activation in NetSpec.Activation.allCases {
            for padding in [0.0, 1.0] {
              let plain = activation == .silu && padding == 0
              if ![.sigmoid, .exponential, .additive].contains(transform), !plain { continue }
              if kind == .linear, activation == .relu { continue }
              let name =
                "coupling \(mask.name) \(transform.name) \(kind.rawValue) \(activation.rawValue) pad \(padding)"
              cases.append(
                FlowCase(name, 3, 4, 3, [coupling(mask, transform, kind, activation, padding: padding)]))
            }
          }
        }
      }
    }
    return cases
  }()

  static let others: [FlowCase] = [
    FlowCase("nothing", 2, 3, 1, []),
    FlowCase("actnorm", 3, 2, 5, [.actnorm]),
    FlowCase("conv1x1 plu", 2, 3, 5, [.conv1x1(.plu)]),
    FlowCase("conv1x1 dense", 2, 3, 5, [.conv1x1(.dense)]),
    FlowCase("conv1x1 of one channel", 3, 3, 1, [.conv1x1(.plu), .conv1x1(.dense)]),
    FlowCase("conv1x1 of many channels", 1, 1, 33, [.conv1x1(.plu), .conv1x1(.dense)]),
    FlowCase("squeeze", 4, 6, 3, [.squeeze(.interleaved)]),
    FlowCase("contiguous squeeze", 4, 6, 3, [.squeeze(.contiguous)]),
    FlowCase("flattening", 2, 3, 2, [.actnorm, .flatten, .conv1x1(.plu)]),
    FlowCase("dense nets", 2, 3, 2, .spec(.dense(couplings: 2, hidden: [5, 4]))),
    FlowCase("split", 2, 3, 4, [.split, .actnorm]),
    FlowCase("split twice", 2, 3, 8, [.split, .conv1x1(.plu), .split, .actnorm]),
    FlowCase("split with a learned base", 2, 3, 4, base: .learnedGaussian, [.split, .conv1x1(.plu)]),
    FlowCase(
      "split with a base for every value", 2, 3, 4, base: .diagonalGaussian, [.split, .conv1x1(.plu)]),
    FlowCase("coupling with a biased scale", 2, 3, 5, [linked(.sigmoid, .shiftFirst, bias: 0.5)]),
    FlowCase("coupling that shifts last", 2, 3, 5, [linked(.sigmoid, .shiftLast)]),
    FlowCase("coupling that shifts last, biased", 2, 3, 5, [linked(.sigmoid, .shiftLast, bias: 1)]),
    FlowCase(
      "coupling with an inverse scale that shifts last", 2, 3, 5, [linked(.inverseSigmoid, .shiftLast)]),
    FlowCase(
      "net with another padding at the last convolution", 3, 2, 2,
      [
        .coupling(
          CouplingSpec(net: NetSpec(hidden: 3, activation: .silu, padding: 0.5, lastPadding: -1)))
      ]),
    FlowCase("linear net", 2, 3, 5, [coupling(.firstHalf, .sigmoid, .linear, padding: 1)]),
    FlowCase("logistic", 3, 3, 2, base: .uniform, [.logistic]),
    FlowCase("logistic and uniform base", 3, 4, 1, base: .uniform, [.actnorm, .logistic]),
    FlowCase("logit of what a logistic gives", 3, 3, 2, [.logistic, .logit(margin: 0.001)]),
    FlowCase("coupling of one pixel", 1, 1, 2, [coupling()]),
    FlowCase("coupling of one row", 1, 7, 3, [coupling(.secondHalf)]),
    FlowCase(
      "checkerboard of one channel", 3, 5, 1, [coupling(.checkerboardEven), coupling(.checkerboardOdd)]),
    FlowCase("wide net", 2, 2, 4, [coupling(hidden: 37)]),
    FlowCase("net with more channels in than hidden", 2, 2, 12, [coupling(hidden: 3)]),
    FlowCase(
      "residual net without blocks", 3, 3, 2, [coupling(.firstHalf, .exponential, .residual, blocks: 0)]),
    FlowCase(
      "residual net of three blocks", 3, 3, 2, [coupling(.firstHalf, .exponential, .residual, blocks: 3)]),
    FlowCase("Glow", 4, 4, 1, .spec(.glow(levels: 2, steps: 2, hidden: 5))),
    FlowCase(
      "Glow smooth, learned base", 4, 8, 1,
      .spec(.glow(levels: 2, steps: 2, hidden: 5, base: .learnedGaussian, activation: .silu))),
    FlowCase(
      "Glow of three channels, dense, exponential", 2, 6, 3,
      .spec(.glow(levels: 1, steps: 3, hidden: 4, matrix: .dense, transform: .exponential, activation: .silu))
    ),
    FlowCase("RealNVP", 4, 4, 1, .spec(.realNVP(levels: 2, couplings: 2, hidden: 4, blocks: 1))),
    FlowCase(
      "RealNVP smooth, three channels", 2, 4, 3,
      .spec(
        .realNVP(levels: 2, couplings: 1, hidden: 4, blocks: 1, base: .learnedGaussian, activation: .silu))),
    FlowCase(
      "mixture", 4, 6, 1,
      [
        coupling(.checkerboardOdd, .additive), .squeeze(.interleaved),
        .repeated(2, [.actnorm, .conv1x1(.dense), coupling(.secondHalf, .exponential, .residual)]), .split,
        .actnorm,
        coupling(.firstHalf, .sigmoid, padding: 1), .conv1x1(.plu), .split, coupling(.checkerboardEven),
      ]),
    FlowCase("own layer, elementwise", 3, 4, 2, .leaky),
    FlowCase("own layer with parameters", 3, 2, 3, .householder),
    FlowCase("own layer after a split", 2, 3, 4, .householderAfterSplit),
  ]

  static let vectors: [FlowCase] = {
    let net = MLPSpec(hidden: [5, 4], activation: .silu)
    func masked(
      _ mask: CouplingMask, _ transform: CouplingTransform = .exponential,
      _ nets: MaskedAffineSpec.Nets? = nil
    ) -> LayerSpec {
      .maskedAffine(MaskedAffineSpec(mask: mask, transform: transform, nets: nets ?? .joint(net)))
    }
    var cases = AffineTransform.Scale.allCases.map {
      FlowCase("masked affine \($0.rawValue)", 1, 1, 5, [masked(.even, .affine(AffineTransform($0)))])
    }
    cases.append(
      FlowCase("splines on vectors", 1, 1, 5, [masked(.even, .spline(SplineTransform())), masked(.odd)]))
    let masks: [CouplingMask] = [
      .firstHalf, .secondHalf, .even, .odd, .channels([true, false, false, true, true]),
    ]
    for mask in masks {
      cases.append(
        FlowCase(
          "masked affine, \(mask), a net each", 1, 1, 5,
          [
            masked(mask, .unboundedExponential, .separate(shift: net, scale: MLPSpec(hidden: [3])))
          ]))
    }
    return cases + [
      FlowCase(
        "masked affine, shift alone", 1, 1, 3,
        [
          masked(.odd, .exponential, .separate(shift: net, scale: nil))
        ]),
      FlowCase(
        "masked affine, scale alone", 1, 1, 3,
        [
          masked(.odd, .sigmoid, .separate(shift: nil, scale: net))
        ]),
      FlowCase(
        "masked affine with kinks", 1, 1, 2, [masked(.even, .exponential, .joint(MLPSpec(hidden: [6, 6])))]),
      FlowCase(
        "masked affine without hidden layers", 1, 1, 2,
        [
          masked(.even, .exponential, .joint(MLPSpec(hidden: [])))
        ]),
      FlowCase("masked affine on images", 3, 2, 4, [masked(.odd), masked(.firstHalf, .sigmoid)]),
      FlowCase(
        "permutations", 2, 1, 5,
        [
          .permutation(.swap), .permutation(.given([3, 0, 4, 1, 2])), .actnorm, .permutation(.reverse),
        ]),
      FlowCase("vectors", 1, 1, 2, .spec(.vector(couplings: 4, hidden: [8, 8]))),
      FlowCase(
        "vectors, learned base, permuted, split", 1, 1, 4, base: .learnedGaussian,
        [
          masked(.firstHalf), .permutation(.given([1, 3, 0, 2])), masked(.odd), .split, .conv1x1(.plu),
          masked(.even),
        ]),
    ]
  }()

  /// Flows of noisy images.
  static let conditioned: [FlowCase] = {
    let masks: [CouplingMask] = [.firstHalf, .checkerboardOdd]
    var cases = masks.flatMap { mask in
      NetSpec.Activation.allCases.flatMap { activation in
        [NetSpec.Kind.glow, .residual].map { kind in
          FlowCase(
            "conditioned coupling \(mask.name) \(kind.rawValue) \(activation.rawValue)", 3, 4, 3,
            .spec(
              FlowSpec(
                condition: Condition(), layers: [coupling(mask, .sigmoid, kind, activation, padding: 1)])))
        }
      }
    }
    for form in WhiteningForm.allCases {
      cases.append(
        FlowCase(
          "conditioned dense nets \(form.rawValue)", 2, 3, 2,
          .whitened(.dense(couplings: 2, hidden: [5, 4]), form)))
      cases.append(FlowCase("whitening \(form.rawValue)", 2, 3, 2, .whitened(FlowSpec(layers: []), form)))
      cases.append(
        FlowCase(
          "conditioned Glow \(form.rawValue)", 4, 4, 1,
          .whitened(.glow(levels: 2, steps: 2, hidden: 5, activation: .silu), form)))
    }
    let net = MLPSpec(hidden: [5, 4], activation: .silu)
    return cases + [
      FlowCase(
        "conditioned flow of blocks, whitened behind squeezes", 4, 8, 2,
        .spec(
          FlowSpec(
            condition: Condition(),
            layers: [
              .squeeze(.interleaved), .squeeze(.interleaved), .whitening(.pixel),
              coupling(.firstHalf, .sigmoid, .glow, .silu),
            ]))),
      FlowCase(
        "conditioned linear net of nothing", 2, 3, 5,
        .spec(FlowSpec(condition: Condition(), layers: [coupling(.nothing, .exponential, .linear)]))),
      FlowCase(
        "conditioned RealNVP", 4, 4, 1,
        .whitened(.realNVP(levels: 2, couplings: 2, hidden: 4, blocks: 1, activation: .silu), .channel)),
      FlowCase(
        "conditioned vectors", 1, 1, 3,
        .whitened(.vector(couplings: 3, hidden: [6, 6]), .dense)),
      FlowCase(
        "conditioned masked affine on images, a net each, with kinks", 3, 2, 4,
        .spec(
          FlowSpec(
            condition: Condition(),
            layers: [
              .maskedAffine(
                MaskedAffineSpec(
                  mask: .odd, nets: .separate(shift: net, scale: MLPSpec(hidden: [3], activation: .relu))))
            ]))),
    ]
  }()

  static let all = others + vectors + couplings + conditioned
}
