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

extension CouplingSpec: LayerKind {
  public static let name = "coupling"

  public func check() throws(FlowError) {
    guard (1...FlowSpec.widthLimit).contains(net.hidden) else {
      throw .invalidSpec("coupling: hidden is \(net.hidden), expected 1 to \(FlowSpec.widthLimit)")
    }
    guard (0...64).contains(net.blocks) else {
      throw .invalidSpec("coupling: blocks is \(net.blocks), expected 0 to 64")
    }
    guard net.padding.isFinite, net.lastPadding?.isFinite ?? true else {
      throw .invalidSpec("coupling: padding is not finite")
    }
    guard (0...1e3).contains(scaleBias), scaleBias == 0 || transform == .sigmoid else {
      throw .invalidSpec(
        "coupling: scaleBias is \(scaleBias), expected 0 to 1000 with transform sigmoid, else 0")
    }
    guard order == .shiftFirst || [.sigmoid, .inverseSigmoid].contains(transform) else {
      throw .invalidSpec("coupling: order shift-last goes with the transforms sigmoid and inverse-sigmoid")
    }
  }

  public func output(for input: ImageShape) throws(FlowError) -> ImageShape {
    if [.firstHalf, .secondHalf].contains(mask), input.channels < 2 {
      throw .unsupportedShape(
        input, reason: "a coupling of channels meets a single channel; squeeze first or use a checkerboard")
    }
    return input
  }

  public var isSmooth: Bool { net.isSmooth }

  public func multiplyAdds(for input: ImageShape) -> Int {
    let channels = netChannels(of: input.channels)
    return net.convolutions(inChannels: channels.input, outChannels: channels.output).reduce(0) {
      $0 + $1.kernel * $1.kernel * $1.inChannels * $1.outChannels
    }
  }

  public func makeLayer<Scalar: KernelScalar>(
    for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
  ) throws -> any FlowLayer<Scalar> {
    try Coupling<Scalar>(self, channels: input.channels, condition: flow.condition)
  }
}

/// A coupling layer: one part of the values passes and conditions a net that gives shift and scale for the other.
///
/// `y₂ = (x₂ + t(x₁))·e^{l(x₁)}`, log-det `Σ l`. Net output: shifts first, then scales. The net goes over the rows of an
/// image in strips, so that its hidden activations take bounded memory whatever the image's size.
/// Source: L. Dinh et al., *Density estimation using Real NVP*, ICLR 2017, §3.2–3.4.
public final class Coupling<Scalar: KernelScalar>: FlowLayer, KeepingLayer {
  private let spec: CouplingSpec
  private let channels: Int
  private let net: ConvNet<Scalar>
  /// First channel of the conditioning part and of the transformed part.
  private let conditionOffset: Int
  private let transformOffset: Int
  private let conditionChannels: Int
  private let transformedChannels: Int
  /// Parity of the conditioning pixels, for checkerboards.
  private let conditionParity: Int?

