import AIPOKernels

/// A normalizing flow on images of one size: an exact density, with all its gradients.
///
/// `log p(x) = log p_base(ε) + log|det ∂ε/∂x|`, ε = G⁻¹(x), in nats with x on the scale that the flow was trained on
/// ([0, 1] for the shipped priors). A flow with a condition knows noisy images as well: `smoothed`. Batches are `[n, h, w, c]`. Latents are `[n, d]`: what leaves at the first split
/// comes first, what remains after the last layer comes last, each in the order height, width, channel.
///
/// The layers and their numbers are a `FlowNet`, which has no size: `at` gives a flow of the same net for images of
/// another one. A base density with a mean and a scale per channel has the same ones everywhere, at any size.
///
/// Several threads may call a flow at once, each call with scratch memory of its own. Only what changes parameters or
/// takes gradients of them needs the net alone.
public final class Flow<Scalar: KernelScalar>: @unchecked Sendable {
  /// The layers with their numbers.
  public let net: FlowNet<Scalar>
  public let imageShape: ImageShape
  public let pool: ThreadPool
  let route: FlowRoute

  /// The noise levels of the images that it is the density of; 0 in a flow without a condition.
  public let noise: NoiseLevels
  /// What all densities of one net at one size share.
  private let bench: Bench

  /// Plans and scratch memory.
  private final class Bench {
    let lock = Lock()
    var memory = GradientMemory.automatic
    /// Scratch memory that no call uses.
    var idle: [FlowScratch<Scalar>] = []
    /// Plans of the last calls.
    var plans: [KnownPlan] = []
  }

