/// How far work has come, in a line: a bar, the rate, and the time left.
public struct ProgressText: Sendable {
  /// What is being done, first on the line.
  public var title: String
  public var total: Int
  /// What is counted, as in `images`.
  public var unit: String
  /// What was already done when the work began: the rate counts from there.
  public var first = 0.0

  public init(_ title: String, total: Int, unit: String) {
    (self.title, self.total, self.unit) = (title, total, unit)
  }

  /// The line when so much is done (a fraction counts parts of one), so many seconds after the beginning; `detail` is what the
  /// work has to say about itself.
  public func line(_ done: Double, seconds: Double, detail: String = "") -> String {
    let share = total > 0 ? min(max(done / Double(total), 0), 1) : 0
    let width = 20
    let filled = Int(share * Double(width))
    let bar = String(repeating: "█", count: filled) + String(repeating: "·", count: width - filled)
    var text = "\(title) \(bar) \(Int(done))/\(total) \(unit)"
    if seconds > 0, done > first {
      let rate = (done - first) / seconds
      text += ", \(fixed(rate, 2))/s, \(Self.duration((Double(total) - done) / rate)) left"
    }
    return detail.isEmpty ? text : text + ", " + detail
  }

  /// Seconds in words short enough for a line: `40 s`, `3 min 20 s`, `2 h 5 min`.
  public static func duration(_ seconds: Double) -> String {
    guard seconds.isFinite else { return "–" }
    let whole = Int(min(max(seconds, 0), 1e9).rounded())
    if whole < 60 { return "\(whole) s" }
    if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
    return "\(whole / 3600) h \(whole % 3600 / 60) min"
  }
}
