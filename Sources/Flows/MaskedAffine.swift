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

/// A coupling on vectors, or on the channels of every pixel by itself: the channels of a mask pass and condition fully
/// connected nets that give shift and scale of the others.
///
/// `y = (x + t(x_mask))·e^{l(x_mask)}` where the mask is off, log-det `Σ l`.
/// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017, §3.4.
public final class MaskedAffine<Scalar: KernelScalar>: FlowLayer {
  private let spec: MaskedAffineSpec
  private var shape = ImageShape(height: 0, width: 0, channels: 0)
  /// The transformed channels, gathered.
  private var transform = Kernel<Scalar>.CouplingShape(
    scale: .additive, parity: nil, height: 0, width: 0, channels: 0, stride: 0)
  private var conditioning = ChannelRuns([])
  private var transformed = ChannelRuns([])
  /// The nets, each with its first channel in the head, `[t, s]`.
  private var nets: [(net: MLP<Scalar>, offset: Int)] = []

  public init(_ spec: MaskedAffineSpec) { self.spec = spec }

  public var parameters: [LayerParameter<Scalar>] { nets.flatMap { $0.net.parameters } }

  public func configure(input: ImageShape) throws -> ImageShape {
    shape = input
    let mask = try spec.conditioning(input)
    conditioning = ChannelRuns(mask)
    transformed = ChannelRuns(mask.map { !$0 })
    let channels = transformed.count
    transform = Kernel.CouplingShape(
      scale: spec.effectiveTransform.kernel(), parity: nil, height: input.height, width: input.width,
      channels: channels, stride: channels)
    func net(_ net: MLPSpec, _ name: String, outputs: Int) throws -> MLP<Scalar> {
      try MLP(
        net, name: name, height: input.height, width: input.width, inChannels: conditioning.count,
        outChannels: outputs)
    }
    switch spec.nets {
    case .joint(let joint): nets = [(try net(joint, "net", outputs: transform.headChannels), 0)]
    case .separate(let shift, let scale):
      nets = []
      if let shift { nets.append((try net(shift, "shift", outputs: channels), 0)) }
      if let scale { nets.append((try net(scale, "scale", outputs: channels), channels)) }
    }
    return input
  }

  public func refresh() throws { for (net, _) in nets { net.refresh() } }

  public func forward(_ pass: FlowPass<Scalar>) throws { try transform(pass, .forward) }
  public func inverse(_ pass: FlowPass<Scalar>) throws { try transform(pass, .inverse) }
  public func forwardVJP(_ pass: FlowPass<Scalar>) throws { try back(pass, .forward) }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws { try back(pass, .inverse) }

  // MARK: Passes

  /// About this many pixels go through the nets at a time, so that their activations stay in the cache.
  private var imagesPerGroup: Int { max(1, 512 / (shape.height * shape.width)) }

  private func groups(_ images: Range<Int>) -> [Range<Int>] {
    stride(from: images.lowerBound, to: images.upperBound, by: imagesPerGroup).map {
      $0..<min($0 + imagesPerGroup, images.upperBound)
    }
  }

  /// The images' part of an array of the batch.
  private func part(_ memory: Memory<Scalar>, _ images: Range<Int>) -> Memory<Scalar> {
    memory[images.lowerBound * shape.count..<images.upperBound * shape.count]
  }

  private func gather(
    _ runs: ChannelRuns, _ values: Memory<Scalar>, _ workspace: Workspace<Scalar>
  ) throws -> Memory<Scalar> {
    let pixels = values.count / shape.channels
    let result = try workspace.take(pixels * runs.count)
    runs.gather(from: values, channels: shape.channels, pixels: pixels, into: result)
    return result
  }

  private func scatter(_ runs: ChannelRuns, _ gathered: Memory<Scalar>, into values: Memory<Scalar>) {
    runs.scatter(gathered, channels: shape.channels, pixels: values.count / shape.channels, into: values)
  }

  /// The nets' output, dense, and what they computed on the way.
  private func head(
    rows: Int, x: Memory<Scalar>, workspace: Workspace<Scalar>
  ) throws -> (Memory<Scalar>, [MLP<Scalar>.Activations]) {
    let channels = transform.headChannels
    let head = try workspace.take(rows * shape.width * channels)
    // What no net gives is zero.
    if nets.reduce(0, { $0 + $1.net.outChannels }) < channels { head.fill(0) }
    let activations = try nets.map { net, offset in
      try net.forward(rows: rows, x: x, y: head.from(offset), stride: channels, workspace: workspace)
    }
    return (head, activations)
  }

  private func transform(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    let logDetRows = pass.logDetRows
    let groups = groups(0..<pass.count)
    try pass.pool.run(groups.count) { group, worker in
      let images = groups[group]
      let workspace = pass.workspaces[worker]
      try workspace.scope {
        let values = part(pass.values, images)
        let rows = images.count * shape.height
        let x = try gather(conditioning, values, workspace)
        let (head, _) = try head(rows: rows, x: x, workspace: workspace)
        let moving = try gather(transformed, values, workspace)
        Kernel.affine(
          transform, direction, rows: 0..<rows, head: head, values: moving,
          logDetRows: logDetRows[images.lowerBound * shape.height..<images.upperBound * shape.height])
        scatter(transformed, moving, into: values)
      }
    }
    if transform.scale != .additive { pass.addLogDetRows() }
  }

  private func back(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    guard pass.wantsParameterGradients else {
      let groups = groups(0..<pass.count)
      try pass.pool.run(groups.count) { group, worker in
        try backGroup(pass, direction, images: groups[group], gradient: nil, worker: worker)
      }
      return
    }
    try pass.accumulate(size: nets.reduce(0) { $0 + $1.net.parameterCount }) { slab, partial, worker in
      for images in groups(slab) {
        try backGroup(pass, direction, images: images, gradient: partial, worker: worker)
      }
    } add: { partial in
      for (net, range) in parts() { net.addGradient(partial[range]) }
    }
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
    _ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction, images: Range<Int>,
    gradient: Memory<Scalar>?, worker: Int
  ) throws {
    let workspace = pass.workspaces[worker]
    try workspace.scope {
      let values = part(pass.values, images)
      let cotangent = part(pass.cotangent, images)
      let rows = images.count * shape.height
      // The conditioning channels are the same on both sides, so the nets' input is at hand.
      let x = try gather(conditioning, values, workspace)
      let (head, activations) = try head(rows: rows, x: x, workspace: workspace)
      let moving = try gather(transformed, values, workspace)
      let movingCotangent = try gather(transformed, cotangent, workspace)
      let headCotangent = try workspace.take(head.count)
      let slopes = try workspace.take(rows * transform.slopeCount)
      Kernel.affine(
        transform, direction.opposite, rows: 0..<rows, head: head, values: moving, logDetRows: nil,
        slopes: slopes, slopesOf: direction)
      Kernel.affineVJP(
        transform, direction, rows: 0..<rows, slopes: slopes, logDetCotangent: pass.logDetCotangent[images],
        cotangent: movingCotangent, headCotangent: headCotangent)
      scatter(transformed, moving, into: values)
      scatter(transformed, movingCotangent, into: cotangent)
      let xCotangent = try gather(conditioning, cotangent, workspace)
      for (k, (net, range)) in parts().enumerated() {
        try net.vjp(
          rows: rows, x: x, activations: activations[k], cotangent: headCotangent.from(nets[k].offset),
          stride: transform.headChannels, xCotangent: xCotangent, gradient: gradient?[range],
          workspace: workspace)
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
