import AIPOPlatform

/// One of the parts that numbered items are dealt out to, done by processes that needn't know of each other.
public struct Shard: Sendable, Hashable, LosslessStringConvertible {
  /// From 1.
  public let number: Int
  public let count: Int

  public init?(number: Int, of count: Int) {
    guard (1...1_000_000).contains(count), (1...count).contains(number) else { return nil }
    (self.number, self.count) = (number, count)
  }

  /// From `2/7`.
  public init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 2, let number = parts[0], let count = parts[1] else { return nil }
    self.init(number: number, of: count)
  }

  public var description: String { "\(number)/\(count)" }

  /// The task of a Slurm array that this process is; nil outside of one, and where the array's numbers have gaps.
  public static var ofArray: Shard? {
    func variable(_ name: String) -> Int? {
      getenv("SLURM_ARRAY_TASK_" + name).flatMap { Int(String(cString: $0)) }
    }
    guard let id = variable("ID"), let count = variable("COUNT"), let first = variable("MIN"),
      let last = variable("MAX"), count > 1
    else { return nil }
    let step = max(1, (last - first) / (count - 1))
    guard first + step * (count - 1) == last, (id - first) % step == 0 else { return nil }
    return Shard(number: (id - first) / step + 1, of: count)
  }
}

/// Which of numbered items a process does: those of its shard, dealt out in turn, and of these those of its rank.
public struct Division: Sendable {
  public let ranks: any Ranks
  public let shard: Shard?

  public init(ranks: any Ranks = OneRank(), shard: Shard? = nil) {
    self.ranks = ranks
    self.shard = shard
  }

  /// Whether other processes do items, too.
  public var isDivided: Bool { ranks.count > 1 || shard.map { $0.count > 1 } ?? false }

  public func isOwn(_ item: Int) -> Bool {
    guard let shard else { return item % ranks.count == ranks.rank }
    return item % shard.count == shard.number - 1 && item / shard.count % ranks.count == ranks.rank
  }
}
