import Foundation

/// A share of trials with Wilson's interval at 95 %.
///
/// Source: E. B. Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 22, 1927.
struct Share {
  let hits: Int
  let trials: Int

  var value: Double { trials == 0 ? .nan : Double(hits) / Double(trials) }

  var interval: ClosedRange<Double> {
    let z = 1.959964
    let n = Double(trials)
    let centre = value + z * z / (2 * n)
    let half = z * (value * (1 - value) / n + z * z / (4 * n * n)).squareRoot()
    let scale = 1 + z * z / n
    return max(0, (centre - half) / scale)...min(1, (centre + half) / scale)
  }

  /// `97.3 (96.1–98.1)`, in per cent.
  var text: String {
    guard trials > 0 else { return "–" }
    func percent(_ x: Double) -> String { String(format: "%.1f", 100 * x) }
    return "\(percent(value)) (\(percent(interval.lowerBound))–\(percent(interval.upperBound)))"
  }
}
