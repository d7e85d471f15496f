/// Which stored values are black and white: `low` becomes 0 and `high` becomes 1, `(v − low)/(high − low)`. Values
/// beyond go beyond [0, 1]; nothing is clipped here.
public struct ValueRange: Hashable, Sendable, CustomStringConvertible {
  public let low: Double
  public let high: Double

  /// Nil unless `low < high`, both finite and of a finite difference.
  public init?(low: Double, high: Double) {
    guard low < high, (high - low).isFinite else { return nil }
    self.low = low
    self.high = high
  }

  /// `LOW:HIGH`, as `0:255` or `-1:1`.
  public init?(_ text: String) {
    let ends = text.split(separator: ":", omittingEmptySubsequences: false).map { Double($0) }
    guard ends.count == 2, let low = ends[0], let high = ends[1] else { return nil }
    self.init(low: low, high: high)
  }

  private init(_ low: Double, _ high: Double) {
    self.low = low
    self.high = high
  }

  package static let unit = ValueRange(0, 1)
  package static let centred = ValueRange(-0.5, 0.5)
  package static let signed = ValueRange(-1, 1)
  package static let bytes = ValueRange(0, 255)
  package static let words = ValueRange(0, 65535)
  /// Scales that images come in.
  package static let usual = [centred, signed, bytes, ValueRange(0, 4095), words]

  @inlinable package func scaled(_ value: Double) -> Double { (value - low) / (high - low) }

  /// What a message gives as the argument of `--range`, where a range can be told and where it can't.
  package static func argument(_ range: ValueRange?) -> String {
    range?.description ?? "LOW:HIGH, the values of black and white"
  }

  /// As `init` takes it.
  public var description: String { "\(Self.exact(low)):\(Self.exact(high))" }

  private static func exact(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e9 ? "\(Int(value))" : "\(value)"
  }

  /// Four digits, or all of an integer.
  package static func short(_ value: Double) -> String {
    guard value.isFinite, value != value.rounded(), abs(value) > 1e-4, abs(value) < 1e9 else {
      return exact(value)
    }
    var scale = 1.0
    while abs(value) * scale < 1000 { scale *= 10 }
    return exact((value * scale).rounded() / scale)
  }
}
