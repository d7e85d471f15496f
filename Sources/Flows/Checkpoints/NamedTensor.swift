import AIPOKernels

/// A tensor of a checkpoint: its name, its shape (row-major) and its values, kept in the precision they have.
public struct NamedTensor: Sendable, Equatable {
  /// The values, exact: a conversion between the precisions happens only where somebody asks for it.
  public enum Values: Sendable, Equatable {
    case float32([Float])
    case float64([Double])
    case int64([Int64])
    case uint8([UInt8])
  }

  public var name: String
  public var shape: [Int]
  public var values: Values

  /// `values` holds as many elements as `shape` says (`[]` is a scalar: one element).
  public init(name: String, shape: [Int], values: Values) {
    self.name = name
    self.shape = shape
    self.values = values
    precondition(
      shape.reduce(1, *) == values.count, "\(name): \(values.count) values for the shape \(shape)")
  }

  public init<Scalar: KernelScalar>(name: String, shape: [Int], scalars: [Scalar]) {
    self.init(name: name, shape: shape, values: Values(scalars))
  }

  public var count: Int { values.count }

  /// The values in the precision asked for; exact where the precisions agree, else rounded to nearest.
  public func scalars<Scalar: KernelScalar>(as: Scalar.Type) -> [Scalar] {
    values.scalars(as: Scalar.self)
  }
}

extension NamedTensor.Values {
  public init<Scalar: KernelScalar>(_ scalars: [Scalar]) {
    // A cast would look at every element.
    if Scalar.self == Float.self {
      self = .float32(unsafeBitCast(scalars, to: [Float].self))
    } else if Scalar.self == Double.self {
      self = .float64(unsafeBitCast(scalars, to: [Double].self))
    } else {
      preconditionFailure("a checkpoint holds Float or Double, not \(Scalar.self)")
    }
  }

  public var count: Int {
    switch self {
    case .float32(let values): values.count
    case .float64(let values): values.count
    case .int64(let values): values.count
    case .uint8(let values): values.count
    }
  }

  @_specialize(where Scalar == Float)
  @_specialize(where Scalar == Double)
  public func scalars<Scalar: KernelScalar>(as: Scalar.Type) -> [Scalar] {
    switch self {
    case .float32(let values):
      Scalar.self == Float.self ? unsafeBitCast(values, to: [Scalar].self) : values.map { Scalar($0) }
    case .float64(let values):
      Scalar.self == Double.self ? unsafeBitCast(values, to: [Scalar].self) : values.map { Scalar($0) }
    case .int64(let values): values.map { Scalar($0) }
    case .uint8(let values): values.map { Scalar($0) }
    }
  }

  /// Whether every value is a finite number.
  public var isFinite: Bool {
    switch self {
    case .float32(let values): values.allSatisfy { $0.isFinite }
    case .float64(let values): values.allSatisfy { $0.isFinite }
    case .int64, .uint8: true
    }
  }
}
