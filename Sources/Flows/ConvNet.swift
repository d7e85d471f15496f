import AIPOKernels

/// What a coupling's net is made of.
public struct NetSpec: Codable, Hashable, Sendable {
  /// Which net.
  public enum Kind: String, Codable, Sendable, CaseIterable {
    /// 3×3 → 1×1 → 3×3 (Glow).
    case glow
    /// 3×3, then residual blocks `h ← a(h + conv(a(conv(h))))` of 3×3 convolutions, then 3×3 (RealNVP).
    case residual
  }

  /// What follows every hidden convolution.
  public enum Activation: String, Codable, Sendable, CaseIterable {
    case relu
    /// u·σ(u): smooth, for what needs second derivatives.
    case silu
  }

  public var kind: Kind
  public var hidden: Int
  /// Residual blocks; only for `residual`.
  public var blocks: Int
  public var activation: Activation
  /// The value of pixels outside the image, for 3×3 convolutions.
  public var padding: Double

  public init(
    kind: Kind = .glow, hidden: Int, blocks: Int = 2, activation: Activation = .relu, padding: Double = 0
  ) {
    self.kind = kind
    self.hidden = hidden
    self.blocks = blocks
    self.activation = activation
    self.padding = padding
  }

  /// One convolution of the net.
  struct Convolution {
    var kernel: Int
    var inChannels: Int
    var outChannels: Int
    /// Adds the output of the convolution before the last one.
    var skips = false
  }

  /// The net's convolutions in their order.
  func convolutions(inChannels: Int, outChannels: Int) -> [Convolution] {
    var result = [Convolution(kernel: 3, inChannels: inChannels, outChannels: hidden)]
    switch kind {
    case .glow: result.append(Convolution(kernel: 1, inChannels: hidden, outChannels: hidden))
    case .residual:
      for _ in 0..<blocks {
        result.append(Convolution(kernel: 3, inChannels: hidden, outChannels: hidden))
        result.append(Convolution(kernel: 3, inChannels: hidden, outChannels: hidden, skips: true))
      }
    }
    result.append(Convolution(kernel: 3, inChannels: hidden, outChannels: outChannels))
    return result
  }
}

/// The net of a coupling: convolutions in a row, `y_k = a(conv_k(y_{k−1}) [+ y_{k−2}])`; the last is linear and starts
/// at zero, so that a fresh coupling is the identity up to a constant scale.
final class ConvNet<Scalar: KernelScalar> {
  private struct Stage {
    var convolution: Convolution<Scalar>
    var weight: LayerParameter<Scalar>
    var bias: LayerParameter<Scalar>
    /// Adds the output of the stage before the last one.
    var skips: Bool
    var isLast: Bool
    /// Where its gradients lie among the net's.
    var offset: Int
  }

  private let stages: [Stage]
  private let activation: NetSpec.Activation
  let parameters: [LayerParameter<Scalar>]
  /// Numbers in all parameters.
  let parameterCount: Int
  let height: Int
  let width: Int
  let outChannels: Int

  init(_ spec: NetSpec, height: Int, width: Int, inChannels: Int, outChannels: Int) throws {
    activation = spec.activation
    self.height = height
    self.width = width
    self.outChannels = outChannels
    let plan = spec.convolutions(inChannels: inChannels, outChannels: outChannels)
    var stages: [Stage] = []
    var offset = 0
    for (k, step) in plan.enumerated() {
      let convolution = try Convolution<Scalar>(
        height: height, width: width, inChannels: step.inChannels, outChannels: step.outChannels,
        kernel: step.kernel,
        padding: Scalar(spec.padding))
      let isLast = k == plan.count - 1
      let count = convolution.weightCount
      // He et al. 2015 for the hidden layers; half of it where a residual is added.
      let deviation =
        (2 / Double(step.kernel * step.kernel * step.inChannels)).squareRoot() * (step.skips ? 0.5 : 1)
      let weight = LayerParameter<Scalar>(
        "net.\(k).weight", shape: [step.kernel, step.kernel, step.inChannels, step.outChannels]
      ) { random in (0..<count).map { _ in isLast ? 0 : deviation * random.normal() } }
      let bias = LayerParameter<Scalar>("net.\(k).bias", shape: [step.outChannels]) { _ in
        [Double](repeating: 0, count: step.outChannels)
      }
      stages.append(
        Stage(
          convolution: convolution, weight: weight, bias: bias, skips: step.skips, isLast: isLast,
          offset: offset))
      offset += count + step.outChannels
    }
    self.stages = stages
    parameterCount = offset
    parameters = stages.flatMap { [$0.weight, $0.bias] }
  }

  func refresh() {
    for stage in stages { stage.convolution.pack(stage.weight.values) }
  }

  /// Runs row-wise work: whole on this thread, or split over the pool with a barrier after each.
  struct RowRunner {
    let pool: ThreadPool?
    /// Scratch memory by worker; without a pool, the first alone.
    let workspaces: [Workspace<Scalar>]

    func run(_ rows: Int, scratch: Int, _ body: (Range<Int>, Memory<Scalar>) -> Void) throws {
      guard let pool else {
        try workspaces[0].scope { body(0..<rows, try workspaces[0].take(scratch)) }
        return
      }
      try pool.split(rows, minimum: 1) { range, worker in
        try workspaces[worker].scope { body(range, try workspaces[worker].take(scratch)) }
      }
    }
  }

