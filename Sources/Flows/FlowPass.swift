import AIPOKernels

/// A batch on its way through a flow: the values, the log-determinants, and on the way back their cotangents.
///
/// On the way there layers may keep what they need for the way back (`kept`). If they keep nothing, the values go back
/// along with the cotangent, each layer recomputing its input from its output; otherwise the cotangent goes alone.
public final class FlowPass<Scalar: KernelScalar> {
  /// Images of the batch.
  public private(set) var count = 0

  /// The current shape of an image.
  public private(set) var shape = ImageShape(height: 0, width: 0, channels: 0)

  /// Log-determinant so far, one an image, in nats.
  public var logDet: Memory<Double> { doubles.memory[0..<count] }

  /// ∂φ/∂ log-determinant, one an image.
  public var logDetCotangent: Memory<Double> { doubles.memory[count..<2 * count] }

  /// The noise level s of each image; 0 in a flow without a condition.
  public var noise: Memory<Double> { doubles.memory[2 * count..<3 * count] }
  /// Whether it is the same for all.
  private(set) var hasOneNoiseLevel = true

  /// Whether parameter gradients are accumulated on the way back.
  public private(set) var wantsParameterGradients = false

  public let pool: ThreadPool

  /// Scratch memory by worker; worker 0's may be used outside parallel work.
  public let workspaces: [Workspace<Scalar>]

  /// What is kept on the way there.
  private(set) var kept = GradientMemory.Kept.nothing
  private let tape = Workspace<Scalar>()
  private var records: [Memory<Scalar>] = []

  /// Images whose parameter gradients are summed before they are added to the others', so that the sum's order depends
  /// on the batch alone, not on threads or on the parts that it is taken in.
  private(set) var slab = 1

  /// Images that a pass of the plan has at most: this one may have what is left of a batch.
  private(set) var mostImages = 1

  /// Values that a net's activations may take on a thread, where an image's rows can go through it a part at a time.
  private(set) var stripCount = 0

  private var isBack = false
  private var buffer: Memory<Scalar>
  private var spare: Memory<Scalar>
  private var cotangentBuffer: Memory<Scalar>
  private var spareCotangent: Memory<Scalar>
  private var cotangentShape = ImageShape(height: 0, width: 0, channels: 0)

  /// Latents of all levels, `[level][count, …]`, in the order in which they left.
  private(set) var latents: Memory<Scalar>
  private(set) var latentCotangents: Memory<Scalar>
  /// Values an image that have left for the latents.
  private var emitted = 0

  private var doubles: Storage<Double>

  /// Rows of the one image whose part of the log-density is asked for, as in `Flow.evaluate(_:rows:)`.
  private var counted: (rows: Range<Int>, ofHeight: Int)?
  /// That part so far.
  var countedPart = ExactSum()

  init(pool: ThreadPool, workspaces: [Workspace<Scalar>]) throws(TensorError) {
    self.pool = pool
    self.workspaces = workspaces
    doubles = try Storage(count: 0)
    let none = try workspaces[0].take(0)
    (buffer, spare, cotangentBuffer, spareCotangent) = (none, none, none, none)
    (latents, latentCotangents) = (none, none)
  }

  /// Begins a pass of `count` images at the first or, `atLatents`, the last of the shapes on their way, none of which has
  /// more rows than `height`.
  func begin(
    count: Int, from first: ImageShape, to last: ImageShape, height: Int, atLatents: Bool, plan: FlowPlan
  ) throws(TensorError) {
    let goesBack = plan.purpose != .value
    self.count = count
    shape = atLatents ? last : first
    kept = plan.kept
    slab = plan.slab
    mostImages = plan.imagesAtOnce
    stripCount = plan.stripCount
    wantsParameterGradients = plan.purpose == .parameterGradient
    isBack = false
    for workspace in workspaces { workspace.reset() }
    tape.reset()
    // A little more, since arrays begin at multiples of 64 bytes.
    if kept != .nothing { try tape.reserve(count * plan.keptCount + FlowPlan.tapeMargin) }
    records.removeAll(keepingCapacity: true)
    try workspaces[0].reserve(plan.scratchCount.first)
    for k in 1..<workspaces.count { try workspaces[k].reserve(plan.scratchCount.others) }
    let size = count * first.count
    buffer = try workspaces[0].take(size)
    spare = try workspaces[0].take(size)
    latents = try workspaces[0].take(size)
    if goesBack {
      cotangentBuffer = try workspaces[0].take(size)
      spareCotangent = try workspaces[0].take(size)
      latentCotangents = try workspaces[0].take(size)
    }
    let numbers = count * (FlowPlan.imageNumbers + height)
    if doubles.memory.count < numbers { doubles = try Storage(count: numbers) }
    doubles.memory[0..<FlowPlan.imageNumbers * count].fill(0)
    hasOneNoiseLevel = true
    emitted = atLatents ? first.count : 0
    counted = nil
  }

