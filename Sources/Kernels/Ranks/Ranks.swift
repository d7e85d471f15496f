import AIPOPlatform

/// The processes that work on one job together, on one machine or many; a job by itself is `OneRank`.
///
/// All ranks make the same calls in the same order. Whatever they do together is built on `exchange`.
public protocol Ranks: Sendable {
  /// This process among them, from 0.
  var rank: Int { get }
  var count: Int { get }
  /// Ranks on this machine, this one included: they share its cores.
  var neighbours: Int { get }

  /// Sends `outgoing[r]` to rank r and receives into `incoming[r]` what rank r sends here, which has that many bytes.
  ///
  /// Throws `RankError.silent` where a rank isn't heard of for `patience` seconds; nil waits for as long as it takes.
  func exchange(
    _ outgoing: [UnsafeRawBufferPointer], _ incoming: [UnsafeMutableRawBufferPointer], patience: Double?
  ) throws

  /// Ends all ranks at once with this exit code, because this one can't go on.
  func abort(_ code: Int32) -> Never

  /// Leaves the job; all ranks do.
  func leave()
}

/// A process by itself.
public struct OneRank: Ranks {
  public init() {}
  public var rank: Int { 0 }
  public var count: Int { 1 }
  public var neighbours: Int { 1 }

  public func exchange(
    _ outgoing: [UnsafeRawBufferPointer], _ incoming: [UnsafeMutableRawBufferPointer], patience: Double?
  ) { incoming[0].copyMemory(from: outgoing[0]) }

  public func abort(_ code: Int32) -> Never { exit(code) }
  public func leave() {}
}

/// Why ranks can't go on together.
public enum RankError: Error, Equatable, CustomStringConvertible {
  /// Nothing came from these ranks for so long.
  case silent(ranks: [Int], seconds: Double)
  /// A rank has something else than rank 0.
  case different(what: String, rank: Int, found: String, expected: String)
  /// What the system below says.
  case failed(String)
  /// The program was started as one of several ranks, and can't be one.
  case notBuilt(count: Int)

  public var description: String {
    switch self {
    case .silent(let ranks, let seconds):
      "nothing came from rank\(ranks.count > 1 ? "s" : "") \(ranks.map(String.init).joined(separator: ", ")) for "
        + "\(Int(seconds)) s: its machine or the network is down, or a step takes longer (AIPO_RANK_TIMEOUT is the limit in "
        + "seconds)"
    case .different(let what, let rank, let found, let expected):
      "the \(what) of rank \(rank) is \(found), that of rank 0 is \(expected): all ranks need the same"
    case .failed(let text): "the ranks can't talk: \(text)"
    case .notBuilt(let count):
      "started as one of \(count) ranks, but built for one: build it with 'make build MPI=1'"
    }
  }
}

extension Ranks {
  /// Seconds that a rank may be silent in a step; `AIPO_RANK_TIMEOUT` sets others.
  public var usualPatience: Double {
    guard let text = getenv("AIPO_RANK_TIMEOUT"), let seconds = Double(String(cString: text)), seconds > 0
    else { return 600 }
    return seconds
  }

  /// Whether this is the rank that writes and speaks.
  public var isFirst: Bool { rank == 0 }

  /// Threads for a process where the machine's cores are shared by its ranks.
  public var threads: Int {
    let cores = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    return max(1, min(ThreadPool.availableCores, cores / neighbours))
  }

  /// The share of this rank, or another, in `0..<items`: pieces as even as can be, in order.
  public func share(of items: Int, rank other: Int? = nil) -> Range<Int> {
    let r = other ?? rank
    return items * r / count..<items * (r + 1) / count
  }

  /// Values of every rank, in the order of ranks; rank r has `counts[r]` of them.
  public func gather<Value: BitwiseCopyable>(
    _ own: [Value], counts: [Int], placeholder: Value, patience: Double?
  ) throws -> [Value] {
    precondition(own.count == counts[rank])
    guard count > 1 else { return own }
    var all = [Value](repeating: placeholder, count: counts.reduce(0, +))
    try own.withUnsafeBytes { own in
      try all.withUnsafeMutableBytes { all in
        var offset = 0
        let incoming = counts.map { n in
          let size = n * MemoryLayout<Value>.stride
          defer { offset += size }
          return UnsafeMutableRawBufferPointer(rebasing: all[offset..<offset + size])
        }
        try exchange([UnsafeRawBufferPointer](repeating: own, count: count), incoming, patience: patience)
      }
    }
    return all
  }

  /// Bytes of every rank, as many as it has.
  public func gather(_ own: [UInt8], patience: Double?) throws -> [[UInt8]] {
    let sizes = try gather(
      [own.count], counts: [Int](repeating: 1, count: count), placeholder: 0, patience: patience)
    let all = try gather(own, counts: sizes, placeholder: 0, patience: patience)
    var offset = 0
    return sizes.map { size in
      defer { offset += size }
      return Array(all[offset..<offset + size])
    }
  }

  /// Returns once all ranks have come here.
  public func wait() throws { _ = try gather([], patience: nil) }

  /// Whether it is so on any rank.
  public func any(_ condition: Bool, patience: Double?) throws -> Bool {
    guard count > 1 else { return condition }
    return try gather(
      [condition], counts: [Int](repeating: 1, count: count), placeholder: false, patience: patience
    ).contains(true)
  }

  /// Throws `RankError.different` on all ranks where one has another value than rank 0.
  public func requireSame(_ values: [(what: String, value: String)]) throws {
    guard count > 1 else { return }
    for (what, value) in values {
      let all = try gather(Array(value.utf8), patience: usualPatience).map {
        String(decoding: $0, as: UTF8.self)
      }
      guard let other = all.firstIndex(where: { $0 != all[0] }) else { continue }
      throw RankError.different(what: what, rank: other, found: all[other], expected: all[0])
    }
  }
}
