import AIPOKernels
import Foundation

/// Ranks that are threads of this process.
public struct ThreadRanks: Ranks {
  public let rank: Int
  public let count: Int
  public var neighbours: Int { count }
  private let mail: Mail

  private final class Mail: @unchecked Sendable {
    private let condition = NSCondition()
    private var letters: [[[UInt8]]?]
    private var readers = 0
    private var generation = 0

    init(_ count: Int) { letters = Array(repeating: nil, count: count) }

    /// What everybody sends to `rank`.
    func exchange(_ own: [[UInt8]], rank: Int) -> [[UInt8]] {
      condition.lock()
      defer { condition.unlock() }
      let now = generation
      letters[rank] = own
      condition.broadcast()
      while letters.contains(where: { $0 == nil }) { condition.wait() }
      let result = letters.map { $0![rank] }
      readers += 1
      if readers == letters.count {
        letters = Array(repeating: nil, count: readers)
        readers = 0
        generation += 1
        condition.broadcast()
      }
      while generation == now { condition.wait() }
      return result
    }
  }

  public func exchange(
    _ outgoing: [UnsafeRawBufferPointer], _ incoming: [UnsafeMutableRawBufferPointer], patience: Double?
  ) {
    let received = mail.exchange(outgoing.map { Array($0) }, rank: rank)
    for (bytes, place) in zip(received, incoming) {
      precondition(bytes.count == place.count, "a rank sent another number of bytes than was expected")
      if !bytes.isEmpty { place.copyBytes(from: bytes) }
    }
  }

  public func abort(_ code: Int32) -> Never { fatalError("a rank gave up with \(code)") }
  public func leave() {}

  /// Runs `body` on so many ranks, and gives what comes of each.
  public static func run<Result>(_ count: Int, _ body: @escaping (ThreadRanks) throws -> Result) throws
    -> [Result]
  {
    let mail = Mail(count)
    nonisolated(unsafe) var results = [Swift.Result<Result, any Error>?](repeating: nil, count: count)
    nonisolated(unsafe) let body = body
    let lock = NSLock()
    let group = DispatchGroup()
    for rank in 0..<count {
      group.enter()
      Thread.detachNewThread {
        let result = Swift.Result { try body(ThreadRanks(rank: rank, count: count, mail: mail)) }
        lock.withLock { results[rank] = result }
        group.leave()
      }
    }
    group.wait()
    return try results.map { try $0!.get() }
  }
}
