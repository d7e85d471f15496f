import AIPOFlows
import AIPOKernels
import AIPOPlatform

extension FlowMapping {
  /// glow-pytorch. A block's prior, mean and log-deviation of what leaves given what stays, is a coupling before the split:
  /// the split then puts aside standardised latents. In the last block it is a coupling that nothing conditions.
  mutating func mapGlowPytorch() throws(FileError) {
    let blocks = try run(prefix: "blocks.", atMost: 16)
    try takeChannels(of: "blocks.0", squeezedIn: "blocks.0.flows.0.actnorm.loc")
    let range = choice(.range, as: ImportChoices.PixelRange.self)
    var c = channels
    for block in 0..<blocks {
      let prefix = "blocks.\(block)."
      add(.squeeze(.interleaved))
      c *= 4
      for k in 0..<(try run(prefix: prefix + "flows.", atMost: 1024)) {
        try addGlowPytorchStep(
          prefix + "flows.\(k).", channels: c, range: block == 0 && k == 0 ? range : nil)
      }
      if block < blocks - 1 {
        try addPrior(prefix + "prior.", inputs: c / 2, latents: c / 2, mask: .firstHalf)
        add(.split)
        c /= 2
      } else {
        try addPrior(prefix + "prior.", inputs: c, latents: c, mask: .nothing)
      }
    }
  }

  private mutating func addGlowPytorchStep(
    _ prefix: String, channels c: Int, range: ImportChoices.PixelRange?
  ) throws(FileError) {
    let scale = try doubles(prefix + "actnorm.scale", [1, c, 1, 1])
    guard !scale.contains(0) else {
      throw dict.source.malformed(
        "tensor \(prefix)actnorm.scale", "zero in a channel", "scales that can be inverted")
    }
    // y = scale·(x + loc): signs go to the matrix behind it.
    let signs: [Double]? = scale.contains { $0 < 0 } ? scale.map { $0 < 0 ? -1 : 1 } : nil
    try requireInitialized(prefix + "actnorm.initialized")
    addActnorm(
      bias: try doubles(prefix + "actnorm.loc", [1, c, 1, 1]), logScale: scale.map { log(abs($0)) },
      range: range)
    let invconv = prefix + "invconv."
    if dict.has(invconv + "weight") {
      try addDense(invconv + "weight", shape: [c, c, 1, 1], columns: signs)
    } else {
      try addPLU(
        p: invconv + "w_p", l: invconv + "w_l", u: invconv + "w_u", logScale: invconv + "w_s",
        sign: invconv + "s_sign", columns: signs)
      for mask in ["u_mask", "l_mask", "l_eye"] { dict.ignore(invconv + mask) }
    }
    let net = prefix + "coupling.net."
    let names = NetNames(
      first: net + "0", middle: net + "2", last: net + "4.conv",
      headScale: (net + "4.scale", { [1, $0, 1, 1] }))
    try addCoupling(
      names, channels: c, mask: .firstHalf, layout: HeadLayout(order: .scalesThenShifts), transform: .sigmoid,
      lastPadding: 1)
  }

  /// ε = (z − mean)·e^(−log_sd), mean and log_sd being the halves of a convolution padded with ones. Where nothing
  /// conditions, it sees zeros: the inputs' weights add up.
  private mutating func addPrior(
    _ prefix: String, inputs: Int, latents: Int, mask: CouplingMask
  ) throws(FileError) {
    let count = 2 * latents
    let factors = try doubles(prefix + "scale", [1, count, 1, 1]).map { -exp(3 * $0) }
    let outputs = Self.outputs(count, factors: factors)
    var weight = try convolution(
      prefix + "conv.weight", kernel: 3, inputs: inputs, outputs: outputs, of: count)
    let bias = try doubles(prefix + "conv.bias", [count])
    let seen = mask == .nothing ? 1 : inputs
    if mask == .nothing {
      weight = (0..<9 * count).map { k in
        let (tap, output) = k.quotientAndRemainder(dividingBy: count)
        return Scalar((0..<inputs).reduce(0.0) { $0 + Double(weight[(tap * inputs + $1) * count + output]) })
      }
    }
    add(
      .coupling(
        CouplingSpec(
          mask: mask, transform: .unboundedExponential,
          net: NetSpec(kind: .linear, hidden: 1, activation: .relu, padding: 1))),
      [
        ("net.0.weight", [3, 3, seen, count], weight),
        ("net.0.bias", [count], zip(bias, factors).map { Scalar($0 * $1) }),
      ])
  }
}
