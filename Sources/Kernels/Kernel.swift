import CAIPOKernels

/// The C kernels with their arguments checked. Images are NHWC; `rows` are rows of a batch, of which image r / h
/// owns row r.
public enum Kernel<T: KernelScalar> {
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
    ck_actnorm(T.element, direction.rawValue, Int64(x.count / c), Int32(c), bias.base, logScale.base, x.base)
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
    ck_actnorm_vjp(
      T.element,
      direction.rawValue, Int64(cotangent.count / c), Int32(c), bias.base, logScale.base, values?.base,
      cotangent.base, biasGradient?.base, logScaleGradient?.base)
  }

  /// Mean and variance of every channel.
  public static func moments(_ x: Memory<T>, channels: Int) -> (mean: [Double], variance: [Double]) {
    var mean = [Double](repeating: 0, count: channels)
    var variance = mean
    ck_moments(T.element, Int64(x.count / channels), Int32(channels), x.base, &mean, &variance)
    return (mean, variance)
  }

  // MARK: Coupling transforms

  /// The values that a coupling moves: of every pixel, or of those of one parity, some channels.
  public struct CouplingShape: Sendable {
    /// nil: every pixel; 0 or 1: those with (i + j) mod 2 = parity.
    public var parity: Int?
    public var height: Int
    public var width: Int
    public var channels: Int
    /// Elements between pixels of the array.
    public var stride: Int

    public init(parity: Int?, height: Int, width: Int, channels: Int, stride: Int) {
      self.parity = parity
      self.height = height
      self.width = width
      self.channels = channels
      self.stride = stride
    }

    /// Arrays with so many numbers a value in a head and in what the way back needs.
    fileprivate func check(
      rows: Range<Int>, values: Memory<T>, _ numbers: (head: Memory<T>?, each: Int),
      _ kept: (memory: Memory<T>?, each: Int)
    ) {
      let (first, last) = (rows.lowerBound * width, rows.upperBound * width)
      precondition(first >= 0 && values.first <= first * stride)
      precondition(last == 0 || values.count >= (last - 1) * stride + channels)
      func check(_ memory: Memory<T>?, _ each: Int) {
        guard let memory else { return }
        precondition(memory.first <= first * channels * each && memory.count >= last * channels * each)
      }
      check(numbers.head, numbers.each)
      check(kept.memory, kept.each)
    }
  }

  /// `y = (x + t)·e^l`, or another order: `ck_affine`.
  public struct Affine: Sendable {
    /// Which scale is applied.
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

    public var scale: Scale
    /// What is added to a `sigmoid` scale.
    public var bias: Double
    /// `y = x·e^l + t` instead.
    public var shiftsLast: Bool

    public init(_ scale: Scale, bias: Double = 0, shiftsLast: Bool = false) {
      self.scale = scale
      self.bias = bias
      self.shiftsLast = shiftsLast
    }

    /// Numbers a value that a net gives, and slopes that the way back needs.
    public var headCount: Int { scale == .additive ? 1 : 2 }
    public var slopeCount: Int { scale == .additive ? 0 : 3 }

    fileprivate var arguments: ck_affine_form {
      ck_affine_form(kind: scale.rawValue, shift_last: shiftsLast ? 1 : 0, bias: bias)
    }
  }

  /// In place. `logDetRows[r]` is set for each row, `slopes` to what the way back through the direction `slopesOf`
  /// needs.
  public static func affine(
    _ affine: Affine, _ shape: CouplingShape, _ direction: Direction, rows: Range<Int>, head: Memory<T>,
    values: Memory<T>, logDetRows: Memory<Double>?, slopes: Memory<T>? = nil, slopesOf: Direction = .forward
  ) {
    shape.check(rows: rows, values: values, (head, affine.headCount), (slopes, affine.slopeCount))
    precondition((logDetRows?.count ?? .max) >= rows.upperBound)
    var arguments = affine.arguments
    ck_affine(
      T.element,
      &arguments, direction.rawValue, Int32(shape.parity ?? -1), Int32(shape.height),
      Int32(shape.width), Int32(shape.channels), Int64(rows.lowerBound), Int64(rows.upperBound), head.base,
      values.base, Int64(shape.stride), logDetRows?.base, slopesOf.rawValue, slopes?.base)
  }

  /// Back through a direction: the cotangent of its output becomes that of its input, in place, and the head's is
  /// written.
  public static func affineVJP(
    _ affine: Affine, _ shape: CouplingShape, _ direction: Direction, rows: Range<Int>, slopes: Memory<T>,
    logDetCotangent: Memory<Double>, cotangent: Memory<T>, headCotangent: Memory<T>
  ) {
    shape.check(
      rows: rows, values: cotangent, (headCotangent, affine.headCount), (slopes, affine.slopeCount))
    precondition(logDetCotangent.count * shape.height >= rows.upperBound)
    var arguments = affine.arguments
    ck_affine_vjp(
      T.element,
      &arguments, direction.rawValue, Int32(shape.parity ?? -1), Int32(shape.height),
      Int32(shape.width), Int32(shape.channels), Int64(rows.lowerBound), Int64(rows.upperBound), slopes.base,
      logDetCotangent.base, cotangent.base, Int64(shape.stride), headCotangent.base)
  }

  /// A rational-quadratic spline of `bins` bins on [−bound, bound]: `ck_spline`.
  public struct Spline: Sendable {
    public static var mostBins: Int { Int(CK_MAX_BINS) }
    public var bins: Int
    public var bound: Double

    public init(bins: Int, bound: Double) {
      precondition((2...Self.mostBins).contains(bins) && bound > 0)
      self.bins = bins
      self.bound = bound
    }

    /// Numbers a value that a net gives, and that the way back needs.
    public var headCount: Int { 3 * bins - 1 }
    public var traceCount: Int { 3 * bins }

    fileprivate var arguments: ck_spline_form { ck_spline_form(bins: Int32(bins), bound: bound) }
  }

  /// In place, as `affine`.
  public static func spline(
    _ spline: Spline, _ shape: CouplingShape, _ direction: Direction, rows: Range<Int>, head: Memory<T>,
    values: Memory<T>, logDetRows: Memory<Double>?, trace: Memory<T>?
  ) {
    shape.check(rows: rows, values: values, (head, spline.headCount), (trace, spline.traceCount))
    precondition((logDetRows?.count ?? .max) >= rows.upperBound)
    var arguments = spline.arguments
    ck_spline(
      T.element,
      &arguments, direction.rawValue, Int32(shape.parity ?? -1), Int32(shape.height), Int32(shape.width),
      Int32(shape.channels), Int64(rows.lowerBound), Int64(rows.upperBound), head.base, values.base,
      Int64(shape.stride), logDetRows?.base, trace?.base)
  }

  /// Back through a direction, as `affineVJP`.
  public static func splineVJP(
    _ spline: Spline, _ shape: CouplingShape, _ direction: Direction, rows: Range<Int>, trace: Memory<T>,
    logDetCotangent: Memory<Double>, cotangent: Memory<T>, headCotangent: Memory<T>
  ) {
    shape.check(
      rows: rows, values: cotangent, (headCotangent, spline.headCount), (trace, spline.traceCount))
    precondition(logDetCotangent.count * shape.height >= rows.upperBound)
    var arguments = spline.arguments
    ck_spline_vjp(
      T.element,
      &arguments, direction.rawValue, Int32(shape.parity ?? -1), Int32(shape.height), Int32(shape.width),
      Int32(shape.channels), Int64(rows.lowerBound), Int64(rows.upperBound), trace.base,
      logDetCotangent.base, cotangent.base, Int64(shape.stride), headCotangent.base)
  }

  // MARK: Logistic

  public static func logistic(_ x: Memory<T>, logDet: inout Double) {
    ck_logistic_fwd(T.element, Int64(x.count), x.base, &logDet)
  }

  public static func logisticInverse(_ y: Memory<T>, logDet: inout Double) {
    ck_logistic_inv(T.element, Int64(y.count), y.base, &logDet)
  }

  public static func logisticVJP(_ y: Memory<T>, cotangent: Memory<T>, logDetCotangent: Double) {
    precondition(y.count == cotangent.count)
    ck_logistic_fwd_vjp(T.element, Int64(y.count), logDetCotangent, y.base, cotangent.base)
  }

  public static func logisticInverseVJP(_ x: Memory<T>, cotangent: Memory<T>, logDetCotangent: Double) {
    precondition(x.count == cotangent.count)
    ck_logistic_inv_vjp(T.element, Int64(x.count), logDetCotangent, x.base, cotangent.base)
  }

  // MARK: Activations

  /// `y = u·σ(u)`, and its slopes where they are wanted. Either may be u's memory.
  public static func silu(_ u: Memory<T>, into y: Memory<T>, slopes: Memory<T>? = nil) {
    precondition(u.count == y.count && (slopes?.count ?? u.count) == u.count)
    ck_silu(T.element, Int64(u.count), u.base, y.base, slopes?.base)
  }

  // MARK: Moving channels

  /// Space to depth, `z[i,j,4c+2dy+dx] = x[2i+dy,2j+dx,c]`, for rows of z.
  public static func squeeze(_ x: Memory<T>, shape: ImageShape, rows: Range<Int>, into z: Memory<T>) {
    precondition(x.count == z.count && rows.upperBound * 2 * shape.width * shape.channels <= x.count)
    ck_squeeze(
      T.element,
      Int32(shape.height), Int32(shape.width), Int32(shape.channels), Int64(rows.lowerBound),
      Int64(rows.upperBound), x.base, z.base)
  }

  /// The inverse of `squeeze`; `shape` is that of x, and rows those of z.
  public static func unsqueeze(_ z: Memory<T>, shape: ImageShape, rows: Range<Int>, into x: Memory<T>) {
    precondition(x.count == z.count && rows.upperBound * 2 * shape.width * shape.channels <= x.count)
    ck_unsqueeze(
      T.element,
      Int32(shape.height), Int32(shape.width), Int32(shape.channels), Int64(rows.lowerBound),
      Int64(rows.upperBound), z.base, x.base)
  }

  /// Copies `channels` values of every pixel between arrays of different pixel strides.
  public static func copyChannels(
    _ channels: Int, pixels: Int, from x: Memory<T>, stride xs: Int, to y: Memory<T>, stride ys: Int
  ) {
    precondition(
      pixels == 0 || x.count >= (pixels - 1) * xs + channels && y.count >= (pixels - 1) * ys + channels)
    ck_copy_channels(T.element, Int64(pixels), Int32(channels), x.base, Int64(xs), y.base, Int64(ys))
  }

  /// Zeroes the pixels of the other parity on the way; `adding`: y += instead of y =.
  public static func checkerboard(
    _ x: Memory<T>, parity: Int, shape: ImageShape, rows: Range<Int>, adding: Bool, into y: Memory<T>
  ) {
    let size = shape.width * shape.channels
    precondition(x.count >= rows.upperBound * size && y.count >= rows.upperBound * size)
    precondition(max(x.first, y.first) <= rows.lowerBound * size)
    ck_checkerboard(
      T.element,
      Int32(parity), adding ? 1 : 0, Int32(shape.height), Int32(shape.width), Int32(shape.channels),
      Int64(rows.lowerBound), Int64(rows.upperBound), x.base, y.base)
  }

  // MARK: Sums and updates

  /// Σ xᵢyᵢ in double.
  public static func dot(_ x: Memory<T>, _ y: Memory<T>) -> Double {
    precondition(x.count == y.count)
    return ck_dot(T.element, Int64(x.count), x.base, y.base)
  }

  /// y *= x
  public static func multiply(_ y: Memory<T>, by x: Memory<T>) {
    precondition(x.count == y.count)
    ck_multiply_by(T.element, Int64(x.count), x.base, y.base)
  }

  /// Adds `channels` values of every pixel to `sum`, in the pixels' order.
  @_specialize(where T == Float)
  @_specialize(where T == Double)
  public static func sumPixels(
    _ x: Memory<T>, pixels: Int, channels: Int, stride: Int, into sum: Memory<T>
  ) {
    precondition(sum.count == channels && (pixels == 0 || x.count >= (pixels - 1) * stride + channels))
    ck_sum_pixels(T.element, Int64(pixels), Int32(channels), x.base, Int64(stride), sum.base)
  }

  /// y += x
  public static func add(_ x: Memory<T>, to y: Memory<T>) {
    precondition(x.count == y.count)
    ck_axpby(T.element, Int64(x.count), 1, x.base, 1, y.base)
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
    ck_adam(
      T.element,
      Int64(range.count), rate, beta1, beta2, correction1, correction2, epsilon, scale, averageDecay,
      gradient.baseAddress! + k, old.weights.baseAddress! + k, old.first.baseAddress! + k,
      old.second.baseAddress! + k, averages ? old.average.baseAddress! + k : nil,
      new.weights.baseAddress! + k,
      new.first.baseAddress! + k, new.second.baseAddress! + k, averages ? new.average.baseAddress! + k : nil)
  }
}

/// Which C kernels are in use.
public enum KernelVariant {
  /// `avx512`, `avx2` or `neon`, `portable`, or `reference`; chosen at the first call, or by the environment variable AIPO_KERNELS.
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
