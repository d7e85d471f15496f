import AIPOFlows
import AIPOKernels

/// Puts a flow, or a layer of one's own, through what every flow must do: invert, give the right log-determinant and the
/// right gradients, and the same bits whatever the threads and the batch.
///
/// ```swift
/// let checks = FlowChecks<Double> { pool in
///   try Flow(layers: [MyLayer()], imageShape: ImageShape(height: 4, width: 6, channels: 3), pool: pool)
/// }
/// try checks.measure().verify()
/// ```
///
/// The flow gets random parameters first. Derivatives are checked in double precision alone, where finite differences
/// can tell right from wrong; a `Float` flow is checked for its inverse and its bits. The dense Jacobian costs d²
/// numbers: take images of a few dozen values.
public struct FlowChecks<Scalar: KernelScalar> {
  /// Limits, all on differences divided by max(1, the largest magnitude compared).
  public struct Bounds: Sendable {
    /// Of `decode(encode(x)) − x` and `encode(decode(ε)) − ε`.
    public var roundTrip: Double
    /// Of the log-determinant against the dense Jacobian's.
    public var logDeterminant: Double
    /// Of the Jacobian by `encodeGradient` against central differences.
    public var jacobian: Double
    /// The order at which the remainder of a first-order expansion must vanish; 2 in exact arithmetic.
    public var taylorOrder: Double

    /// Of gradients through `encode` whose inputs are recomputed against those whose inputs are kept.
    public var gradientMemory: Double

    /// 1e-12 in double precision, 1e-4 in single; 1e-10; 1e-7; 1.9; 1e-10.
    public init() {
      roundTrip = Scalar.self == Double.self ? 1e-12 : 1e-4
      logDeterminant = 1e-10
      jacobian = 1e-7
      taylorOrder = 1.9
      gradientMemory = 1e-10
    }
  }

  public var bounds = Bounds()
  /// Of the random parameters and images.
  public var seed: UInt64
  /// Images of the batches that are checked.
  public var imageCount = 3
  /// Deviation of what is added to the parameters.
  public var parameterScale: Double
  /// Noise levels of a flow with a condition: the images of a batch have them in turn.
  public var noise = [0, 0.013, 0.11, 0.9]
  /// How many other points are tried where a derivative fails: a kink (ReLU) may lie at a point, never at all.
  public var attempts = 4

  let make: (ThreadPool) throws -> Flow<Scalar>

  /// `make`: makes the flow, always the same one, on the given threads.
  public init(
    seed: UInt64 = 1, parameterScale: Double = 0.1,
    _ make: @escaping (_ pool: ThreadPool) throws -> Flow<Scalar>
  ) {
    self.seed = seed
    self.parameterScale = parameterScale
    self.make = make
  }

  /// All checks in turn.
  public func measure() throws -> [CheckResult] {
    var results = try measureRoundTrip() + measureBits()
    if Scalar.self == Double.self {
      results += try measureLogDeterminant() + measureGradients() + measureGradientMemory()
    }
    return results
  }

  /// The flow with random parameters.
  func flow(threads: Int = 1) throws -> Flow<Scalar> {
    let flow = try make(ThreadPool(threads: threads))
    try randomizeParameters(of: flow, seed: seed, scale: parameterScale)
    return flow
  }

  /// The flow as the density of `count` images from image `first` on: of noisy ones, where it has a condition.
  func density(_ flow: Flow<Scalar>, _ count: Int, from first: Int = 0) throws -> Flow<Scalar> {
    guard flow.condition != nil else { return flow }
    return try flow.smoothed(by: (first..<first + count).map { noise[$0 % noise.count] })
  }

  /// Normal images about ½.
  func images(_ count: Int, of flow: Flow<Scalar>, attempt: Int = 0) throws -> Tensor<Scalar> {
    let shape = flow.imageShape
    var random = Philox(seed: seed, index: UInt64(1 + attempt), purpose: .test)
    return try Tensor(
      shape: [count, shape.height, shape.width, shape.channels],
      elements: (0..<count * shape.count).map { _ in Scalar(0.5 + 0.5 * random.normal()) })
  }

  /// Latents inside the base's support.
  func latents(_ count: Int, of flow: Flow<Scalar>, attempt: Int = 0) throws -> Tensor<Scalar> {
    try flow.sampleLatents(indices: attempt * count..<(attempt + 1) * count, temperature: 0.7, seed: seed)
  }

  // MARK: Inverse