  /// What the net computed for some images, for the way back.
  struct Activations {
    /// Outputs of the hidden stages.
    var outputs: [Memory<Scalar>]
    /// Their values before the activation, where the output doesn't tell its derivative.
    var inputs: [Memory<Scalar>]
  }

  /// The net's output for `images` images, whose input begins at x with the given pixel stride, into `head` (dense).
  func forward(
    images: Int, x: Memory<Scalar>, stride: Int, head: Memory<Scalar>, workspace: Workspace<Scalar>,
    runner: RowRunner
  ) throws -> Activations {
    let rows = images * height
    let pixels = rows * width
    var kept = Activations(outputs: [], inputs: [])
    for (k, stage) in stages.enumerated() {
      let c = stage.convolution.outChannels
      let source = k == 0 ? x : kept.outputs[k - 1]
      let sourceStride = k == 0 ? stride : stage.convolution.inChannels
      let output = stage.isLast ? head[0..<pixels * c] : try workspace.take(pixels * c)
      let smooth = activation == .silu && !stage.isLast
      let target = smooth ? try workspace.take(pixels * c) : output
      var epilogue: Convolution<Scalar>.Epilogue = stage.skips ? .add : []
      if activation == .relu && !stage.isLast { epilogue.insert(.relu) }
      try runner.run(rows, scratch: stage.convolution.workspaceCount) { range, scratch in
        let part = range.lowerBound * width * c..<range.upperBound * width * c
        if stage.skips { target[part].copy(from: kept.outputs[k - 2][part]) }
        stage.convolution.forward(
          rows: range, x: source, stride: sourceStride, bias: stage.bias.values, epilogue: epilogue,
          y: target,
          stride: c, scratch: scratch)
        if smooth { Kernel.silu(target[part], into: output[part]) }
      }
      if !stage.isLast {
        kept.outputs.append(output)
        if smooth { kept.inputs.append(target) }
      }
    }
    return kept
  }

  /// Back from the head's cotangent: adds the input's cotangent to `xCotangent`, and the parameters' gradients to
  /// `gradient` if there is one.
  func vjp(
    images: Int, x: Memory<Scalar>, stride: Int, activations: Activations, headCotangent: Memory<Scalar>,
    xCotangent: Memory<Scalar>, xCotangentStride: Int, gradient: Memory<Scalar>?,
    workspace: Workspace<Scalar>,
    runner: RowRunner
  ) throws {
    let rows = images * height
    let pixels = rows * width
    /// Cotangent of stage k's value before the activation.
    var cotangent = headCotangent
    /// What a later stage that skips adds to the cotangent of an output.
    var skipped: [Int: Memory<Scalar>] = [:]
    for k in stages.indices.reversed() {
      let stage = stages[k]
      let c = stage.convolution.outChannels
      let source = k == 0 ? x : activations.outputs[k - 1]
      let sourceStride = k == 0 ? stride : stage.convolution.inChannels
      if let gradient {
        let weightCount = stage.convolution.weightCount
        try runner.workspaces[0].scope {
          let scratch = try runner.workspaces[0].take(stage.convolution.workspaceCount)
          stage.convolution.accumulateGradient(
            rows: 0..<rows, x: source, stride: sourceStride, cotangent: cotangent, stride: c,
            weights: gradient[stage.offset..<stage.offset + weightCount],
            bias: gradient[stage.offset + weightCount..<stage.offset + weightCount + c], scratch: scratch)
        }
      }
      if stage.skips { skipped[k - 2] = cotangent }
      if k == 0 {
        try runner.run(rows, scratch: stage.convolution.workspaceCount) { range, scratch in
          stage.convolution.adjoint(
            rows: range, cotangent: cotangent, stride: c, epilogue: .add, gate: nil, into: xCotangent,
            stride: xCotangentStride, scratch: scratch)
        }
        return
      }
      let previous = stage.convolution.inChannels
      let next = try workspace.take(pixels * previous)
      let extra = skipped[k - 1]
      var epilogue: Convolution<Scalar>.Epilogue = extra == nil ? [] : .add
      if activation == .relu { epilogue.insert(.gate) }
      try runner.run(rows, scratch: stage.convolution.workspaceCount) { range, scratch in
        let part = range.lowerBound * width * previous..<range.upperBound * width * previous
        if let extra { next[part].copy(from: extra[part]) }
        stage.convolution.adjoint(
          rows: range, cotangent: cotangent, stride: c, epilogue: epilogue,
          gate: activation == .relu ? activations.outputs[k - 1] : nil, into: next, stride: previous,
          scratch: scratch)
        if activation == .silu { Kernel.siluVJP(activations.inputs[k - 1][part], cotangent: next[part]) }
      }
      cotangent = next
    }
  }

  /// Adds a gradient in the net's own order to the parameters' gradients.
  func addGradient(_ gradient: Memory<Scalar>) {
    var offset = 0
    for parameter in parameters {
      Kernel.add(gradient[offset..<offset + parameter.count], to: parameter.gradient)
      offset += parameter.count
    }
  }
}
