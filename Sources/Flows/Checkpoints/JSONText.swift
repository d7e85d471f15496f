import AIPOPlatform

/// The pieces of JSON that files are written in: short, and the same for the same value.
package enum JSONText {
  /// A string in quotes.
  package static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  /// The shortest text that reads back as the same number; `null` where it isn't finite.
  static func number(_ value: Double) -> String {
    guard value.isFinite else { return "null" }
    return value == value.rounded() && abs(value) < 1e15 ? String(Int(value)) : value.description
  }

  /// About so many significant digits, for a line that people read.
  static func rounded(_ value: Double, digits: Int = 6) -> String {
    guard value.isFinite, value != 0 else { return value.description }
    let scale = pow(10, Double(digits - 1) - floor(log10(abs(value))))
    guard scale.isFinite, scale > 0 else { return value.description }
    return number((value * scale).rounded() / scale)
  }
}
