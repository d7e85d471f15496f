import AIPOPlatform

/// What looks like a user's mistake, though work can go on: one line that says what was found and what to do.
/// Whatever takes a user's data returns such; the command prints them.
public struct Advice: Hashable, Sendable, Codable, CustomStringConvertible {
  /// Names the finding: the same for every image that it is made about.
  public let kind: String
  /// The image or file that it is about; nil for the run as a whole.
  public let subject: String?
  /// The finding, and after it the remedy; begins in lower case, ends without a full stop.
  public let text: String

  public init(_ kind: String, of subject: String? = nil, _ text: String) {
    self.kind = kind
    self.subject = subject.map(FileError.oneLine)
    self.text = FileError.oneLine(text)
  }

  public var description: String { subject.map { "\($0): \(text)" } ?? text }
}

extension Advice {
  /// The first of what a text counts, with commas.
  public static func list(_ items: [some CustomStringConvertible]) -> String {
    items.prefix(8).map(\.description).joined(separator: ", ") + (items.count > 8 ? " …" : "")
  }

  /// A number for a sentence: three digits, or all of an integer, thousands with commas. 0.098 for 0.09804, 4,020 for
  /// 4019.7.
  public static func number(_ value: Double) -> String {
    guard value.isFinite, value != 0 else { return value == 0 ? "0" : "\(value)" }
    let magnitude = value.magnitude
    let exponent = Int(log10(magnitude).rounded(.down))
    guard (-5...14).contains(exponent) else { return "\(value)" }
    // In units of the last digit that is shown: an integer.
    let places = magnitude == magnitude.rounded() ? 0 : 2 - exponent
    let scaled = (magnitude * pow(10, Double(places))).rounded()
    var digits = String(Int64(scaled))
    if places < 0 { digits += String(repeating: "0", count: -places) }
    var fraction = Substring("")
    if places > 0 {
      digits = String(repeating: "0", count: max(places + 1 - digits.count, 0)) + digits
      fraction = digits.suffix(places)
      digits.removeLast(places)
      while fraction.last == "0" { fraction.removeLast() }
    }
    var whole = ""
    for (k, digit) in digits.reversed().enumerated() {
      if k > 0, k % 3 == 0 { whole = "," + whole }
      whole = String(digit) + whole
    }
    return (value < 0 ? "−" : "") + whole + (fraction.isEmpty ? "" : "." + fraction)
  }
}

/// The advices of a run, a line for each finding however many images it is about.
public struct AdviceList: Sendable {
  /// Of each finding the first advice, and all that it was made about.
  private var entries: [(first: Advice, subjects: Set<String>)] = []

  public init() {}

  /// Takes advices, and gives the lines that are new.
  public mutating func add(_ advices: [Advice]) -> [String] {
    let known = entries.count
    for advice in advices {
      let place = entries.firstIndex { $0.first.kind == advice.kind } ?? entries.count
      if place == entries.count { entries.append((advice, [])) }
      if let subject = advice.subject { entries[place].subjects.insert(subject) }
    }
    return Array(lines[known...])
  }

  /// Whether something was found that advices of this kind are about.
  public func contains(_ kind: String) -> Bool { entries.contains { $0.first.kind == kind } }

  /// One a finding, in the order in which they came.
  public var lines: [String] {
    entries.map { first, subjects in
      let others = subjects.count - 1
      guard let subject = first.subject, others > 0 else { return first.description }
      return "\(subject) and \(others) other\(others == 1 ? "" : "s"): \(first.text)"
    }
  }
}
