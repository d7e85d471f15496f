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
/// at zero, so that a fresh coupling is the identity up to a constant scale.
final class ConvNet<Scalar: KernelScalar> {
  private struct Stage {
    var convolution: Convolution<Scalar>
    var weight: LayerParameter<Scalar>
    var bias: LayerParameter<Scalar>
    /// Adds the output of the stage before the last one.
    var skips: Bool
    var isLast: Bool
    /// Values an image in the outputs of the stages before it, and in its own.
    var offset: Int
    var size: Int
    /// Multiplications a row.
    var work: Int
    /// The same as offset and size for the bytes of its outputs' mask.
    var maskOffset: Int
    var maskSize: Int
  }

  private let stages: [Stage]
  private let activation: NetSpec.Activation
  let parameters: [LayerParameter<Scalar>]
  let height: Int
  let width: Int
  let outChannels: Int
  /// Values an image in the outputs of all hidden stages.
  let hiddenCount: Int
  private let maskBytes: Int

  init(_ spec: NetSpec, height: Int, width: Int, inChannels: Int, outChannels: Int) throws {
    activation = spec.activation
    self.height = height
    self.width = width
    self.outChannels = outChannels
    let plan = spec.convolutions(inChannels: inChannels, outChannels: outChannels)
    var stages: [Stage] = []
    var (offset, maskOffset) = (0, 0)
    for (k, step) in plan.enumerated() {
      let convolution = try Convolution<Scalar>(
        height: height, width: width, inChannels: step.inChannels, outChannels: step.outChannels,
        kernel: step.kernel,
        padding: Scalar(k == plan.count - 1 ? spec.lastPadding ?? spec.padding : spec.padding))
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
      let pixels = isLast ? 0 : height * width
      let stage = Stage(
        convolution: convolution, weight: weight, bias: bias, skips: step.skips, isLast: isLast,
        offset: offset, size: pixels * step.outChannels, work: width * count, maskOffset: maskOffset,
        maskSize: pixels * Mask.bytes(channels: step.outChannels))
      stages.append(stage)
      offset += stage.size
      maskOffset += stage.maskSize
    }
    self.stages = stages
    hiddenCount = offset
    maskBytes = maskOffset
    parameters = stages.flatMap { [$0.weight, $0.bias] }
  }

  func refresh() {
    for stage in stages { stage.convolution.pack(stage.weight.values) }
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
    func run(_ rows: Int, work: Int, scratch: Int, _ body: (Range<Int>, Memory<Scalar>) -> Void) throws {
      guard let pool else {
        try workspaces[worker].scope { body(0..<rows, try workspaces[worker].take(scratch)) }
        return
      }
      try pool.split(rows, minimum: max(1, Self.least / max(1, work))) { range, worker in
        try workspaces[worker].scope { body(range, try workspaces[worker].take(scratch)) }
      }
    }
  }

  // MARK: Arrays of all hidden stages

  /// An array for every hidden stage over `total` images, one after the other, of which a call concerns `images`.
  struct Hidden {
    let memory: Memory<Scalar>
    let total: Int
    let images: Range<Int>

    /// The same arrays for fewer images, counted from the first of `images`.
    subscript(range: Range<Int>) -> Hidden {
      let first = images.lowerBound
      return Hidden(
        memory: memory, total: total, images: first + range.lowerBound..<first + range.upperBound)
    }
  }

  /// Values for what the derivatives of hidden activations need: a bit a ReLU, or the input of a smooth activation.
  func derivativeCount(images: Int) -> Int {
    let perScalar = MemoryLayout<Scalar>.stride
    return activation == .relu ? (images * maskBytes + perScalar - 1) / perScalar : images * hiddenCount
  }

  /// A stage's outputs, inputs of its activations, or their cotangents.
  private func values(_ hidden: Hidden, _ stage: Stage) -> Memory<Scalar> {
    let start = hidden.total * stage.offset + hidden.images.lowerBound * stage.size
    return hidden.memory[start..<start + hidden.images.count * stage.size]
  }

  private func mask(_ hidden: Hidden, _ stage: Stage) -> Mask {
    let start = hidden.total * stage.maskOffset + hidden.images.lowerBound * stage.maskSize
    return Mask(hidden.memory)[start..<start + hidden.images.count * stage.maskSize]
  }

  // MARK: There and back

