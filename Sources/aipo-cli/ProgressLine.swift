import AIPO
import Synchronization

/// A line on standard error that shows how far long work has come. Drawn only on a terminal; with `-v` elsewhere, as a
/// line every few seconds.
final class ProgressLine: Sendable {
  private struct State {
    var text: ProgressText
    /// When the work began.
    var start = ContinuousClock.now
    var shown: ContinuousClock.Instant?
  }

  private static let current = Mutex<Bool>(false)

  private let state: Mutex<State>
  private let draws: Bool
  /// Between two lines; nil shows none.
  private let interval: Duration?

  /// `title` is what is being done, `unit` what is counted, as in `images`.
  init(_ title: String, total: Int, unit: String, options: CommonOptions) {
    state = Mutex(State(text: ProgressText(title, total: total, unit: unit)))
    draws = Console.errorIsTerminal && !options.quiet
    interval = draws ? .milliseconds(100) : options.verbose && !options.quiet ? .seconds(5) : nil
  }

  /// Tells that the work begins now and goes on at `done`: rate and time left count from here.
  func begin(at done: Double) {
    state.withLock { state in
      state.start = .now
      state.text.first = done
    }
  }

  /// Shows that `done` of the total are finished (a fraction counts parts of one), at most ten times a second.
  func update(_ done: Double, _ detail: @autoclosure () -> String = "") {
    guard let interval else { return }
    let now = ContinuousClock.now
    let due: State? = state.withLock { state in
      if let shown = state.shown, now - shown < interval { return nil }
      state.shown = now
      return state
    }
    guard let due else { return }
    let line = due.text.line(done, seconds: (now - due.start) / .seconds(1), detail: detail())
    if draws {
      Self.current.withLock { $0 = true }
      Console.errorRaw("\r" + line.prefix(max(Console.errorColumns - 1, 20)) + "\u{1B}[K")
    } else {
      Console.error(line)
    }
  }

  /// Takes the line off the screen.
  func finish() { Self.clearCurrent() }

  /// Takes whatever line stands on the screen off it, so that a message can follow.
  static func clearCurrent() {
    let shown = current.withLock { shown in
      defer { shown = false }
      return shown
    }
    if shown { Console.errorRaw("\r\u{1B}[K") }
  }
}
