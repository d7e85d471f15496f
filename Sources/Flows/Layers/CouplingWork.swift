import AIPOKernels

/// How the work of a coupling is divided, into groups of images and strips of rows, side by side on the threads or all of
/// them together, and what scratch memory that takes.
struct CouplingWork<Scalar: KernelScalar> {
  typealias Runner = ConvNet<Scalar>.RowRunner

  let traceChannels: Int
  private let channels: Int
  private let conditionChannels: Int
  /// Channels of the transformed part where they aren't neighbours, so that a copy is taken; else 0.
  private let gatheredChannels: Int
  private let net: ConvNet<Scalar>

  init(_ parts: CouplingParts, _ transform: any ScalarTransform, channels: Int, net: ConvNet<Scalar>) {
    traceChannels = parts.transformed.count * transform.traceCount
    self.channels = channels
    conditionChannels = parts.condition.count
    gatheredChannels = parts.transformed.only == nil ? parts.transformed.count : 0
    self.net = net
  }

  private var headChannels: Int { net.headChannels }

  // MARK: Groups of images and strips of rows

  /// About this many pixels go through the net at a time, so that their hidden activations stay in the cache.
  private static var groupPixels: Int { 512 }

  /// Whether all threads work together on a part of a batch that has at most so many images.
  private func areTogether(_ images: Int, height: Int, threads: Int) -> Bool {
    threads > 1 && images < threads && height > 1
  }

  private func groupSize(_ images: Int, pixels: Int, threads: Int) -> Int {
    min(max(1, Self.groupPixels / pixels), max(1, images / threads))
  }

  /// Runs `body` for the rows of groups of images: groups side by side on the pool where parts of a batch, which have at
  /// most `most` images, are enough for that, else one after the other with each convolution split over the pool.
  func forGroups(
    of images: Range<Int>, most: Int, _ pass: FlowPass<Scalar>,
    _ body: (_ rows: Range<Int>, _ workspace: Workspace<Scalar>, _ runner: Runner) throws -> Void
  ) throws {
    let threads = pass.pool.threads
    let height = pass.shape.height
    if areTogether(most, height: height, threads: threads) {
      return try together(images.lowerBound * height..<images.upperBound * height, pass, body)
    }
    let size = groupSize(images.count, pixels: height * pass.shape.width, threads: threads)
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

  /// Runs `body` for rows that all threads work on together.
  func together(
    _ rows: Range<Int>, _ pass: FlowPass<Scalar>,
    _ body: (_ rows: Range<Int>, _ workspace: Workspace<Scalar>, _ runner: Runner) throws -> Void
  ) throws {
    let runner = Runner(pool: pass.pool.threads > 1 ? pass.pool : nil, workspaces: pass.workspaces)
    try pass.workspaces[0].scope { try body(rows, pass.workspaces[0], runner) }
  }

  /// Values that a strip takes a pixel: on the way there and where its nets are kept what one array of hidden layers
  /// takes, else their outputs, derivatives and cotangents.
  private func stripChannels(recomputes: Bool) -> Int {
    headChannels + (recomputes ? net.recomputedChannels + traceChannels : net.hiddenChannels)
  }

  func strips(
    _ rows: Range<Int>, _ shape: ImageShape, _ count: Int, recomputes: Bool, block: Int? = nil
  ) -> Strips {
    Strips(
      rows: rows, height: shape.height, width: shape.width,
      limit: count / (shape.width * stripChannels(recomputes: recomputes)), block: block)
  }

  func scratchCount(input: ImageShape, _ work: FlowWork) -> ScratchCount {
    let there = groups(of: work.images, input, work, isBack: false)
    let embedding =
      net.embedding?.scratchCount(images: work.images, parameterGradients: work.parameterGradients)
      ?? ScratchCount()
    guard work.goesBack else { return there + embedding }
    return .largest(there, back(input, work)) + embedding
  }

  /// What the way back takes.
  private func back(_ input: ImageShape, _ work: FlowWork) -> ScratchCount {
    guard work.parameterGradients else { return groups(of: work.images, input, work, isBack: true) }
    let gradient = net.gradientWorkspaceCount(width: input.width) + 64
    let chunk = gradientImages(input, work.slab, stripCount: work.stripCount, threads: work.threads)
    let images = min(chunk ?? work.slab, work.images)
    guard chunk != nil else {
      // All threads together, strip by strip with its gradients.
      let group = groupCount(images, input, work, isBack: true, block: net.gradientBlock(width: input.width))
      return ScratchCount(first: group + net.carryCount(width: input.width) + gradient, others: gradient)
    }
    let arrays = images * input.height * input.width * gradientChannels + 128
    return ScratchCount(first: arrays)
      + .largest(
        groups(of: images, input, work, isBack: true), ScratchCount(first: gradient, others: gradient))
  }

  /// What groups take of a part of a batch with so many images.
  private func groups(
    of images: Int, _ input: ImageShape, _ work: FlowWork, isBack: Bool
  ) -> ScratchCount {
    let convolution = net.workspaceCount(width: input.width) + 64
    if areTogether(images, height: input.height, threads: work.threads) {
      return ScratchCount(
        first: groupCount(images, input, work, isBack: isBack) + convolution, others: convolution)
    }
    let size = groupSize(images, pixels: input.height * input.width, threads: work.threads)
    let each = groupCount(size, input, work, isBack: isBack) + convolution
    return ScratchCount(first: each, others: each)
  }

  /// Values of the arrays of a group of images.
  private func groupCount(
    _ images: Int, _ input: ImageShape, _ work: FlowWork, isBack: Bool, block: Int? = nil
  ) -> Int {
    let group = images * input.height * input.width
    func strip(_ channels: Int) -> Int {
      // Parameters' gradients of whole images take their nets whole.
      if isBack, work.parameterGradients, block == nil { return group * channels }
      let rows = max(block ?? 1, work.stripCount / (input.width * channels)) + 2 * net.margin
      return min(group, rows * input.width) * channels
    }
    guard isBack else {
      return group * (conditionChannels + gatheredChannels) + strip(stripChannels(recomputes: false)) + 256
    }
    let strips = max(strip(stripChannels(recomputes: false)), strip(stripChannels(recomputes: true)))
    return group * (headChannels + channels + conditionChannels + 2 * gatheredChannels) + strips + 512
  }

  /// Values of arrays for parameter gradients that are held at once; more images are taken in turn.
  private static var gradientWork: Int { 1 << 23 }

  private var gradientChannels: Int { 2 * net.hiddenChannels + conditionChannels + headChannels }

  /// Images whose parameter gradients are taken together; nil where a slab of them goes in strips.
  func gradientImages(_ shape: ImageShape, _ slab: Int, stripCount: Int, threads: Int) -> Int? {
    let size = slab * shape.height * shape.width * gradientChannels
    guard size <= 4 * threads * stripCount else { return nil }
    return slab * max(1, Self.gradientWork / size)
  }
}
