import AIPOFlows
import AIPOKernels
import AIPOPlatform

/// A normalizing flow as a prior: `R(x) = −log p_base(ε) − log|det ∂ε/∂x|`, ε = G⁻¹(x).
///
/// The flow works in its own precision, and points are rounded to it. Several threads may call it at once.
///
/// Of a large image ranks may have some rows each (`FlowRows`): `imageShape` is then that of this rank's, and R that of the whole.
/// Latents can be had of whole images alone.
public final class FlowPrior<Scalar: KernelScalar>: LatentPrior {
  /// At the size of the image, or of this rank's window of it.
  public let flow: Flow<Scalar>
  public let imageShape: ImageShape
  public let encoding: Requantization?
  public let seesMirrorImages: Bool
  private let buffers: BufferPool<Scalar>
  /// Where the log-density is a sum over rows.
  private let rows: FlowRows?
  /// Shapes of a batch of one, made once: an array takes memory.
  private let batch: [Int]
  private let latentBatch: [Int]

  public convenience init(
    _ flow: Flow<Scalar>, encoding: Requantization? = nil, seesMirrorImages: Bool = false
  ) {
    self.init(flow, encoding, seesMirrorImages, BufferPool(), nil)
  }

  /// A prior for an image of `rows.imageShape` of which ranks have some rows each.
  ///
  /// - Throws: `FlowError.unsupportedShape` if the layers don't accept the size, `TensorError` without memory.
  public convenience init(
    _ flow: Flow<Scalar>, _ rows: FlowRows, encoding: Requantization? = nil, seesMirrorImages: Bool = false
  ) throws {
    self.init(try flow.at(rows.windowShape), encoding, seesMirrorImages, BufferPool(), rows)
  }

  private init(
    _ flow: Flow<Scalar>, _ encoding: Requantization?, _ seesMirrorImages: Bool,
    _ buffers: BufferPool<Scalar>,
    _ rows: FlowRows?
  ) {
    self.buffers = buffers
    self.rows = rows
    imageShape = rows?.stripShape ?? flow.imageShape
    self.seesMirrorImages = seesMirrorImages
    self.flow = flow
    self.encoding = encoding
    let shape = flow.imageShape
    batch = [1, shape.height, shape.width, shape.channels]
    latentBatch = [1, shape.count]
  }

  public var strips: Strips? { rows?.strips }
  public var resolution: Double { Double(Scalar.ulpOfOne) }
  public var isSmooth: Bool { flow.isSmooth }
  public var hasUniformBase: Bool { if case .uniform = flow.base { true } else { false } }

  public func round(_ x: Vector, _ scratch: Scratch) { x.round(to: Scalar.self, scratch.pool) }

