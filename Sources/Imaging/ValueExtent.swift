import AIPOKernels

/// The least and greatest of the values that are taken for pixels, to tell whether they are on the scale that they are
/// believed to be on.
public struct ValueExtent: Hashable, Sendable {
  /// What becomes black and white; nil where nobody said, and it should be 0 and 1.
  public let range: ValueRange?
  public private(set) var least = Double.infinity
  public private(set) var greatest = -Double.infinity
  /// Values seen, and those outside the range by more than half an 8-bit step. What isn't finite isn't counted.
  public private(set) var count = 0
  public private(set) var outside = 0

  public init(range: ValueRange? = nil) { self.range = range }

  public mutating func include(_ value: Double) {
    guard value.isFinite else { return }
    least = min(least, value)
    greatest = max(greatest, value)
    count += 1
    if !(Self.rounding...(1 - Self.rounding)).contains(scale.scaled(value)) { outside += 1 }
  }

  public mutating func include(_ values: some Sequence<Double>) { for value in values { include(value) } }

  private static let rounding = -0.5 / 256
  /// Beyond the range by so much of it, values are on another scale: noise and interpolation don't reach so far.
  private static let reach = 0.25

  private var scale: ValueRange { range ?? .unit }

  /// Whether the values are on another scale than the range.
  public var isElsewhere: Bool {
    count > 0 && (scale.scaled(least) < -Self.reach || scale.scaled(greatest) > 1 + Self.reach)
  }

  /// The scale that the values seem to be on; nil where none of the usual holds them closely.
  public var guess: ValueRange? {
    ValueRange.usual.first { usual in
      let (low, high) = (usual.scaled(least), usual.scaled(greatest))
      return low >= -0.02 && high <= 1.02 && (high > 0.5 || low < 0.25 && usual.low < 0)
    }
  }

  var found: String { "from \(ValueRange.short(least)) to \(ValueRange.short(greatest))" }

  /// What values on another scale should have been, and what to do about it.
  var expected: String {
    if let range {
      return "\(ValueRange.short(range.low)) to \(ValueRange.short(range.high)), as --range says"
    }
    return "0 (black) to 1 (white); give --range \(ValueRange.argument(guess))"
  }

  /// What stands out.
  ///
  /// - Parameters:
  ///   - source: the file.
  ///   - purpose: what values outside the range are clipped for; nil where they are kept, which is no matter unless they
  ///     are on another scale.
  public func advice(_ source: String, clippedFor purpose: String? = nil) -> Advice? {
    if isElsewhere, range == nil || purpose == nil {
      return Advice("range", of: source, "values are \(found), expected \(expected)")
    }
    guard let purpose, outside > 0 else { return nil }
    let share = 100 * Double(outside) / Double(count)
    let words = share < 0.1 ? "less than 0.1" : ValueRange.short((share * 10).rounded() / 10)
    return Advice(
      "clipped", of: source,
      "\(words) % of the values are outside [\(ValueRange.short(scale.low)), \(ValueRange.short(scale.high))] "
        + "(\(found)) and are clipped for \(purpose)")
  }
}
