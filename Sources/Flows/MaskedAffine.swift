import AIPOKernels

/// What a masked affine coupling transforms, how, and by which nets.
public struct MaskedAffineSpec: Hashable, Sendable {
  /// Which channels condition the nets; the others are transformed.
  public enum Mask: Hashable, Sendable {
    /// The first half of the channels; of an odd number the smaller one.
    case firstHalf
    /// What `firstHalf` leaves.
    case secondHalf
    /// Channels 0, 2, …
    case even
    /// Channels 1, 3, …
    case odd
    /// Those that are true.
    case channels([Bool])
  }

  /// The nets that give shift t and scale s of the transformed channels.
  public enum Nets: Hashable, Sendable {
    /// One net for both: its outputs are the shifts, then the scales.
    case joint(MLPSpec)
    /// One each; what an absent one would give is zero.
    case separate(shift: MLPSpec?, scale: MLPSpec?)
  }

  public var mask: Mask
  public var transform: CouplingSpec.Transform
  public var nets: Nets

  public init(mask: Mask, transform: CouplingSpec.Transform = .exponential, nets: Nets) {
    self.mask = mask
    self.transform = transform
    self.nets = nets
  }

  /// The transform that is left when there may be no net for the scale.
  var effectiveTransform: CouplingSpec.Transform {
    if case .separate(_, nil) = nets { return .additive }
    return transform
  }

  /// Which of the channels condition. Throws `unsupportedShape` where a mask is of another number of channels, or
  /// leaves none on one of the sides.
  func conditioning(_ shape: ImageShape) throws(FlowError) -> [Bool] {
    let c = shape.channels
    let result: [Bool] =
      switch mask {
      case .firstHalf: (0..<c).map { $0 < c / 2 }
      case .secondHalf: (0..<c).map { $0 >= c / 2 }
      case .even: (0..<c).map { $0 % 2 == 0 }
      case .odd: (0..<c).map { $0 % 2 == 1 }
      case .channels(let given): given
      }
    guard result.count == c else {
      throw .unsupportedShape(shape, reason: "a mask of \(result.count) channels meets \(c)")
    }
    guard result.contains(true), result.contains(false) else {
      throw .unsupportedShape(
        shape, reason: "a masked affine coupling needs a channel to condition and one to transform")
    }
    return result
  }
}

extension MaskedAffineSpec: LayerKind {
  public static let name = "masked-affine"

  public func check() throws(FlowError) {
    let all: [MLPSpec]
    switch nets {
    case .joint(let net): all = [net]
    case .separate(let shift, let scale):
      all = [shift, scale].compactMap(\.self)
      guard !all.isEmpty else { throw .invalidSpec("masked-affine: there is neither a shift nor a scale") }
      guard scale == nil || transform != .additive else {
        throw .invalidSpec("masked-affine: an additive transform has no scale")
      }
    }
    for net in all {
      guard net.hidden.count <= 64 else {
        throw .invalidSpec("masked-affine: \(net.hidden.count) hidden layers, expected 64 at most")
      }
      if let width = net.hidden.first(where: { !(1...FlowSpec.widthLimit).contains($0) }) {
        throw .invalidSpec("masked-affine: hidden is \(width), expected 1 to \(FlowSpec.widthLimit)")
      }
    }
  }

  public func output(for input: ImageShape) throws(FlowError) -> ImageShape {
    _ = try conditioning(input)
    return input
  }

  public var isSmooth: Bool {
    switch nets {
    case .joint(let net): net.isSmooth
    case .separate(let shift, let scale): (shift?.isSmooth ?? true) && (scale?.isSmooth ?? true)
    }
  }

  public func multiplyAdds(for input: ImageShape) throws(FlowError) -> Int {
    let conditioning = try conditioning(input).count { $0 }
    let transformed = input.channels - conditioning
    switch nets {
    case .joint(let net):
      return net.products(
        input: conditioning, output: effectiveTransform == .additive ? transformed : 2 * transformed)
    case .separate(let shift, let scale):
      return [shift, scale].reduce(0) {
        $0 + ($1?.products(input: conditioning, output: transformed) ?? 0)
      }
    }
  }