  public func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    try buffers.with { buffers in
      if let rows { return try evaluate(x, rows, gradient: gradient, buffers, scratch) }
      try buffers.images.set(x, shape: batch, scratch.pool)
      guard let gradient else {
        try flow.evaluate(buffers.images.tensor, logProb: &buffers.number)
        return -buffers.number[0]
      }
      try flow.evaluateWithGradient(
        buffers.images.tensor, logProb: &buffers.number, gradient: &buffers.gradient.tensor)
      buffers.gradient.get(gradient, times: -1, scratch.pool)
      return -buffers.number[0]
    }
  }

  /// R of all ranks' rows, and its gradient in this one's.
  private func evaluate(
    _ x: Vector, _ rows: FlowRows, gradient: Vector?, _ buffers: BufferPool<Scalar>.Buffers,
    _ scratch: Scratch
  ) throws -> Double {
    let length = imageShape.width * imageShape.channels
    try buffers.images.resize(batch)
    try scratch.scope {
      let seen = try SeenRows(rows.window, of: x, rowLength: length, rows.strips, scratch)
      buffers.images.tensor.withMemory { window in
        for (k, row) in rows.window(rows.strips.ranks.rank).enumerated() {
          seen.values(row).convert(into: window[k * length..<(k + 1) * length])
        }
      }
    }
    let part: ExactSum
    let own = rows.ownInWindow
    if let gradient {
      part = try flow.evaluateWithGradient(
        buffers.images.tensor, rows: own, gradient: &buffers.gradient.tensor)
      buffers.gradient.tensor.withUnsafeBufferPointer {
        gradient.set(
          converting: Memory(reading: $0)[own.lowerBound * length..<own.upperBound * length], times: -1,
          scratch.pool)
      }
    } else {
      part = try flow.evaluate(buffers.images.tensor, rows: own)
    }
    let total = rows.strips.total(part)
    try rows.strips.check()
    return -total
  }

  public var noiseLevels: Condition? { flow.condition }

  public func smoothed(by s: Double, turn: Int) throws -> any Prior {
    FlowPrior(try flow.smoothed(by: s), encoding, seesMirrorImages, buffers, rows)
  }

  // MARK: Latents

  public func encode(_ x: Vector, into latents: Vector, _ scratch: Scratch) throws -> Double {
    try buffers.with { buffers in
      try buffers.images.set(x, shape: batch, scratch.pool)
      try buffers.latents.resize(latentBatch)
      try flow.encode(buffers.images.tensor, latents: &buffers.latents.tensor, logDet: &buffers.number)
      buffers.latents.get(latents, scratch.pool)
      return buffers.number[0]
    }
  }

  public func decode(_ latents: Vector, into x: Vector, _ scratch: Scratch) throws -> Double {
    try buffers.with { buffers in
      try buffers.latents.set(latents, shape: latentBatch, scratch.pool)
      try buffers.images.resize(batch)
      try flow.decode(buffers.latents.tensor, images: &buffers.images.tensor, logDet: &buffers.number)
      buffers.images.get(x, scratch.pool)
      return buffers.number[0]
    }
  }

  public func decode(
    _ latents: Vector, into x: Vector, gradient: Vector, _ scratch: Scratch,
    cotangents: (_ logDet: Double, _ xbar: Vector) throws -> Double
  ) throws {
    try buffers.with { buffers in
      try buffers.latents.set(latents, shape: latentBatch, scratch.pool)
      if buffers.decoded == nil { buffers.decoded = try DecodeGradient() }
      try flow.decodeWithGradient(buffers.latents.tensor, &buffers.decoded!) { decoded, _ in
        decoded.images.withUnsafeBufferPointer { x.set(converting: Memory(reading: $0), scratch.pool) }
        let logDet = decoded.logDet[0]
        try scratch.scope {
          let xbar = try scratch.take(count)
          decoded.logDetCotangent[0] = try cotangents(logDet, xbar)
          decoded.imageCotangent.withMemory { xbar.convert(into: $0, scratch.pool) }
        }
      }
      buffers.decoded!.gradient.withUnsafeBufferPointer {
        gradient.set(converting: Memory(reading: $0), scratch.pool)
      }
    }
  }

  public func decodePullback(_ xbar: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    try buffers.with { buffers in
      try buffers.images.set(x, shape: batch, scratch.pool)
      try buffers.gradient.set(xbar, shape: batch, scratch.pool)
      let found = try flow.decodeGradient(
        at: buffers.images.tensor, imageCotangent: buffers.gradient.tensor, logDetCotangent: [0])
      found.withUnsafeBufferPointer { g.set(converting: Memory(reading: $0), scratch.pool) }
    }
  }

  public func baseEnergy(_ latents: Vector, gradient: Vector, _ scratch: Scratch) throws -> Double {
    switch flow.base {
    case .gaussian, .learnedGaussian, .diagonalGaussian:
      gradient.set(latents, scratch.pool)
      return 0.5 * latents.dot(latents, scratch.pool) + 0.5 * log(2 * Double.pi) * Double(count)
    case .uniform:
      gradient.set(0, scratch.pool)
      return latents.total(scratch.pool) { $0 >= 0 && $0 <= 1 ? 0 : $0.isNaN ? .nan : .infinity }
    }
  }

  // MARK: Curvature

  /// Not over ranks.
  public var probeLength: Int? { rows.map { $0.strips.ranks.count > 1 } ?? false ? nil : count }

  /// `g ← Jᵀv`, J = ∂ε/∂x.
  public func probe(_ v: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    try buffers.with { buffers in
      try buffers.images.set(x, shape: batch, scratch.pool)
      try buffers.latents.set(v, shape: latentBatch, scratch.pool)
      let found = try flow.encodeGradient(
        at: buffers.images.tensor, latentCotangent: buffers.latents.tensor, logDetCotangent: [0])
      found.withUnsafeBufferPointer { g.set(converting: Memory(reading: $0), scratch.pool) }
    }
  }
}

extension Vector {
  /// To the values that a precision holds.
  func round<Scalar: KernelScalar>(to _: Scalar.Type, _ pool: ThreadPool) {
    guard Scalar.self == Float.self else { return }
    setEach(pool) { Double(Float($0)) }
  }
}

/// Arrays in a flow's precision that calls use again, a set a call at a time.
private final class BufferPool<Scalar: KernelScalar>: @unchecked Sendable {
  /// One array.
  struct Buffer {
    var tensor: Tensor<Scalar>

    init() throws(TensorError) { tensor = try Tensor(shape: [0]) }

    mutating func resize(_ shape: [Int]) throws(TensorError) {
      if tensor.shape != shape { tensor = try Tensor(shape: shape) }
    }

    mutating func set(_ x: Vector, shape: [Int], _ pool: ThreadPool) throws(TensorError) {
      try resize(shape)
      tensor.withMemory { x.convert(into: $0, pool) }
    }

    func get(_ x: Vector, times factor: Double = 1, _ pool: ThreadPool) {
      tensor.withUnsafeBufferPointer { x.set(converting: Memory(reading: $0), times: factor, pool) }
    }
  }

  final class Buffers {
    var images: Buffer
    var gradient: Buffer
    var latents: Buffer
    var decoded: DecodeGradient<Scalar>?
    var number = [0.0]

    init() throws(TensorError) {
      images = try Buffer()
      gradient = try Buffer()
      latents = try Buffer()
    }
  }

  private let lock = Lock()
  private var idle: [Buffers] = []

  func with<R>(_ body: (Buffers) throws -> R) throws -> R {
    lock.lock()
    let waiting = idle.popLast()
    lock.unlock()
    let buffers = try waiting ?? Buffers()
    defer { lock.withLock { idle.append(buffers) } }
    return try body(buffers)
  }
}