  /// From here on asks for the part of some rows of the one image.
  func count(_ rows: Range<Int>) {
    precondition(count == 1)
    counted = (rows, shape.height)
    countedPart = ExactSum()
  }

  /// Sets the images' noise levels, those of `images` of the whole batch.
  func setNoise(_ levels: NoiseLevels, of images: Range<Int>, _ condition: Condition) {
    for (k, image) in images.enumerated() {
      noise[k] = condition.effective(levels[image])
      if noise[k] != noise[0] { hasOneNoiseLevel = false }
    }
  }

  /// Turns round: from here the cotangent is carried, whose values at the images or the latents have been set.
  func turnBack() {
    isBack = true
    cotangentShape = shape
  }

  /// Bytes that are held, beside the workspaces.
  var bytes: Int {
    tape.capacity * MemoryLayout<Scalar>.stride + doubles.memory.count * MemoryLayout<Double>.stride
  }

  /// Gives scratch memory that lies in pieces back, to take it in one piece next time.
  func settle() {
    for workspace in workspaces { workspace.settle() }
    tape.settle()
  }

  /// The current values, `[count, h, w, c]`. On the way back they are there if nothing is kept, and for layers of one's
  /// own.
  public var values: Memory<Scalar> { buffer[0..<count * shape.count] }

  /// The current values' cotangent.
  public var cotangent: Memory<Scalar> {
    precondition(isBack, "there is no cotangent on the way there")
    return cotangentBuffer[0..<count * cotangentShape.count]
  }

  /// Whether values travel: always on the way there, and on the way back if nothing is kept.
  var carriesValues: Bool { !isBack || kept == .nothing }

  /// Rows of the batch at the current shape.
  public var rows: Int { count * shape.height }

  // MARK: The tape

  /// Memory for `size` values that the way back gets by `recall`, last in first out.
  func keep(_ size: Int) throws(TensorError) -> Memory<Scalar> {
    let memory = try tape.take(size)
    records.append(memory)
    return memory
  }

  /// Keeps a copy.
  func keep(_ values: Memory<Scalar>) throws {
    let copy = try keep(values.count)
    try split(values.count, minimum: 1 << 16) { copy[$0].copy(from: values[$0]) }
  }

  func recall() -> Memory<Scalar> {
    guard let memory = records.popLast() else { preconditionFailure("nothing is kept any more") }
    return memory
  }

  // MARK: New shapes

  /// Replaces what travels (values, on the way back the cotangent, or both) by what `body` writes, under a new shape.
  /// `body(from, to)` is called for each.
  public func rewrite(
    to newShape: ImageShape, _ body: (_ from: Memory<Scalar>, _ to: Memory<Scalar>) throws -> Void
  ) rethrows {
    if carriesValues { try rewriteValues(to: newShape, body) }
    if isBack { try rewriteCotangent(to: newShape, body) }
  }

  /// Replaces the values alone. The cotangent keeps its shape until `rewriteCotangent`.
  public func rewriteValues(
    to newShape: ImageShape, _ body: (_ from: Memory<Scalar>, _ to: Memory<Scalar>) throws -> Void
  ) rethrows {
    try body(values, spare[0..<count * newShape.count])
    swap(&buffer, &spare)
    shape = newShape
  }

