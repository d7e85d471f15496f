import AIPOKernels

/// A coupling layer: one part of the values passes and conditions a net, whose numbers say how a scalar transform moves
/// each value of the other.
///
/// It is a mask × a net × a transform; with the affine one `y₂ = (x₂ + t(x₁))·e^{l(x₁)}`, log-det `Σ l`. The net goes over
/// the rows of an image in strips, so that its hidden activations take bounded memory whatever the image's size.
/// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017, §3.2–3.4.
public final class Coupling<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let parts: CouplingParts
  private let transform: any ScalarTransform
  private let channels: Int
  private let net: ConvNet<Scalar>
  private let work: CouplingWork<Scalar>

  private typealias Runner = ConvNet<Scalar>.RowRunner
  private typealias Hidden = ConvNet<Scalar>.Hidden

  init(_ parts: CouplingParts, _ transform: any ScalarTransform, channels: Int, net: ConvNet<Scalar>) {
    self.parts = parts
    self.transform = transform
    self.channels = channels
    self.net = net
    work = CouplingWork(parts, transform, channels: channels, net: net)
  }

  public var parameters: [LayerParameter<Scalar>] { net.parameters }

  public func output(for input: ImageShape) -> ImageShape {
    precondition(input.channels == channels)
    return input
  }

  public func refresh() throws { net.refresh() }

  public func forward(_ pass: FlowPass<Scalar>) throws {
    try pass.workspaces[0].scope { try there(pass, .forward) }
  }
  public func inverse(_ pass: FlowPass<Scalar>) throws {
    try pass.workspaces[0].scope { try there(pass, .inverse) }
  }
  public func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    try pass.workspaces[0].scope { try back(pass, .forward) }
  }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    try pass.workspaces[0].scope { try back(pass, .inverse) }
  }

  // MARK: The two parts

  private var conditionChannels: Int { parts.condition.count }
  private var transformedChannels: Int { parts.transformed.count }
  private var headChannels: Int { net.headChannels }
  private var traceChannels: Int { work.traceChannels }

  private func moved(_ shape: ImageShape) -> Kernel<Scalar>.CouplingShape {
    Kernel.CouplingShape(
      parity: parts.parity.map { 1 - $0 }, height: shape.height, width: shape.width,
      channels: transformedChannels,
      stride: parts.transformed.only == nil ? transformedChannels : channels)
  }

  private func pixels(_ rows: Range<Int>, _ shape: ImageShape) -> Range<Int> {
    rows.lowerBound * shape.width..<rows.upperBound * shape.width
  }

  /// An array of so many channels for some rows, by the batch's rows.
  private func take(
    _ channels: Int, _ rows: Range<Int>, _ shape: ImageShape, _ workspace: Workspace<Scalar>
  ) throws -> Memory<Scalar> {
    let size = shape.width * channels
    return try workspace.take(rows.count * size).numbered(from: rows.lowerBound * size)
  }

  /// Runs `body` with the transformed part of the batch's values or cotangent: in place where its channels are neighbours,
  /// else with a copy that is put back.
  private func withTransformed(
    of values: Memory<Scalar>, _ shape: ImageShape, rows: Range<Int>, _ workspace: Workspace<Scalar>,
    _ body: (Memory<Scalar>) throws -> Void
  ) throws {
    if let first = parts.transformed.only { return try body(values.shifted(by: first)) }
    let copy = try take(transformedChannels, rows, shape, workspace)
    parts.transformed.gather(pixels(rows, shape), from: values, channels: channels, into: copy)
    try body(copy)
    parts.transformed.scatter(pixels(rows, shape), from: copy, into: values, channels: channels)
  }

  /// The net's input by the batch's rows: copied to `input`, or without one in place where its channels are neighbours;
  /// a masked copy for a checkerboard, zeros where nothing conditions.
  private func condition(
    _ pass: FlowPass<Scalar>, rows: Range<Int>, input: Memory<Scalar>?, workspace: Workspace<Scalar>,
    runner: Runner
  ) throws -> (x: Memory<Scalar>, stride: Int) {
    let (shape, values) = (pass.shape, pass.values)
    if input == nil, let first = parts.conditionOffset { return (values.shifted(by: first), channels) }
    let copy = try input ?? take(conditionChannels, rows, shape, workspace)
    if let parity = parts.parity {
      try runner.run(rows, work: shape.width * channels, scratch: 0) { rows, _ in
        Kernel.checkerboard(values, parity: parity, shape: shape, rows: rows, adding: false, into: copy)
      }
    } else if parts.isNothing {
      copy[pixels(rows, shape)].fill(0)
    } else {
      parts.condition.gather(pixels(rows, shape), from: values, channels: channels, into: copy)
    }
    return (copy, conditionChannels)
  }

  /// Runs `body`, which adds to the conditioning part of the batch's cotangent: in place where its channels are
  /// neighbours, else by way of an array of its own.
  private func withConditionCotangent(
    _ pass: FlowPass<Scalar>, rows: Range<Int>, workspace: Workspace<Scalar>, runner: Runner,
    _ body: (_ cotangent: Memory<Scalar>, _ stride: Int) throws -> Void
  ) throws {
    let (shape, all) = (pass.shape, pass.cotangent)
    if let first = parts.conditionOffset { return try body(all.shifted(by: first), channels) }
    let own = try take(conditionChannels, rows, shape, workspace)
    if parts.parity == nil, !parts.isNothing {
      parts.condition.gather(pixels(rows, shape), from: all, channels: channels, into: own)
      try body(own, conditionChannels)
      parts.condition.scatter(pixels(rows, shape), from: own, into: all, channels: channels)
      return
    }
    let size = shape.width * conditionChannels
    own[rows.lowerBound * size..<rows.upperBound * size].fill(0)
    try body(own, conditionChannels)
    guard let parity = parts.parity else { return }
    try runner.run(rows, work: shape.width * channels, scratch: 0) { rows, _ in
      Kernel.checkerboard(own, parity: parity, shape: shape, rows: rows, adding: true, into: all)
    }
  }

  // MARK: What is kept

  private struct Kept {
    var trace: Memory<Scalar>?
    /// The net's input, dense.
    var input: Memory<Scalar>?
    var derivatives: Hidden?
    var outputs: Hidden?
  }

  private func keepsInput(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Bool {
    kept == .inputs || parameterGradients
  }

  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int {
    let pixels = input.height * input.width
    var count = pixels * traceChannels
    if keepsInput(kept, parameterGradients: parameterGradients) { count += pixels * conditionChannels }
    if kept == .nets {
      count += net.derivativeCount(pixels: pixels)
      if parameterGradients { count += net.hiddenCount(pixels: pixels) }
    }
    return count
  }

  private func keep(_ pass: FlowPass<Scalar>) throws -> Kept {
    var result = Kept()
    guard pass.kept != .nothing else { return result }
    let pixels = pass.rows * pass.shape.width
    result.trace = try pass.keep(pixels * traceChannels)
    if keepsInput(pass.kept, parameterGradients: pass.wantsParameterGradients) {
      result.input = try pass.keep(pixels * conditionChannels)
    }
    if pass.kept == .nets {
      let rows = 0..<pass.rows
      result.derivatives = .init(memory: try pass.keep(net.derivativeCount(pixels: pixels)), rows: rows)
      if pass.wantsParameterGradients {
        result.outputs = .init(memory: try pass.keep(net.hiddenCount(pixels: pixels)), rows: rows)
      }
    }
    return result
  }

  private func recall(_ pass: FlowPass<Scalar>) -> Kept {
    var result = Kept()
    guard pass.kept != .nothing else { return result }
    if pass.kept == .nets {
      let rows = 0..<pass.rows
      if pass.wantsParameterGradients { result.outputs = .init(memory: pass.recall(), rows: rows) }
      result.derivatives = .init(memory: pass.recall(), rows: rows)
    }
    if keepsInput(pass.kept, parameterGradients: pass.wantsParameterGradients) {
      result.input = pass.recall()
    }
    result.trace = pass.recall()
    return result
  }

  func scratchCount(input: ImageShape, _ flowWork: FlowWork) -> ScratchCount {
    work.scratchCount(input: input, flowWork)
  }

  // MARK: Passes

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func there(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    let kept = try keep(pass)
    let (shape, moved) = (pass.shape, moved(pass.shape))
    let logDetRows = pass.logDetRows
    let biases = try net.embedding?.biases(pass)
    try work.forGroups(of: 0..<pass.count, most: pass.mostImages, pass) { rows, workspace, runner in
      let (x, stride) = try condition(
        pass, rows: rows, input: kept.input, workspace: workspace, runner: runner)
      try withTransformed(of: pass.values, shape, rows: rows, workspace) { values in
        try work.strips(rows, shape, pass.stripCount, recomputes: false).each { strip in
          try workspace.scope {
            let head = try take(headChannels, strip.rows, shape, workspace)
            try net.forward(
              strip, x: x, stride: stride, biases: biases, head: head, derivatives: kept.derivatives,
              outputs: kept.outputs, workspace: workspace, runner: runner)
            try runner.run(strip.rows, work: moveWork(strip), scratch: 0) { rows, _ in
              transform.move(
                moved, direction, rows: rows, head: head, values: values, logDetRows: logDetRows,
                trace: kept.trace, traceOf: direction)
            }
          }
        }
      }
    }
    if !transform.keepsVolume { pass.addLogDetRows() }
  }

  /// What moving a row costs, in multiplications.
  private func moveWork(_ strip: Strip) -> Int { 8 * strip.width * headChannels }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func back(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    let kept = recall(pass)
    let biases = kept.derivatives == nil ? try net.embedding?.biases(pass) : nil
    guard pass.wantsParameterGradients else {
      return try work.forGroups(of: 0..<pass.count, most: pass.mostImages, pass) { rows, workspace, runner in
        try back(
          pass, direction, kept, biases, rows: rows, .none, workspace: workspace, runner: runner)
      }
    }
    let (shape, workspace) = (pass.shape, pass.workspaces[0])
    let sums = try net.embedding?.cotangents(pass)
    let chunk = work.gradientImages(shape, pass.slab, stripCount: pass.stripCount, threads: pass.pool.threads)
    for start in stride(from: 0, to: pass.count, by: chunk ?? pass.slab) {
      let images = start..<min(start + (chunk ?? pass.slab), pass.count)
      let rows = images.lowerBound * shape.height..<images.upperBound * shape.height
      let all = Strip(rows: rows, height: shape.height, width: shape.width)
      try workspace.scope {
        guard let chunk else {
          let carry = try workspace.take(net.carryCount(width: shape.width))
          return try work.together(rows, pass) { rows, workspace, runner in
            try back(
              pass, direction, kept, biases, rows: rows, .pieces(sums, carry), workspace: workspace,
              runner: runner)
          }
        }
        let inputs = ConvNet<Scalar>.GradientInputs(
          x: try kept.input ?? take(conditionChannels, rows, shape, workspace), stride: conditionChannels,
          outputs: try kept.outputs ?? net.takeOutputs(all, workspace),
          cotangents: try net.takeCotangents(all, workspace),
          headCotangent: try take(headChannels, rows, shape, workspace))
        try work.forGroups(of: images, most: min(chunk, pass.mostImages), pass) { rows, workspace, runner in
          try back(
            pass, direction, kept, biases, rows: rows, .whole(inputs), workspace: workspace, runner: runner)
        }
        try accumulate(all, .whole, inputs, sums, carry: nil, pass)
      }
    }
    if let sums { try net.embedding?.accumulateGradient(sums, pass) }
  }

  // MARK: Gradients of the parameters

  /// What becomes of the net's parameters on the way back.
  private enum Gradients {
    case none
    /// The arrays of some images, which are summed over when the way back through all of them is made.
    case whole(ConvNet<Scalar>.GradientInputs)
    /// Summed over strip by strip, with the sums of biases and those that strips carry on.
    case pieces(ImageBiases<Scalar>?, Memory<Scalar>)
  }

  private func accumulate(
    _ strip: Strip, _ piece: Convolution<Scalar>.Piece, _ inputs: ConvNet<Scalar>.GradientInputs,
    _ sums: ImageBiases<Scalar>?, carry: Memory<Scalar>?, _ pass: FlowPass<Scalar>
  ) throws {
    try net.accumulateGradient(
      strip, piece: piece, slab: pass.slab, inputs, carry: carry, pool: pass.pool,
      workspaces: pass.workspaces)
    if let sums { try net.sumBiases(into: sums, strip, inputs, pool: pass.pool) }
  }

  /// Back for a group of images.
  private func back(
    _ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction, _ kept: Kept,
    _ biases: ImageBiases<Scalar>?, rows: Range<Int>, _ gradients: Gradients, workspace: Workspace<Scalar>,
    runner: Runner
  ) throws {
    let (shape, moved) = (pass.shape, moved(pass.shape))
    let group = Strip(rows: rows, height: shape.height, width: shape.width)
    var whole: ConvNet<Scalar>.GradientInputs?
    var strips = work.strips(rows, shape, pass.stripCount, recomputes: pass.kept != .nets)
    switch gradients {
    case .none: break
    case .whole(let inputs):
      // Parameters' gradients need what the net computes for whole images anyway.
      whole = inputs
      strips = Strips(rows: rows, height: shape.height, width: shape.width, limit: .max)
    case .pieces:
      strips = work.strips(
        rows, shape, pass.stripCount, recomputes: true, block: net.gradientBlock(width: shape.width))
    }
    let headCotangent = try whole?.headCotangent ?? take(headChannels, rows, shape, workspace)
    let logDetCotangent = pass.logDetCotangent
    // What the net computed: kept, or computed again for the whole group or for each strip.
    var derivatives = kept.derivatives
    var isComputed = derivatives != nil
    if derivatives == nil, strips.isWhole { derivatives = try net.takeDerivatives(group, workspace) }
    let outputs = whole?.outputs ?? kept.outputs
    var (x, stride) = (headCotangent, conditionChannels)
    if let input = kept.input {
      x = input
    } else if !isComputed {
      // The conditioning part is the same on both sides, so the net's input is at hand.
      (x, stride) = try condition(pass, rows: rows, input: whole?.x, workspace: workspace, runner: runner)
    }
    try withTransformed(of: pass.cotangent, shape, rows: rows, workspace) { cotangent in
      func turn(_ strip: Strip, trace: Memory<Scalar>) throws {
        try runner.run(strip.rows, work: moveWork(strip) / 2, scratch: 0) { rows, _ in
          transform.moveBack(
            moved, direction, rows: rows, trace: trace, logDetCotangent: logDetCotangent,
            cotangent: cotangent, headCotangent: headCotangent)
        }
      }
      if let trace = kept.trace { return try turn(group, trace: trace) }
      try withTransformed(of: pass.values, shape, rows: rows, workspace) { values in
        try strips.each { strip in
          try workspace.scope {
            let head = try take(headChannels, strip.rows, shape, workspace)
            let trace = try take(traceChannels, strip.rows, shape, workspace)
            try net.forward(
              strip, x: x, stride: stride, biases: biases, head: head, derivatives: derivatives,
              outputs: strips.isWhole ? outputs : nil, workspace: workspace, runner: runner)
            try runner.run(strip.rows, work: moveWork(strip), scratch: 0) { rows, _ in
              transform.move(
                moved, direction.opposite, rows: rows, head: head, values: values, logDetRows: nil,
                trace: trace, traceOf: direction)
            }
            try turn(strip, trace: trace)
          }
        }
      }
      // Pieces take what their gradients need as they come.
      if case .pieces = gradients { return }
      isComputed = strips.isWhole
    }
    try withConditionCotangent(pass, rows: rows, workspace: workspace, runner: runner) {
      target, targetStride in
      try strips.each { strip in
        try workspace.scope {
          let derivatives = try derivatives ?? net.takeDerivatives(strip, workspace)
          var inputs = whole
          if case .pieces = gradients {
            inputs = ConvNet<Scalar>.GradientInputs(
              x: x, stride: stride, outputs: try outputs ?? net.takeOutputs(strip, workspace),
              cotangents: try net.takeCotangents(strip, workspace), headCotangent: headCotangent)
          }
          if !isComputed {
            try net.forward(
              strip, x: x, stride: stride, biases: biases, head: nil, derivatives: derivatives,
              outputs: inputs?.outputs, workspace: workspace, runner: runner)
          }
          try net.vjp(
            strip, derivatives: derivatives, headCotangent: headCotangent, xCotangent: target,
            xCotangentStride: targetStride,
            cotangents: try inputs?.cotangents ?? net.takeCotangents(strip, workspace), runner: runner)
          guard case .pieces(let sums, let carry) = gradients, let inputs else { return }
          var piece: Convolution<Scalar>.Piece = []
          if strip.rows.lowerBound == rows.lowerBound { piece.insert(.first) }
          if strip.rows.upperBound == rows.upperBound { piece.insert(.last) }
          try accumulate(strip, piece, inputs, sums, carry: carry, pass)
        }
      }
    }
  }
}
