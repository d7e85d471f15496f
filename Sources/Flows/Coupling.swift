import AIPOKernels

/// What a coupling transforms, how, and by which net.
public struct CouplingSpec: Codable, Hashable, Sendable {
  /// Which part of the values conditions the net; the other part is transformed.
  public enum Mask: String, Codable, Sendable, CaseIterable {
    /// The first half of the channels conditions.
    case firstHalf = "first-half"
    /// The second half conditions.
    case secondHalf = "second-half"
    /// Pixels with i + j even condition.
    case checkerboardEven = "checkerboard-even"
    /// Pixels with i + j odd condition.
    case checkerboardOdd = "checkerboard-odd"
  }

  /// `y = (x + t)·e^l` with l a function of the net's output s.
  public enum Transform: String, Codable, Sendable, CaseIterable {
    /// l = log σ(s + 2) (Glow).
    case sigmoid
    /// l = 2·tanh(s/2), between −2 and 2 (RealNVP).
    case exponential
    /// l = s, without a bound: what other programs' files hold. It overflows where s is large.
    case unboundedExponential = "unbounded-exponential"
    /// l = 0 (NICE): volume is kept.
    case additive

    func kernel<Scalar>() -> Kernel<Scalar>.Scale {
      switch self {
      case .sigmoid: .sigmoid
      case .exponential: .boundedExponential
      case .unboundedExponential: .exponential
      case .additive: .additive
      }
    }
  }

  public var mask: Mask
  public var transform: Transform
  public var net: NetSpec

  public init(mask: Mask = .firstHalf, transform: Transform = .sigmoid, net: NetSpec) {
    self.mask = mask
    self.transform = transform
    self.net = net
  }

  /// Channels of the net's input and output on values of so many channels.
  func netChannels(of channels: Int) -> (input: Int, output: Int) {
    var (condition, transformed) = (channels, channels)
    switch mask {
    case .firstHalf: (condition, transformed) = (channels / 2, channels - channels / 2)
    case .secondHalf: (condition, transformed) = (channels - channels / 2, channels / 2)
    case .checkerboardEven, .checkerboardOdd: break
    }
    return (condition, transform == .additive ? transformed : 2 * transformed)
  }
}

/// A coupling layer: one part of the values passes and conditions a net that gives shift and scale for the other.
///
/// `y₂ = (x₂ + t(x₁))·e^{l(x₁)}`, log-det `Σ l`. Net output: shifts first, then scales.
/// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017, §3.2–3.4.
public final class Coupling<Scalar: KernelScalar>: FlowLayer {
  private let spec: CouplingSpec
  private var shape = ImageShape(height: 0, width: 0, channels: 0)
  private var net: ConvNet<Scalar>?
  private var transform = Kernel<Scalar>.CouplingShape(
    scale: .sigmoid, parity: nil, height: 0, width: 0, channels: 0, stride: 0)
  /// First channel of the conditioning part and of the transformed part.
  private var conditionOffset = 0
  private var transformOffset = 0
  /// Parity of the conditioning pixels, for checkerboards.
  private var conditionParity: Int?
  private var conditionChannels = 0

  public init(_ spec: CouplingSpec) { self.spec = spec }

  public var parameters: [LayerParameter<Scalar>] { net?.parameters ?? [] }

  public func configure(input: ImageShape) throws -> ImageShape {
    shape = input
    var channels = input.channels
    switch spec.mask {
    case .firstHalf, .secondHalf:
      guard input.channels >= 2 else {
        throw FlowError.unsupportedShape(
          input,
          reason: "a coupling of channels needs two channels or more; squeeze first or use a checkerboard")
      }
      let first = input.channels / 2
      conditionChannels = spec.mask == .firstHalf ? first : input.channels - first
      channels = input.channels - conditionChannels
      conditionOffset = spec.mask == .firstHalf ? 0 : first
      transformOffset = spec.mask == .firstHalf ? first : 0
    case .checkerboardEven, .checkerboardOdd:
      conditionParity = spec.mask == .checkerboardEven ? 0 : 1
      conditionChannels = channels
    }
    transform = Kernel.CouplingShape(
      scale: spec.transform.kernel(), parity: conditionParity.map { 1 - $0 }, height: input.height,
      width: input.width,
      channels: channels, stride: input.channels)
    net = try ConvNet(
      spec.net, height: input.height, width: input.width, inChannels: conditionChannels,
      outChannels: transform.headChannels)
    return input
  }

  public func refresh() throws { net!.refresh() }

  public func forward(_ pass: FlowPass<Scalar>) throws { try transform(pass, inverse: false) }
  public func inverse(_ pass: FlowPass<Scalar>) throws { try transform(pass, inverse: true) }
  public func forwardVJP(_ pass: FlowPass<Scalar>) throws { try back(pass, inverse: false) }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws { try back(pass, inverse: true) }

  // MARK: Groups of images

  /// About this many pixels go through the net at a time, so that their hidden activations stay in the cache.
  private var imagesPerGroup: Int { max(1, 512 / (shape.height * shape.width)) }

  /// Runs `body` for groups of images: groups side by side on the pool where there are enough of them, else one
  /// after the other with each convolution split over the pool.
  private func forGroups(
    _ pass: FlowPass<Scalar>,
    _ body: (_ images: Range<Int>, _ workspace: Workspace<Scalar>, _ runner: ConvNet<Scalar>.RowRunner) throws
      -> Void
  ) throws {
    let threads = pass.pool.threads
    if threads > 1, pass.count < threads, shape.height > 1 {
      let runner = ConvNet<Scalar>.RowRunner(pool: pass.pool, workspaces: pass.workspaces)
      try pass.workspaces[0].scope { try body(0..<pass.count, pass.workspaces[0], runner) }
      return
    }
    let size = min(imagesPerGroup, max(1, pass.count / threads))
    try pass.pool.run((pass.count + size - 1) / size) { group, worker in
      let images = group * size..<min(pass.count, (group + 1) * size)
      try inGroup(pass, worker: worker) { try body(images, $0, $1) }
    }
  }

