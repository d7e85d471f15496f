import AIPO

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A JSON value to be written. Keys keep their order, and numbers that aren't finite become null.
indirect enum JSONValue: Sendable {
  case null
  case bool(Bool)
  case int(Int)
  case unsigned(UInt64)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([(String, JSONValue)])
  /// JSON text that something else has written.
  case parsed(String)

  /// The value for people: a string without quotes.
  var text: String {
    if case .string(let string) = self { string } else { compact }
  }

  /// What a value's own coding gives.
  static func encoding(_ value: some Encodable) throws -> JSONValue {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    return .parsed(String(decoding: try encoder.encode(value), as: UTF8.self))
  }

  /// A number, or null where there is none.
  static func optional(_ value: Double?) -> JSONValue { value.map { .number($0) } ?? .null }

  /// A mean with its standard error and count.
  static func estimate(_ value: Estimate?) -> JSONValue {
    guard let value else { return .null }
    return .object([
      ("mean", .number(value.mean)), ("standardError", .optional(value.standardError)),
      ("count", .int(value.count)),
    ])
  }

  /// The value of "warnings" in a verb's JSON.
  static func warnings(_ advices: AdviceList) -> JSONValue { .array(advices.lines.map { .string($0) }) }

  /// The text without line breaks, as one line of a log wants it.
  var compact: String {
    var text = ""
    write(to: &text, indent: nil)
    return text
  }

  /// Indented text; arrays of plain values stay on one line.
  var pretty: String {
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
    case .parsed(let json): text += json
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
