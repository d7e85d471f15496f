import AIPOKernels

/// What a coupling's net is made of.
public struct NetSpec: Codable, Hashable, Sendable {
  /// Which net.
  public enum Kind: String, Codable, Sendable, CaseIterable {
    /// 3×3 → 1×1 → 3×3 (Glow).
    case glow
    /// 3×3, then residual blocks `h ← a(h + conv(a(conv(h))))` of 3×3 convolutions, then 3×3 (RealNVP).
    case residual
    /// One 3×3 convolution: `hidden` and `blocks` don't matter.
    case linear
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
  /// The same for the last convolution, where it differs.
  public var lastPadding: Double?

  public init(
    kind: Kind = .glow, hidden: Int, blocks: Int = 2, activation: Activation = .relu, padding: Double = 0,
    lastPadding: Double? = nil
  ) {
    self.kind = kind
    self.hidden = hidden
    self.blocks = blocks
    self.activation = activation
    self.padding = padding
    self.lastPadding = lastPadding
  }

  /// Whether the net has no kinks.
  var isSmooth: Bool { kind == .linear || activation != .relu }

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
    var result: [Convolution] = []
    switch kind {
    case .glow:
      result = [
        Convolution(kernel: 3, inChannels: inChannels, outChannels: hidden),
        Convolution(kernel: 1, inChannels: hidden, outChannels: hidden),
      ]
    case .residual:
      result = [Convolution(kernel: 3, inChannels: inChannels, outChannels: hidden)]
      for _ in 0..<blocks {
        result.append(Convolution(kernel: 3, inChannels: hidden, outChannels: hidden))
        result.append(Convolution(kernel: 3, inChannels: hidden, outChannels: hidden, skips: true))
      }
    case .linear: break
    }
    let last = result.last?.outChannels ?? inChannels
    result.append(Convolution(kernel: 3, inChannels: last, outChannels: outChannels))
    return result
  }
}

/// The net of a coupling: convolutions in a row, `y_k = a(conv_k(y_{k−1}) [+ y_{k−2}])`; the last is linear and starts
/// at zero, so that a fresh coupling is the identity up to a constant scale. With a condition their biases are functions
/// of the image's noise level.
final class ConvNet<Scalar: KernelScalar> {
  private struct Stage {
    var weights: ConvolutionWeights<Scalar>
    var weight: LayerParameter<Scalar>
    /// nil where the embedding gives them.
    var bias: LayerParameter<Scalar>?
    /// Adds the output of the stage before the last one.
    var skips: Bool
    var isLast: Bool
    /// Channels of the outputs of the stages before it, and bytes that their masks take a pixel.
    var offset: Int
    var maskOffset: Int
    /// Rows beside a strip that the later stages' windows reach, and those of the stages up to this one.
    var reach: Int
    var backReach: Int

    var channels: Int { weights.outChannels }
    var maskBytes: Int { Mask.bytes(channels: channels) }
  }

  private let stages: [Stage]
  private let activation: NetSpec.Activation
  let parameters: [LayerParameter<Scalar>]
  /// What gives the stages their biases, the last one's too, in a flow with a condition.
  let embedding: NoiseEmbedding<Scalar>?
  let outChannels: Int
  /// Channels of the outputs of all hidden stages.
  let hiddenChannels: Int
  private let maskBytes: Int
  /// Rows beside a strip on which the way back needs the cotangents of the hidden stages, and their outputs.
  private let cotangentReach: Int
  private let recomputedReach: Int

