import AIPOPlatform
import CAIPOKernels
import Synchronization

/// A fixed team of threads that works off numbered tasks. The caller is worker 0.
///
/// Which worker does which task is left to chance; results must not depend on it. The caller never waits for a helper
/// that hasn't begun: it does the tasks itself. Waiting threads spin for some ten microseconds, then sleep. While
/// another thread uses this pool, and where other pools keep the processor's cores busy, a call works alone. A task must
/// not call the pool again.
public final class ThreadPool: @unchecked Sendable {
  public let threads: Int
  /// Where vectors are parts of an image's; nil where each is whole.
  public let strips: Strips?
  private let caller = Lock()
  private let team: Team?

  /// `threads` workers, the calling thread included.
  public init(threads: Int, strips: Strips? = nil) {
    self.threads = max(1, threads)
    self.strips = strips
    team = threads > 1 ? Team(helpers: threads - 1) : nil
  }

  deinit { team?.stop() }

  /// Calls of pools with helpers that are under way in this process.
  private static let active = Atomic<Int>(0)
  private static let cores = availableCores

  /// Runs `body(task, worker)` for every task in `0..<tasks`, fewer than 2²⁴; returns when all are done. Throws the error
  /// of the first task in order that failed. What `isSmall` isn't worth another thread's waking.
  public func run(
    _ tasks: Int, isSmall: Bool = false, _ body: (_ task: Int, _ worker: Int) throws -> Void
  ) throws {
    guard let team, tasks > 1, !isSmall, caller.tryLock() else {
      for task in 0..<tasks { try body(task, 0) }
      return
    }
    defer { caller.unlock() }
    let active = Self.active.add(1, ordering: .relaxed).newValue
    defer { Self.active.subtract(1, ordering: .relaxed) }
    // More workers than cores are the user's choice as long as this pool is the only one at work.
    let helpers = active == 1 ? threads - 1 : min(threads, Self.cores / active) - 1
    guard helpers > 0 else {
      for task in 0..<tasks { try body(task, 0) }
      return
    }
    try withoutActuallyEscaping(body) { try team.run(tasks, helpers: helpers, $0) }
  }

  /// Splits `0..<count` into one piece a worker, each at least `minimum` long.
  public func split(_ count: Int, minimum: Int, _ body: (_ range: Range<Int>, _ worker: Int) throws -> Void)
    throws
  {
    let pieces = max(1, min(threads, count / max(1, minimum)))
    guard pieces > 1 else { return try body(0..<count, 0) }
    try run(pieces) { piece, worker in
      try body(count * piece / pieces..<count * (piece + 1) / pieces, worker)
    }
  }
}

/// A plain mutex.
public final class Lock: @unchecked Sendable {
  fileprivate let mutex: UnsafeMutablePointer<pthread_mutex_t>

  public init() {
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  public func lock() { pthread_mutex_lock(mutex) }
  public func tryLock() -> Bool { pthread_mutex_trylock(mutex) == 0 }
  public func unlock() { pthread_mutex_unlock(mutex) }

  public func withLock<R>(_ body: () throws -> R) rethrows -> R {
    lock()
    defer { unlock() }
    return try body()
  }
}

/// What threads wait for under a lock.
private final class Condition: @unchecked Sendable {
  private let condition: UnsafeMutablePointer<pthread_cond_t>

  init() {
    condition = .allocate(capacity: 1)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    condition.deallocate()
  }

  func wait(_ lock: Lock) { pthread_cond_wait(condition, lock.mutex) }
  func broadcast() { pthread_cond_broadcast(condition) }
}

/// The helpers and what they share with the caller. They hold the team, not the pool, so that the pool can go.
private final class Team: @unchecked Sendable {
  typealias Body = (Int, Int) throws -> Void

  /// Generation, number of tasks and next task of the present job in one word, so that a task is taken only of the job
  /// that is on: 16, 24 and 24 bits. Whoever has taken one may read the rest, since the caller waits for it.
  private let job = Atomic<UInt64>(0)
  private let finished = Atomic<Int>(0)
  /// Helpers that may work.
  private let limit = Atomic<Int>(0)
  private var body: Body?

