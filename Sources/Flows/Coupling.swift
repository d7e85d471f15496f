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
    /// Nothing conditions and everything is transformed: the net sees one channel of zeros, so that its output differs
    /// between places by its padding alone.
    case nothing
  }

  /// `y = (x + t)·e^l`, or `y = x·e^l + t` where the shift comes last, with l a function of the net's output s.
  public enum Transform: String, Codable, Sendable, CaseIterable {
    /// l = log σ(s + 2) (Glow).
    case sigmoid
    /// l = 2·tanh(s/2), between −2 and 2 (RealNVP).
    case exponential
    /// l = s, without a bound: what other programs' files hold. It overflows where s is large.
    case unboundedExponential = "unbounded-exponential"
    /// l = −log σ(s + 2)
    case inverseSigmoid = "inverse-sigmoid"
    /// l = 0 (NICE): volume is kept.
    case additive

    func kernel<Scalar>() -> Kernel<Scalar>.Scale {
      switch self {
      case .sigmoid: .sigmoid
      case .exponential: .boundedExponential
      case .unboundedExponential: .exponential
      case .inverseSigmoid: .inverseSigmoid
      case .additive: .additive
      }
    }
  }

  /// Whether the shift is added before or after the values are scaled.
  public enum Order: String, Codable, Sendable, CaseIterable {
    case shiftFirst = "shift-first"
    case shiftLast = "shift-last"
  }

  public var mask: Mask
  public var transform: Transform
  public var order: Order
  /// Added to the scale of a `sigmoid` transform, `e^l = σ(s + 2) + scaleBias`; 0 or more.
  public var scaleBias: Double
  public var net: NetSpec

  public init(
    mask: Mask = .firstHalf, transform: Transform = .sigmoid, order: Order = .shiftFirst,
    scaleBias: Double = 0,
    net: NetSpec
  ) {
    self.mask = mask
    self.transform = transform
    self.order = order
    self.scaleBias = scaleBias
    self.net = net
  }

  /// Channels of the net's input and output on values of so many channels.
  func netChannels(of channels: Int) -> (input: Int, output: Int) {
    var (condition, transformed) = (channels, channels)
    switch mask {
    case .firstHalf: (condition, transformed) = (channels / 2, channels - channels / 2)
    case .secondHalf: (condition, transformed) = (channels - channels / 2, channels / 2)
    case .checkerboardEven, .checkerboardOdd: break
    case .nothing: condition = 1
    }
    return (condition, transform == .additive ? transformed : 2 * transformed)
  }
}

