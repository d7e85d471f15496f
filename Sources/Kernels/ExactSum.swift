import CAIPOKernels

/// A sum of doubles without rounding: the same whatever the order of what is added, and whoever adds which part. It is rounded
/// once, to the nearest double.
public struct ExactSum: Sendable {
  private var sum = ck_exact_sum()

  public init() {}

  public init(of terms: [Double]) {
    terms.withUnsafeBufferPointer { add($0) }
  }

  /// Of sums one behind the other, as `words` gives them.
  init(joining words: [Int64]) {
    words.withUnsafeBufferPointer { words in
      for start in stride(from: 0, to: words.count, by: Int(CK_EXACT_SUM)) {
        withIntegers { ck_exact_merge(words.baseAddress! + start, $0) }
      }
    }
  }

  public mutating func add(_ terms: UnsafeBufferPointer<Double>) {
    guard let base = terms.baseAddress else { return }
    withIntegers { ck_exact_add(Int64(terms.count), base, $0) }
  }

  public mutating func add(_ term: Double) {
    withUnsafePointer(to: term) { add(UnsafeBufferPointer(start: $0, count: 1)) }
  }

  /// Adds a term for each of some numbers.
  @inlinable @inline(__always)
  public mutating func add(_ range: Range<Int>, _ term: (Int) -> Double) {
    withUnsafeTemporaryAllocation(of: Double.self, capacity: 256) { terms in
      for start in stride(from: range.lowerBound, to: range.upperBound, by: 256) {
        let n = min(256, range.upperBound - start)
        for i in 0..<n { terms[i] = term(start + i) }
        add(UnsafeBufferPointer(rebasing: terms[..<n]))
      }
    }
  }

  public mutating func add(_ other: ExactSum) {
    var other = other
    other.withIntegers { other in
      ck_exact_carry(other)
      withIntegers { ck_exact_merge(other, $0) }
    }
  }

  /// In the form that can be joined.
  var words: [Int64] {
    var copy = self
    return copy.withIntegers {
      ck_exact_carry($0)
      return Array(UnsafeBufferPointer(start: $0, count: Int(CK_EXACT_SUM)))
    }
  }

  /// NaN or infinite where a term is.
  public var value: Double {
    var copy = self
    return copy.withIntegers { ck_exact_value($0) }
  }

  private mutating func withIntegers<Result>(_ body: (UnsafeMutablePointer<Int64>) -> Result) -> Result {
    withUnsafeMutableBytes(of: &sum) { body($0.baseAddress!.assumingMemoryBound(to: Int64.self)) }
  }
}