  init(_ spec: NetSpec, inChannels: Int, outChannels: Int, condition: Condition?) throws {
    activation = spec.activation
    self.outChannels = outChannels
    let plan = spec.convolutions(inChannels: inChannels, outChannels: outChannels)
    var stages: [Stage] = []
    var (offset, maskOffset, backReach) = (0, 0, 0)
    for (k, step) in plan.enumerated() {
      let isLast = k == plan.count - 1
      let weights = try ConvolutionWeights<Scalar>(
        inChannels: step.inChannels, outChannels: step.outChannels, kernel: step.kernel,
        padding: Scalar(isLast ? spec.lastPadding ?? spec.padding : spec.padding))
      let count = weights.weightCount
      // He et al. 2015 for the hidden layers; half of it where a residual is added.
      let deviation =
        (2 / Double(step.kernel * step.kernel * step.inChannels)).squareRoot() * (step.skips ? 0.5 : 1)
      let weight = LayerParameter<Scalar>(
        "net.\(k).weight", shape: [step.kernel, step.kernel, step.inChannels, step.outChannels]
      ) { random in (0..<count).map { _ in isLast ? 0 : deviation * random.normal() } }
      let bias =
        condition == nil
        ? LayerParameter<Scalar>("net.\(k).bias", shape: [step.outChannels]) { _ in
          [Double](repeating: 0, count: step.outChannels)
        } : nil
      backReach += step.kernel / 2
      let stage = Stage(
        weights: weights, weight: weight, bias: bias, skips: step.skips, isLast: isLast, offset: offset,
        maskOffset: maskOffset, reach: plan[(k + 1)...].reduce(0) { $0 + $1.kernel / 2 },
        backReach: backReach)
      stages.append(stage)
      if !isLast {
        offset += stage.channels
        maskOffset += stage.maskBytes
      }
    }
    self.stages = stages
    hiddenChannels = offset
    maskBytes = maskOffset
    let last = stages.count > 1 ? stages[stages.count - 2] : nil
    cotangentReach = last?.backReach ?? 0
    // The last hidden stage reaches as far as its cotangent, those before it by their windows farther.
    recomputedReach = cotangentReach - (last?.reach ?? 0)
    embedding = try condition.map { try NoiseEmbedding($0, channels: offset + outChannels) }
    parameters =
      stages.flatMap { [$0.weight, $0.bias].compactMap(\.self) } + (embedding?.parameters ?? [])
  }

  func refresh() {
    embedding?.refresh()
    for stage in stages { stage.weights.pack(stage.weight.values) }
  }

  /// The most elements of scratch memory that a convolution of `forward` and `vjp` needs.
  func workspaceCount(width: Int) -> Int {
    stages.reduce(0) { max($0, $1.weights.on(height: 1, width: width).workspaceCount) }
  }

  /// The same for `accumulateGradient`.
  func gradientWorkspaceCount(width: Int) -> Int {
    stages.reduce(0) { max($0, $1.weights.on(height: 1, width: width).gradientWorkspaceCount) }
  }

  /// Runs row-wise work: whole on this thread, or split over the pool with a barrier after each.
  struct RowRunner {
    let pool: ThreadPool?
    /// Scratch memory by worker.
    let workspaces: [Workspace<Scalar>]
    /// This thread.
    var worker = 0

    /// Multiplications that a thread takes at least: what takes less is done before another thread has begun.
    static var least: Int { 1 << 21 }

    /// `work`: multiplications a row.
    func run(_ rows: Range<Int>, work: Int, scratch: Int, _ body: (Range<Int>, Memory<Scalar>) -> Void) throws
    {
      guard let pool else {
        try workspaces[worker].scope { body(rows, try workspaces[worker].take(scratch)) }
        return
      }
      try pool.split(rows.count, minimum: max(1, Self.least / max(1, work))) { range, worker in
        let range = rows.lowerBound + range.lowerBound..<rows.lowerBound + range.upperBound
        try workspaces[worker].scope { body(range, try workspaces[worker].take(scratch)) }
      }
    }
  }

  // MARK: Arrays of all hidden stages

  /// An array for every hidden stage over the same rows of the batch, one after the other.
  struct Hidden {
    let memory: Memory<Scalar>
    let rows: Range<Int>
  }

  /// Values that an array of outputs, or of cotangents, takes for so many pixels.
  func hiddenCount(pixels: Int) -> Int { pixels * hiddenChannels }

  /// Values for what the derivatives of hidden activations need: a bit a ReLU, or the slope of a smooth activation.
  func derivativeCount(pixels: Int) -> Int {
    let perScalar = MemoryLayout<Scalar>.stride
    return activation == .relu ? (pixels * maskBytes + perScalar - 1) / perScalar : pixels * hiddenChannels
  }

  /// Values a pixel that a way back takes which recomputes what the net computed: outputs, derivatives and cotangents.
  var recomputedChannels: Int { 2 * hiddenChannels + derivativeCount(pixels: 1) }

