import AIPOKernels

/// A batch on its way through a flow: the values, the log-determinants, and on the way back their cotangents.
public final class FlowPass<Scalar: KernelScalar> {
  /// Images of the batch.
  public let count: Int

  /// The current shape of an image.
  public private(set) var shape: ImageShape

  /// Log-determinant so far, one an image, in nats.
  public let logDet: Memory<Double>

  /// ∂φ/∂ log-determinant, one an image.
  public let logDetCotangent: Memory<Double>

  /// Whether parameter gradients are accumulated on the way back.
  public let wantsParameterGradients: Bool

  public let pool: ThreadPool

  /// Scratch memory by worker; worker 0's may be used outside parallel work.
  public let workspaces: [Workspace<Scalar>]

  private var buffer: Memory<Scalar>
  private var spare: Memory<Scalar>
  private var cotangentBuffer: Memory<Scalar>?
  private var spareCotangent: Memory<Scalar>?

  private let latentBuffer: Memory<Scalar>
  private let latentCotangentBuffer: Memory<Scalar>?
  /// Values an image that have left for the latents.
  private var emitted = 0

  private let rowLogDet: Memory<Double>

  /// A pass over images (`atLatents` false: all values are in `values`) or over latents (all have been emitted).
  init(
    count: Int, shape: ImageShape, dimension: Int, atLatents: Bool, wantsCotangents: Bool,
    wantsParameterGradients: Bool, pool: ThreadPool, workspaces: [Workspace<Scalar>],
    doubles: Workspace<Double>
  ) throws(TensorError) {
    self.count = count
    self.shape = shape
    self.pool = pool
    self.workspaces = workspaces
    self.wantsParameterGradients = wantsParameterGradients
    let size = count * dimension
    let workspace = workspaces[0]
    buffer = try workspace.take(size)
    spare = try workspace.take(size)
    latentBuffer = try workspace.take(size)
    if wantsCotangents {
      cotangentBuffer = try workspace.take(size)
      spareCotangent = try workspace.take(size)
      latentCotangentBuffer = try workspace.take(size)
    } else {
      latentCotangentBuffer = nil
    }
    logDet = try doubles.take(count)
    logDet.fill(0)
    logDetCotangent = try doubles.take(count)
    logDetCotangent.fill(0)
    rowLogDet = try doubles.take(size)
    emitted = atLatents ? dimension : 0
  }

  /// The current values, `[count, h, w, c]`.
  public var values: Memory<Scalar> { buffer[0..<count * shape.count] }

  /// The current values' cotangent.
  public var cotangent: Memory<Scalar> {
    guard let cotangentBuffer else { preconditionFailure("the pass goes one way only") }
    return cotangentBuffer[0..<count * shape.count]
  }

  /// Whether the pass carries cotangents.
  public var hasCotangent: Bool { cotangentBuffer != nil }

  /// Rows of the batch at the current shape.
  public var rows: Int { count * shape.height }

  /// Latents of all levels, `[level][count, …]`, in the order in which they left.
  var latents: Memory<Scalar> { latentBuffer }
  var latentCotangents: Memory<Scalar> {
    guard let latentCotangentBuffer else { preconditionFailure("the pass goes one way only") }
    return latentCotangentBuffer
  }

  /// Replaces values (and the cotangent, if there is one) by what `body` writes, under a new shape.
  /// `body(from, to)` is called for each.
  public func rewrite(
    to newShape: ImageShape, _ body: (_ from: Memory<Scalar>, _ to: Memory<Scalar>) throws -> Void
  ) rethrows {
    try rewriteValues(to: newShape, body)
    if cotangentBuffer != nil { try rewriteCotangent(body) }
  }

  /// Replaces the values alone. The cotangent keeps its place until `rewriteCotangent`.
  public func rewriteValues(
    to newShape: ImageShape, _ body: (_ from: Memory<Scalar>, _ to: Memory<Scalar>) throws -> Void
  ) rethrows {
    let from = buffer[0..<min(buffer.count, count * shape.count)]
    try body(from, spare[0..<count * newShape.count])
    swap(&buffer, &spare)
    previousShape = shape
    shape = newShape
  }

  /// The shape before the last `rewriteValues`, which the cotangent still has.
  private var previousShape: ImageShape?

