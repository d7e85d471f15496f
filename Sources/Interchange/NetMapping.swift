import AIPOFlows
import AIPOKernels
import AIPOPlatform

/// The convolutions of a Glow coupling's net in a file: 3×3, 1×1, 3×3.
struct NetNames {
  /// Names before `.weight` and `.bias`.
  var first: String
  var middle: String
  var last: String
  /// Normalisations behind the hidden convolutions: names of a shift and a log-scale, and which is applied first.
  var norms: [(shift: String, logScale: String)] = []
  var shiftsFirst = false
  /// Whether the hidden convolutions have biases.
  var hasBiases = true
  /// What hidden values below zero are multiplied by, as LeakyReLU has it.
  var leakySlope = 0.0
  /// A log-scale behind the last convolution, `e^(3·scale)`.
  var headScale: (name: String, shape: (Int) -> [Int])?
}

/// How a net's output is laid out, and what a coupling makes of it.
struct HeadLayout {
  enum Order {
    /// Pairs of which the even one is a shift, the odd one a scale.
    case shiftScalePairs
    /// Pairs of which the even one is a scale, the odd one a shift.
    case scaleShiftPairs
    /// All scales, then all shifts.
    case scalesThenShifts
  }

  var order: Order
  /// What our shift and scale are, of theirs.
  var shiftFactor = 1.0
  var scaleFactor = 1.0
}

extension FlowMapping {
  /// Whether a coupling only shifts, which the outputs of its net tell.
  func isAdditive(_ names: NetNames, channels: Int, mask: CouplingMask) throws(FileError) -> Bool {
    let transformed = mask == .firstHalf ? channels - channels / 2 : channels / 2
    let count = try shape(names.last + ".weight", axes: 4)[0]
    guard count == transformed || count == 2 * transformed else {
      throw dict.source.malformed(
        "outputs of \(names.last)", "\(count)",
        "\(2 * transformed), or \(transformed) for an additive coupling")
    }
    return count == transformed
  }

  /// Adds a coupling of `channels` channels.
  mutating func addCoupling(
    _ names: NetNames, channels: Int, mask: CouplingMask, layout: HeadLayout,
    transform: CouplingTransform, lastPadding: Double? = nil
  ) throws(FileError) {
    let conditioning = mask == .firstHalf ? channels / 2 : channels - channels / 2
    let additive = try isAdditive(names, channels: channels, mask: mask)
    let hidden = try shape(names.first + ".weight", axes: 4)[0]
    let count = try shape(names.last + ".weight", axes: 4)[0]
    var factors = [Double](repeating: 1, count: count)
    if let scale = names.headScale {
      for (k, value) in try doubles(scale.name, scale.shape(count)).enumerated() {
        factors[k] = exp(3 * value)
      }
    }
    let outputs = Self.head(layout, count: count, additive: additive, factors: factors)
    let middle = try shape(names.middle + ".weight", axes: 4)[0]
    guard middle == hidden else {
      throw dict.source.malformed("outputs of \(names.middle)", "\(middle)", "\(hidden) as before it")
    }
    let first = try hiddenConvolution(names, names.first, 0, kernel: 3, inputs: conditioning, outputs: hidden)
    let second = try hiddenConvolution(names, names.middle, 1, kernel: 1, inputs: hidden, outputs: hidden)
    let bias = try doubles(names.last + ".bias", [count])
    let slope = names.leakySlope
    let width = slope == 0 ? hidden : 2 * hidden
    let net = NetSpec(
      kind: .glow, hidden: width, activation: .relu, padding: 0, lastPadding: lastPadding)
    add(
      .coupling(
        CouplingSpec(
          mask: mask, transform: additive ? .additive : transform, net: net)),
      [
        (
          "net.0.weight", [3, 3, conditioning, width],
          Self.doubled(first.weight, outputs: hidden, slope: slope)
        ),
        ("net.0.bias", [width], Self.doubled(first.bias, outputs: hidden, slope: slope)),
        (
          "net.1.weight", [1, 1, width, width],
          Self.doubled(
            Self.spread(second.weight, inputs: hidden, outputs: hidden, slope: slope), outputs: hidden,
            slope: slope)
        ),
        ("net.1.bias", [width], Self.doubled(second.bias, outputs: hidden, slope: slope)),
        (
          "net.2.weight", [3, 3, width, count],
          Self.spread(
            try convolution(names.last + ".weight", kernel: 3, inputs: hidden, outputs: outputs, of: count),
            inputs: hidden, outputs: count, slope: slope)
        ),
        ("net.2.bias", [count], outputs.map { Scalar(bias[$0.source] * $0.factor) }),
      ])
  }

