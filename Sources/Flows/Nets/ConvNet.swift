import AIPOKernels

/// Convolutions in a row, `y_k = a(conv_k(y_{k−1}) [+ y_{k−2}])`; the last is linear and starts at zero.
struct NetChain {
  struct Convolution {
    var kernel: Int
    var inChannels: Int
    var outChannels: Int
    /// Adds the output of the convolution before the last one.
    var skips = false
  }

  /// What the names of its parameters begin with, and of those that its biases come from in a flow with a condition.
  var name: String
  var conditionName: String
  var convolutions: [Convolution]
  var activation: NetSpec.Activation
  var padding = 0.0
  /// The value of pixels outside the image for the last convolution, where it differs.
  var lastPadding: Double?
  /// Whether weights are `[in, out]` in files, without the extent of a window.
  var isFlat = false

  var outChannels: Int { convolutions[convolutions.count - 1].outChannels }

  /// Multiplications with an addition for one pixel.
  var multiplyAdds: Int {
    convolutions.reduce(0) { $0 + $1.kernel * $1.kernel * $1.inChannels * $1.outChannels }
  }
}

/// The net of a coupling: one chain of convolutions or several with the same input, whose outputs make up a *head*. A
/// fresh net gives zeros. With a condition its biases are functions of the image's noise level.
final class ConvNet<Scalar: KernelScalar> {
  private struct Stage {
    var weights: ConvolutionWeights<Scalar>
    var weight: LayerParameter<Scalar>
    /// nil where the embedding gives them.
    var bias: LayerParameter<Scalar>?
    var activation: NetSpec.Activation
    /// Adds the output of the stage before the last one.
    var skips: Bool
    var isFirst: Bool
    var isLast: Bool
    /// Where its outputs lie among those of all hidden stages, or in the head.
    var offset: Int
    /// Where its biases lie among those of all stages.
    var biasOffset: Int
    /// Channels of slopes of the stages before it, and bytes that their masks take a pixel.
    var slopeOffset: Int
    var maskOffset: Int
    /// Rows beside a strip that the later stages' windows reach, and those of the stages up to this one.
    var reach: Int
    var backReach: Int

    var channels: Int { weights.outChannels }
    var hasMask: Bool { !isLast && activation == .relu }
    var hasSlopes: Bool { !isLast && activation == .silu }
  }

  private let stages: [Stage]
  /// Which stages are a chain.
  private let chains: [Range<Int>]
  let parameters: [LayerParameter<Scalar>]
  /// What gives the stages their biases, the last ones' too, in a flow with a condition.
  let embedding: NoiseEmbedding<Scalar>?
  /// Channels of the head. Those beyond the chains' outputs, or before `headOffset`, are nobody's.
  let headChannels: Int
  /// Whether the chains' outputs are all of the head.
  let fillsHead: Bool
  /// Channels of the outputs of all hidden stages.
  let hiddenChannels: Int
  private let slopeChannels: Int
  private let maskBytes: Int
  /// Rows beside a strip on which the way back needs the cotangents of the hidden stages, and their outputs.
  private let cotangentReach: Int
  private let recomputedReach: Int
  private let firstReach: Int

