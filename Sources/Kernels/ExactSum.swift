import CAIPOKernels

/// A sum of doubles without rounding: the same whatever the order of what is added, and whoever adds which part. It is rounded
/// once, to the nearest double.
public struct ExactSum: Sendable {
  @usableFromInline var integers: [Int64]

  public init() { integers = [Int64](repeating: 0, count: Int(CK_EXACT_SUM)) }

  public init(of terms: [Double]) {
    self.init()
    terms.withUnsafeBufferPointer { add($0) }
  }

  /// Of sums one behind the other, as `words` gives them.
  init(joining words: [Int64]) {
    self.init()
    let size = Int(CK_EXACT_SUM)
    words.withUnsafeBufferPointer { words in
      for start in stride(from: 0, to: words.count, by: size) {
        ck_exact_merge(words.baseAddress! + start, &integers)
      }
    }
  }

  public mutating func add(_ terms: UnsafeBufferPointer<Double>) {
    guard let base = terms.baseAddress else { return }
    ck_exact_add(Int64(terms.count), base, &integers)
  }

  public mutating func add(_ other: ExactSum) {
    let words = other.words
    ck_exact_merge(words, &integers)
  }

  /// In the form that can be joined.
  var words: [Int64] {
    var words = integers
    ck_exact_carry(&words)
    return words
  }

  /// NaN or infinite where a term is.
  public var value: Double {
    var words = integers
    return ck_exact_value(&words)
  }
}