  /// Room for what the way back over a strip recomputes: derivatives; and what its cotangents take.
  func takeDerivatives(_ strip: Strip, _ workspace: Workspace<Scalar>) throws -> Hidden {
    let rows = strip.reaching(recomputedReach + (stages.first?.reach ?? 0))
    return Hidden(
      memory: try workspace.take(derivativeCount(pixels: rows.count * strip.width)), rows: rows)
  }

  func takeCotangents(_ strip: Strip, _ workspace: Workspace<Scalar>) throws -> Hidden {
    let rows = strip.reaching(cotangentReach)
    return Hidden(memory: try workspace.take(hiddenCount(pixels: rows.count * strip.width)), rows: rows)
  }

  /// The most rows beside a strip that any array of hidden stages has, above and below.
  var margin: Int { max(recomputedReach, 0) + (stages.first?.reach ?? 0) }

  /// A stage's outputs, slopes of its activations, or their cotangents, by the batch's rows.
  private func values(_ hidden: Hidden, _ stage: Stage, width: Int) -> Memory<Scalar> {
    let start = hidden.rows.count * width * stage.offset
    let size = width * stage.channels
    return hidden.memory[start..<start + hidden.rows.count * size].numbered(
      from: hidden.rows.lowerBound * size)
  }

  private func mask(_ hidden: Hidden, _ stage: Stage, width: Int) -> Mask {
    let start = hidden.rows.count * width * stage.maskOffset
    let size = width * stage.maskBytes
    return Mask(hidden.memory)[start..<start + hidden.rows.count * size].numbered(
      from: hidden.rows.lowerBound * size)
  }

  // MARK: There and back

  /// The net's output for a strip of images, whose batch begins at x with the given pixel stride, into `head` (dense).
  /// Without a head the hidden stages alone, on the rows that the way back needs. What that needs is left in
  /// `derivatives` and `outputs`, where they are given.
  func forward(
    _ strip: Strip, x: Memory<Scalar>, stride: Int, biases: ImageBiases<Scalar>?, head: Memory<Scalar>?,
    derivatives: Hidden?, outputs: Hidden?, workspace: Workspace<Scalar>, runner: RowRunner
  ) throws {
    let width = strip.width
    let further = head == nil ? recomputedReach : 0
    try workspace.scope {
      let window = strip.reaching(further + stages[0].reach)
      let outputs =
        try outputs
        ?? Hidden(memory: workspace.take(hiddenCount(pixels: window.count * width)), rows: window)
      for (k, stage) in stages.enumerated() {
        let result: Memory<Scalar>
        if !stage.isLast {
          result = values(outputs, stage, width: width)
        } else if let head {
          result = head
        } else {
          return
        }
        let convolution = stage.weights.on(height: strip.height, width: width)
        let c = stage.channels
        let source = k == 0 ? x : values(outputs, stages[k - 1], width: width)
        let sourceStride = k == 0 ? stride : convolution.inChannels
        let skipped = stage.skips ? values(outputs, stages[k - 2], width: width) : nil
        var target = result
        var epilogue: Convolution<Scalar>.Epilogue = stage.skips || biases != nil ? .add : []
        var written: Mask?
        let smooth = activation == .silu && !stage.isLast
        if smooth, let derivatives { target = values(derivatives, stage, width: width) }
        if activation == .relu, !stage.isLast {
          epilogue.insert(.relu)
          written = derivatives.map { mask($0, stage, width: width) }
        }
        try runner.run(
          strip.reaching(further + stage.reach), work: width * convolution.weightCount,
          scratch: convolution.workspaceCount
        ) { range, scratch in
          let part = range.lowerBound * width * c..<range.upperBound * width * c
          if let skipped { target[part].copy(from: skipped[part]) }
          biases?.put(
            range, offset: stage.offset, count: c, stride: c, adding: skipped != nil, into: target)
          convolution.forward(
            rows: range, x: source, stride: sourceStride, bias: stage.bias?.values, epilogue: epilogue,
            mask: written, y: target, stride: c, scratch: scratch)
          if smooth {
            let target = target[part]
            Kernel.silu(target, into: result[part], slopes: derivatives == nil ? nil : target)
          }
        }
      }
    }
  }