  /// The chains' outputs follow each other in a head of `headChannels`, from `headOffset` on.
  init(_ chains: [NetChain], headChannels: Int, headOffset: Int = 0, condition: Condition? = nil) throws {
    var stages: [Stage] = []
    var ranges: [Range<Int>] = []
    var owners: [[LayerParameter<Scalar>]] = []
    var (hidden, slopes, mask, biases, head) = (0, 0, 0, 0, headOffset)
    var (cotangentReach, recomputedReach, firstReach) = (0, 0, 0)
    for chain in chains {
      let plan = chain.convolutions
      var own: [LayerParameter<Scalar>] = []
      var backReach = 0
      for (k, step) in plan.enumerated() {
        let isLast = k == plan.count - 1
        let weights = try ConvolutionWeights<Scalar>(
          inChannels: step.inChannels, outChannels: step.outChannels, kernel: step.kernel,
          padding: Scalar(isLast ? chain.lastPadding ?? chain.padding : chain.padding))
        let count = weights.weightCount
        // He et al. 2015 for the hidden layers; half of it where a residual is added.
        let deviation =
          (2 / Double(step.kernel * step.kernel * step.inChannels)).squareRoot() * (step.skips ? 0.5 : 1)
        let window = chain.isFlat ? [] : [step.kernel, step.kernel]
        let weight = LayerParameter<Scalar>(
          "\(chain.name).\(k).weight", shape: window + [step.inChannels, step.outChannels]
        ) { random in (0..<count).map { _ in isLast ? 0 : deviation * random.normal() } }
        let bias =
          condition == nil
          ? LayerParameter<Scalar>("\(chain.name).\(k).bias", shape: [step.outChannels]) { _ in
            [Double](repeating: 0, count: step.outChannels)
          } : nil
        backReach += step.kernel / 2
        let stage = Stage(
          weights: weights, weight: weight, bias: bias, activation: chain.activation, skips: step.skips,
          isFirst: k == 0, isLast: isLast, offset: isLast ? head : hidden, biasOffset: biases,
          slopeOffset: slopes, maskOffset: mask, reach: plan[(k + 1)...].reduce(0) { $0 + $1.kernel / 2 },
          backReach: backReach)
        own += [weight, bias].compactMap(\.self)
        stages.append(stage)
        biases += stage.channels
        if isLast { head += stage.channels } else { hidden += stage.channels }
        if stage.hasSlopes { slopes += stage.channels }
        if stage.hasMask { mask += Mask.bytes(channels: stage.channels) }
        if !isLast { firstReach = max(firstReach, stage.reach) }
        if k == plan.count - 2 {
          cotangentReach = max(cotangentReach, backReach)
          // The last hidden stage reaches as far as its cotangent, those before it by their windows farther.
          recomputedReach = max(recomputedReach, backReach - stage.reach)
        }
      }
      ranges.append(stages.count - plan.count..<stages.count)
      owners.append(own)
    }
    precondition(head <= headChannels)
    self.stages = stages
    self.chains = ranges
    self.headChannels = headChannels
    fillsHead = headOffset == 0 && head == headChannels
    (hiddenChannels, slopeChannels, maskBytes) = (hidden, slopes, mask)
    (self.cotangentReach, self.recomputedReach, self.firstReach) = (
      cotangentReach, recomputedReach, firstReach
    )
    embedding = try condition.map { condition in
      try NoiseEmbedding(
        condition,
        parts: zip(chains, ranges).map { chain, range in
          (chain.conditionName, stages[range].reduce(0) { $0 + $1.channels })
        })
    }
    let embedded = embedding?.parametersOfParts
    parameters = owners.indices.flatMap { owners[$0] + (embedded?[$0] ?? []) }
  }