  /// Replaces the cotangent alone, under a new shape, or under that of the values.
  public func rewriteCotangent(
    to newShape: ImageShape? = nil, _ body: (_ from: Memory<Scalar>, _ to: Memory<Scalar>) throws -> Void
  ) rethrows {
    if let newShape { shape = newShape }
    try body(cotangent, spareCotangent[0..<count * shape.count])
    swap(&cotangentBuffer, &spareCotangent)
    cotangentShape = shape
  }

  // MARK: Latents

  /// Takes room for `size` values an image among the latents, with their cotangent: towards the latents.
  func emit(_ size: Int) -> (values: Memory<Scalar>, cotangent: Memory<Scalar>?) {
    defer { emitted += size }
    let range = count * emitted..<count * (emitted + size)
    return (latents[range], isBack ? latentCotangents[range] : nil)
  }

  /// The latents that left last, with their cotangent: from the latents.
  func absorb(_ size: Int) -> (values: Memory<Scalar>, cotangent: Memory<Scalar>?) {
    emitted -= size
    let range = count * emitted..<count * (emitted + size)
    return (latents[range], isBack ? latentCotangents[range] : nil)
  }

  /// The memory of values and cotangent under the current shape, for the layer that fills it first.
  func fillValues() -> (values: Memory<Scalar>, cotangent: Memory<Scalar>?) {
    if isBack { cotangentShape = shape }
    return (values, isBack ? cotangent : nil)
  }

  // MARK: Log-determinants

  /// Adds the same amount to every image's log-determinant.
  public func addLogDet(_ value: Double) {
    for i in 0..<count { logDet[i] += value }
  }

  /// Adds what every pixel gives, the same everywhere; `pixels` where they aren't those of the current shape.
  func addLogDet(ofPixel value: Double, pixels: Int? = nil) {
    addLogDet(Double(pixels ?? shape.height * shape.width) * value)
    addToCounted(height: shape.height) { _ in Double(shape.width) * value }
  }

  /// Adds to the part that is asked for what each of its rows gives, where the image has so many rows.
  func addToCounted(height: Int, _ value: (_ row: Int) -> Double) {
    guard let counted else { return }
    let scale = counted.ofHeight / height
    countedPart.add(counted.rows.lowerBound / scale..<counted.rows.upperBound / scale, value)
  }

  /// Σ ℓ̄ over the batch, in order.
  public var logDetCotangentSum: Double {
    var sum = 0.0
    for i in 0..<count { sum += logDetCotangent[i] }
    return sum
  }

  /// Room for one partial log-determinant a row.
  var logDetRows: Memory<Double> {
    doubles.memory[FlowPlan.imageNumbers * count..<FlowPlan.imageNumbers * count + rows]
  }

  /// Adds each image's partial log-determinants, in the order of its rows.
  func addLogDetRows() {
    let partial = logDetRows
    for i in 0..<count {
      var sum = 0.0
      for r in i * shape.height..<(i + 1) * shape.height { sum += partial[r] }
      logDet[i] += sum
    }
    addToCounted(height: shape.height) { partial[$0] }
  }

  // MARK: Parallel work

  /// Runs `body` over pieces of `0..<count`, each at least `minimum` long.
  func split(_ count: Int, minimum: Int, _ body: (Range<Int>) throws -> Void) throws {
    try pool.split(count, minimum: minimum) { range, _ in try body(range) }
  }

  /// Runs `body` over slabs of the batch's images, each with a zeroed array of `size` elements to accumulate a
  /// gradient in, and adds these arrays to `gradient` in their order.
  public func accumulate(
    size: Int, _ body: (_ images: Range<Int>, _ partial: Memory<Scalar>, _ worker: Int) throws -> Void,
    add: (_ partial: Memory<Scalar>) -> Void
  ) throws {
    let slabs = (count + slab - 1) / slab
    try workspaces[0].scope {
      let partials = try workspaces[0].take(slabs * size)
      partials.fill(0)
      try pool.run(slabs) { k, worker in
        try body(
          k * slab..<min(count, (k + 1) * slab), partials[k * size..<(k + 1) * size], worker)
      }
      for k in 0..<slabs { add(partials[k * size..<(k + 1) * size]) }
    }
  }
}
