import CAIPOKernels

/// The C kernels with their arguments checked. Images are NHWC; `rows` are rows of a batch, of which image r / h
/// owns row r.
public enum Kernel<T: KernelScalar> {
  private static var table: KernelTable<T> { T.kernels }

  /// Which way through an invertible layer.
  public enum Direction: Int32, Sendable {
    /// From images to latents.
    case forward = 0
    /// From latents to images.
    case inverse = 1

    public var opposite: Direction { self == .forward ? .inverse : .forward }
  }

  // MARK: Actnorm

  /// `y = (x + b)·e^s` per channel or its inverse, in place.
  public static func actnorm(
    _ x: Memory<T>, _ direction: Direction, bias: Memory<T>, logScale: Memory<T>
  ) {
    let c = bias.count
    precondition(logScale.count == c && x.count % c == 0)
    table.actnorm(direction.rawValue, Int64(x.count / c), Int32(c), bias.base, logScale.base, x.base)
  }

  /// Back through a direction, in place, from its output (if given) and the output's cotangent; adds to the gradients.
  /// That of the log-scale needs the output, and what the log-determinant adds to it.
  public static func actnormVJP(
    _ values: Memory<T>?, cotangent: Memory<T>, _ direction: Direction, bias: Memory<T>, logScale: Memory<T>,
    biasGradient: Memory<Double>?, logScaleGradient: Memory<Double>?
  ) {
    let c = bias.count
    precondition(logScale.count == c && cotangent.count % c == 0)
    precondition((values?.count ?? cotangent.count) == cotangent.count)
    precondition(logScaleGradient == nil || values != nil)
    table.actnormVJP(
      direction.rawValue, Int64(cotangent.count / c), Int32(c), bias.base, logScale.base, values?.base,
      cotangent.base, biasGradient?.base, logScaleGradient?.base)
  }

  /// Mean and variance of every channel.
  public static func moments(_ x: Memory<T>, channels: Int) -> (mean: [Double], variance: [Double]) {
    var mean = [Double](repeating: 0, count: channels)
    var variance = mean
    table.moments(Int64(x.count / channels), Int32(channels), x.base, &mean, &variance)
    return (mean, variance)
  }

  // MARK: Coupling transform

  /// Which scale a coupling applies: `y = (x + t)·e^l`.
  public enum Scale: Int32, Sendable {
    /// l = log(σ(s + 2) + bias)
    case sigmoid = 0
    /// l = 2·tanh(s/2)
    case boundedExponential = 1
    /// l = 0
    case additive = 2
    /// l = s
    case exponential = 3
    /// l = −log σ(s + 2)
    case inverseSigmoid = 4
  }

  /// The pixels and channels that a coupling transforms.
  public struct CouplingShape: Sendable {
    public var scale: Scale
    /// What is added to a `sigmoid` scale.
    public var bias: Double
    /// `y = x·e^l + t` instead.
    public var shiftsLast: Bool
    /// nil: every pixel; 0 or 1: those with (i + j) mod 2 = parity.
    public var parity: Int?
    public var height: Int
    public var width: Int
    public var channels: Int
    /// Elements between pixels of the transformed array.
    public var stride: Int

    public init(
      scale: Scale, bias: Double = 0, shiftsLast: Bool = false, parity: Int?, height: Int, width: Int,
      channels: Int, stride: Int
    ) {
      self.scale = scale
      self.bias = bias
      self.shiftsLast = shiftsLast
      self.parity = parity
      self.height = height
      self.width = width
      self.channels = channels
      self.stride = stride
    }

    /// Channels of the net's output.
    public var headChannels: Int { scale == .additive ? channels : 2 * channels }

    /// Slopes of a row: what the way back needs.
    public var slopeCount: Int { scale == .additive ? 0 : 3 * width * channels }

    fileprivate var affine: ck_affine {
      ck_affine(kind: scale.rawValue, shift_last: shiftsLast ? 1 : 0, bias: bias)
    }

    fileprivate func check(rows: Range<Int>, head: Memory<T>, values: Memory<T>) {
      let pixels = rows.upperBound * width
      precondition(rows.lowerBound >= 0 && head.count >= pixels * headChannels)
      precondition(head.first <= rows.lowerBound * width * headChannels && values.first == 0)
      precondition(pixels == 0 || values.count >= (pixels - 1) * stride + channels)
    }
  }

  /// In place. `logDetRows[r]` is set for each row, `slopes` to what the way back through the direction `slopesOf`
  /// needs.
  public static func affine(
    _ shape: CouplingShape, _ direction: Direction, rows: Range<Int>, head: Memory<T>, values: Memory<T>,
    logDetRows: Memory<Double>?, slopes: Memory<T>? = nil, slopesOf: Direction = .forward
  ) {
    shape.check(rows: rows, head: head, values: values)
    precondition((logDetRows?.count ?? .max) >= rows.upperBound)
    precondition((slopes?.count ?? .max) >= rows.upperBound * shape.slopeCount)
    precondition((slopes?.first ?? 0) <= rows.lowerBound * shape.slopeCount)
    var affine = shape.affine
    table.affine(
      &affine, direction.rawValue, Int32(shape.parity ?? -1), Int32(shape.height),
      Int32(shape.width), Int32(shape.channels), Int64(rows.lowerBound), Int64(rows.upperBound), head.base,
      values.base, Int64(shape.stride), logDetRows?.base, slopesOf.rawValue, slopes?.base)
  }

