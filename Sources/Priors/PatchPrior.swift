import AIPOFlows
import AIPOKernels

/// A flow of patches as a prior for an image of any size:
///
///     R_s(x) = (1/c) Σᵢ −log p_s(Pᵢx)
///
/// over the patches of a `PatchGrid`, c of them over a pixel. That is no density of x in the strict sense: its integral isn't
/// known. R/d is comparable with −log p/d of a patch.
///
/// The image is continued beyond its edges by its reflection. Inside x − s²∇R_s(x) is the mean of the patches' own means
/// (Tweedie's formula), D_s(x). Near an edge a pixel may be covered n times, with its mirror images, where c is the usual;
/// there D_s(x) = x − s²(c/n)∇R_s(x), still a mean: its weights sum to one, so that an even picture keeps its level.
///
/// The flow works in its own precision, a batch of patches at a time, a batch a thread. Memory doesn't grow with the image but
/// for two vectors that the caller has, and results are the same bits on any number of threads. Over ranks each has a strip of the
/// image's rows, `imageShape` is that of the strip, and R that of the whole.
public final class PatchPrior<Scalar: KernelScalar>: Prior {
  public let imageShape: ImageShape
  /// Of patches, on one thread, at the noise level s.
  public let flow: Flow<Scalar>
  public let encoding: Requantization?
  public let seesMirrorImages: Bool
  /// Pixels from one patch to the next.
  public let stride: Int
  /// Over the whole image.
  public let grid: PatchGrid
  private let rows: Strips
  /// Of every rank.
  private let strip: [PatchStrip]
  private let slots: SlotPool<Scalar>

  /// - Parameters:
  ///   - flow: of the patches.
  ///   - imageShape: of the whole image.
  ///   - stride: pixels from one patch to the next, by default half the smaller side.
  ///   - encoding: which image a point stands for.
  ///   - seesMirrorImages: whether the flow was trained on mirror images, too.
  ///   - ranks: those that share the image.
  public convenience init(
    _ flow: Flow<Scalar>, imageShape: ImageShape, stride: Int? = nil, encoding: Requantization? = nil,
    seesMirrorImages: Bool = false, ranks: any Ranks = OneRank()
  ) throws {
    let patch = flow.imageShape
    let smaller = min(patch.height, patch.width)
    let stride = stride ?? Self.usualStride(patch)
    guard imageShape.channels == patch.channels else {
      throw FlowError.unsupportedShape(imageShape, reason: "it is for images of \(patch.channels) channels")
    }
    precondition(
      (1...smaller).contains(stride), "a stride of \(stride) leaves gaps between patches of \(patch)")
    self.init(
      try Flow(net: flow.net, imageShape: patch, pool: ThreadPool(threads: 1)), imageShape, stride, turn: 0,
      encoding, seesMirrorImages, Strips(ranks: ranks, height: imageShape.height), SlotPool())
  }

  private init(
    _ flow: Flow<Scalar>, _ imageShape: ImageShape, _ stride: Int, turn: Int, _ encoding: Requantization?,
    _ seesMirrorImages: Bool, _ rows: Strips, _ slots: SlotPool<Scalar>
  ) {
    self.flow = flow
    self.rows = rows
    self.imageShape = ImageShape(
      height: rows.rows().count, width: imageShape.width, channels: imageShape.channels)
    self.stride = stride
    self.encoding = encoding
    self.seesMirrorImages = seesMirrorImages
    self.slots = slots
    let grid = PatchGrid(imageShape, patch: flow.imageShape, stride: stride, turn: turn)
    self.grid = grid
    strip = (0..<rows.ranks.count).map { PatchStrip(grid.rows, rows: rows.rows(rank: $0)) }
  }

  /// That of this rank.
  private var own: PatchStrip { strip[rows.ranks.rank] }

  /// Patches that touch the strip of this rank.
  private var patchCount: Int { own.patchRows.count * grid.columns.count }

  public static func usualStride(_ patch: ImageShape) -> Int { max(1, min(patch.height, patch.width) / 2) }

  public var resolution: Double { Double(Scalar.ulpOfOne) }
  public var isSmooth: Bool { flow.isSmooth }
  public var isNormalized: Bool { false }
  public var strips: Strips? { rows }

  public func round(_ x: Vector, _ scratch: Scratch) { x.round(to: Scalar.self, scratch.pool) }

  // MARK: Noise

  public var noiseLevels: Condition? { flow.condition }

  /// `R_s` over the grid of a turn.
  public func smoothed(by s: Double, turn: Int) throws -> any Prior { try patches(noise: s, turn: turn) }

