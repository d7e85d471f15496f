import AIPO

/// Figures as tables show them.
enum StudyText {
  static func number(_ value: Double, _ digits: Int) -> String {
    let text = fixed(value, digits)
    return text.hasPrefix("-") ? "−" + text.dropFirst() : text
  }

  static func estimate(_ estimate: Estimate?, _ digits: Int) -> String {
    guard let estimate else { return "–" }
    let mean = number(estimate.mean, digits)
    return estimate.standardError.map { "\(mean) ± \(number($0, digits))" } ?? mean
  }

  /// With its sign, of so many solves: nothing where one of several says too little, and otherwise with their
  /// number where it isn't that of all.
  static func difference(_ estimate: Estimate?, _ digits: Int, of solves: Int) -> String {
    guard let estimate, estimate.count > 1 || solves == 1 else { return "–" }
    let text = Self.estimate(estimate, abs(estimate.mean) < 1000 ? digits : 0)
    return (estimate.mean >= 0 ? "+" : "") + text + (estimate.count < solves ? " (\(estimate.count))" : "")
  }

  /// From the least to the greatest.
  static func range(_ values: [Double]) -> String {
    guard let low = values.min(), let high = values.max() else { return "–" }
    return low == high ? short(low) : "\(short(low)) to \(short(high))"
  }

  private static func short(_ value: Double) -> String {
    let text = fixed(value, 3)
    guard text.contains(".") else { return text }
    let trimmed = String(text.reversed().drop { $0 == "0" }.reversed())
    return trimmed.hasSuffix(".") ? String(trimmed.dropLast()) : trimmed
  }

  /// Numbers by their size, before texts by their letters.
  static func precedes(_ a: String, _ b: String) -> Bool {
    switch (Double(a), Double(b)) {
    case (let x?, let y?): x < y
    case (.some, nil): true
    case (nil, .some): false
    case (nil, nil): a < b
    }
  }
}