  /// `decode(encode(x)) = x`, `encode(decode(ε)) = ε`, and opposite log-determinants.
  public func measureRoundTrip() throws -> [CheckResult] {
    let flow = try density(flow(), imageCount)
    let x = try images(imageCount, of: flow)
    let there = try flow.encode(x)
    let back = try flow.decode(there.latents)
    let e = try latents(imageCount, of: flow)
    let image = try flow.decode(e)
    let again = try flow.encode(image.images)
    let limit = CheckResult.Bound.atMost(bounds.roundTrip)
    let opposite = zip(there.logDet + image.logDet, back.logDet + again.logDet).map { ($0, -$1) }
    return [
      CheckResult(property: "decode after encode", measured: difference(x, back.images), bound: limit),
      CheckResult(property: "encode after decode", measured: difference(e, again.latents), bound: limit),
      CheckResult(
        property: "log-determinant of decode against that of encode",
        measured: difference(opposite.map(\.0), opposite.map(\.1)),
        bound: .atMost(max(bounds.roundTrip, Scalar.self == Double.self ? bounds.logDeterminant : 1e-4))),
    ]
  }

  // MARK: Log-determinant

  /// The log-determinant against that of the dense Jacobian by LU, and the Jacobian against central differences of
  /// `encode`, so that it doesn't hang on `encodeGradient` alone.
  public func measureLogDeterminant() throws -> [CheckResult] {
    let flow = try flow()
    var results: [CheckResult] = []
    for s in flow.condition == nil ? [0] : noise {
      let flow = try flow.smoothed(by: s)
      for attempt in 0..<attempts {
        let x = try images(1, of: flow, attempt: attempt)
        let matrix = try jacobian(of: flow, at: x)
        let logDet = try flow.encode(x).logDet
        let dense = try invertMatrix(matrix, size: flow.dimension).logAbsDet
        let found = [
          CheckResult(
            property: "log-determinant against the dense Jacobian's", measured: difference(logDet, [dense]),
            bound: .atMost(bounds.logDeterminant)),
          CheckResult(
            property: "Jacobian against central differences",
            measured: difference(matrix, try differencedJacobian(of: flow, at: x)),
            bound: .atMost(bounds.jacobian)),
        ]
        let holds = found.allSatisfy(\.holds)
        if holds || attempt == attempts - 1 { results += found }
        if holds { break }
      }
    }
    return results
  }

  /// `∂ε_i/∂x_j` in row i by `encodeGradient` with unit cotangents, row-major d × d.
  func jacobian(of flow: Flow<Scalar>, at x: Tensor<Scalar>) throws -> [Double] {
    let d = flow.dimension
    let copies = try x.rows([Int](repeating: 0, count: d))
    var units = try Tensor<Scalar>(shape: [d, d])
    for i in 0..<d { units[flat: i * d + i] = 1 }
    let rows = try flow.encodeGradient(
      at: copies, latentCotangent: units, logDetCotangent: [Double](repeating: 0, count: d))
    return rows.elements.map { Double($0) }
  }

  private func differencedJacobian(of flow: Flow<Scalar>, at x: Tensor<Scalar>) throws -> [Double] {
    let d = flow.dimension
    let step = 1e-6
    var plus = try x.rows([Int](repeating: 0, count: d))
    var minus = plus
    for j in 0..<d {
      plus[flat: j * d + j] += Scalar(step)
      minus[flat: j * d + j] -= Scalar(step)
    }
    let above = try flow.encode(plus).latents.elements
    let below = try flow.encode(minus).latents.elements
    var result = [Double](repeating: 0, count: d * d)
    for j in 0..<d {
      for i in 0..<d { result[i * d + j] = Double(above[j * d + i] - below[j * d + i]) / (2 * step) }
    }
    return result
  }

  // MARK: Differences

  /// The largest difference divided by max(1, the largest magnitude); NaN where there is one.
  func difference(_ a: [Double], _ b: [Double]) -> Double {
    var worst = 0.0
    var scale = 1.0
    for (a, b) in zip(a, b) {
      guard a.isFinite, b.isFinite else { return .nan }
      worst = max(worst, (a - b).magnitude)
      scale = max(scale, a.magnitude, b.magnitude)
    }
    return a.count == b.count ? worst / scale : .nan
  }

  func difference(_ a: Tensor<Scalar>, _ b: Tensor<Scalar>) -> Double {
    difference(a.elements.map { Double($0) }, b.elements.map { Double($0) })
  }
}
