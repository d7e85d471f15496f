/// The rows of one large image over ranks: each has a strip of them, of every vector that is as long as the image.
///
/// The solver is the same on all ranks and does on its strip what it would do on the whole. What ranks do together are sums,
/// which are exact and so the same on any number of ranks, and `neighbouringRows`.
public final class Strips: @unchecked Sendable {
  public let ranks: any Ranks
  /// Rows of the whole image.
  public let height: Int
  /// What strips begin at multiples of.
  private let step: Int
  private let lock = Lock()
  private var failure: (any Error)?

  /// - Parameters:
  ///   - ranks: those that share the image.
  ///   - height: its rows.
  ///   - step: strips begin at multiples of it, even ones at least: `FourierTransform` takes rows two at a time.
  public init(ranks: any Ranks = OneRank(), height: Int, step: Int = 2) {
    precondition(step % 2 == 0)
    self.ranks = ranks
    self.height = height
    self.step = step
  }

  /// Rows of this rank, or another.
  public func rows(rank: Int? = nil) -> Range<Int> {
    let steps = ranks.share(of: (height + step - 1) / step, rank: rank)
    return min(step * steps.lowerBound, height)..<min(step * steps.upperBound, height)
  }

  /// The value of the sum of all ranks' sums; NaN where a rank is lost, which `check` throws.
  public func total(_ own: ExactSum) -> Double {
    guard ranks.count > 1 else { return own.value }
    let words = own.words
    return attempt(failed: .nan) {
      ExactSum(
        joining: try ranks.gather(
          words, counts: [Int](repeating: words.count, count: ranks.count), placeholder: 0,
          patience: ranks.usualPatience)
      ).value
    }
  }

  /// Whether it is so on any rank; true where a rank is lost.
  public func any(_ condition: Bool) -> Bool {
    attempt(failed: true) { try ranks.any(condition, patience: ranks.usualPatience) }
  }

  /// Of a vector of which this rank has a part of `count` values: where that begins, and the values of the whole.
  public func place(of count: Int) -> (start: Int, whole: Int) {
    guard ranks.count > 1 else { return (0, count) }
    let counts = attempt(failed: [Int](repeating: count, count: ranks.count)) {
      try ranks.gather(
        [count], counts: [Int](repeating: 1, count: ranks.count), placeholder: 0,
        patience: ranks.usualPatience)
    }
    return (counts[..<ranks.rank].reduce(0, +), counts.reduce(0, +))
  }

  /// Makes numbers the sums of all ranks', place by place; leaves them as they are where a rank is lost.
  public func sum(_ numbers: UnsafeMutableBufferPointer<Int>) {
    guard ranks.count > 1 else { return }
    let own = Array(numbers)
    let all = attempt(failed: own) {
      try ranks.gather(
        own, counts: [Int](repeating: own.count, count: ranks.count), placeholder: 0,
        patience: ranks.usualPatience)
    }
    for k in own.indices {
      numbers[k] = stride(from: k, to: all.count, by: own.count).reduce(0) { $0 + all[$1] }
    }
  }

  /// The least and the greatest value of any rank, of those of this one; its own where a rank is lost.
  func extent(of own: (least: Double, greatest: Double)) -> (least: Double, greatest: Double) {
    guard ranks.count > 1 else { return own }
    let all = attempt(failed: [own.least, -own.greatest]) {
      try ranks.gather(
        [own.least, -own.greatest], counts: [Int](repeating: 2, count: ranks.count), placeholder: 0,
        patience: ranks.usualPatience)
    }
    func least(_ first: Int) -> Double { stride(from: first, to: all.count, by: 2).map { all[$0] }.min()! }
    return (least(0), -least(1))
  }

  private func attempt<Result>(failed: Result, _ body: () throws -> Result) -> Result {
    lock.withLock {
      guard failure == nil else { return failed }
      do { return try body() } catch {
        failure = error
        return failed
      }
    }
  }

  /// Throws what kept ranks from talking.
  public func check() throws {
    if let failure = lock.withLock({ failure }) { throw failure }
  }

