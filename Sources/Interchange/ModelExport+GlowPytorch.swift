import AIPOFlows
import AIPOKernels
import AIPOPlatform

extension Exporter {
  /// glow-pytorch: its data are x − ½, so that the first actnorm takes ½ more.
  mutating func addGlowPytorch(_ levels: [GlowLevel]) throws {
    guard model.spec.base != .uniform else { throw refuse("a uniform base") }
    guard model.spec.base != .diagonalGaussian else { throw refuse("a base with a mean for every value") }
    let shapes = try model.spec.shapes(from: model.imageShape)
    let additive = levels.flatMap(\.steps).map { $0.spec.transform == .additive }
    guard Set(additive).count <= 1 else { throw refuse("affine and additive couplings in one flow") }
    guard Set(levels.map(\.steps.count)).count <= 1 else {
      throw refuse("levels of different numbers of steps")
    }
    for (b, level) in levels.enumerated() {
      for (k, step) in level.steps.enumerated() {
        try addStep(
          "blocks.\(b).flows.\(k).", step, channels: shapes[step.actnorm].channels, isFirst: b == 0 && k == 0,
          isLastBlock: b == levels.count - 1)
      }
      let after = level.steps.last!.coupling + 1
      try addPrior("blocks.\(b).prior.", level, channels: shapes[after].channels)
    }
  }

  private mutating func addStep(
    _ prefix: String, _ step: GlowLevel.Step, channels c: Int, isFirst: Bool, isLastBlock: Bool
  ) throws {
    let actnorm = "layers.\(step.actnorm)."
    add(
      prefix + "actnorm.loc", [1, c, 1, 1], try doubles(actnorm + "bias").map { $0 + (isFirst ? 0.5 : 0) })
    add(prefix + "actnorm.scale", [1, c, 1, 1], try doubles(actnorm + "log_scale").map { exp($0) })
    addByte(prefix + "actnorm.initialized", try values(actnorm + "initialized").first == 0 ? 0 : 1)
    let mixing = "layers.\(step.mixing)."
    switch step.form {
    case .dense:
      guard !isLastBlock else {
        throw refuse("a dense 1×1 convolution in the last block, where it is always PLU")
      }
      add(prefix + "invconv.weight", [c, c, 1, 1], try values(mixing + "weight"))
    case .plu:
      var (upper, lower, unit) = (
        [Scalar](repeating: 0, count: c * c), [Scalar](repeating: 0, count: c * c),
        [Scalar](repeating: 0, count: c * c)
      )
      for i in 0..<c {
        for j in 0..<c {
          if j > i { upper[i * c + j] = 1 }
          if j < i { lower[i * c + j] = 1 }
        }
        unit[i * c + i] = 1
      }
      add(prefix + "invconv.w_p", [c, c], try matrix(ofPermutation: mixing + "permutation"))
      add(prefix + "invconv.u_mask", [c, c], upper)
      add(prefix + "invconv.l_mask", [c, c], lower)
      add(prefix + "invconv.l_eye", [c, c], unit)
      add(prefix + "invconv.s_sign", [c], try values(mixing + "sign"))
      add(prefix + "invconv.w_l", [c, c], try values(mixing + "lower"))
      add(prefix + "invconv.w_s", [c], try values(mixing + "log_scale"))
      add(prefix + "invconv.w_u", [c, c], try values(mixing + "upper"))
    }
    try requireCommon(step.spec, layer: step.coupling)
    guard [.sigmoid, .additive].contains(step.spec.transform) else {
      throw refuse(
        "the transform \(step.spec.transform.name) of layer \(step.coupling), only sigmoid and additive")
    }
    guard step.spec.net.lastPadding == 1 else {
      throw refuse(
        "zero padding in the output layer of a coupling's net (layer \(step.coupling)): it pads with ones")
    }
    let net = prefix + "coupling.net."
    try addConvolution(net + "0", layer: step.coupling, index: 0)
    try addConvolution(net + "2", layer: step.coupling, index: 1)
    let count = step.spec.transform == .additive ? c / 2 : c
    // Scales first, then shifts.
    let outputs = (0..<count).map {
      FlowMapping<Scalar>.Output(source: count == c ? ($0 + c / 2) % c : $0, factor: 1)
    }
    try addConvolution(net + "4.conv", layer: step.coupling, index: 2, outputs: outputs)
    add(net + "4.scale", [1, count, 1, 1], [Scalar](repeating: 0, count: count))
  }

  /// From a coupling that stands for it, or from a base that is one a channel: then by biases alone.
  private mutating func addPrior(_ prefix: String, _ level: GlowLevel, channels c: Int) throws {
    let latents = level.split == nil ? c : c / 2
    let count = 2 * latents
    add(prefix + "scale", [1, count, 1, 1], [Scalar](repeating: 0, count: count))
    guard let prior = level.prior else {
      let base = try base(level.split)
      // What isn't split is seen as zeros, of all channels.
      let inputs = level.split == nil ? c : c / 2
      add(prefix + "conv.weight", [count, inputs, 3, 3], [Scalar](repeating: 0, count: count * inputs * 9))
      add(
        prefix + "conv.bias", [count],
        (base?.mean ?? [Double](repeating: 0, count: latents))
          + (base?.logScale ?? [Double](repeating: 0, count: latents)))
      return
    }
    guard model.spec.base == .gaussian else { throw refuse("a learned base behind a conditional one") }
    guard prior.spec.transform == .unboundedExponential, prior.spec.net.padding == 1,
      prior.spec.mask == (level.split == nil ? .nothing : .firstHalf)
    else { throw refuse("layer \(prior.layer), a coupling of one convolution that is no prior of a block") }
    let negative = FlowMapping<Scalar>.outputs(count, factors: [Double](repeating: -1, count: count))
    if level.split != nil {
      try addConvolution(prefix + "conv", layer: prior.layer, index: 0, outputs: negative)
      return
    }
    // The one channel that ours sees goes to the first of theirs: all are padded with ones.
    let weight = try values("layers.\(prior.layer).net.0.weight")
    var spread = [Scalar](repeating: 0, count: count * c * 9)
    for o in 0..<count {
      for tap in 0..<9 { spread[o * c * 9 + tap] = -weight[tap * count + o] }
    }
    add(prefix + "conv.weight", [count, c, 3, 3], spread)
    add(prefix + "conv.bias", [count], try values("layers.\(prior.layer).net.0.bias").map { -$0 })
  }
}
