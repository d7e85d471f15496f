import AIPOFlows
import AIPOKernels

extension Exporter {
  /// normflows' `MultiscaleFlow` of `GlowBlock`s with a `DiagGaussian` a level.
  mutating func addNormflows(_ levels: [GlowLevel]) throws {
    guard model.spec.base != .uniform else { throw refuse("a uniform base") }
    let shapes = try model.spec.shapes(from: model.imageShape)
    let transforms = Set(levels.flatMap(\.steps).map(\.spec.transform))
    guard transforms.count <= 1 else { throw refuse("couplings of different transforms") }
    for (depth, level) in levels.enumerated() {
      let i = levels.count - 1 - depth
      for (k, step) in level.steps.enumerated() {
        try addBlock(
          "flows.\(i).\(level.steps.count - 1 - k).flows.", step, channels: shapes[step.actnorm].channels)
      }
      guard level.prior == nil else {
        throw refuse("a base that depends on what a split keeps (layer \(level.prior!.layer))")
      }
      try addBase("q0.\(i).", level, after: shapes[level.steps.last!.coupling + 1])
    }
  }

  private mutating func addBlock(_ prefix: String, _ step: GlowLevel.Step, channels c: Int) throws {
    let actnorm = "layers.\(step.actnorm)."
    add(prefix + "2.s", [1, c, 1, 1], try values(actnorm + "log_scale").map { -$0 })
    add(prefix + "2.t", [1, c, 1, 1], try values(actnorm + "bias").map { -$0 })
    addFlag(prefix + "2.data_dep_init_done", try values(actnorm + "initialized").first == 0 ? 0 : 1)
    let mixing = "layers.\(step.mixing)."
    switch step.form {
    case .dense: add(prefix + "1.W", [c, c], try values(mixing + "weight"))
    case .plu:
      add(prefix + "1.P", [c, c], try matrix(ofPermutation: mixing + "permutation"))
      add(prefix + "1.sign_S", [c], try values(mixing + "sign"))
      add(prefix + "1.eye", [c, c], (0..<c * c).map { $0 % (c + 1) == 0 ? 1 : 0 } as [Scalar])
      add(prefix + "1.L", [c, c], try values(mixing + "lower"))
      add(prefix + "1.log_S", [c], try values(mixing + "log_scale"))
      add(prefix + "1.U", [c, c], try values(mixing + "upper"))
    }
    try requireCommon(step.spec, layer: step.coupling)
    guard step.spec.net.lastPadding ?? 0 == 0 else {
      throw refuse(
        "the padding \(step.spec.net.lastPadding ?? 0) of layer \(step.coupling)'s last convolution, only 0")
    }
    let net = prefix + "0.flows.1.param_map.net."
    try addConvolution(net + "0", layer: step.coupling, index: 0)
    try addConvolution(net + "2", layer: step.coupling, index: 1)
    let scale: Double
    switch step.spec.transform {
    case .sigmoid, .inverseSigmoid, .additive: scale = 1
    case .unboundedExponential: scale = -1
    default:
      throw refuse(
        "the transform \(step.spec.transform.name) of layer \(step.coupling), whose scale is bounded")
    }
    // Pairs of shift and scale; shifts are subtracted.
    let outputs: [FlowMapping<Scalar>.Output] =
      step.spec.transform == .additive
      ? FlowMapping.outputs(c / 2, factors: [Double](repeating: -1, count: c / 2))
      : (0..<c).map { .init(source: $0 % 2 == 0 ? $0 / 2 : c / 2 + $0 / 2, factor: $0 % 2 == 0 ? -1 : scale) }
    try addConvolution(net + "4", layer: step.coupling, index: 2, outputs: outputs)
  }

  private mutating func addBase(_ prefix: String, _ level: GlowLevel, after shape: ImageShape) throws {
    let c = level.split == nil ? shape.channels : shape.channels / 2
    let pixels = shape.height * shape.width
    let base = try base(level.split)
    func spread(_ values: [Double]?) -> [Double] {
      guard let values else { return [Double](repeating: 0, count: c * pixels) }
      return (0..<c * pixels).map { k in
        let (channel, pixel) = k.quotientAndRemainder(dividingBy: pixels)
        return values[values.count == c ? channel : pixel * c + channel]
      }
    }
    add(prefix + "loc", [1, c, shape.height, shape.width], spread(base?.mean))
    add(prefix + "log_scale", [1, c, shape.height, shape.width], spread(base?.logScale))
  }
}
