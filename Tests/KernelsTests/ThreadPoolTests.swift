import Foundation
import Testing

@testable import AIPOKernels

@Suite struct ThreadPoolTests {
  private struct Stop: Error, Equatable { var task: Int }

  /// Counts how often each task was run, and by whom.
  private final class Tally: @unchecked Sendable {
    private let lock = Lock()
    private(set) var counts: [Int]
    private(set) var workers: Set<Int> = []

    init(_ tasks: Int) { counts = [Int](repeating: 0, count: tasks) }

    func note(_ task: Int, _ worker: Int) {
      lock.withLock {
        counts[task] += 1
        workers.insert(worker)
      }
    }
  }

  @Test(arguments: [-3, 1, 2, 5])
  func everyTaskRunsOnce(_ threads: Int) throws {
    let pool = ThreadPool(threads: threads)
    #expect(pool.threads == max(1, threads))
    for tasks in [0, 1, 2, 7, 100] {
      let tally = Tally(tasks)
      try pool.run(tasks) { tally.note($0, $1) }
      #expect(tally.counts.allSatisfy { $0 == 1 })
      #expect(tally.workers.allSatisfy { (0..<pool.threads).contains($0) })
    }
  }

  @Test func manyRuns() throws {
    let pool = ThreadPool(threads: 3)
    for k in 0..<2000 {
      let tally = Tally(k % 5)
      try pool.run(k % 5) { tally.note($0, $1) }
      #expect(tally.counts.allSatisfy { $0 == 1 })
    }
  }

  @Test(arguments: [1, 2, 5])
  func theFirstErrorIsThrown(_ threads: Int) throws {
    let pool = ThreadPool(threads: threads)
    for _ in 0..<50 {
      #expect(throws: Stop(task: 3)) {
        try pool.run(20) { task, _ in if task >= 3 { throw Stop(task: task) } }
      }
    }
    // The pool goes on working.
    let tally = Tally(4)
    try pool.run(4) { tally.note($0, $1) }
    #expect(tally.counts == [1, 1, 1, 1])
  }

  @Test(arguments: [1, 2, 5])
  func splitsCoverTheRange(_ threads: Int) throws {
    let pool = ThreadPool(threads: threads)
    for (count, minimum) in [(0, 1), (1, 1), (7, 1), (7, 3), (100, 0), (100, 1000), (5, 2)] {
      let tally = Tally(count)
      let pieces = Tally(1)
      try pool.split(count, minimum: minimum) { range, worker in
        pieces.note(0, worker)
        for i in range { tally.note(i, worker) }
      }
      #expect(tally.counts.allSatisfy { $0 == 1 })
      #expect(pieces.counts[0] <= max(1, min(threads, count / max(1, minimum))))
    }
  }

  /// Callers on several threads take turns.
  @Test func callersTakeTurns() throws {
    let pool = ThreadPool(threads: 3)
    let tally = Tally(8 * 50)
    DispatchQueue.concurrentPerform(iterations: 8) { caller in
      for k in 0..<50 {
        let sums = Tally(6)
        try? pool.run(6) { sums.note($0, $1) }
        if sums.counts == [1, 1, 1, 1, 1, 1] { tally.note(caller * 50 + k, 0) }
      }
    }
    #expect(tally.counts.allSatisfy { $0 == 1 })
  }

  /// Pools that are called at the same time, from several threads each: every task of every call is done once.
  @Test func poolsBesideEachOther() throws {
    let pools = (0..<3).map { _ in ThreadPool(threads: 4) }
    let tally = Tally(12 * 100)
    DispatchQueue.concurrentPerform(iterations: 12) { caller in
      for k in 0..<100 {
        let sums = Tally(9)
        try? pools[caller % 3].run(9) { task, worker in sums.note(task, worker) }
        if sums.counts == [Int](repeating: 1, count: 9) { tally.note(caller * 100 + k, 0) }
      }
    }
    #expect(tally.counts.allSatisfy { $0 == 1 })
  }

  @Test func poolsComeAndGo() throws {
    for _ in 0..<50 {
      let pool = ThreadPool(threads: 4)
      let tally = Tally(8)
      try pool.run(8) { tally.note($0, $1) }
      #expect(tally.counts.allSatisfy { $0 == 1 })
    }
    #expect(ThreadPool.availableCores >= 1)
  }
}
