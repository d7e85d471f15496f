import AIPOKernels

/// `y = (x + t)·e^l`, or `y = x·e^l + t` where the shift comes last, with l a function of the net's output s. A head holds
/// the shifts, then the scales.
public struct AffineTransform: Hashable, Sendable {
  public enum Scale: String, Codable, Sendable, CaseIterable {
    /// l = log σ(s + 2) (Glow).
    case sigmoid
    /// l = 2·tanh(s/2), between −2 and 2 (RealNVP).
    case exponential
    /// l = s, without a bound: what other programs' files hold. It overflows where s is large.
    case unboundedExponential = "unbounded-exponential"
    /// l = −log σ(s + 2)
    case inverseSigmoid = "inverse-sigmoid"
    /// l = 0 (NICE): volume is kept.
    case additive
  }

  /// Whether the shift is added before or after the values are scaled.
  public enum Order: String, Codable, Sendable, CaseIterable {
    case shiftFirst = "shift-first"
    case shiftLast = "shift-last"
  }

  public var scale: Scale
  public var order: Order
  /// Added to the scale of a `sigmoid`, `e^l = σ(s + 2) + bias`; 0 or more.
  public var bias: Double

  public init(_ scale: Scale, order: Order = .shiftFirst, bias: Double = 0) {
    self.scale = scale
    self.order = order
    self.bias = bias
  }
}

extension AffineTransform: ScalarTransform {
  static let names = Scale.allCases.map(\.rawValue)
  static let keys = ["order", "scaleBias"]
  var name: String { scale.rawValue }

  init(name: String, _ keys: KnownKeys) throws {
    self.init(
      try keys.choice(name, of: CouplingTransform.names, "transform", Scale.init(rawValue:)),
      order: try keys.get("order", default: .shiftFirst), bias: try keys.get("scaleBias", default: 0))
  }

  func encode(into container: inout KeyedEncodingContainer<AnyKey>) throws {
    try container.encode(order, forKey: AnyKey("order"))
    try container.encode(bias, forKey: AnyKey("scaleBias"))
  }

  func check() throws(FlowError) {
    guard (0...1e3).contains(bias), bias == 0 || scale == .sigmoid else {
      throw .invalidSpec(
        "coupling: scaleBias is \(bias), expected 0 to 1000 with transform sigmoid, else 0")
    }
    guard order == .shiftFirst || [.sigmoid, .inverseSigmoid].contains(scale) else {
      throw .invalidSpec("coupling: order shift-last goes with the transforms sigmoid and inverse-sigmoid")
    }
  }

  var headCount: Int { keepsVolume ? 1 : 2 }
  var traceCount: Int { keepsVolume ? 0 : 3 }
  var keepsVolume: Bool { scale == .additive }

  private func kernel<Scalar>() -> Kernel<Scalar>.Affine {
    let scale: Kernel<Scalar>.Affine.Scale =
      switch scale {
      case .sigmoid: .sigmoid
      case .exponential: .boundedExponential
      case .unboundedExponential: .exponential
      case .inverseSigmoid: .inverseSigmoid
      case .additive: .additive
      }
    return Kernel.Affine(scale, bias: bias, shiftsLast: order == .shiftLast)
  }

  func move<Scalar>(
    _ shape: Kernel<Scalar>.CouplingShape, _ direction: Kernel<Scalar>.Direction, rows: Range<Int>,
    head: Memory<Scalar>, values: Memory<Scalar>, logDetRows: Memory<Double>?, trace: Memory<Scalar>?,
    traceOf: Kernel<Scalar>.Direction
  ) {
    Kernel.affine(
      kernel(), shape, direction, rows: rows, head: head, values: values, logDetRows: logDetRows,
      slopes: trace, slopesOf: traceOf)
  }

  func moveBack<Scalar>(
    _ shape: Kernel<Scalar>.CouplingShape, _ direction: Kernel<Scalar>.Direction, rows: Range<Int>,
    trace: Memory<Scalar>, logDetCotangent: Memory<Double>, cotangent: Memory<Scalar>,
    headCotangent: Memory<Scalar>
  ) {
    Kernel.affineVJP(
      kernel(), shape, direction, rows: rows, slopes: trace, logDetCotangent: logDetCotangent,
      cotangent: cotangent, headCotangent: headCotangent)
  }
}