  /// The parameters of each chain's own stages.
  var ownParameters: [[LayerParameter<Scalar>]] {
    chains.map { stages[$0].flatMap { [$0.weight, $0.bias].compactMap(\.self) } }
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

  /// Elements of the sums that gradients of pieces of images carry on.
  func carryCount(width: Int) -> Int {
    stages.reduce(0) { $0 + $1.weights.on(height: 1, width: width).gradientCarryCount }
  }

  /// Rows that every piece of a gradient but the last has a multiple of.
  func gradientBlock(width: Int) -> Int {
    // It depends on the width alone.
    stages[0].weights.on(height: 1, width: width).gradientBlock
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

  /// Values for what the derivatives of hidden activations need: the slopes of smooth ones, then a bit a ReLU.
  func derivativeCount(pixels: Int) -> Int {
    let perScalar = MemoryLayout<Scalar>.stride
    return pixels * slopeChannels + (pixels * maskBytes + perScalar - 1) / perScalar
  }

  /// Values a pixel that a way back takes which recomputes what the net computed: outputs, derivatives and cotangents.
  var recomputedChannels: Int { 2 * hiddenChannels + derivativeCount(pixels: 1) }

  /// Room for what the way back over a strip recomputes: derivatives, and outputs for parameters' gradients; and for
  /// cotangents.
  func takeDerivatives(_ strip: Strip, _ workspace: Workspace<Scalar>) throws -> Hidden {
    let rows = strip.reaching(margin)
    return Hidden(
      memory: try workspace.take(derivativeCount(pixels: rows.count * strip.width)), rows: rows)
  }

  func takeOutputs(_ strip: Strip, _ workspace: Workspace<Scalar>) throws -> Hidden {
    let rows = strip.reaching(margin)
    return Hidden(memory: try workspace.take(hiddenCount(pixels: rows.count * strip.width)), rows: rows)
  }

  func takeCotangents(_ strip: Strip, _ workspace: Workspace<Scalar>) throws -> Hidden {
    let rows = strip.reaching(cotangentReach)
    return Hidden(memory: try workspace.take(hiddenCount(pixels: rows.count * strip.width)), rows: rows)
  }

  /// The most rows beside a strip that any array of hidden stages has, above and below.
  var margin: Int { recomputedReach + firstReach }

  /// Channels of a hidden stage from `offset` on, by the batch's rows.
  private func values(_ hidden: Hidden, _ offset: Int, _ channels: Int, width: Int) -> Memory<Scalar> {
    let start = hidden.rows.count * width * offset
    let size = width * channels
    return hidden.memory[start..<start + hidden.rows.count * size].numbered(
      from: hidden.rows.lowerBound * size)
  }

  /// A stage's outputs, or their cotangents, and their pixel stride; the last stage's in the head.
  private func outputs(_ hidden: Hidden?, _ stage: Stage, head: Memory<Scalar>, width: Int) -> (
    values: Memory<Scalar>, stride: Int
  ) {
    guard !stage.isLast, let hidden else { return (head.shifted(by: stage.offset), headChannels) }
    return (values(hidden, stage.offset, stage.channels, width: width), stage.channels)
  }

  private func values(_ hidden: Hidden, _ stage: Stage, width: Int) -> Memory<Scalar> {
    values(hidden, stage.offset, stage.channels, width: width)
  }

  private func slopes(_ hidden: Hidden, _ stage: Stage, width: Int) -> Memory<Scalar> {
    values(hidden, stage.slopeOffset, stage.channels, width: width)
  }

  private func mask(_ hidden: Hidden, _ stage: Stage, width: Int) -> Mask {
    let pixels = hidden.rows.count * width
    let start = pixels * (slopeChannels * MemoryLayout<Scalar>.stride + stage.maskOffset)
    let size = width * Mask.bytes(channels: stage.channels)
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
      let window = strip.reaching(further + firstReach)
      let outputs =
        try outputs
        ?? Hidden(memory: workspace.take(hiddenCount(pixels: window.count * width)), rows: window)
      // What no chain gives is zero.
      if let head, !fillsHead {
        let size = width * headChannels
        head[strip.rows.lowerBound * size..<strip.rows.upperBound * size].fill(0)
      }
      for (k, stage) in stages.enumerated() where !stage.isLast || head != nil {
        let (result, resultStride) = self.outputs(outputs, stage, head: head ?? x, width: width)
        let convolution = stage.weights.on(height: strip.height, width: width)
        let c = stage.channels
        let source = stage.isFirst ? x : values(outputs, stages[k - 1], width: width)
        let sourceStride = stage.isFirst ? stride : convolution.inChannels
        let skipped = stage.skips ? values(outputs, stages[k - 2], width: width) : nil
        var target = result
        var epilogue: Convolution<Scalar>.Epilogue = stage.skips || biases != nil ? .add : []
        var written: Mask?
        if stage.hasSlopes, let derivatives { target = slopes(derivatives, stage, width: width) }
        if stage.hasMask {
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
            range, offset: stage.biasOffset, count: c, stride: resultStride, adding: skipped != nil,
            into: target)
          convolution.forward(
            rows: range, x: source, stride: sourceStride, bias: stage.bias?.values, epilogue: epilogue,
            mask: written, y: target, stride: resultStride, scratch: scratch)
          if stage.hasSlopes {
            let target = target[part]
            Kernel.silu(target, into: result[part], slopes: derivatives == nil ? nil : target)
          }
        }
      }
    }
  }