  // MARK: LeakyReLU
  //
  // With slope a it is relu(u) − a·relu(−u): a hidden layer of twice the width with ReLU, exactly.

  /// Weights or biases `[…, outputs]` of a layer that also gives its outputs' negatives, behind them.
  static func doubled(_ values: [Scalar], outputs: Int, slope: Double) -> [Scalar] {
    guard slope != 0 else { return values }
    return stride(from: 0, to: values.count, by: outputs).flatMap { row in
      values[row..<row + outputs] + values[row..<row + outputs].map { -$0 }
    }
  }

  /// Weights `[taps, inputs, outputs]` of a layer whose inputs come doubled like this.
  static func spread(_ weights: [Scalar], inputs: Int, outputs: Int, slope: Double) -> [Scalar] {
    guard slope != 0 else { return weights }
    let size = inputs * outputs
    return stride(from: 0, to: weights.count, by: size).flatMap { tap in
      weights[tap..<tap + size] + weights[tap..<tap + size].map { Scalar(-slope * Double($0)) }
    }
  }

  /// Our order of a head's outputs: shifts first, then scales.
  static func head(_ layout: HeadLayout, count: Int, additive: Bool, factors: [Double]) -> [Output] {
    func output(_ source: Int, _ factor: Double) -> Output {
      Output(source: source, factor: factor * factors[source])
    }
    if additive { return (0..<count).map { output($0, layout.shiftFactor) } }
    let half = count / 2
    let (shift, scale): ((Int) -> Int, (Int) -> Int) =
      switch layout.order {
      case .shiftScalePairs: ({ 2 * $0 }, { 2 * $0 + 1 })
      case .scaleShiftPairs: ({ 2 * $0 + 1 }, { 2 * $0 })
      case .scalesThenShifts: ({ half + $0 }, { $0 })
      }
    return (0..<half).map { output(shift($0), layout.shiftFactor) }
      + (0..<half).map { output(scale($0), layout.scaleFactor) }
  }

  /// A hidden convolution with the normalisation behind it folded in: `(Wx + c + b)·e^s`, or `(Wx + c)·e^s + b`.
  private func hiddenConvolution(
    _ names: NetNames, _ name: String, _ index: Int, kernel: Int, inputs: Int, outputs: Int
  ) throws(FileError) -> (weight: [Scalar], bias: [Scalar]) {
    var bias = [Double](repeating: 0, count: outputs)
    if names.hasBiases { bias = try doubles(name + ".bias", [outputs]) }
    var factors: [Double]?
    if index < names.norms.count {
      let norm = names.norms[index]
      let shift = try doubles(norm.shift, [1, outputs, 1, 1])
      let scale = try doubles(norm.logScale, [1, outputs, 1, 1]).map { exp($0) }
      for k in 0..<outputs {
        bias[k] = names.shiftsFirst ? (bias[k] + shift[k]) * scale[k] : bias[k] * scale[k] + shift[k]
      }
      factors = scale
    }
    let weight = try convolution(
      name + ".weight", kernel: kernel, inputs: inputs, outputs: Self.outputs(outputs, factors: factors),
      of: outputs)
    return (weight, bias.map { Scalar($0) })
  }
}
