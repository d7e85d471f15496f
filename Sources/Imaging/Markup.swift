/// Text and numbers as HTML and SVG show them.
package enum Markup {
  /// Safe as text and as a quoted attribute; control characters that XML doesn't allow are dropped.
  package static func escape(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "'": result += "&#39;"
      case "\n", "\t": result.unicodeScalars.append(scalar)
      case _ where scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value): break
      case "\u{FFFE}", "\u{FFFF}": break
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// A number with that many decimals, a true minus sign, and thin spaces between thousands.
  package static func fixed(_ value: Double, decimals: Int) -> String {
    guard value.isFinite else { return "–" }
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 1e15 else { return "\(value)" }
    let digits = String(Int(scaled))
    let padded = String(repeating: "0", count: max(0, decimals + 1 - digits.count)) + digits
    var whole = String(padded.dropLast(decimals))
    var groups = [String]()
    while whole.count > 4 || (!groups.isEmpty && whole.count > 3) {
      groups.insert(String(whole.suffix(3)), at: 0)
      whole.removeLast(3)
    }
    let sign = value < 0 && scaled > 0 ? "−" : ""
    let fraction = decimals > 0 ? "." + padded.suffix(decimals) : ""
    return sign + ([whole] + groups).joined(separator: "\u{2009}") + fraction
  }

  package static func fixed(_ value: Double?, decimals: Int) -> String {
    value.map { fixed($0, decimals: decimals) } ?? "–"
  }

  /// About three significant digits, as 0.05, 0.125, 1.3e-5.
  package static func short(_ value: Double) -> String {
    guard value.isFinite else { return "–" }
    let size = abs(value)
    if size == 0 { return "0" }
    if size >= 1e6 || size < 1e-3 {
      var exponent = 0
      var mantissa = size
      while mantissa >= 9.995 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
      while mantissa < 0.9995 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
      return (value < 0 ? "−" : "") + trimmed(fixed(mantissa, decimals: 2)) + "·10" + superscript(exponent)
    }
    return trimmed(
      fixed(value, decimals: size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4))
  }

  package static func trimmed(_ text: String) -> String {
    guard text.contains(".") else { return text }
    var text = text
    while text.hasSuffix("0") { text.removeLast() }
    if text.hasSuffix(".") { text.removeLast() }
    return text
  }

  package static func superscript(_ number: Int) -> String {
    let digits = Array("⁰¹²³⁴⁵⁶⁷⁸⁹")
    return (number < 0 ? "⁻" : "") + String(String(abs(number)).map { digits[$0.wholeNumberValue!] })
  }

  /// A coordinate in a drawing, to a hundredth.
  package static func coordinate(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let sign = hundredths < 0 ? "-" : ""
    let fraction = abs(hundredths) % 100
    let whole = "\(sign)\(abs(hundredths) / 100)"
    if fraction == 0 { return whole }
    return fraction % 10 == 0
      ? "\(whole).\(fraction / 10)" : "\(whole).\(fraction < 10 ? "0" : "")\(fraction)"
  }

  package static func base64(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var result = [UInt8]()
    result.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      let word = group.enumerated().reduce(UInt32(0)) {
        $0 | UInt32($1.element) << (16 - 8 * UInt32($1.offset))
      }
      for position in 0..<4 {
        result.append(
          position <= group.count
            ? alphabet[Int(word >> (18 - 6 * UInt32(position)) & 63)] : UInt8(ascii: "="))
      }
    }
    return String(decoding: result, as: UTF8.self)
  }
}
