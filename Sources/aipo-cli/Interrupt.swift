import AIPO
import AIPOPlatform
import Synchronization

/// SIGINT and SIGTERM as a flag that long work looks at between its steps.
///
/// The handler does what a signal handler may: it stores the signal's number and writes a byte to a pipe.
/// A watching thread reads the pipe and, when the work hasn't come to its next look at the flag within the
/// grace, keeps what is finished and ends the process itself. A second signal ends it at once.
enum Interrupt {
  private static let received = Atomic<Int32>(0)
  private static let pipeEnd = Atomic<Int32>(-1)
  private static let overdue = Mutex<(@Sendable (_ isUrgent: Bool) -> Void)?>(nil)

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

  /// What keeps the finished work when the grace is over before the work has ended by itself. It runs on
  /// the watching thread, and the process ends after it. At a second signal it is called as urgent, when there is no
  /// time to keep anything more.
  static func whenOverdue(_ keepFinished: @escaping @Sendable (_ isUrgent: Bool) -> Void) {
    overdue.withLock { $0 = keepFinished }
  }

  /// Milliseconds that the work has to end by itself after a signal.
  private static let grace: Int32 = 500

  /// Installs the handlers.
  static func install() {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { return }
    let reading = ends[0]
    _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
    _ = fcntl(ends[1], F_SETFD, FD_CLOEXEC)
    pipeEnd.store(ends[1], ordering: .relaxed)
    guard startThread({ watch(reading) }) else { return }

    var action = sigaction()
    action.sa_flags = SA_RESTART
    #if canImport(Glibc)
      action.__sigaction_handler.sa_handler = handle
    #else
      action.__sigaction_u.__sa_handler = handle
    #endif
    // Whoever started the program may have had them ignored or blocked, as shells do for what they put in
    // the background and thread pools for what they spawn; sent to the program they are meant for it.
    var mask = sigset_t()
    sigemptyset(&mask)
    for number in [SIGINT, SIGTERM] {
      sigaction(number, &action, nil)
      sigaddset(&mask, number)
    }
    pthread_sigmask(SIG_UNBLOCK, &mask, nil)
  }

  private static let handle: @convention(c) (Int32) -> Void = { number in
    let saved = errno
    _ = received.compareExchange(expected: 0, desired: number, ordering: .relaxed)
    var byte: UInt8 = 1
    _ = write(pipeEnd.load(ordering: .relaxed), &byte, 1)
    errno = saved
  }

  /// Waits for the first signal, then for the grace or a second one, and ends the process.
  private static func watch(_ reading: Int32) {
    var byte: UInt8 = 0
    while read(reading, &byte, 1) < 0 && errno == EINTR {}
    var waiting = pollfd(fd: reading, events: Int16(POLLIN), revents: 0)
    let second = poll(&waiting, 1, grace) > 0
    // The first rank keeps what there is to keep; the job ends with any of them.
    if !Job.ranks.isFirst { sleep(5) }
    overdue.withLock { $0 }?(second)
    AtomicFile.discardAll()
    _exit((status ?? .interrupted).rawValue)
  }
}
