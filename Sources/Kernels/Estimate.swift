/// A mean with its standard error, s/√n with s² = Σ(x − x̄)²/(n − 1).
public struct Estimate: Sendable, Encodable {
  public let mean: Double
  /// Nil for one value.
  public let standardError: Double?
  public let count: Int

  /// Of what is there; nil where nothing is.
  public init?(_ values: some Sequence<Double?>) {
    let present = values.compactMap { $0 }
    guard !present.isEmpty else { return nil }
    count = present.count
    let mean = present.reduce(0, +) / Double(count)
    self.mean = mean
    let square = present.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    standardError = count > 1 ? (square / Double(count - 1) / Double(count)).squareRoot() : nil
  }
}