  private func inGroup(
    _ pass: FlowPass<Scalar>, worker: Int,
    _ body: (Workspace<Scalar>, ConvNet<Scalar>.RowRunner) throws -> Void
  ) throws {
    let workspace = pass.workspaces[worker]
    try workspace.scope {
      try body(workspace, ConvNet<Scalar>.RowRunner(pool: nil, workspaces: [workspace]))
    }
  }

  /// The images' part of an array of the batch.
  private func part(_ memory: Memory<Scalar>, _ images: Range<Int>) -> Memory<Scalar> {
    memory[images.lowerBound * shape.count..<images.upperBound * shape.count]
  }

  /// The net's input: in place for channels, a masked copy for a checkerboard.
  private func condition(
    _ values: Memory<Scalar>, images: Int, workspace: Workspace<Scalar>, runner: ConvNet<Scalar>.RowRunner
  ) throws -> (x: Memory<Scalar>, stride: Int) {
    guard let conditionParity else { return (values.from(conditionOffset), shape.channels) }
    let copy = try workspace.take(values.count)
    try runner.run(images * shape.height, scratch: 0) { rows, _ in
      Kernel.checkerboard(
        values, parity: conditionParity, shape: shape, rows: rows, adding: false, into: copy)
    }
    return (copy, shape.channels)
  }

  // MARK: Passes

  private func transform(_ pass: FlowPass<Scalar>, inverse: Bool) throws {
    let logDetRows = pass.logDetRows
    try forGroups(pass) { images, workspace, runner in
      let values = part(pass.values, images)
      let rows = images.count * shape.height
      let head = try workspace.take(rows * shape.width * transform.headChannels)
      let (x, stride) = try condition(values, images: images.count, workspace: workspace, runner: runner)
      _ = try net!.forward(
        images: images.count, x: x, stride: stride, head: head, workspace: workspace, runner: runner)
      let rowLogDet = logDetRows[images.lowerBound * shape.height..<images.upperBound * shape.height]
      try runner.run(rows, scratch: 0) { range, _ in
        Kernel.affine(
          transform, inverse: inverse, rows: range, head: head, values: values.from(transformOffset),
          logDetRows: rowLogDet)
      }
    }
    if spec.transform != .additive { pass.addLogDetRows() }
  }

  private func back(_ pass: FlowPass<Scalar>, inverse: Bool) throws {
    guard pass.wantsParameterGradients else {
      try forGroups(pass) { images, workspace, runner in
        try backGroup(
          pass, inverse: inverse, images: images, gradient: nil, workspace: workspace, runner: runner)
      }
      return
    }
    try pass.accumulate(size: net!.parameterCount) { slab, partial, worker in
      var start = slab.lowerBound
      while start < slab.upperBound {
        let end = min(slab.upperBound, start + imagesPerGroup)
        try inGroup(pass, worker: worker) { workspace, runner in
          try backGroup(
            pass, inverse: inverse, images: start..<end, gradient: partial, workspace: workspace,
            runner: runner)
        }
        start = end
      }
    } add: { partial in
      net!.addGradient(partial)
    }
  }

  private func backGroup(
    _ pass: FlowPass<Scalar>, inverse: Bool, images: Range<Int>, gradient: Memory<Scalar>?,
    workspace: Workspace<Scalar>, runner: ConvNet<Scalar>.RowRunner
  ) throws {
    let values = part(pass.values, images)
    let cotangent = part(pass.cotangent, images)
    let rows = images.count * shape.height
    let head = try workspace.take(rows * shape.width * transform.headChannels)
    let headCotangent = try workspace.take(head.count)
    // The conditioning part is the same on both sides, so the net's input is at hand.
    let (x, stride) = try condition(values, images: images.count, workspace: workspace, runner: runner)
    let activations = try net!.forward(
      images: images.count, x: x, stride: stride, head: head, workspace: workspace, runner: runner)
    let logDetCotangent = pass.logDetCotangent[images]
    try runner.run(rows, scratch: 0) { range, _ in
      Kernel.affineVJP(
        transform, inverse: inverse, rows: range, head: head, logDetCotangent: logDetCotangent,
        values: values.from(transformOffset), cotangent: cotangent.from(transformOffset),
        headCotangent: headCotangent)
    }
    guard let conditionParity else {
      try net!.vjp(
        images: images.count, x: x, stride: stride, activations: activations, headCotangent: headCotangent,
        xCotangent: cotangent.from(conditionOffset), xCotangentStride: shape.channels, gradient: gradient,
        workspace: workspace, runner: runner)
      return
    }
    let maskedCotangent = try workspace.take(values.count)
    maskedCotangent.fill(0)
    try net!.vjp(
      images: images.count, x: x, stride: stride, activations: activations, headCotangent: headCotangent,
      xCotangent: maskedCotangent, xCotangentStride: shape.channels, gradient: gradient, workspace: workspace,
      runner: runner)
    try runner.run(rows, scratch: 0) { range, _ in
      Kernel.checkerboard(
        maskedCotangent, parity: conditionParity, shape: shape, rows: range, adding: true, into: cotangent)
    }
  }
}