  /// Brings the cotangent to the shape that the values have got.
  public func rewriteCotangent(
    _ body: (_ from: Memory<Scalar>, _ to: Memory<Scalar>) throws -> Void
  ) rethrows {
    guard let old = cotangentBuffer, let new = spareCotangent else { preconditionFailure("no cotangent") }
    let oldShape = previousShape ?? shape
    try body(old[0..<count * oldShape.count], new[0..<count * shape.count])
    cotangentBuffer = new
    spareCotangent = old
    previousShape = nil
  }

  // MARK: Latents

  /// Takes room for `size` values an image among the latents: on the way to the latents.
  func emit(_ size: Int) -> Memory<Scalar> {
    defer { emitted += size }
    return latentBuffer[count * emitted..<count * (emitted + size)]
  }

  /// The latents that left last, with their cotangent: on the way from the latents.
  func absorb(_ size: Int) -> (values: Memory<Scalar>, cotangent: Memory<Scalar>?) {
    emitted -= size
    let range = count * emitted..<count * (emitted + size)
    return (latentBuffer[range], latentCotangentBuffer?[range])
  }

  /// Room for latents that come back while going back through `inverse`, with their cotangent.
  func emitWithCotangent(_ size: Int) -> (values: Memory<Scalar>, cotangent: Memory<Scalar>) {
    let range = count * emitted..<count * (emitted + size)
    emitted += size
    return (latentBuffer[range], latentCotangents[range])
  }

  /// Sets the current shape without moving data: when a layer has taken all values, or gives the first.
  func setShape(_ newShape: ImageShape) { shape = newShape }

  /// The values' memory, whole; for a layer that fills it while the shape grows.
  func fillValues(shape newShape: ImageShape) -> (values: Memory<Scalar>, cotangent: Memory<Scalar>?) {
    shape = newShape
    previousShape = nil
    return (values, cotangentBuffer.map { $0[0..<count * newShape.count] })
  }

  // MARK: Log-determinants

  /// Adds the same amount to every image's log-determinant.
  public func addLogDet(_ value: Double) {
    for i in 0..<count { logDet[i] += value }
  }

  /// Σ ℓ̄ over the batch, in order.
  public var logDetCotangentSum: Double {
    var sum = 0.0
    for i in 0..<count { sum += logDetCotangent[i] }
    return sum
  }

  /// Room for one partial log-determinant a row.
  var logDetRows: Memory<Double> { rowLogDet[0..<rows] }

  /// Adds each image's partial log-determinants, in the order of its rows.
  func addLogDetRows() {
    for i in 0..<count {
      var sum = 0.0
      for r in i * shape.height..<(i + 1) * shape.height { sum += rowLogDet[r] }
      logDet[i] += sum
    }
  }

  // MARK: Parallel work

  /// Runs `body` over pieces of the batch's rows at the current shape; for work whose rows don't depend on each
  /// other.
  public func parallelRows(_ body: (Range<Int>) throws -> Void) throws {
    let perRow = shape.width * shape.channels
    try pool.split(rows, minimum: max(1, 16384 / max(perRow, 1))) { range, _ in try body(range) }
  }

  /// The most pieces that a parameter's gradient is summed in; a constant, so that the sum's order doesn't depend
  /// on the number of threads.
  static var slabs: Int { 8 }

  /// Runs `body` over slabs of the batch's images, each with a zeroed array of `size` elements to accumulate a
  /// gradient in, and adds these arrays to `gradient` in their order.
  public func accumulate(
    size: Int, _ body: (_ images: Range<Int>, _ partial: Memory<Scalar>, _ worker: Int) throws -> Void,
    add: (_ partial: Memory<Scalar>) -> Void
  ) throws {
    let slabs = max(1, min(Self.slabs, count))
    try workspaces[0].scope {
      let partials = try workspaces[0].take(slabs * size)
      partials.fill(0)
      try pool.run(slabs) { slab, worker in
        try body(
          count * slab / slabs..<count * (slab + 1) / slabs, partials[slab * size..<(slab + 1) * size], worker
        )
      }
      for slab in 0..<slabs { add(partials[slab * size..<(slab + 1) * size]) }
    }
  }
}