  public func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) throws -> any FlowLayer<Scalar> {
    try MaskedAffine<Scalar>(self, channels: input.channels, condition: flow.condition)
  }
}

/// A coupling on vectors, or on the channels of every pixel by itself: the channels of a mask pass and condition fully
/// connected nets that give shift and scale of the others.
///
/// `y = (x + t(x_mask))·e^{l(x_mask)}` where the mask is off, log-det `Σ l`.
/// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017, §3.4.
public final class MaskedAffine<Scalar: KernelScalar>: FlowLayer, ScratchLayer {
  private let spec: MaskedAffineSpec
  private let channels: Int
  private let conditioning: ChannelRuns
  private let transformed: ChannelRuns
  /// The nets, each with its first channel in the head, `[t, s]`.
  private let nets: [(net: MLP<Scalar>, offset: Int)]

  /// Throws `unsupportedShape` where the mask doesn't fit the number of channels.
  public init(_ spec: MaskedAffineSpec, channels: Int, condition: Condition? = nil) throws {
    self.spec = spec
    self.channels = channels
    let mask = try spec.conditioning(ImageShape(height: 1, width: 1, channels: channels))
    conditioning = ChannelRuns(mask)
    transformed = ChannelRuns(mask.map { !$0 })
    let (inputs, outputs) = (conditioning.count, transformed.count)
    func net(_ net: MLPSpec, _ name: String, outputs: Int) throws -> MLP<Scalar> {
      try MLP(net, name: name, inChannels: inputs, outChannels: outputs, condition: condition)
    }
    switch spec.nets {
    case .joint(let joint):
      let both = spec.effectiveTransform == .additive ? outputs : 2 * outputs
      nets = [(try net(joint, "net", outputs: both), 0)]
    case .separate(let shift, let scale):
      nets = try [
        shift.map { (try net($0, "shift", outputs: outputs), 0) },
        scale.map { (try net($0, "scale", outputs: outputs), outputs) },
      ].compactMap(\.self)
    }
  }

  public var parameters: [LayerParameter<Scalar>] { nets.flatMap { $0.net.parameters } }

  public func output(for input: ImageShape) -> ImageShape {
    precondition(input.channels == channels)
    return input
  }

  public func refresh() throws { for (net, _) in nets { net.refresh() } }

  public func forward(_ pass: FlowPass<Scalar>) throws {
    try pass.workspaces[0].scope { try transform(pass, .forward) }
  }
  public func inverse(_ pass: FlowPass<Scalar>) throws {
    try pass.workspaces[0].scope { try transform(pass, .inverse) }
  }
  public func forwardVJP(_ pass: FlowPass<Scalar>) throws {
    try pass.workspaces[0].scope { try back(pass, .forward) }
  }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws {
    try pass.workspaces[0].scope { try back(pass, .inverse) }
  }

  // MARK: Passes

  /// About this many pixels go through the nets at a time, so that their activations stay in the cache.
  private static var groupPixels: Int { 512 }

  /// The transform of the gathered channels.
  private func transform(_ shape: ImageShape) -> Kernel<Scalar>.CouplingShape {
    Kernel.CouplingShape(
      scale: spec.effectiveTransform.kernel(), parity: nil, height: shape.height, width: shape.width,
      channels: transformed.count, stride: transformed.count)
  }

  /// Rows of whole images, or of one image where it is large.
  private func groups(_ images: Range<Int>, _ shape: ImageShape) -> [Range<Int>] {
    let whole = Self.groupPixels / (shape.height * shape.width)
    let rows = images.lowerBound * shape.height..<images.upperBound * shape.height
    if whole > 0 {
      return stride(from: rows.lowerBound, to: rows.upperBound, by: whole * shape.height).map {
        $0..<min($0 + whole * shape.height, rows.upperBound)
      }
    }
    let some = max(1, Self.groupPixels / shape.width)
    return images.flatMap { image in
      stride(from: 0, to: shape.height, by: some).map {
        image * shape.height + $0..<image * shape.height + min($0 + some, shape.height)
      }
    }
  }