  private let lock = Lock()
  private let stopped = Atomic<Bool>(false)
  private let sleepingHelpers = Atomic<Int>(0)
  private let callerSleeps = Atomic<Bool>(false)
  private let wake = Condition()
  private let done = Condition()

  /// The error of the first task in order that failed.
  private var failed = Int.max
  private var error: (any Error)?

  init(helpers: Int) {
    for worker in 1...helpers {
      // Without memory for another thread, those that there are do the work.
      guard startThread({ self.help(worker: worker) }) else { return }
    }
  }

  private static let bits: UInt64 = 24
  private static func generation(_ job: UInt64) -> UInt64 { job >> (2 * bits) }
  private static func tasks(_ job: UInt64) -> UInt64 { job >> bits & (1 << bits - 1) }
  private static func next(_ job: UInt64) -> UInt64 { job & (1 << bits - 1) }

  private func begin(tasks: Int) {
    precondition(tasks < 1 << Self.bits)
    let next = Self.generation(job.load(ordering: .relaxed)) &+ 1
    job.store(next << (2 * Self.bits) | UInt64(tasks) << Self.bits, ordering: .sequentiallyConsistent)
    guard sleepingHelpers.load(ordering: .sequentiallyConsistent) > 0 else { return }
    lock.withLock { wake.broadcast() }
  }

  func stop() {
    stopped.store(true, ordering: .releasing)
    begin(tasks: 0)
  }

  func run(_ tasks: Int, helpers: Int, _ body: @escaping Body) throws {
    self.body = body
    limit.store(helpers, ordering: .relaxed)
    finished.store(0, ordering: .relaxed)
    begin(tasks: tasks)
    work(worker: 0)
    var spins = 0
    while finished.load(ordering: .acquiring) < tasks {
      ck_relax()
      spins += 1
      if spins == Self.spins { sleepUntilFinished(tasks) }
    }
    self.body = nil
    if let error {
      self.error = nil
      failed = .max
      throw error
    }
  }

  /// Some ten microseconds.
  private static let spins = 2000

  private func sleepUntilFinished(_ tasks: Int) {
    lock.withLock {
      callerSleeps.store(true, ordering: .sequentiallyConsistent)
      while finished.load(ordering: .sequentiallyConsistent) < tasks { done.wait(lock) }
      callerSleeps.store(false, ordering: .relaxed)
    }
  }

  /// Takes tasks of the present job until there are none.
  private func work(worker: Int) {
    var seen = job.load(ordering: .acquiring)
    while Self.next(seen) < Self.tasks(seen) {
      let (taken, now) = job.weakCompareExchange(
        expected: seen, desired: seen + 1, successOrdering: .acquiringAndReleasing,
        failureOrdering: .acquiring)
      guard taken else {
        seen = now
        continue
      }
      let task = Int(Self.next(seen))
      do { try body!(task, worker) } catch {
        lock.withLock {
          if task < failed { (failed, self.error) = (task, error) }
        }
      }
      let count = finished.add(1, ordering: .sequentiallyConsistent).newValue
      if count == Int(Self.tasks(seen)), callerSleeps.load(ordering: .sequentiallyConsistent) {
        lock.withLock { done.broadcast() }
      }
      seen = job.load(ordering: .acquiring)
    }
  }

  fileprivate func help(worker: Int) {
    var generation: UInt64 = 0
    while true {
      var spins = 0
      while Self.generation(job.load(ordering: .acquiring)) == generation {
        ck_relax()
        spins += 1
        if spins == Self.spins { sleep(while: generation) }
      }
      generation = Self.generation(job.load(ordering: .acquiring))
      if stopped.load(ordering: .acquiring) { return }
      if worker <= limit.load(ordering: .relaxed) { work(worker: worker) }
    }
  }

  private func sleep(while generation: UInt64) {
    lock.withLock {
      sleepingHelpers.add(1, ordering: .sequentiallyConsistent)
      while Self.generation(job.load(ordering: .sequentiallyConsistent)) == generation { wake.wait(lock) }
      sleepingHelpers.subtract(1, ordering: .relaxed)
    }
  }
}

extension ThreadPool {
  /// Cores that this process may run on.
  public static var availableCores: Int { Int(ck_available_cores()) }
}
