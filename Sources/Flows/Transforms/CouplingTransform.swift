import AIPOKernels

/// How a coupling moves each of its values: a strictly increasing function of it, by numbers that a net gives.
public enum CouplingTransform: Hashable, Sendable {
  case affine(AffineTransform)
  case spline(SplineTransform)

  public static let sigmoid = Self.affine(AffineTransform(.sigmoid))
  public static let exponential = Self.affine(AffineTransform(.exponential))
  public static let unboundedExponential = Self.affine(AffineTransform(.unboundedExponential))
  public static let inverseSigmoid = Self.affine(AffineTransform(.inverseSigmoid))
  public static let additive = Self.affine(AffineTransform(.additive))

  var scalar: any ScalarTransform {
    switch self {
    case .affine(let affine): affine
    case .spline(let spline): spline
    }
  }

  /// How settings and model files name it.
  public var name: String { scalar.name }

  /// All names.
  static let names = AffineTransform.names + SplineTransform.names
}

/// What a transform must do. It is data; passes go through it for rows of a batch.
protocol ScalarTransform: Hashable, Sendable {
  /// How settings and model files name transforms of this type, and this one.
  static var names: [String] { get }
  var name: String { get }
  /// Its settings beside the name.
  static var keys: [String] { get }
  init(name: String, _ keys: KnownKeys) throws
  func encode(into container: inout KeyedEncodingContainer<AnyKey>) throws

  func check() throws(FlowError)

  /// Numbers a value that a net gives, `[pixel, number, channel]` in a head; zeros are the identity up to a constant scale.
  var headCount: Int { get }
  /// Numbers a value that the way back needs.
  var traceCount: Int { get }
  /// Whether the log-determinant is always 0.
  var keepsVolume: Bool { get }

  /// Moves the values in place. `logDetRows[r]` is set for each row, `trace` to what the way back through the direction
  /// `traceOf` needs.
  func move<Scalar>(
    _ shape: Kernel<Scalar>.CouplingShape, _ direction: Kernel<Scalar>.Direction, rows: Range<Int>,
    head: Memory<Scalar>, values: Memory<Scalar>, logDetRows: Memory<Double>?, trace: Memory<Scalar>?,
    traceOf: Kernel<Scalar>.Direction)

  /// Back through a direction: the cotangent of its output becomes that of its input, in place, and the head's is written.
  func moveBack<Scalar>(
    _ shape: Kernel<Scalar>.CouplingShape, _ direction: Kernel<Scalar>.Direction, rows: Range<Int>,
    trace: Memory<Scalar>, logDetCotangent: Memory<Double>, cotangent: Memory<Scalar>,
    headCotangent: Memory<Scalar>)
}

extension CouplingTransform {
  /// Reads `transform` and its settings among others.
  init(_ keys: KnownKeys, default name: String) throws {
    let name: String = try keys.get("transform", default: name)
    if SplineTransform.names.contains(name) {
      self = .spline(try SplineTransform(name: name, keys))
    } else {
      self = .affine(try AffineTransform(name: name, keys))
    }
  }

  /// The keys that a transform of this name has, `transform` among them.
  static func keys(_ name: String?) -> [String] {
    ["transform"]
      + (name.map(SplineTransform.names.contains) == true ? SplineTransform.keys : AffineTransform.keys)
  }

  /// Whether its name says all of it.
  var isPlain: Bool {
    if case .affine(let affine) = self { affine == AffineTransform(affine.scale) } else { false }
  }

  func encode(into container: inout KeyedEncodingContainer<AnyKey>) throws {
    try container.encode(name, forKey: AnyKey("transform"))
    try scalar.encode(into: &container)
  }
}
