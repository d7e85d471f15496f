#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif
import Synchronization

/// SIGINT and SIGTERM as a flag that long work looks at between its steps.
///
/// The handler does what a signal handler may: it stores the signal's number and writes a byte to a pipe.
/// A watching thread reads the pipe and, when the work hasn't come to its next look at the flag within the
/// grace given, keeps what is finished and ends the process itself. A second signal ends it at once.
enum Interrupt {
  private static let received = Atomic<Int32>(0)
  private static let pipeEnd = Atomic<Int32>(-1)

  /// Whether the user has asked the program to stop.
  static var requested: Bool { received.load(ordering: .relaxed) != 0 }

  /// The exit code that tells which signal it was; nil while there was none.
  static var status: ExitStatus? {
    switch received.load(ordering: .relaxed) {
    case 0: nil
    case SIGTERM: .terminated
    default: .interrupted
    }
  }

  /// Installs the handlers.
  /// - Parameters:
  ///   - grace: seconds that the work has to end by itself after the first signal.
  ///   - keepFinished: called on the watching thread when the grace is over, before the process ends.
  static func install(grace: Double, keepFinished: @escaping @Sendable () -> Void = {}) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { return }
    let reading = ends[0]
    _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
    _ = fcntl(ends[1], F_SETFD, FD_CLOEXEC)
    pipeEnd.store(ends[1], ordering: .relaxed)
    let watcher = Watcher(reading: reading, grace: grace, keepFinished: keepFinished)
    guard watcher.start() else { return }

    var action = sigaction()
    action.sa_flags = SA_RESTART
    #if canImport(Glibc)
      action.__sigaction_handler.sa_handler = handle
    #else
      action.__sigaction_u.__sa_handler = handle
    #endif
    for number in [SIGINT, SIGTERM] {
      // A signal that the parent has had ignored (nohup, a background job) stays ignored.
      var before = sigaction()
      sigaction(number, nil, &before)
      #if canImport(Glibc)
        let ignored = before.__sigaction_handler.sa_handler.map { unsafeBitCast($0, to: Int.self) } == 1
      #else
        let ignored = before.__sigaction_u.__sa_handler.map { unsafeBitCast($0, to: Int.self) } == 1
      #endif
      if !ignored { sigaction(number, &action, nil) }
    }
  }

  private static let handle: @convention(c) (Int32) -> Void = { number in
    let saved = errno
    _ = received.compareExchange(expected: 0, desired: number, ordering: .relaxed)
    var byte: UInt8 = 1
    _ = write(pipeEnd.load(ordering: .relaxed), &byte, 1)
    errno = saved
  }

  /// Waits for the first signal, then for the grace or a second one, and ends the process.
  private final class Watcher: Sendable {
    let reading: Int32
    let grace: Double
    let keepFinished: @Sendable () -> Void

    init(reading: Int32, grace: Double, keepFinished: @escaping @Sendable () -> Void) {
      self.reading = reading
      self.grace = grace
      self.keepFinished = keepFinished
    }

    func start() -> Bool {
      let argument = Unmanaged.passRetained(self).toOpaque()
      let body: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { argument in
        Unmanaged<Watcher>.fromOpaque(argument!).takeRetainedValue().watch()
        return nil
      }
      #if canImport(Glibc)
        var thread = pthread_t()
      #else
        var thread: pthread_t?
      #endif
      guard pthread_create(&thread, nil, body, argument) == 0 else {
        Unmanaged<Watcher>.fromOpaque(argument).release()
        return false
      }
      #if canImport(Glibc)
        pthread_detach(thread)
      #else
        pthread_detach(thread!)
      #endif
      return true
    }

    func watch() {
      var byte: UInt8 = 0
      while read(reading, &byte, 1) < 0 && errno == EINTR {}
      var waiting = pollfd(fd: reading, events: Int16(POLLIN), revents: 0)
      let second = poll(&waiting, 1, Int32(grace * 1000)) > 0
      if !second { keepFinished() }
      _exit((Interrupt.status ?? .interrupted).rawValue)
    }
  }
}