  /// The net's output for `images` images, whose input begins at x with the given pixel stride, into `head` (dense).
  /// What the way back needs is left in `derivatives` and `outputs`, where they are given.
  func forward(
    images: Int, x: Memory<Scalar>, stride: Int, head: Memory<Scalar>, derivatives: Hidden?,
    outputs: Hidden?, workspace: Workspace<Scalar>, runner: RowRunner
  ) throws {
    let rows = images * height
    try workspace.scope {
      let outputs =
        try outputs
        ?? Hidden(memory: workspace.take(images * hiddenCount), total: images, images: 0..<images)
      for (k, stage) in stages.enumerated() {
        let convolution = stage.convolution
        let c = convolution.outChannels
        let source = k == 0 ? x : values(outputs, stages[k - 1])
        let sourceStride = k == 0 ? stride : convolution.inChannels
        let result = stage.isLast ? head[0..<rows * width * c] : values(outputs, stage)
        var target = result
        var epilogue: Convolution<Scalar>.Epilogue = stage.skips ? .add : []
        var written: Mask?
        let smooth = activation == .silu && !stage.isLast
        if smooth, let derivatives { target = values(derivatives, stage) }
        if activation == .relu, !stage.isLast {
          epilogue.insert(.relu)
          written = derivatives.map { mask($0, stage) }
        }
        try runner.run(rows, work: stage.work, scratch: convolution.workspaceCount) { range, scratch in
          let part = range.lowerBound * width * c..<range.upperBound * width * c
          if stage.skips { target[part].copy(from: values(outputs, stages[k - 2])[part]) }
          convolution.forward(
            rows: range, x: source, stride: sourceStride, bias: stage.bias.values, epilogue: epilogue,
            mask: written, y: target, stride: c, scratch: scratch)
          if smooth { Kernel.silu(target[part], into: result[part]) }
        }
      }
    }
  }

  /// Back from the head's cotangent: adds the input's cotangent to `xCotangent`; `cotangents` gets those of the hidden
  /// stages before their activation.
  func vjp(
    derivatives: Hidden, headCotangent: Memory<Scalar>, xCotangent: Memory<Scalar>, xCotangentStride: Int,
    cotangents: Hidden, runner: RowRunner
  ) throws {
    let rows = derivatives.images.count * height
    for k in stages.indices.reversed() {
      let stage = stages[k]
      let convolution = stage.convolution
      let cotangent = stage.isLast ? headCotangent : values(cotangents, stage)
      if k == 0 {
        try runner.run(rows, work: stage.work, scratch: convolution.workspaceCount) { range, scratch in
          convolution.adjoint(
            rows: range, cotangent: cotangent, stride: convolution.outChannels, epilogue: .add, mask: nil,
            into: xCotangent, stride: xCotangentStride, scratch: scratch)
        }
        return
      }
      let before = stages[k - 1]
      let c = convolution.inChannels
      let next = values(cotangents, before)
      // What a later stage that skips adds to the cotangent of this output.
      let skipped = k + 1 < stages.count && stages[k + 1].skips ? values(cotangents, stages[k + 1]) : nil
      var epilogue: Convolution<Scalar>.Epilogue = skipped == nil ? [] : .add
      if activation == .relu { epilogue.insert(.gate) }
      let read = activation == .relu ? mask(derivatives, before) : nil
      try runner.run(rows, work: stage.work, scratch: convolution.workspaceCount) { range, scratch in
        let part = range.lowerBound * width * c..<range.upperBound * width * c
        if let skipped { next[part].copy(from: skipped[part]) }
        convolution.adjoint(
          rows: range, cotangent: cotangent, stride: convolution.outChannels, epilogue: epilogue, mask: read,
          into: next, stride: c, scratch: scratch)
        if activation == .silu { Kernel.siluVJP(values(derivatives, before)[part], cotangent: next[part]) }
      }
    }
  }

  /// Adds the parameters' gradients from dense x, outputs and cotangents, `slab` images at a time in their order.
  func accumulateGradient(
    slab: Int, x: Memory<Scalar>, outputs: Hidden, cotangents: Hidden, headCotangent: Memory<Scalar>,
    pool: ThreadPool, workspaces: [Workspace<Scalar>]
  ) throws {
    let count = cotangents.images.count
    let tasks = stages.reduce(0) { $0 + $1.convolution.gradientParts }
    let work = count * height * stages.reduce(0) { $0 + $1.work }
    try pool.run(tasks, isSmall: work < 2 * RowRunner.least) { task, worker in
      var (k, part) = (0, task)
      while part >= stages[k].convolution.gradientParts {
        part -= stages[k].convolution.gradientParts
        k += 1
      }
      let stage = stages[k]
      let convolution = stage.convolution
      let source = k == 0 ? x : values(outputs, stages[k - 1])
      let cotangent = stage.isLast ? headCotangent : values(cotangents, stage)
      try workspaces[worker].scope {
        let scratch = try workspaces[worker].take(convolution.workspaceCount)
        for start in Swift.stride(from: 0, to: count, by: slab) {
          convolution.accumulateGradient(
            parts: part..<part + 1, rows: start * height..<min(start + slab, count) * height, x: source,
            stride: convolution.inChannels, cotangent: cotangent, stride: convolution.outChannels,
            weights: stage.weight.gradient, bias: stage.bias.gradient, scratch: scratch)
        }
      }
    }
  }
}