  func scratchCount(input: ImageShape, _ work: FlowWork) -> Int {
    let pixels = max(Self.groupPixels, input.width)
    let all = nets.reduce(4 * channels + 4 * transformed.count) { $0 + $1.net.scratchChannels }
    let products = nets.reduce(0) { max($0, $1.net.workspaceCount(width: input.width)) }
    let sums = work.parameterGradients ? 8 * nets.reduce(0) { $0 + $1.net.parameterCount } : 0
    let embeddings = nets.reduce(0) {
      $0
        + ($1.net.embedding?.scratchCount(
          images: work.images, parameterGradients: work.parameterGradients) ?? 0)
    }
    return work.threads * (pixels * (all + 3 * transformed.count) + products + 1024) + sums + embeddings
  }

  /// The rows' part of an array of the batch, counted from 0.
  private func part(_ memory: Memory<Scalar>, _ rows: Range<Int>, _ shape: ImageShape) -> Memory<Scalar> {
    let size = shape.width * channels
    return memory[rows.lowerBound * size..<rows.upperBound * size]
  }

  private func gather(
    _ runs: ChannelRuns, _ values: Memory<Scalar>, _ workspace: Workspace<Scalar>
  ) throws -> Memory<Scalar> {
    let pixels = values.count / channels
    let result = try workspace.take(pixels * runs.count)
    runs.gather(from: values, channels: channels, pixels: pixels, into: result)
    return result
  }

  private func scatter(_ runs: ChannelRuns, _ gathered: Memory<Scalar>, into values: Memory<Scalar>) {
    runs.scatter(gathered, channels: channels, pixels: values.count / channels, into: values)
  }

  /// The nets' output, dense, and what they computed on the way.
  private func head(
    _ transform: Kernel<Scalar>.CouplingShape, rows: Range<Int>, x: Memory<Scalar>,
    _ biases: [ImageBiases<Scalar>], workspace: Workspace<Scalar>
  ) throws -> (Memory<Scalar>, [MLP<Scalar>.Activations]) {
    let channels = transform.headChannels
    let head = try workspace.take(rows.count * transform.width * channels)
    // What no net gives is zero.
    if nets.reduce(0, { $0 + $1.net.outChannels }) < channels { head.fill(0) }
    let activations = try nets.indices.map { k in
      try nets[k].net.forward(
        rows: rows.count, width: transform.width, x: x,
        biases: biases.isEmpty ? nil : biases[k].counted(from: rows.lowerBound),
        y: head.from(nets[k].offset), stride: channels, workspace: workspace)
    }
    return (head, activations)
  }

  private func transform(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    let (shape, transform) = (pass.shape, transform(pass.shape))
    let logDetRows = pass.logDetRows
    let groups = groups(0..<pass.count, shape)
    let biases = try biases(pass)
    try pass.pool.run(groups.count) { group, worker in
      let rows = groups[group]
      let workspace = pass.workspaces[worker]
      try workspace.scope {
        let values = part(pass.values, rows, shape)
        let x = try gather(conditioning, values, workspace)
        let (head, _) = try head(transform, rows: rows, x: x, biases, workspace: workspace)
        let moving = try gather(transformed, values, workspace)
        Kernel.affine(
          transform, direction, rows: 0..<rows.count, head: head, values: moving, logDetRows: logDetRows[rows]
        )
        scatter(transformed, moving, into: values)
      }
    }
    if transform.scale != .additive { pass.addLogDetRows() }
  }

  /// What the nets' layers add, one a net; none without a condition.
  private func biases(_ pass: FlowPass<Scalar>) throws -> [ImageBiases<Scalar>] {
    try nets.compactMap { try $0.net.embedding?.biases(pass) }
  }