  /// A net at the size of images.
  ///
  /// - Throws: `FlowError.unsupportedShape` if the layers don't accept the size.
  public init(
    net: FlowNet<Scalar>, imageShape: ImageShape,
    pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws {
    self.net = net
    self.imageShape = imageShape
    self.pool = pool
    route = try net.route(for: imageShape)
    noise = .all(0)
    bench = Bench()
  }

  private init(_ flow: Flow, noise: NoiseLevels) {
    net = flow.net
    imageShape = flow.imageShape
    pool = flow.pool
    route = flow.route
    bench = flow.bench
    self.noise = noise
  }

  /// A flow with random parameters (as for training) for images of the given size.
  ///
  /// - `seed`: of the random parameters.
  /// - `pool`: the threads to work on; by default as many as the process may use.
  /// - Throws: `FlowError` if the spec is invalid or doesn't accept the size, `TensorError` without memory.
  public convenience init(
    spec: FlowSpec, imageShape: ImageShape, seed: UInt64 = 0,
    pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws {
    try self.init(
      net: FlowNet(spec: spec, imageShape: imageShape, seed: seed, pool: pool), imageShape: imageShape,
      pool: pool)
  }

  /// A flow with the numbers of `tensors`, named and shaped as `namedTensors` are.
  ///
  /// - Throws: also `FlowError.tensorMismatch`, or `unusableParameters` for a singular matrix or a value that isn't finite.
  public convenience init(
    spec: FlowSpec, imageShape: ImageShape, tensors: [NamedTensor],
    pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws {
    try self.init(
      net: FlowNet(spec: spec, imageShape: imageShape, tensors: tensors, pool: pool), imageShape: imageShape,
      pool: pool)
  }

  /// A flow of the given layers, one's own among them.
  public convenience init(
    layers: [any FlowLayer<Scalar>], imageShape: ImageShape, base: FlowSpec.Base = .gaussian,
    condition: Condition? = nil, seed: UInt64 = 0,
    pool: ThreadPool = ThreadPool(threads: ThreadPool.availableCores)
  ) throws {
    try self.init(
      net: FlowNet(
        layers: layers, imageShape: imageShape, base: base, condition: condition, seed: seed, pool: pool),
      imageShape: imageShape, pool: pool)
  }

  /// The same net for images of another size, on the same threads.
  ///
  /// - Throws: `FlowError.unsupportedShape` if the layers don't accept the size.
  public func at(_ imageShape: ImageShape) throws -> Flow {
    if imageShape == self.imageShape { return self }
    let result = try Flow(net: net, imageShape: imageShape, pool: pool)
    result.gradientMemory = gradientMemory
    return Flow(result, noise: noise)
  }

  // MARK: Noise

  /// The range of noise levels that the flow has learned; nil for a density of clean images alone.
  public var condition: Condition? { net.condition }

  /// `p_s`, the density of `x + s·n`, n ~ N(0, I): the same net, with all that a flow can do. It takes next to no memory
  /// of its own.
  ///
  /// - Throws: `FlowError.noiseLevel` where s is negative or not finite, or isn't 0 and the flow has no condition.
  public func smoothed(by s: Double) throws -> Flow { try smoothed(by: .all(s)) }

  /// The same with a level for each image. Batches must have as many images as there are levels.
  public func smoothed(by levels: [Double]) throws -> Flow { try smoothed(by: .each(levels)) }

  private func smoothed(by levels: NoiseLevels) throws -> Flow {
    let values =
      switch levels {
      case .all(let s): [s]
      case .each(let values): values
      }
    for s in values {
      guard s >= 0, s.isFinite else {
        throw FlowError.noiseLevel(s, reason: "expected a finite number, 0 or more")
      }
      guard s == 0 || condition != nil else {
        throw FlowError.noiseLevel(s, reason: "the flow knows clean images alone: it has no condition")
      }
    }
    return Flow(self, noise: levels)
  }

  /// The mean of the images that may lie behind noisy ones, `D_s(v) = v + s²∇log p_s(v)` (Tweedie's formula), s the
  /// flow's noise levels.
  public func denoised(_ v: Tensor<Scalar>) throws -> Tensor<Scalar> {
    var result = try evaluateWithGradient(v).gradient
    let d = dimension
    for i in 0..<v.shape[0] {
      let factor = Scalar(noise[i] * noise[i])
      for k in i * d..<(i + 1) * d { result[flat: k] = v[flat: k] + factor * result[flat: k] }
    }
    return result
  }

  /// The description that the net was built from; nil if it was built from layers.
  public var spec: FlowSpec? { net.spec }
  public var base: FlowSpec.Base { net.base }

  /// Values in one image, and in its latents.
  public var dimension: Int { imageShape.count }

  // MARK: Memory

  /// How much gradients keep; `automatic` at first.
  public var gradientMemory: GradientMemory {
    get { bench.lock.withLock { bench.memory } }
    set { bench.lock.withLock { bench.memory = newValue } }
  }

  /// How a call with a batch of `count` images goes about it. Throws `FlowError.tooLarge` where the memory that may be
  /// taken isn't enough for one image (or, for parameter gradients, for an eighth of the batch).
  public func plan(_ purpose: FlowPlan.Purpose, count: Int) throws -> FlowPlan {
    try plan(purpose, count: count, memory: gradientMemory)
  }

  func plan(_ purpose: FlowPlan.Purpose, count: Int, memory: GradientMemory) throws -> FlowPlan {
    let request = PlanRequest(purpose: purpose, count: count, memory: memory)
    let available = memory.isGiven ? .max : MemoryLimit.available(beside: workspaceBytes)
    bench.lock.lock()
    var known: FlowPlan?
    for k in bench.plans.indices where bench.plans[k].request == request {
      // One that doesn't fit any more is made anew, and one from when there was much less memory.
      let plan = bench.plans[k]
      if plan.plan.bytes <= available, available / 2 <= plan.available { known = plan.plan }
    }
    bench.lock.unlock()
    if let known { return known }
    let plan = try FlowPlan.make(
      net, route, memory: memory, available: available, purpose: purpose, count: count,
      threads: pool.threads)
    bench.lock.withLock {
      bench.plans.removeAll { $0.request == request }
      if bench.plans.count >= 8 { bench.plans.removeFirst() }
      bench.plans.append(KnownPlan(request: request, available: available, plan: plan))
    }
    return plan
  }

  /// Runs `body` with scratch memory that nobody else uses.
  func withScratch(_ body: (FlowScratch<Scalar>) throws -> Void) throws {
    bench.lock.lock()
    let waiting = bench.idle.popLast()
    bench.lock.unlock()
    let scratch = try waiting ?? FlowScratch(pool: pool)
    defer {
      scratch.settle()
      bench.lock.withLock { bench.idle.append(scratch) }
    }
    try body(scratch)
  }

  /// Bytes of scratch memory that the flow holds while no call is under way: the most that calls so far have needed.
  public var workspaceBytes: Int {
    bench.lock.lock()
    defer { bench.lock.unlock() }
    var bytes = 0
    for scratch in bench.idle { bytes += scratch.bytes }
    return bytes
  }

  // MARK: Parameters

  /// Trainable numbers.
  public var parameterCount: Int { net.parameterCount }

  /// All trainable numbers, in the order of the layers.
  public var parameters: [Scalar] { net.parameters }

  /// Where each trainable tensor, by its name among `namedTensors`, lies in `parameters`.
  public var parameterRanges: [(name: String, range: Range<Int>)] { net.parameterRanges }

  /// Replaces all trainable numbers.
  ///
  /// - Throws: `FlowError.unusableParameters` if a matrix is singular or a value isn't finite; the flow must then be
  ///   given usable ones before it is used again.
  public func setParameters(_ values: [Scalar]) throws { try net.setParameters(values, pool: pool) }

  /// Replaces the numbers of one trainable tensor, of the name that it has among `namedTensors`; as `setParameters`.
  public func setParameters(_ values: [Scalar], of tensor: String) throws {
    try net.setParameters(values, of: tensor)
  }

  /// All numbers by name, the fixed ones included: what a checkpoint holds.
  public var namedTensors: [NamedTensor] { net.namedTensors }

  /// Takes all numbers from tensors with the names and shapes of `namedTensors`.
  public func load(_ tensors: [NamedTensor]) throws { try net.load(tensors, pool: pool) }

  /// Data-dependent initialisation: sets every actnorm that has none from the batch on its way forward.
  public func initialize(from batch: Tensor<Scalar>) throws {
    try check(batch)
    let count = batch.shape[0]
    // Of a batch that gives a layer its numbers, all images are needed at once.
    let plan = try FlowPlan.make(
      net, route, memory: .upTo(bytes: .max), available: .max, purpose: .value, count: count,
      threads: pool.threads)
    try net.alone {
      try withScratch { scratch in
        let pass = scratch.whole
        try begin(pass, 0..<count, plan)
        pass.values.copy(from: batch)
        for step in net.steps {
          try step.layer.initialize(pass)
          try step.layer.refresh()
          try step.layer.forward(pass)
        }
      }
    }
  }

  /// Gives a whitening the mean and the covariance of the images that the flow is for, before a training; does nothing
  /// in a flow without one.
  public func whiten(_ statistics: ImageStatistics) throws {
    try net.alone {
      for layer in net.layers { try (layer as? Whitening<Scalar>)?.take(statistics, of: imageShape) }
    }
  }

  // MARK: Checks

  /// A noise level for each of `count` images.
  private func checkNoise(_ count: Int) throws(FlowError) {
    if case .each(let levels) = noise, levels.count != count {
      throw .shapeMismatch(what: "noise levels", found: [levels.count], expected: [count])
    }
  }

  func check(_ images: Tensor<Scalar>) throws(FlowError) {
    let (found, image) = (images.shape, imageShape)
    guard found.count == 4, found[1] == image.height, found[2] == image.width, found[3] == image.channels
    else {
      throw .shapeMismatch(
        what: "image batch", found: found,
        expected: [found.first ?? 0, image.height, image.width, image.channels])
    }
    try checkNoise(found[0])
  }

  /// One row and one number an image of `batch`.
  func check(_ rows: Tensor<Scalar>, _ numbers: Int, of batch: Tensor<Scalar>) throws(FlowError) {
    let (found, count) = (rows.shape.first ?? 0, batch.shape.first ?? 0)
    guard found == count, numbers == count else {
      throw .shapeMismatch(what: "cotangents", found: [found, numbers], expected: [count, count])
    }
  }

  func check(latents: Tensor<Scalar>) throws(FlowError) {
    let found = latents.shape
    guard found.count == 2, found[1] == dimension else {
      throw .shapeMismatch(what: "latents", found: found, expected: [found.first ?? 0, dimension])
    }
    try checkNoise(found[0])
  }
}

/// What a plan was made for, and the plan. Not part of the generic class, where looking for one would allocate.
private struct KnownPlan {
  let request: PlanRequest
  let available: Int
  let plan: FlowPlan
}
private struct PlanRequest: Equatable {
  let purpose: FlowPlan.Purpose
  let count: Int
  let memory: GradientMemory
}

/// What one call works with: a pass on all threads, and passes on one thread each that share a batch.
final class FlowScratch<Scalar: KernelScalar> {
  let whole: FlowPass<Scalar>
  let lanes: [FlowPass<Scalar>]
  private let workspaces: [Workspace<Scalar>]

  init(pool: ThreadPool) throws(TensorError) {
    workspaces = (0..<pool.threads).map { _ in Workspace<Scalar>() }
    whole = try FlowPass(pool: pool, workspaces: workspaces)
    var lanes: [FlowPass<Scalar>] = []
    let alone = ThreadPool(threads: 1)
    if pool.threads > 1 {
      for workspace in workspaces { lanes.append(try FlowPass(pool: alone, workspaces: [workspace])) }
    }
    self.lanes = lanes
  }

  func settle() {
    whole.settle()
    for lane in lanes { lane.settle() }
  }

  /// Bytes of memory that are held. It is asked for before every pass, so sums are loops, which take no memory.
  var bytes: Int {
    var bytes = whole.bytes
    for lane in lanes { bytes += lane.bytes }
    for workspace in workspaces { bytes += workspace.capacity * MemoryLayout<Scalar>.stride }
    return bytes
  }
}
