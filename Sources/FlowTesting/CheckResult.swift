/// What a check has measured, and the bound that the measure must keep.
public struct CheckResult: Sendable, CustomStringConvertible {
  public enum Bound: Sendable, Equatable {
    case atMost(Double)
    case atLeast(Double)
  }

  /// Which property was checked, in words.
  public let property: String
  public let measured: Double
  public let bound: Bound

  public init(property: String, measured: Double, bound: Bound) {
    self.property = property
    self.measured = measured
    self.bound = bound
  }

  /// Whether the bound is kept; never by NaN.
  public var holds: Bool {
    switch bound {
    case .atMost(let limit): measured <= limit
    case .atLeast(let limit): measured >= limit
    }
  }

  public var description: String {
    switch bound {
    case .atMost(let limit): "\(property): \(measured), expected at most \(limit)"
    case .atLeast(let limit): "\(property): \(measured), expected at least \(limit)"
    }
  }
}

/// A property that doesn't hold.
public struct CheckFailure: Error, CustomStringConvertible {
  public let result: CheckResult

  public init(_ result: CheckResult) { self.result = result }

  public var description: String { result.description }
}

extension Sequence<CheckResult> {
  /// Throws the first result whose bound isn't kept.
  public func verify() throws(CheckFailure) {
    for result in self where !result.holds { throw CheckFailure(result) }
  }
}
