import AIPOKernels

/// The rows of a batch that a model gives nothing usable for. They cost the others nothing.
public struct UnusableRows: Sendable {
  /// What the rows have, as "have no finite log-density".
  public let what: String
  public private(set) var names: [String] = []

  package init(_ what: String) { self.what = what }

  package mutating func add(_ more: [String]) { names += more }

  public var isEmpty: Bool { names.isEmpty }

  /// One line that names them, with the remedy; nil where there are none.
  public func advice<Scalar: KernelScalar>(of total: Int, in _: Scalar.Type) -> Advice? {
    guard !isEmpty else { return nil }
    let remedy =
      Scalar.self == Float.self
      ? "too far from the training images for float32: try --precision float64"
      : "too far from the training images even for float64"
    return Advice(what, "\(names.count) of \(total) \(what): \(Advice.list(names)); \(remedy)")
  }
}