  private func patches(noise s: Double, turn: Int) throws -> PatchPrior {
    PatchPrior(
      try flow.smoothed(by: s),
      ImageShape(height: rows.height, width: imageShape.width, channels: imageShape.channels), stride,
      turn: turn, encoding, seesMirrorImages, rows, slots)
  }

  public func denoise(_ v: Vector, noise s: Double, turn: Int, into z: Vector, _ scratch: Scratch) throws
    -> Double
  {
    let prior = try patches(noise: s, turn: turn)
    let sum = try prior.sumLogProb(v, gradient: z, scratch)
    let (width, channels, first) = (imageShape.width, imageShape.channels, own.rows.lowerBound)
    for y in 0..<imageShape.height {
      for x in 0..<width {
        let factor = s * s / (prior.grid.rows.cover[first + y] * prior.grid.columns.cover[x])
        for j in (y * width + x) * channels..<(y * width + x + 1) * channels { z[j] = v[j] + factor * z[j] }
      }
    }
    return -sum / grid.cover
  }

  // MARK: Energy

  public func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    let sum = try sumLogProb(x, gradient: gradient, scratch)
    gradient?.scale(by: -1 / grid.cover, scratch.pool)
    return -sum / grid.cover
  }

  /// Σᵢ log p_s(Pᵢx) over all patches, and its gradient in the strip. The sum is exact.
  private func sumLogProb(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    gradient?.set(0, scratch.pool)
    var sum = ExactSum()
    let (counts, columns) = (own.counts, grid.columns.count)
    try eachBatch(x, scratch) { slot in
      if gradient == nil {
        try flow.evaluate(slot.patches, logProb: &slot.logProb)
      } else {
        try flow.evaluateWithGradient(slot.patches, logProb: &slot.logProb, gradient: &slot.gradient)
      }
    } inOrder: { slot in
      for (k, patch) in slot.range.enumerated() where counts[patch / columns] { sum.add(slot.logProb[k]) }
      if let gradient { scatter(slot, into: gradient) }
    }
    let total = rows.total(sum)
    try rows.check()
    return total
  }

  // MARK: Curvature

  /// As many as the latents of all patches. Not over ranks.
  public var probeLength: Int? { rows.ranks.count == 1 ? patchCount * flow.dimension : nil }

  /// `g ← Mᵀv` with `M = c^(−1/2) (JᵢPᵢ)ᵢ`, Jᵢ the Jacobian of patch i's latents.
  public func probe(_ v: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    g.set(0, scratch.pool)
    let d = flow.dimension
    try eachBatch(x, scratch) { slot in
      var latents = try Tensor<Scalar>(shape: [slot.logProb.count, d])
      latents.withMemory { all in
        v[slot.range.lowerBound * d..<slot.range.upperBound * d].convert(into: all[0..<slot.range.count * d])
      }
      slot.gradient = try flow.encodeGradient(
        at: slot.patches, latentCotangent: latents,
        logDetCotangent: [Double](repeating: 0, count: slot.logProb.count))
    } inOrder: { slot in
      scatter(slot, into: g)
    }
    g.scale(by: 1 / grid.cover.squareRoot(), scratch.pool)
  }

  // MARK: Batches

  /// Patches of a batch at most: as many as keep the products busy and what is kept of them in the cache.
  private var batchLimit: Int { max(8, 8192 / flow.dimension) }

  /// Calls `work` for all batches of the strip's patches, some at a time side by side, and `inOrder` for each of them in their
  /// order.
  private func eachBatch(
    _ x: Vector, _ scratch: Scratch, _ work: (PatchSlot<Scalar>) throws -> Void,
    inOrder: (PatchSlot<Scalar>) -> Void
  ) throws {
    let (pool, rowLength, count) = (scratch.pool, imageShape.width * imageShape.channels, patchCount)
    try scratch.scope {
      let seen = try SeenRows({ strip[$0].seen }, of: x, rowLength: rowLength, rows, scratch)
      guard count > 0 else { return }
      // Of one size: the last one is filled up.
      let batches = max((count + batchLimit - 1) / batchLimit, min(8, (count + 31) / 32))
      let size = (count + batches - 1) / batches
      let atOnce = min(batches, pool.threads == 1 ? 1 : 4 * pool.threads)
      try slots.with(atOnce) { slots in
        for first in Swift.stride(from: 0, to: batches, by: atOnce) {
          let several = min(atOnce, batches - first)
          for k in 0..<several {
            let start = min((first + k) * size, count)
            try slots[k].begin(start..<min(start + size, count), size: size, flow.imageShape)
          }
          try pool.run(several) { k, _ in
            guard !slots[k].range.isEmpty else { return }
            gather(seen, slots[k])
            try work(slots[k])
          }
          for k in 0..<several where !slots[k].range.isEmpty { inOrder(slots[k]) }
        }
      }
    }
  }

  /// Copies a batch's patches out of the image; what fills it up are copies of its last patch.
  private func gather(_ seen: SeenRows, _ slot: PatchSlot<Scalar>) {
    slot.patches.withUnsafeMutableBufferPointer { patches in
      let d = flow.dimension
      for k in 0..<slot.logProb.count {
        let i = min(slot.range.lowerBound + k, slot.range.upperBound - 1)
        eachRun(i) { row, start, values in
          PatchCopies.gather(
            seen[row] + start, patches.baseAddress! + k * d + values.lowerBound, values.count)
        }
      }
    }
  }

  /// Adds a batch's gradients to the strip's, patch by patch.
  private func scatter(_ slot: PatchSlot<Scalar>, into g: Vector) {
    let (own, rowLength) = (own.rows, imageShape.width * imageShape.channels)
    g.withUnsafeMutableBufferPointer { g in
      slot.gradient.withUnsafeBufferPointer { patches in
        let d = flow.dimension
        for k in 0..<slot.range.count {
          eachRun(slot.range.lowerBound + k) { row, start, values in
            guard own.contains(row) else { return }
            PatchCopies.add(
              patches.baseAddress! + k * d + values.lowerBound,
              g.baseAddress! + (row - own.lowerBound) * rowLength + start, values.count)
          }
        }
      }
    }
  }

  /// Calls `body` for stretches of the strip's patch i that lie side by side in a row of the image: rows of the patch, or pixels
  /// beside an edge.
  @inline(__always)
  private func eachRun(_ i: Int, _ body: (_ row: Int, _ start: Int, _ values: Range<Int>) -> Void) {
    let (patch, columns) = (grid.patch, grid.columns)
    let (place, column) = i.quotientAndRemainder(dividingBy: columns.count)
    let row = own.patchRows[place]
    let (c, width) = (patch.channels, patch.width)
    for y in 0..<patch.height {
      let source = grid.rows.sources[row * patch.height + y]
      let offset = y * width * c
      if let first = columns.start(column) {
        body(source, first * c, offset..<offset + width * c)
      } else {
        for x in 0..<width {
          body(source, columns.sources[column * width + x] * c, offset + x * c..<offset + (x + 1) * c)
        }
      }
    }
  }
}