  private func back(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    let biases = try biases(pass)
    guard pass.wantsParameterGradients else {
      let groups = groups(0..<pass.count, pass.shape)
      try pass.pool.run(groups.count) { group, worker in
        try backGroup(
          pass, direction, rows: groups[group], biases, sums: [], gradient: nil, worker: worker)
      }
      return
    }
    let sums = try nets.compactMap { try $0.net.embedding?.cotangents(pass) }
    try pass.accumulate(size: nets.reduce(0) { $0 + $1.net.parameterCount }) { slab, partial, worker in
      for rows in groups(slab, pass.shape) {
        try backGroup(pass, direction, rows: rows, biases, sums: sums, gradient: partial, worker: worker)
      }
    } add: { partial in
      for (net, range) in parts() { net.addGradient(partial[range]) }
    }
    for (k, sums) in sums.enumerated() { try nets[k].net.embedding?.accumulateGradient(sums, pass) }
  }

  /// Where each net's gradients lie.
  private func parts() -> [(net: MLP<Scalar>, range: Range<Int>)] {
    var start = 0
    return nets.map { net, _ in
      defer { start += net.parameterCount }
      return (net, start..<start + net.parameterCount)
    }
  }

  private func backGroup(
    _ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction, rows: Range<Int>,
    _ biases: [ImageBiases<Scalar>], sums: [ImageBiases<Scalar>], gradient: Memory<Scalar>?, worker: Int
  ) throws {
    let workspace = pass.workspaces[worker]
    let (shape, transform) = (pass.shape, transform(pass.shape))
    try workspace.scope {
      let values = part(pass.values, rows, shape)
      let cotangent = part(pass.cotangent, rows, shape)
      let count = rows.count
      // The conditioning channels are the same on both sides, so the nets' input is at hand.
      let x = try gather(conditioning, values, workspace)
      let (head, activations) = try head(transform, rows: rows, x: x, biases, workspace: workspace)
      let moving = try gather(transformed, values, workspace)
      let movingCotangent = try gather(transformed, cotangent, workspace)
      let headCotangent = try workspace.take(head.count)
      let slopes = try workspace.take(count * transform.slopeCount)
      Kernel.affine(
        transform, direction.opposite, rows: 0..<count, head: head, values: moving, logDetRows: nil,
        slopes: slopes, slopesOf: direction)
      let images = rows.lowerBound / shape.height..<(rows.upperBound + shape.height - 1) / shape.height
      Kernel.affineVJP(
        transform, direction, rows: 0..<count, slopes: slopes, logDetCotangent: pass.logDetCotangent[images],
        cotangent: movingCotangent, headCotangent: headCotangent)
      scatter(transformed, moving, into: values)
      scatter(transformed, movingCotangent, into: cotangent)
      let xCotangent = try gather(conditioning, cotangent, workspace)
      for (k, (net, range)) in parts().enumerated() {
        try net.vjp(
          rows: count, width: shape.width, x: x, activations: activations[k],
          cotangent: headCotangent.from(nets[k].offset), stride: transform.headChannels,
          xCotangent: xCotangent, gradient: gradient?[range],
          biases: sums.isEmpty ? nil : sums[k].counted(from: rows.lowerBound), workspace: workspace)
      }
      scatter(conditioning, xCotangent, into: cotangent)
    }
  }
}

/// Some of the channels, as runs of neighbours, to copy together and back.
struct ChannelRuns {
  private var runs: [Range<Int>] = []
  /// Channels in all runs.
  let count: Int

  init(_ chosen: [Bool]) {
    for channel in chosen.indices where chosen[channel] {
      if runs.last?.upperBound == channel {
        runs[runs.count - 1] = runs[runs.count - 1].lowerBound..<channel + 1
      } else {
        runs.append(channel..<channel + 1)
      }
    }
    count = chosen.count { $0 }
  }

  func gather<Scalar>(from x: Memory<Scalar>, channels: Int, pixels: Int, into y: Memory<Scalar>) {
    var offset = 0
    for run in runs {
      Kernel.copyChannels(
        run.count, pixels: pixels, from: x.from(run.lowerBound), stride: channels, to: y.from(offset),
        stride: count)
      offset += run.count
    }
  }

  func scatter<Scalar>(_ y: Memory<Scalar>, channels: Int, pixels: Int, into x: Memory<Scalar>) {
    var offset = 0
    for run in runs {
      Kernel.copyChannels(
        run.count, pixels: pixels, from: y.from(offset), stride: count, to: x.from(run.lowerBound),
        stride: channels)
      offset += run.count
    }
  }
}
