import AIPO
import AIPOPlatform
import Synchronization

/// A line on standard error that shows how far long work has come: a bar, the rate, the time left, and what
/// the work has to say about itself. Drawn only on a terminal; with `-v` elsewhere, as a line every few
/// seconds.
final class ProgressLine: Sendable {
  private struct State {
    /// When the work began, and what was already done by then.
    var start = ProgressLine.now()
    var first = 0.0
    var lastShown = -Double.infinity
  }

  private static let current = Mutex<Bool>(false)

  private let title: String
  private let unit: String
  private let total: Int
  private let state = Mutex(State())
  private let draws: Bool
  private let interval: Double

  /// - Parameters:
  ///   - title: what is being done, first on the line.
  ///   - unit: what is counted, as in `images`.
  init(_ title: String, total: Int, unit: String, options: CommonOptions) {
    self.title = title
    self.unit = unit
    self.total = total
    draws = Console.errorIsTerminal && !options.quiet
    interval = draws ? 0.1 : options.verbose && !options.quiet ? 5 : .infinity
  }

  /// Seconds of a clock that never goes back.
  static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  /// Tells that the work begins now and goes on at `done`: rate and time left count from here.
  func begin(at done: Double) {
    state.withLock { state in
      state.start = Self.now()
      state.first = done
    }
  }

  /// Shows that `done` of the total are finished (a fraction counts parts of one), at most ten times a second.
  func update(_ done: Double, _ detail: @autoclosure () -> String = "") {
    let now = Self.now()
    let begin: (start: Double, first: Double)? = state.withLock { state in
      guard interval.isFinite, now - state.lastShown >= interval else { return nil }
      state.lastShown = now
      return (state.start, state.first)
    }
    guard let begin else { return }
    let text = line(done, since: begin.first, seconds: now - begin.start, detail: detail())
    if draws {
      Self.current.withLock { $0 = true }
      Console.errorRaw("\r" + text.prefix(max(Console.errorColumns - 1, 20)) + "\u{1B}[K")
    } else {
      Console.error(text)
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

  private func line(_ done: Double, since first: Double, seconds: Double, detail: String) -> String {
    let share = total > 0 ? min(max(done / Double(total), 0), 1) : 0
    let width = 20
    let filled = Int(share * Double(width))
    let bar = String(repeating: "█", count: filled) + String(repeating: "·", count: width - filled)
    var text = "\(title) \(bar) \(Int(done))/\(total) \(unit)"
    if seconds > 0, done > first {
      let rate = (done - first) / seconds
      text += ", \(fixed(rate, 2))/s, \(duration((Double(total) - done) / rate)) left"
    }
    return detail.isEmpty ? text : text + ", " + detail
  }
}

/// Seconds in words short enough for a line: `40 s`, `3 min 20 s`, `2 h 5 min`.
func duration(_ seconds: Double) -> String {
  guard seconds.isFinite else { return "–" }
  let whole = Int(min(max(seconds, 0), 1e9).rounded())
  if whole < 60 { return "\(whole) s" }
  if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
  return "\(whole / 3600) h \(whole % 3600 / 60) min"
}