/// Copies between precisions, compiled for each.
private enum PatchCopies {
  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  static func gather<Scalar: KernelScalar>(
    _ x: UnsafeMutablePointer<Double>, _ patch: UnsafeMutablePointer<Scalar>, _ count: Int
  ) {
    for j in 0..<count { patch[j] = Scalar(x[j]) }
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  static func add<Scalar: KernelScalar>(
    _ patch: UnsafePointer<Scalar>, _ g: UnsafeMutablePointer<Double>, _ count: Int
  ) {
    for j in 0..<count { g[j] += Double(patch[j]) }
  }
}

/// A batch of patches with what comes of them.
private final class PatchSlot<Scalar: KernelScalar> {
  var range = 0..<0
  var patches: Tensor<Scalar>
  var gradient: Tensor<Scalar>
  var logProb: [Double] = []

  init() throws(TensorError) {
    patches = try Tensor(shape: [0])
    gradient = try Tensor(shape: [0])
  }

  func begin(_ range: Range<Int>, size: Int, _ patch: ImageShape) throws(TensorError) {
    self.range = range
    guard logProb.count != size else { return }
    patches = try Tensor(shape: [size, patch.height, patch.width, patch.channels])
    gradient = try Tensor(shape: patches.shape)
    logProb = [Double](repeating: 0, count: size)
  }
}

/// Slots that calls use again, a set a call at a time.
private final class SlotPool<Scalar: KernelScalar>: @unchecked Sendable {
  private let lock = Lock()
  private var idle: [[PatchSlot<Scalar>]] = []

  func with<R>(_ count: Int, _ body: ([PatchSlot<Scalar>]) throws -> R) throws -> R {
    lock.lock()
    var slots = idle.popLast() ?? []
    lock.unlock()
    while slots.count < count { slots.append(try PatchSlot()) }
    defer { lock.withLock { idle.append(slots) } }
    return try body(slots)
  }
}