  /// Back through a direction: the cotangent of its output becomes that of its input, in place, and the head's is
  /// written.
  public static func affineVJP(
    _ shape: CouplingShape, _ direction: Direction, rows: Range<Int>, slopes: Memory<T>,
    logDetCotangent: Memory<Double>, cotangent: Memory<T>, headCotangent: Memory<T>
  ) {
    shape.check(rows: rows, head: headCotangent, values: cotangent)
    precondition(slopes.count >= rows.upperBound * shape.slopeCount)
    precondition(slopes.first <= rows.lowerBound * shape.slopeCount)
    precondition(logDetCotangent.count * shape.height >= rows.upperBound)
    var affine = shape.affine
    table.affineVJP(
      &affine, direction.rawValue, Int32(shape.parity ?? -1), Int32(shape.height),
      Int32(shape.width), Int32(shape.channels), Int64(rows.lowerBound), Int64(rows.upperBound), slopes.base,
      logDetCotangent.base, cotangent.base, Int64(shape.stride), headCotangent.base)
  }

  // MARK: Logistic

  public static func logistic(_ x: Memory<T>, logDet: inout Double) {
    table.logistic(Int64(x.count), x.base, &logDet)
  }

  public static func logisticInverse(_ y: Memory<T>, logDet: inout Double) {
    table.logisticInverse(Int64(y.count), y.base, &logDet)
  }

  public static func logisticVJP(_ y: Memory<T>, cotangent: Memory<T>, logDetCotangent: Double) {
    precondition(y.count == cotangent.count)
    table.logisticVJP(Int64(y.count), logDetCotangent, y.base, cotangent.base)
  }

  public static func logisticInverseVJP(_ x: Memory<T>, cotangent: Memory<T>, logDetCotangent: Double) {
    precondition(x.count == cotangent.count)
    table.logisticInverseVJP(Int64(x.count), logDetCotangent, x.base, cotangent.base)
  }

  // MARK: Activations

  /// `y = u·σ(u)`, and its slopes where they are wanted. Either may be u's memory.
  public static func silu(_ u: Memory<T>, into y: Memory<T>, slopes: Memory<T>? = nil) {
    precondition(u.count == y.count && (slopes?.count ?? u.count) == u.count)
    table.silu(Int64(u.count), u.base, y.base, slopes?.base)
  }

  // MARK: Moving channels

  /// Space to depth, `z[i,j,4c+2dy+dx] = x[2i+dy,2j+dx,c]`, for rows of z.
  public static func squeeze(_ x: Memory<T>, shape: ImageShape, rows: Range<Int>, into z: Memory<T>) {
    precondition(x.count == z.count && rows.upperBound * 2 * shape.width * shape.channels <= x.count)
    table.squeeze(
      Int32(shape.height), Int32(shape.width), Int32(shape.channels), Int64(rows.lowerBound),
      Int64(rows.upperBound), x.base, z.base)
  }

  /// The inverse of `squeeze`; `shape` is that of x, and rows those of z.
  public static func unsqueeze(_ z: Memory<T>, shape: ImageShape, rows: Range<Int>, into x: Memory<T>) {
    precondition(x.count == z.count && rows.upperBound * 2 * shape.width * shape.channels <= x.count)
    table.unsqueeze(
      Int32(shape.height), Int32(shape.width), Int32(shape.channels), Int64(rows.lowerBound),
      Int64(rows.upperBound), z.base, x.base)
  }

  /// Copies `channels` values of every pixel between arrays of different pixel strides.
  public static func copyChannels(
    _ channels: Int, pixels: Int, from x: Memory<T>, stride xs: Int, to y: Memory<T>, stride ys: Int
  ) {
    precondition(
      pixels == 0 || x.count >= (pixels - 1) * xs + channels && y.count >= (pixels - 1) * ys + channels)
    table.copyChannels(Int64(pixels), Int32(channels), x.base, Int64(xs), y.base, Int64(ys))
  }

  /// Zeroes the pixels of the other parity on the way; `adding`: y += instead of y =.
  public static func checkerboard(
    _ x: Memory<T>, parity: Int, shape: ImageShape, rows: Range<Int>, adding: Bool, into y: Memory<T>
  ) {
    let size = shape.width * shape.channels
    precondition(x.count >= rows.upperBound * size && y.count >= rows.upperBound * size)
    precondition(max(x.first, y.first) <= rows.lowerBound * size)
    table.checkerboard(
      Int32(parity), adding ? 1 : 0, Int32(shape.height), Int32(shape.width), Int32(shape.channels),
      Int64(rows.lowerBound), Int64(rows.upperBound), x.base, y.base)
  }

