import CAIPOKernels
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A fixed team of threads that works off numbered tasks. The caller is worker 0.
///
/// Which worker does which task is left to chance; results must not depend on it. One call runs at a time:
/// a second caller waits. A task must not call the pool again.
public final class ThreadPool: @unchecked Sendable {
  public let threads: Int
  private let caller = Lock()
  private let team: Team?

  /// `threads` workers, the calling thread included.
  public init(threads: Int) {
    self.threads = max(1, threads)
    team = threads > 1 ? Team(helpers: threads - 1) : nil
  }

  deinit { team?.stop() }

  /// Runs `body(task, worker)` for every task in `0..<tasks`; returns when all are done. Throws the error of the
  /// first task in order that failed.
  public func run(_ tasks: Int, _ body: (_ task: Int, _ worker: Int) throws -> Void) throws {
    guard let team, tasks > 1 else {
      for task in 0..<tasks { try body(task, 0) }
      return
    }
    caller.lock()
    defer { caller.unlock() }
    let failure = Failure()
    withoutActuallyEscaping(body) { body in
      team.run(tasks) { task, worker in
        do { try body(task, worker) } catch { failure.note(error, task: task) }
      }
    }
    if let error = failure.error { throw error }
  }

  /// Splits `0..<count` into one piece a worker, each at least `minimum` long.
  public func split(_ count: Int, minimum: Int, _ body: (_ range: Range<Int>, _ worker: Int) throws -> Void)
    throws
  {
    let pieces = max(1, min(threads, count / max(1, minimum)))
    try run(pieces) { piece, worker in
      try body(count * piece / pieces..<count * (piece + 1) / pieces, worker)
    }
  }
}

/// A plain mutex.
public final class Lock: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>

  public init() {
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  public func lock() { pthread_mutex_lock(mutex) }
  public func unlock() { pthread_mutex_unlock(mutex) }

  public func withLock<R>(_ body: () throws -> R) rethrows -> R {
    lock()
    defer { unlock() }
    return try body()
  }

  fileprivate func wait(_ condition: UnsafeMutablePointer<pthread_cond_t>) {
    pthread_cond_wait(condition, mutex)
  }
}

private final class Failure: @unchecked Sendable {
  private let lock = Lock()
  private var task = Int.max
  private(set) var error: (any Error)?

  func note(_ error: any Error, task: Int) {
    lock.withLock {
      if task < self.task { (self.task, self.error) = (task, error) }
    }
  }
}

/// The helpers and what they share with the caller. They hold the team, not the pool, so that the pool can go.
private final class Team: @unchecked Sendable {
  private typealias Body = (Int, Int) -> Void

  private let helpers: Int
  private let lock = Lock()
  private let wake: UnsafeMutablePointer<pthread_cond_t>
  private let generation = Atomic<Int>(0)
  private let next = Atomic<Int>(0)
  private let working = Atomic<Int>(0)
  private let stopped = Atomic<Bool>(false)
  private var tasks = 0
  private var body: Body?

  init(helpers: Int) {
    self.helpers = helpers
    wake = .allocate(capacity: 1)
    pthread_cond_init(wake, nil)
    for worker in 1...helpers {
      let start = Unmanaged.passRetained(Start(team: self, worker: worker))
      var thread = pthread_t.init(bitPattern: 0)
      let code = pthread_create(&thread, nil, threadMain, start.toOpaque())
      precondition(code == 0, "cannot start a thread")
      #if canImport(Glibc)
        pthread_detach(thread)
      #else
        if let thread { pthread_detach(thread) }
      #endif
    }
  }

  deinit {
    pthread_cond_destroy(wake)
    wake.deallocate()
  }

  func stop() {
    stopped.store(true, ordering: .releasing)
    announce()
  }

  private func announce() {
    lock.withLock {
      generation.add(1, ordering: .releasing)
      pthread_cond_broadcast(wake)
    }
  }

  func run(_ tasks: Int, _ body: @escaping (Int, Int) -> Void) {
    self.tasks = tasks
    self.body = body
    next.store(0, ordering: .relaxed)
    working.store(helpers, ordering: .relaxed)
    announce()
    work(worker: 0)
    var spins = 0
    while working.load(ordering: .acquiring) > 0 {
      spins += 1
      if spins < 4000 { ck_relax() } else { sched_yield() }
    }
    self.body = nil
  }

  private func work(worker: Int) {
    guard let body else { return }
    while true {
      let task = next.add(1, ordering: .relaxed).oldValue
      guard task < tasks else { return }
      body(task, worker)
    }
  }

  fileprivate func help(worker: Int) {
    var seen = 0
    while true {
      var spins = 0
      while generation.load(ordering: .acquiring) == seen {
        ck_relax()
        spins += 1
        if spins == 4000 {
          lock.lock()
          while generation.load(ordering: .acquiring) == seen { lock.wait(wake) }
          lock.unlock()
        }
      }
      seen += 1
      if stopped.load(ordering: .acquiring) { return }
      work(worker: worker)
      working.subtract(1, ordering: .releasing)
    }
  }
}

private final class Start {
  let team: Team
  let worker: Int
  init(team: Team, worker: Int) {
    self.team = team
    self.worker = worker
  }
}

#if canImport(Glibc)
  private func threadMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
    start.team.help(worker: start.worker)
    return nil
  }
#else
  private func threadMain(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
    start.team.help(worker: start.worker)
    return nil
  }
#endif

extension ThreadPool {
  /// Cores that this process may run on.
  public static var availableCores: Int { Int(ck_available_cores()) }
}