  /// Back over a strip from the head's cotangent: adds the input's cotangent to `xCotangent`; `cotangents` gets those of
  /// the hidden stages before their activation.
  func vjp(
    _ strip: Strip, derivatives: Hidden, headCotangent: Memory<Scalar>, xCotangent: Memory<Scalar>,
    xCotangentStride: Int, cotangents: Hidden, runner: RowRunner
  ) throws {
    let width = strip.width
    for k in stages.indices.reversed() {
      let stage = stages[k]
      let convolution = stage.weights.on(height: strip.height, width: width)
      let (work, scratch) = (width * convolution.weightCount, convolution.workspaceCount)
      let cotangent = stage.isLast ? headCotangent : values(cotangents, stage, width: width)
      if k == 0 {
        try runner.run(strip.rows, work: work, scratch: scratch) { range, scratch in
          convolution.adjoint(
            rows: range, cotangent: cotangent, stride: convolution.outChannels, epilogue: .add, mask: nil,
            into: xCotangent, stride: xCotangentStride, scratch: scratch)
        }
        return
      }
      let before = stages[k - 1]
      let c = convolution.inChannels
      let next = values(cotangents, before, width: width)
      // What a later stage that skips adds to the cotangent of this output.
      let skipped =
        k + 1 < stages.count && stages[k + 1].skips ? values(cotangents, stages[k + 1], width: width) : nil
      var epilogue: Convolution<Scalar>.Epilogue = skipped == nil ? [] : .add
      if activation == .relu { epilogue.insert(.gate) }
      let read = activation == .relu ? mask(derivatives, before, width: width) : nil
      let slopes = activation == .silu ? values(derivatives, before, width: width) : nil
      try runner.run(strip.reaching(before.backReach), work: work, scratch: scratch) { range, scratch in
        let part = range.lowerBound * width * c..<range.upperBound * width * c
        if let skipped { next[part].copy(from: skipped[part]) }
        convolution.adjoint(
          rows: range, cotangent: cotangent, stride: convolution.outChannels, epilogue: epilogue, mask: read,
          into: next, stride: c, scratch: scratch)
        if let slopes { Kernel.multiply(next[part], by: slopes[part]) }
      }
    }
  }

  /// Adds the cotangents of biases over whole images, `rows` of the batch, whatever the threads.
  func sumBiases(
    into sums: ImageBiases<Scalar>, rows: Range<Int>, height: Int, width: Int, cotangents: Hidden,
    headCotangent: Memory<Scalar>, pool: ThreadPool
  ) throws {
    try pool.split(rows.count / height, minimum: 1) { images, _ in
      let rows = rows.lowerBound + images.lowerBound * height..<rows.lowerBound + images.upperBound * height
      for stage in stages {
        sums.sum(
          rows, offset: stage.offset, count: stage.channels, stride: stage.channels,
          cotangent: stage.isLast ? headCotangent : values(cotangents, stage, width: width))
      }
    }
  }

  /// Adds the weights' gradients over whole images from dense x, outputs and cotangents, `slab` images at a time in
  /// their order.
  func accumulateGradient(
    rows: Range<Int>, height: Int, width: Int, slab: Int, x: Memory<Scalar>, outputs: Hidden,
    cotangents: Hidden, headCotangent: Memory<Scalar>, pool: ThreadPool, workspaces: [Workspace<Scalar>]
  ) throws {
    let tasks = stages.reduce(0) { $0 + $1.weights.gradientParts }
    let work = rows.count * width * stages.reduce(0) { $0 + $1.weights.weightCount }
    try pool.run(tasks, isSmall: work < 2 * RowRunner.least) { task, worker in
      var (k, part) = (0, task)
      while part >= stages[k].weights.gradientParts {
        part -= stages[k].weights.gradientParts
        k += 1
      }
      let stage = stages[k]
      let convolution = stage.weights.on(height: height, width: width)
      let source = k == 0 ? x : values(outputs, stages[k - 1], width: width)
      let cotangent = stage.isLast ? headCotangent : values(cotangents, stage, width: width)
      try workspaces[worker].scope {
        let scratch = try workspaces[worker].take(convolution.gradientWorkspaceCount)
        for start in Swift.stride(from: rows.lowerBound, to: rows.upperBound, by: slab * height) {
          convolution.accumulateGradient(
            parts: part..<part + 1, rows: start..<min(start + slab * height, rows.upperBound), x: source,
            stride: convolution.inChannels, cotangent: cotangent, stride: convolution.outChannels,
            weights: stage.weight.gradient, bias: stage.bias?.gradient, scratch: scratch)
        }
      }
    }
  }
}
