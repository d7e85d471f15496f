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

  /// One a finding, in the order in which they came.
  public var lines: [String] {
    entries.map { first, subjects in
      let others = subjects.count - 1
      guard let subject = first.subject, others > 0 else { return first.description }
      return "\(subject) and \(others) other\(others == 1 ? "" : "s"): \(first.text)"
    }
  }
}
