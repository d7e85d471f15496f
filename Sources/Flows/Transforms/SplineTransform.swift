import AIPOKernels

/// A monotone rational-quadratic spline on [−bound, bound], the identity beyond: `bins` widths and heights by softmax,
/// slopes at the inner knots by softplus.
///
/// Source: C. Durkan et al., *Neural Spline Flows*, NeurIPS 2019, §3.1.
public struct SplineTransform: Hashable, Sendable {
  public var bins: Int
  public var bound: Double

  public init(bins: Int = 8, bound: Double = 4) {
    self.bins = bins
    self.bound = bound
  }
}

extension SplineTransform: ScalarTransform {
  static let names = ["spline"]
  static let keys = ["bins", "bound"]
  var name: String { "spline" }

  init(name: String, _ keys: KnownKeys) throws {
    self.init(
      bins: try keys.get("bins", default: Self().bins), bound: try keys.get("bound", default: Self().bound))
  }

  func encode(into container: inout KeyedEncodingContainer<AnyKey>) throws {
    try container.encode(bins, forKey: AnyKey("bins"))
    try container.encode(bound, forKey: AnyKey("bound"))
  }

  func check() throws(FlowError) {
    guard (2...Kernel<Float>.Spline.mostBins).contains(bins) else {
      throw .invalidSpec("coupling: bins is \(bins), expected 2 to \(Kernel<Float>.Spline.mostBins)")
    }
    guard bound > 0, bound <= 1e6 else {
      throw .invalidSpec("coupling: bound is \(bound), expected a number above 0, 1000000 at most")
    }
  }

  var headCount: Int { 3 * bins - 1 }
  var traceCount: Int { 3 * bins }
  var keepsVolume: Bool { false }

  func move<Scalar>(
    _ shape: Kernel<Scalar>.CouplingShape, _ direction: Kernel<Scalar>.Direction, rows: Range<Int>,
    head: Memory<Scalar>, values: Memory<Scalar>, logDetRows: Memory<Double>?, trace: Memory<Scalar>?,
    traceOf: Kernel<Scalar>.Direction
  ) {
    Kernel.spline(
      Kernel.Spline(bins: bins, bound: bound), shape, direction, rows: rows, head: head, values: values,
      logDetRows: logDetRows, trace: trace)
  }

  func moveBack<Scalar>(
    _ shape: Kernel<Scalar>.CouplingShape, _ direction: Kernel<Scalar>.Direction, rows: Range<Int>,
    trace: Memory<Scalar>, logDetCotangent: Memory<Double>, cotangent: Memory<Scalar>,
    headCotangent: Memory<Scalar>
  ) {
    Kernel.splineVJP(
      Kernel.Spline(bins: bins, bound: bound), shape, direction, rows: rows, trace: trace,
      logDetCotangent: logDetCotangent, cotangent: cotangent, headCotangent: headCotangent)
  }
}
