import AIPOKernels
import AIPOPlatform

/// A number with the given digits after its point.
package func fixed(_ value: Double, _ digits: Int) -> String {
  guard value.isFinite else { return "–" }
  var buffer = [CChar](repeating: 0, count: 400)
  let count = withVaList([Int32(digits), value]) { vsnprintf(&buffer, buffer.count, "%.*f", $0) }
  return String(decoding: buffer.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// A number in as few digits as a heading needs.
package func short(_ value: Double, _ digits: Int = 4) -> String {
  let text = fixed(value, digits)
  guard text.contains(".") else { return text }
  let trimmed = text.reversed().drop { $0 == "0" }.reversed()
  return String(trimmed.last == "." ? trimmed.dropLast() : trimmed[...])
}

/// A number as `1.2e-07`.
package func scientific(_ value: Double) -> String {
  guard value.isFinite else { return "–" }
  guard value != 0 else { return "0" }
  let exponent = Int(floor(log10(abs(value))))
  return fixed(value / pow(10, Double(exponent)), 1) + "e\(exponent)"
}

/// A number of things: `1 image`, `2 images`.
package func counted(_ count: Int, _ name: String) -> String { "\(count) \(name)\(count == 1 ? "" : "s")" }

/// Figures as tables show them.
package enum FigureText {
  package static func number(_ value: Double, _ digits: Int) -> String {
    let text = fixed(value, digits)
    return text.hasPrefix("-") ? "−" + text.dropFirst() : text
  }

  package static func estimate(_ estimate: Estimate?, _ digits: Int) -> String {
    guard let estimate else { return "–" }
    let mean = number(estimate.mean, digits)
    return estimate.standardError.map { "\(mean) ± \(number($0, digits))" } ?? mean
  }

  /// With its sign, of so many solves: nothing where one of several says too little, and otherwise with their
  /// number where it isn't that of all.
  package static func difference(_ estimate: Estimate?, _ digits: Int, of solves: Int) -> String {
    guard let estimate, estimate.count > 1 || solves == 1 else { return "–" }
    let text = Self.estimate(estimate, abs(estimate.mean) < 1000 ? digits : 0)
    return (estimate.mean >= 0 ? "+" : "") + text + (estimate.count < solves ? " (\(estimate.count))" : "")
  }

  /// From the least to the greatest.
  package static func range(_ values: [Double]) -> String {
    guard let low = values.min(), let high = values.max() else { return "–" }
    return low == high ? short(low, 3) : "\(short(low, 3)) to \(short(high, 3))"
  }

  /// Numbers by their size, before texts by their letters.
  package static func precedes(_ a: String, _ b: String) -> Bool {
    switch (Double(a), Double(b)) {
    case (let x?, let y?): x < y
    case (.some, nil): true
    case (nil, .some): false
    case (nil, nil): a < b
    }
  }
}