  // MARK: Sums and updates

  /// Σ xᵢyᵢ in double.
  public static func dot(_ x: Memory<T>, _ y: Memory<T>) -> Double {
    precondition(x.count == y.count)
    return table.dot(Int64(x.count), x.base, y.base)
  }

  /// y *= x
  public static func multiply(_ y: Memory<T>, by x: Memory<T>) {
    precondition(x.count == y.count)
    table.multiplyBy(Int64(x.count), x.base, y.base)
  }

  /// Adds `channels` values of every pixel to `sum`, in the pixels' order.
  @_specialize(where T == Float)
  @_specialize(where T == Double)
  public static func sumPixels(
    _ x: Memory<T>, pixels: Int, channels: Int, stride: Int, into sum: Memory<T>
  ) {
    precondition(sum.count == channels && (pixels == 0 || x.count >= (pixels - 1) * stride + channels))
    table.sumPixels(Int64(pixels), Int32(channels), x.base, Int64(stride), sum.base)
  }

  /// y += x
  public static func add(_ x: Memory<T>, to y: Memory<T>) {
    precondition(x.count == y.count)
    table.axpby(Int64(x.count), 1, x.base, 1, y.base)
  }
}

extension Kernel {
  /// The arrays of Adam: weights, first and second moment, and the weights' moving average.
  public typealias AdamArrays = (
    weights: UnsafeBufferPointer<T>, first: UnsafeBufferPointer<T>, second: UnsafeBufferPointer<T>,
    average: UnsafeBufferPointer<T>
  )
  public typealias MutableAdamArrays = (
    weights: UnsafeMutableBufferPointer<T>, first: UnsafeMutableBufferPointer<T>,
    second: UnsafeMutableBufferPointer<T>, average: UnsafeMutableBufferPointer<T>
  )

  /// One step of Adam with bias corrections 1 − βᵗ, on `scale`·gradient, and of the weights' moving average unless that
  /// is empty, for the elements in `range`; no two arrays are the same.
  public static func adam(
    rate: Double, beta1: Double, beta2: Double, correction1: Double, correction2: Double, epsilon: Double,
    scale: Double, averageDecay: Double, range: Range<Int>, gradient: UnsafeBufferPointer<T>,
    from old: AdamArrays, to new: MutableAdamArrays
  ) {
    precondition(range.upperBound <= min(gradient.count, old.weights.count, new.weights.count))
    precondition(range.upperBound <= min(old.first.count, old.second.count))
    precondition(range.upperBound <= min(new.first.count, new.second.count))
    let averages = !new.average.isEmpty
    precondition(!averages || range.upperBound <= min(old.average.count, new.average.count))
    guard !range.isEmpty else { return }
    let k = range.lowerBound
    table.adam(
      Int64(range.count), rate, beta1, beta2, correction1, correction2, epsilon, scale, averageDecay,
      gradient.baseAddress! + k, old.weights.baseAddress! + k, old.first.baseAddress! + k,
      old.second.baseAddress! + k, averages ? old.average.baseAddress! + k : nil,
      new.weights.baseAddress! + k,
      new.first.baseAddress! + k, new.second.baseAddress! + k, averages ? new.average.baseAddress! + k : nil)
  }
}

/// Which C kernels are in use.
public enum KernelVariant {
  /// `avx2` or `neon`, `portable`, or `reference`; chosen at the first call, or by the environment variable AIPO_KERNELS.
  public static var current: String { String(cString: ck_variant()) }

  /// All that this processor can run, the fastest first.
  public static var available: [String] {
    var names: [String] = []
    while let name = ck_available_variant(Int32(names.count)) { names.append(String(cString: name)) }
    return names
  }

  /// Chooses a variant by name; false if there is none such. Flows made before must not be used after.
  public static func choose(_ name: String) -> Bool { ck_set_variant(name) == CK_OK }
}

/// A matrix has no usable inverse.
public struct SingularMatrix: Error, Equatable, CustomStringConvertible {
  public let description: String
}

/// Inverse and `log|det|` of a row-major c×c matrix, by LU with partial pivoting.
public func invertMatrix(_ w: [Double], size c: Int) throws(SingularMatrix) -> (
  inverse: [Double], logAbsDet: Double
) {
  precondition(w.count == c * c)
  var inverse = w
  var work = w
  var pivots = [Int32](repeating: 0, count: c)
  var logAbsDet = 0.0
  let status = ck_invert(Int32(c), w, &inverse, &logAbsDet, &pivots, &work)
  guard status == CK_OK else { throw SingularMatrix(description: String(cString: ck_status_message(status))) }
  return (inverse, logAbsDet)
}