/// A coupling layer: one part of the values passes and conditions a net that gives shift and scale for the other.
///
/// `y₂ = (x₂ + t(x₁))·e^{l(x₁)}`, log-det `Σ l`. Net output: shifts first, then scales.
/// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017, §3.2–3.4.
public final class Coupling<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
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
    case .nothing:
      conditionChannels = 1
    }
    transform = Kernel.CouplingShape(
      scale: spec.transform.kernel(), bias: spec.scaleBias, shiftsLast: spec.order == .shiftLast,
      parity: conditionParity.map { 1 - $0 }, height: input.height, width: input.width, channels: channels,
      stride: input.channels)
    net = try ConvNet(
      spec.net, height: input.height, width: input.width, inChannels: conditionChannels,
      outChannels: transform.headChannels)
    return input
  }

  public func refresh() throws { net!.refresh() }

  public func forward(_ pass: FlowPass<Scalar>) throws { try there(pass, .forward) }
  public func inverse(_ pass: FlowPass<Scalar>) throws { try there(pass, .inverse) }
  public func forwardVJP(_ pass: FlowPass<Scalar>) throws { try back(pass, .forward) }
  public func inverseVJP(_ pass: FlowPass<Scalar>) throws { try back(pass, .inverse) }

  // MARK: What is kept

  /// Values of an image that the net gets, and that the transform's slopes are.
  private var inputCount: Int { shape.height * shape.width * conditionChannels }
  private var slopeCount: Int { shape.height * transform.slopeCount }

  private struct Kept {
    var slopes: Memory<Scalar>?
    /// The net's input, dense.
    var input: Memory<Scalar>?
    var derivatives: Memory<Scalar>?
    var outputs: Memory<Scalar>?
  }

  private func keepsInput(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Bool {
    kept == .inputs || parameterGradients
  }

  func keptCount(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Int {
    var count = slopeCount
    if keepsInput(kept, parameterGradients: parameterGradients) { count += inputCount }
    if kept == .nets {
      count += net!.derivativeCount(images: 1)
      if parameterGradients { count += net!.hiddenCount }
    }
    return count
  }

  private func keep(_ pass: FlowPass<Scalar>) throws -> Kept {
    var result = Kept()
    guard pass.kept != .nothing else { return result }
    result.slopes = try pass.keep(pass.count * slopeCount)
    if keepsInput(pass.kept, parameterGradients: pass.wantsParameterGradients) {
      result.input = try pass.keep(pass.count * inputCount)
    }
    if pass.kept == .nets {
      result.derivatives = try pass.keep(net!.derivativeCount(images: pass.count))
      if pass.wantsParameterGradients { result.outputs = try pass.keep(pass.count * net!.hiddenCount) }
    }
    return result
  }

  private func recall(_ pass: FlowPass<Scalar>) -> Kept {
    var result = Kept()
    guard pass.kept != .nothing else { return result }
    if pass.kept == .nets {
      if pass.wantsParameterGradients { result.outputs = pass.recall() }
      result.derivatives = pass.recall()
    }
    if keepsInput(pass.kept, parameterGradients: pass.wantsParameterGradients) {
      result.input = pass.recall()
    }
    result.slopes = pass.recall()
    return result
  }

  // MARK: Groups of images

  private typealias Runner = ConvNet<Scalar>.RowRunner
  private typealias Hidden = ConvNet<Scalar>.Hidden

  /// About this many pixels go through the net at a time, so that their hidden activations stay in the cache.
  private var imagesPerGroup: Int { max(1, 512 / (shape.height * shape.width)) }

  /// Runs `body` for groups of images: groups side by side on the pool where there are enough of them, else one
  /// after the other with each convolution split over the pool.
  private func forGroups(
    of all: Range<Int>, _ pass: FlowPass<Scalar>,
    _ body: (_ images: Range<Int>, _ workspace: Workspace<Scalar>, _ runner: Runner) throws -> Void
  ) throws {
    let threads = pass.pool.threads
    if threads > 1, all.count < threads, shape.height > 1 {
      let runner = Runner(pool: pass.pool, workspaces: pass.workspaces)
      try pass.workspaces[0].scope { try body(all, pass.workspaces[0], runner) }
      return
    }
    let size = min(imagesPerGroup, max(1, all.count / threads))
    try pass.pool.run((all.count + size - 1) / size) { group, worker in
      let start = all.lowerBound + group * size
      let workspace = pass.workspaces[worker]
      try workspace.scope {
        try body(
          start..<min(all.upperBound, start + size), workspace,
          Runner(pool: nil, workspaces: pass.workspaces, worker: worker))
      }
    }
  }

  /// The images' part of an array with `size` elements an image.
  private func part(_ memory: Memory<Scalar>, _ images: Range<Int>, of size: Int) -> Memory<Scalar> {
    memory[images.lowerBound * size..<images.upperBound * size]
  }

  /// The net's input: copied to `input`, or without one in place for channels, a masked copy for a checkerboard, zeros
  /// where nothing conditions.
  private func condition(
    _ values: Memory<Scalar>, images: Int, input: Memory<Scalar>?, workspace: Workspace<Scalar>,
    runner: Runner
  ) throws -> (x: Memory<Scalar>, stride: Int) {
    let rows = images * shape.height
    if let conditionParity {
      let copy = try input ?? workspace.take(values.count)
      try runner.run(rows, work: shape.width * shape.channels, scratch: 0) { rows, _ in
        Kernel.checkerboard(
          values, parity: conditionParity, shape: shape, rows: rows, adding: false, into: copy)
      }
      return (copy, shape.channels)
    }
    if spec.mask == .nothing {
      let zeros = try input ?? workspace.take(rows * shape.width)
      zeros.fill(0)
      return (zeros, 1)
    }
    let source = values.from(conditionOffset)
    guard let input else { return (source, shape.channels) }
    Kernel.copyChannels(
      conditionChannels, pixels: rows * shape.width, from: source, stride: shape.channels, to: input,
      stride: conditionChannels)
    return (input, conditionChannels)
  }

  // MARK: Passes

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func there(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    let kept = try keep(pass)
    let logDetRows = pass.logDetRows
    try forGroups(of: 0..<pass.count, pass) { images, workspace, runner in
      let values = part(pass.values, images, of: shape.count)
      let rows = images.count * shape.height
      let head = try workspace.take(rows * shape.width * transform.headChannels)
      let (x, stride) = try condition(
        values, images: images.count, input: kept.input.map { part($0, images, of: inputCount) },
        workspace: workspace, runner: runner)
      try net!.forward(
        images: images.count, x: x, stride: stride, head: head,
        derivatives: kept.derivatives.map { Hidden(memory: $0, total: pass.count, images: images) },
        outputs: kept.outputs.map { Hidden(memory: $0, total: pass.count, images: images) },
        workspace: workspace, runner: runner)
      let rowLogDet = logDetRows[images.lowerBound * shape.height..<images.upperBound * shape.height]
      let slopes = kept.slopes.map { part($0, images, of: slopeCount) }
      try runner.run(rows, work: 16 * shape.width * transform.channels, scratch: 0) { range, _ in
        Kernel.affine(
          transform, direction, rows: range, head: head, values: values.from(transformOffset),
          logDetRows: rowLogDet, slopes: slopes, slopesOf: direction)
      }
    }
    if spec.transform != .additive { pass.addLogDetRows() }
  }

  /// What the parameters' gradients of some images need.
  private struct GradientWork {
    var images: Range<Int>
    var input: Memory<Scalar>
    var outputs: Hidden
    var cotangents: Hidden
    var headCotangent: Memory<Scalar>
  }

  /// Values of arrays for parameter gradients that are held at once; more images are taken in turn.
  private static var gradientWork: Int { 1 << 23 }

  private var headCount: Int { shape.height * shape.width * transform.headChannels }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func back(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    let kept = recall(pass)
    guard pass.wantsParameterGradients else {
      try forGroups(of: 0..<pass.count, pass) { images, workspace, runner in
        try back(pass, direction, kept, images: images, work: nil, workspace: workspace, runner: runner)
      }
      return
    }
    let workspace = pass.workspaces[0]
    let net = net!
    let size =
      pass.slab * max(1, Self.gradientWork / (pass.slab * (2 * net.hiddenCount + inputCount + headCount)))
    for start in stride(from: 0, to: pass.count, by: size) {
      let images = start..<min(start + size, pass.count)
      let all = 0..<images.count
      try workspace.scope {
        let work = try GradientWork(
          images: images,
          input: kept.input.map { part($0, images, of: inputCount) }
            ?? workspace.take(all.count * inputCount),
          outputs: kept.outputs.map { Hidden(memory: $0, total: pass.count, images: images) }
            ?? Hidden(memory: workspace.take(all.count * net.hiddenCount), total: all.count, images: all),
          cotangents: Hidden(
            memory: workspace.take(all.count * net.hiddenCount), total: all.count, images: all),
          headCotangent: workspace.take(all.count * headCount))
        try forGroups(of: images, pass) { group, workspace, runner in
          try back(pass, direction, kept, images: group, work: work, workspace: workspace, runner: runner)
        }
        try net.accumulateGradient(
          slab: pass.slab, x: work.input, outputs: work.outputs, cotangents: work.cotangents,
          headCotangent: work.headCotangent, pool: pass.pool, workspaces: pass.workspaces)
      }
    }
  }

  /// Back for a group of images, among those of `work` if parameter gradients are wanted.
  private func back(
    _ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction, _ kept: Kept, images: Range<Int>,
    work: GradientWork?, workspace: Workspace<Scalar>, runner: Runner
  ) throws {
    let net = net!
    let count = images.count
    let rows = count * shape.height
    let first = work?.images.lowerBound ?? 0
    let inWork = images.lowerBound - first..<images.upperBound - first
    let slopes =
      try kept.slopes.map { part($0, images, of: slopeCount) } ?? workspace.take(count * slopeCount)
    let derivatives =
      try kept.derivatives.map { Hidden(memory: $0, total: pass.count, images: images) }
      ?? Hidden(
        memory: workspace.take(net.derivativeCount(images: count)), total: count, images: 0..<count)
    if pass.kept != .nets {
      let head = try workspace.take(count * headCount)
      var (x, stride) = (head, conditionChannels)
      if let input = kept.input {
        x = part(input, images, of: inputCount)
      } else {
        // The conditioning part is the same on both sides, so the net's input is at hand.
        (x, stride) = try condition(
          part(pass.values, images, of: shape.count), images: count,
          input: work.map { part($0.input, inWork, of: inputCount) }, workspace: workspace, runner: runner)
      }
      try net.forward(
        images: count, x: x, stride: stride, head: head, derivatives: derivatives,
        outputs: work.map { $0.outputs[inWork] }, workspace: workspace, runner: runner)
      if pass.kept == .nothing {
        let values = part(pass.values, images, of: shape.count).from(transformOffset)
        try runner.run(rows, work: 16 * shape.width * transform.channels, scratch: 0) { range, _ in
          Kernel.affine(
            transform, direction.opposite, rows: range, head: head, values: values, logDetRows: nil,
            slopes: slopes, slopesOf: direction)
        }
      }
    }
    let cotangent = part(pass.cotangent, images, of: shape.count)
    let headCotangent =
      try work.map { part($0.headCotangent, inWork, of: headCount) } ?? workspace.take(count * headCount)
    let logDetCotangent = pass.logDetCotangent[images]
    try runner.run(rows, work: 8 * shape.width * transform.channels, scratch: 0) { range, _ in
      Kernel.affineVJP(
        transform, direction, rows: range, slopes: slopes, logDetCotangent: logDetCotangent,
        cotangent: cotangent.from(transformOffset), headCotangent: headCotangent)
    }
    let cotangents =
      try work.map { $0.cotangents[inWork] }
      ?? Hidden(memory: workspace.take(count * net.hiddenCount), total: count, images: 0..<count)
    if spec.mask == .nothing {
      let ignored = try workspace.take(rows * shape.width)
      ignored.fill(0)
      try net.vjp(
        derivatives: derivatives, headCotangent: headCotangent, xCotangent: ignored, xCotangentStride: 1,
        cotangents: cotangents, runner: runner)
      return
    }
    guard let conditionParity else {
      try net.vjp(
        derivatives: derivatives, headCotangent: headCotangent, xCotangent: cotangent.from(conditionOffset),
        xCotangentStride: shape.channels, cotangents: cotangents, runner: runner)
      return
    }
    let masked = try workspace.take(cotangent.count)
    masked.fill(0)
    try net.vjp(
      derivatives: derivatives, headCotangent: headCotangent, xCotangent: masked,
      xCotangentStride: shape.channels, cotangents: cotangents, runner: runner)
    try runner.run(rows, work: shape.width * shape.channels, scratch: 0) { range, _ in
      Kernel.checkerboard(
        masked, parity: conditionParity, shape: shape, rows: range, adding: true, into: cotangent)
    }
  }
}