  /// Throws `unsupportedShape` where a mask of channels meets a single one.
  public init(_ spec: CouplingSpec, channels: Int, condition: Condition? = nil) throws {
    self.spec = spec
    self.channels = channels
    let first = channels / 2
    switch spec.mask {
    case .firstHalf, .secondHalf:
      guard channels >= 2 else {
        throw FlowError.unsupportedShape(
          ImageShape(height: 1, width: 1, channels: channels),
          reason: "a coupling of channels needs two channels or more; squeeze first or use a checkerboard")
      }
      conditionChannels = spec.mask == .firstHalf ? first : channels - first
      transformedChannels = channels - conditionChannels
      conditionOffset = spec.mask == .firstHalf ? 0 : first
      transformOffset = spec.mask == .firstHalf ? first : 0
      conditionParity = nil
    case .checkerboardEven, .checkerboardOdd:
      conditionParity = spec.mask == .checkerboardEven ? 0 : 1
      (conditionChannels, transformedChannels) = (channels, channels)
      (conditionOffset, transformOffset) = (0, 0)
    case .nothing:
      conditionParity = nil
      (conditionChannels, transformedChannels) = (1, channels)
      (conditionOffset, transformOffset) = (0, 0)
    }
    net = try ConvNet(
      spec.net, inChannels: conditionChannels, outChannels: spec.netChannels(of: channels).output,
      condition: condition)
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

  private func transform(_ shape: ImageShape) -> Kernel<Scalar>.CouplingShape {
    Kernel.CouplingShape(
      scale: spec.transform.kernel(), bias: spec.scaleBias, shiftsLast: spec.order == .shiftLast,
      parity: conditionParity.map { 1 - $0 }, height: shape.height, width: shape.width,
      channels: transformedChannels, stride: channels)
  }

  // MARK: What is kept

  /// Values a pixel that the transform's slopes are, and that its net gives.
  private var slopeChannels: Int { spec.transform == .additive ? 0 : 3 * transformedChannels }
  private var headChannels: Int { net.outChannels }

  private struct Kept {
    var slopes: Memory<Scalar>?
    /// The net's input, dense.
    var input: Memory<Scalar>?
    var derivatives: ConvNet<Scalar>.Hidden?
    var outputs: ConvNet<Scalar>.Hidden?
  }

  private func keepsInput(_ kept: GradientMemory.Kept, parameterGradients: Bool) -> Bool {
    kept == .inputs || parameterGradients
  }

  func keptCount(_ kept: GradientMemory.Kept, input: ImageShape, parameterGradients: Bool) -> Int {
    let pixels = input.height * input.width
    var count = pixels * slopeChannels
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
    result.slopes = try pass.keep(pixels * slopeChannels)
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
    result.slopes = pass.recall()
    return result
  }

  // MARK: Groups of images

  private typealias Runner = ConvNet<Scalar>.RowRunner
  private typealias Hidden = ConvNet<Scalar>.Hidden

  /// About this many pixels go through the net at a time, so that their hidden activations stay in the cache.
  private static var groupPixels: Int { 512 }

  /// Runs `body` for the rows of groups of images: groups side by side on the pool where there are enough of them, else
  /// one after the other with each convolution split over the pool.
  private func forGroups(
    of images: Range<Int>, _ pass: FlowPass<Scalar>,
    _ body: (_ rows: Range<Int>, _ workspace: Workspace<Scalar>, _ runner: Runner) throws -> Void
  ) throws {
    let threads = pass.pool.threads
    let height = pass.shape.height
    if threads > 1, images.count < threads, height > 1 {
      let runner = Runner(pool: pass.pool, workspaces: pass.workspaces)
      try pass.workspaces[0].scope {
        try body(images.lowerBound * height..<images.upperBound * height, pass.workspaces[0], runner)
      }
      return
    }
    let size = min(
      max(1, Self.groupPixels / (height * pass.shape.width)), max(1, images.count / threads))
    try pass.pool.run((images.count + size - 1) / size) { group, worker in
      let start = images.lowerBound + group * size
      let workspace = pass.workspaces[worker]
      try workspace.scope {
        try body(
          start * height..<min(images.upperBound, start + size) * height, workspace,
          Runner(pool: nil, workspaces: pass.workspaces, worker: worker))
      }
    }
  }

  /// Values that a strip takes a pixel: on the way there and where its nets are kept what one array of hidden layers
  /// takes, else their outputs, derivatives and cotangents.
  private func stripChannels(recomputes: Bool) -> Int {
    headChannels + (recomputes ? net.recomputedChannels + slopeChannels : net.hiddenChannels)
  }

  private func strips(_ rows: Range<Int>, _ pass: FlowPass<Scalar>, recomputes: Bool) -> Strips {
    Strips(
      rows: rows, height: pass.shape.height, width: pass.shape.width,
      limit: pass.stripCount / (pass.shape.width * stripChannels(recomputes: recomputes)))
  }

  func scratchCount(input: ImageShape, _ work: FlowWork) -> Int {
    let pixels = input.height * input.width
    let isTogether = work.threads > 1 && work.images < work.threads
    let images = isTogether ? work.images : min(work.images, max(1, Self.groupPixels / pixels))
    let group = images * pixels
    func strip(_ channels: Int) -> Int {
      let limit = max(1, work.stripCount / (input.width * channels)) + 2 * net.margin
      return min(group, limit * input.width) * channels
    }
    let (there, back) = (strip(stripChannels(recomputes: false)), strip(stripChannels(recomputes: true)))
    let workers = isTogether ? 1 : min(work.threads, max(1, work.images / images))
    let convolutions = work.threads * (net.workspaceCount(width: input.width) + 64)
    let embedding =
      net.embedding?.scratchCount(images: work.images, parameterGradients: work.parameterGradients) ?? 0
    guard work.goesBack else {
      return workers * (group * conditionChannels + there + 256) + convolutions + embedding
    }
    var count =
      embedding + workers * (group * (headChannels + channels + conditionChannels) + max(there, back) + 512)
    if work.parameterGradients {
      let all = gradientImages(input, slab: work.slab)
      count +=
        min(all, work.images) * pixels * (2 * net.hiddenChannels + conditionChannels + headChannels)
        + group * workers * stripChannels(recomputes: true) + work.threads
        * net.gradientWorkspaceCount(width: input.width)
    }
    return count + convolutions
  }

  /// The net's input by the batch's rows: copied to `input`, or without one in place for channels, a masked copy for a
  /// checkerboard, zeros where nothing conditions.
  private func condition(
    _ pass: FlowPass<Scalar>, rows: Range<Int>, input: Memory<Scalar>?, workspace: Workspace<Scalar>,
    runner: Runner
  ) throws -> (x: Memory<Scalar>, stride: Int) {
    let (shape, values) = (pass.shape, pass.values)
    func take() throws -> Memory<Scalar> {
      let size = shape.width * conditionChannels
      return try input ?? workspace.take(rows.count * size).numbered(from: rows.lowerBound * size)
    }
    func part(_ memory: Memory<Scalar>, _ size: Int) -> Memory<Scalar> {
      memory[rows.lowerBound * shape.width * size..<rows.upperBound * shape.width * size]
    }
    if let conditionParity {
      let copy = try take()
      try runner.run(rows, work: shape.width * channels, scratch: 0) { rows, _ in
        Kernel.checkerboard(
          values, parity: conditionParity, shape: shape, rows: rows, adding: false, into: copy)
      }
      return (copy, channels)
    }
    if spec.mask == .nothing {
      let zeros = try take()
      part(zeros, 1).fill(0)
      return (zeros, 1)
    }
    guard let input else { return (values.from(conditionOffset), channels) }
    Kernel.copyChannels(
      conditionChannels, pixels: rows.count * shape.width, from: part(values, channels).from(conditionOffset),
      stride: channels, to: part(input, conditionChannels), stride: conditionChannels)
    return (input, conditionChannels)
  }

  // MARK: Passes

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func there(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    let kept = try keep(pass)
    let transform = transform(pass.shape)
    let logDetRows = pass.logDetRows
    let values = pass.values.from(transformOffset)
    let biases = try net.embedding?.biases(pass)
    try forGroups(of: 0..<pass.count, pass) { rows, workspace, runner in
      let (x, stride) = try condition(
        pass, rows: rows, input: kept.input, workspace: workspace, runner: runner)
      try strips(rows, pass, recomputes: false).each { strip in
        try workspace.scope {
          let head = try take(headChannels, strip, workspace)
          try net.forward(
            strip, x: x, stride: stride, biases: biases, head: head, derivatives: kept.derivatives,
            outputs: kept.outputs, workspace: workspace, runner: runner)
          try runner.run(strip.rows, work: 16 * strip.width * transformedChannels, scratch: 0) { rows, _ in
            Kernel.affine(
              transform, direction, rows: rows, head: head, values: values, logDetRows: logDetRows,
              slopes: kept.slopes, slopesOf: direction)
          }
        }
      }
    }
    if spec.transform != .additive { pass.addLogDetRows() }
  }

  /// An array of so many channels for a strip, by the batch's rows.
  private func take(
    _ channels: Int, _ strip: Strip, _ workspace: Workspace<Scalar>
  ) throws -> Memory<Scalar> {
    let size = strip.width * channels
    return try workspace.take(strip.rows.count * size).numbered(from: strip.rows.lowerBound * size)
  }

  /// What the parameters' gradients of some images need, by the batch's rows.
  private struct GradientWork {
    var input: Memory<Scalar>
    var outputs: Hidden
    var cotangents: Hidden
    var headCotangent: Memory<Scalar>
  }

  /// Values of arrays for parameter gradients that are held at once; more images are taken in turn.
  private static var gradientWork: Int { 1 << 23 }

  /// Images whose parameter gradients are taken together.
  private func gradientImages(_ shape: ImageShape, slab: Int) -> Int {
    let size = shape.height * shape.width * (2 * net.hiddenChannels + conditionChannels + headChannels)
    return slab * max(1, Self.gradientWork / (slab * size))
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  private func back(_ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction) throws {
    let kept = recall(pass)
    let biases = kept.derivatives == nil ? try net.embedding?.biases(pass) : nil
    guard pass.wantsParameterGradients else {
      try forGroups(of: 0..<pass.count, pass) { rows, workspace, runner in
        try back(pass, direction, kept, biases, rows: rows, work: nil, workspace: workspace, runner: runner)
      }
      return
    }
    let workspace = pass.workspaces[0]
    let biasCotangents = try net.embedding?.cotangents(pass)
    let (height, width) = (pass.shape.height, pass.shape.width)
    let size = gradientImages(pass.shape, slab: pass.slab)
    for start in stride(from: 0, to: pass.count, by: size) {
      let images = start..<min(start + size, pass.count)
      let all = Strip(
        rows: images.lowerBound * height..<images.upperBound * height, height: height, width: width)
      let pixels = all.rows.count * width
      try workspace.scope {
        let work = try GradientWork(
          input: kept.input ?? take(conditionChannels, all, workspace),
          outputs: kept.outputs
            ?? Hidden(memory: workspace.take(net.hiddenCount(pixels: pixels)), rows: all.rows),
          cotangents: Hidden(memory: workspace.take(net.hiddenCount(pixels: pixels)), rows: all.rows),
          headCotangent: take(headChannels, all, workspace))
        try forGroups(of: images, pass) { rows, workspace, runner in
          try back(
            pass, direction, kept, biases, rows: rows, work: work, workspace: workspace, runner: runner)
        }
        try net.accumulateGradient(
          rows: all.rows, height: height, width: width, slab: pass.slab, x: work.input, outputs: work.outputs,
          cotangents: work.cotangents, headCotangent: work.headCotangent, pool: pass.pool,
          workspaces: pass.workspaces)
        if let biasCotangents {
          try net.sumBiases(
            into: biasCotangents, rows: all.rows, height: height, width: width, cotangents: work.cotangents,
            headCotangent: work.headCotangent, pool: pass.pool)
        }
      }
    }
    if let biasCotangents { try net.embedding?.accumulateGradient(biasCotangents, pass) }
  }

  /// Back for a group of images, among those of `work` if parameter gradients are wanted.
  private func back(
    _ pass: FlowPass<Scalar>, _ direction: Kernel<Scalar>.Direction, _ kept: Kept,
    _ biases: ImageBiases<Scalar>?, rows: Range<Int>, work: GradientWork?, workspace: Workspace<Scalar>,
    runner: Runner
  ) throws {
    let (shape, transform) = (pass.shape, transform(pass.shape))
    let group = Strip(rows: rows, height: shape.height, width: shape.width)
    // Parameters' gradients need what the net computes for whole images anyway.
    let strips =
      work == nil
      ? strips(rows, pass, recomputes: pass.kept != .nets)
      : Strips(rows: rows, height: group.height, width: group.width, limit: .max)
    let headCotangent = try work?.headCotangent ?? take(headChannels, group, workspace)
    let cotangent = pass.cotangent.from(transformOffset)
    let logDetCotangent = pass.logDetCotangent
    func turn(_ strip: Strip, slopes: Memory<Scalar>) throws {
      try runner.run(strip.rows, work: 8 * strip.width * transformedChannels, scratch: 0) { rows, _ in
        Kernel.affineVJP(
          transform, direction, rows: rows, slopes: slopes, logDetCotangent: logDetCotangent,
          cotangent: cotangent, headCotangent: headCotangent)
      }
    }
    // What the net computed: kept, or computed again for the whole group or for each strip.
    var derivatives = kept.derivatives
    var isComputed = derivatives != nil
    if derivatives == nil, strips.isWhole { derivatives = try net.takeDerivatives(group, workspace) }
    var (x, stride) = (headCotangent, conditionChannels)
    if !isComputed {
      if let input = kept.input {
        x = input
      } else {
        // The conditioning part is the same on both sides, so the net's input is at hand.
        (x, stride) = try condition(
          pass, rows: rows, input: work?.input, workspace: workspace, runner: runner)
      }
    }
    if let slopes = kept.slopes {
      try turn(group, slopes: slopes)
    } else {
      let values = pass.values.from(transformOffset)
      try strips.each { strip in
        try workspace.scope {
          let head = try take(headChannels, strip, workspace)
          let slopes = try take(slopeChannels, strip, workspace)
          try net.forward(
            strip, x: x, stride: stride, biases: biases, head: head, derivatives: derivatives,
            outputs: work?.outputs, workspace: workspace, runner: runner)
          try runner.run(strip.rows, work: 16 * strip.width * transformedChannels, scratch: 0) { rows, _ in
            Kernel.affine(
              transform, direction.opposite, rows: rows, head: head, values: values, logDetRows: nil,
              slopes: slopes, slopesOf: direction)
          }
          try turn(strip, slopes: slopes)
        }
      }
      isComputed = strips.isWhole
    }
    // Where the input's cotangent goes: to the conditioning channels in place, or by way of an array of its own.
    var (target, targetStride) = (pass.cotangent.from(conditionOffset), channels)
    if conditionParity != nil || spec.mask == .nothing {
      targetStride = conditionChannels
      let size = shape.width * targetStride
      let own = try workspace.take(rows.count * size)
      own.fill(0)
      target = own.numbered(from: rows.lowerBound * size)
    }
    try strips.each { strip in
      try workspace.scope {
        let derivatives = try derivatives ?? net.takeDerivatives(strip, workspace)
        if !isComputed {
          try net.forward(
            strip, x: x, stride: stride, biases: biases, head: nil, derivatives: derivatives,
            outputs: work?.outputs, workspace: workspace, runner: runner)
        }
        try net.vjp(
          strip, derivatives: derivatives, headCotangent: headCotangent, xCotangent: target,
          xCotangentStride: targetStride,
          cotangents: try work?.cotangents ?? net.takeCotangents(strip, workspace), runner: runner)
      }
    }
    guard let conditionParity else { return }
    let all = pass.cotangent
    try runner.run(rows, work: shape.width * channels, scratch: 0) { rows, _ in
      Kernel.checkerboard(
        target, parity: conditionParity, shape: shape, rows: rows, adding: true, into: all)
    }
  }
}
