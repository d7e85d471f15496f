import AIPOFlows
import AIPOKernels

/// A JSON value to be written. Keys keep their order, and numbers that aren't finite become null, which is what
/// Foundation's encoder can't do.
public indirect enum JSONValue: Sendable {
  case null
  case bool(Bool)
  case int(Int)
  case unsigned(UInt64)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([(String, JSONValue)])

  /// The value for people: a string without quotes.
  package var text: String {
    if case .string(let string) = self { string } else { compact }
  }

  /// A number, or null where there is none.
  package static func optional(_ value: Double?) -> JSONValue { value.map { .number($0) } ?? .null }

  /// The value of "warnings" in a verb's JSON.
  package static func warnings(_ advices: AdviceList) -> JSONValue {
    .array(advices.lines.map { .string($0) })
  }

  /// The text without line breaks, as one line of a log wants it.
  public var compact: String {
    var text = ""
    write(to: &text, indent: nil)
    return text
  }

  /// Indented text; arrays of plain values stay on one line.
  public var pretty: String {
    var text = ""
    write(to: &text, indent: 0)
    return text
  }

  private var isContainer: Bool {
    switch self {
    case .array, .object: true
    default: false
    }
  }

  private func write(to text: inout String, indent: Int?) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .int(let value): text += String(value)
    case .unsigned(let value): text += String(value)
    case .number(let value): text += value.isFinite ? value.description : "null"
    case .string(let value): text += JSONText.quoted(value)
    case .array(let values):
      let flat = indent == nil || !values.contains(where: \.isContainer)
      Self.writeList(values, "[", "]", to: &text, indent: flat ? nil : indent) { value, text, indent in
        value.write(to: &text, indent: indent)
      }
    case .object(let members):
      Self.writeList(members, "{", "}", to: &text, indent: indent) { member, text, indent in
        text += JSONText.quoted(member.0) + (indent == nil ? ":" : ": ")
        member.1.write(to: &text, indent: indent)
      }
    }
  }

  private static func writeList<Item>(
    _ items: [Item], _ open: String, _ close: String, to text: inout String, indent: Int?,
    _ writeItem: (Item, inout String, Int?) -> Void
  ) {
    text += open
    for (i, item) in items.enumerated() {
      if i > 0 { text += "," }
      if let indent { text += "\n" + String(repeating: " ", count: 2 * (indent + 1)) }
      writeItem(item, &text, indent.map { $0 + 1 })
    }
    if let indent, !items.isEmpty { text += "\n" + String(repeating: " ", count: 2 * indent) }
    text += close
  }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByStringInterpolation,
  ExpressibleByDictionaryLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }

  /// Keys in the order of the literal.
  public init(dictionaryLiteral members: (String, JSONValue)...) { self = .object(members) }

  /// An object's members with others after them; the others alone of another value.
  package func adding(_ more: JSONValue) -> JSONValue { .object(members + more.members) }

  package var members: [(String, JSONValue)] {
    if case .object(let members) = self { members } else { [] }
  }
}

extension ImageShape {
  /// As JSON tells shapes.
  package var json: JSONValue { .array([height, width, channels].map { .int($0) }) }
}