  /// Of every rank the rows that it needs, this rank's own among them or not: those that others have are written into `above` and
  /// `below`, in order.
  ///
  /// - Parameters:
  ///   - needed: rows of the image that a rank needs.
  ///   - x: this rank's strip.
  ///   - rowLength: values of a row.
  ///   - above: room for the rows of `needed` above the strip.
  ///   - below: room for those below it.
  public func neighbouringRows(
    _ needed: (_ rank: Int) -> Range<Int>, of x: Vector, rowLength: Int, above: Vector, below: Vector
  ) throws {
    try check()
    let (own, mine) = (rows(), needed(ranks.rank))
    precondition(x.count == own.count * rowLength)
    precondition(above.count == Self.above(mine, own).count * rowLength)
    precondition(below.count == Self.below(mine, own).count * rowLength)
    guard ranks.count > 1 else { return }
    try x.withUnsafeMutableBufferPointer { x in
      try above.withUnsafeMutableBufferPointer { above in
        try below.withUnsafeMutableBufferPointer { below in
          var outgoing: [UnsafeRawBufferPointer] = []
          var incoming: [UnsafeMutableRawBufferPointer] = []
          for rank in 0..<ranks.count {
            let (theirs, wanted) = (rows(rank: rank), needed(rank))
            let sent = rank == ranks.rank ? 0..<0 : own.clamped(to: wanted)
            outgoing.append(
              UnsafeRawBufferPointer(Self.part(of: x, rows: sent, from: own.lowerBound, rowLength)))
            if rank == ranks.rank {
              incoming.append(UnsafeMutableRawBufferPointer(start: nil, count: 0))
            } else if rank < ranks.rank {
              incoming.append(
                Self.part(of: above, rows: theirs.clamped(to: mine), from: mine.lowerBound, rowLength))
            } else {
              let start = Self.below(mine, own).lowerBound
              incoming.append(Self.part(of: below, rows: theirs.clamped(to: mine), from: start, rowLength))
            }
          }
          try ranks.exchange(outgoing, incoming, patience: ranks.usualPatience)
        }
      }
    }
  }

  /// Hands the values of all ranks to rank 0, in the order of ranks and a bounded number at a time: `take` is called there alone.
  /// `counts` is how many each rank has.
  public func collect<Value: KernelScalar>(
    _ own: UnsafeBufferPointer<Value>, counts: [Int], take: (UnsafeBufferPointer<Value>) throws -> Void
  ) throws {
    try check()
    precondition(own.count == counts[ranks.rank])
    if ranks.isFirst { try take(own) }
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    let nothing = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    let most = 1 << 22
    var piece = [Value](repeating: 0, count: ranks.isFirst && ranks.count > 1 ? min(most, counts.max()!) : 0)
    for rank in 1..<max(ranks.count, 1) {
      for start in stride(from: 0, to: counts[rank], by: most) {
        let part = start..<min(start + most, counts[rank])
        var outgoing = [UnsafeRawBufferPointer](repeating: none, count: ranks.count)
        var incoming = [UnsafeMutableRawBufferPointer](repeating: nothing, count: ranks.count)
        if rank == ranks.rank {
          outgoing[0] = UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: own[part]))
        }
        try piece.withUnsafeMutableBufferPointer { piece in
          if ranks.isFirst {
            incoming[rank] = UnsafeMutableRawBufferPointer(
              UnsafeMutableBufferPointer(rebasing: piece[..<part.count]))
          }
          try ranks.exchange(outgoing, incoming, patience: ranks.usualPatience)
          if ranks.isFirst { try take(UnsafeBufferPointer(rebasing: piece[..<part.count])) }
        }
      }
    }
  }

  /// The rows of `needed` before and behind the own ones.
  public static func above(_ needed: Range<Int>, _ own: Range<Int>) -> Range<Int> {
    needed.clamped(to: min(needed.lowerBound, own.lowerBound)..<own.lowerBound)
  }

  public static func below(_ needed: Range<Int>, _ own: Range<Int>) -> Range<Int> {
    needed.clamped(to: own.upperBound..<max(needed.upperBound, own.upperBound))
  }

  private static func part(
    of buffer: UnsafeMutableBufferPointer<Double>, rows: Range<Int>, from first: Int, _ rowLength: Int
  ) -> UnsafeMutableRawBufferPointer {
    guard !rows.isEmpty else { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
    return UnsafeMutableRawBufferPointer(
      UnsafeMutableBufferPointer(
        rebasing: buffer[(rows.lowerBound - first) * rowLength..<(rows.upperBound - first) * rowLength]))
  }
}