  /// Back over a strip from the head's cotangent: adds the input's cotangent to `xCotangent`, if it is wanted;
  /// `cotangents` gets those of the hidden stages before their activation.
  func vjp(
    _ strip: Strip, derivatives: Hidden, headCotangent: Memory<Scalar>, xCotangent: Memory<Scalar>?,
    xCotangentStride: Int, cotangents: Hidden, runner: RowRunner
  ) throws {
    let width = strip.width
    for chain in chains {
      for k in chain.reversed() {
        let stage = stages[k]
        let convolution = stage.weights.on(height: strip.height, width: width)
        let (work, scratch) = (width * convolution.weightCount, convolution.workspaceCount)
        let (cotangent, stride) = outputs(cotangents, stage, head: headCotangent, width: width)
        if stage.isFirst {
          guard let xCotangent else { continue }
          try runner.run(strip.rows, work: work, scratch: scratch) { range, scratch in
            convolution.adjoint(
              rows: range, cotangent: cotangent, stride: stride, epilogue: .add, mask: nil,
              into: xCotangent, stride: xCotangentStride, scratch: scratch)
          }
          continue
        }
        let before = stages[k - 1]
        let c = convolution.inChannels
        let next = values(cotangents, before, width: width)
        // What a later stage that skips adds to the cotangent of this output.
        let skipped =
          k + 1 < chain.upperBound && stages[k + 1].skips
          ? values(cotangents, stages[k + 1], width: width) : nil
        var epilogue: Convolution<Scalar>.Epilogue = skipped == nil ? [] : .add
        if before.hasMask { epilogue.insert(.gate) }
        let read = before.hasMask ? mask(derivatives, before, width: width) : nil
        let slopes = before.hasSlopes ? slopes(derivatives, before, width: width) : nil
        try runner.run(strip.reaching(before.backReach), work: work, scratch: scratch) { range, scratch in
          let part = range.lowerBound * width * c..<range.upperBound * width * c
          if let skipped { next[part].copy(from: skipped[part]) }
          convolution.adjoint(
            rows: range, cotangent: cotangent, stride: stride, epilogue: epilogue, mask: read,
            into: next, stride: c, scratch: scratch)
          if let slopes { Kernel.multiply(next[part], by: slopes[part]) }
        }
      }
    }
  }

  // MARK: Parameters

  /// What the gradients of the parameters are made of, on a strip and the rows that its windows reach.
  struct GradientInputs {
    var x: Memory<Scalar>
    var stride: Int
    var outputs: Hidden
    var cotangents: Hidden
    var headCotangent: Memory<Scalar>
  }

  /// Adds the cotangents of biases over a strip, whatever the threads; the strips of an image come in their order.
  func sumBiases(
    into sums: ImageBiases<Scalar>, _ strip: Strip, _ inputs: GradientInputs, pool: ThreadPool
  ) throws {
    try pool.run(stages.count, isSmall: strip.rows.count * strip.width * hiddenChannels < RowRunner.least) {
      k, _ in
      let (cotangent, stride) = outputs(
        inputs.cotangents, stages[k], head: inputs.headCotangent, width: strip.width)
      sums.sum(
        strip.rows, offset: stages[k].biasOffset, count: stages[k].channels, stride: stride,
        cotangent: cotangent)
    }
  }

  /// Adds the weights' gradients over a strip: of whole images, `slab` at a time in their order, or a piece of a slab with
  /// sums in `carry`.
  func accumulateGradient(
    _ strip: Strip, piece: Convolution<Scalar>.Piece = .whole, slab: Int, _ inputs: GradientInputs,
    carry: Memory<Scalar>? = nil, pool: ThreadPool, workspaces: [Workspace<Scalar>]
  ) throws {
    let (rows, height, width) = (strip.rows, strip.height, strip.width)
    let tasks = stages.reduce(0) { $0 + $1.weights.gradientParts }
    let work = rows.count * width * stages.reduce(0) { $0 + $1.weights.weightCount }
    let step = piece == .whole ? slab * height : max(1, rows.count)
    try pool.run(tasks, isSmall: work < 2 * RowRunner.least) { task, worker in
      var (k, part, carried) = (0, task, 0)
      while part >= stages[k].weights.gradientParts {
        part -= stages[k].weights.gradientParts
        carried += stages[k].weights.on(height: height, width: width).gradientCarryCount
        k += 1
      }
      let stage = stages[k]
      let convolution = stage.weights.on(height: height, width: width)
      let source = stage.isFirst ? inputs.x : values(inputs.outputs, stages[k - 1], width: width)
      let (cotangent, stride) = outputs(inputs.cotangents, stage, head: inputs.headCotangent, width: width)
      try workspaces[worker].scope {
        let scratch = try workspaces[worker].take(convolution.gradientWorkspaceCount)
        for start in Swift.stride(from: rows.lowerBound, to: rows.upperBound, by: step) {
          convolution.accumulateGradient(
            parts: part..<part + 1, rows: start..<min(start + step, rows.upperBound), piece: piece,
            x: source, stride: stage.isFirst ? inputs.stride : convolution.inChannels,
            cotangent: cotangent, stride: stride, weights: stage.weight.gradient,
            bias: stage.bias?.gradient, carry: carry?.from(carried), scratch: scratch)
        }
      }
    }
  }
}
