import AIPOFlows
import AIPOImaging

/// What `logprob` tells of some images: a table, and the same as JSON.
package struct LikelihoodTable {
  private let rows: [ImageLikelihood]
  /// Draws that bits/dim are the mean of; 0 for the value at the point.
  private let draws: Int
  private let finite: [ImageLikelihood]
  private let mean: Evaluation?

  package init(_ rows: [ImageLikelihood], draws: Int) {
    self.rows = rows
    self.draws = draws
    finite = rows.filter(\.isFinite)
    mean = finite.isEmpty ? nil : Evaluation(of: finite.map(\.bitsPerDim))
  }

  package var text: String {
    func text(_ value: Double?, _ digits: Int) -> String {
      value.map { $0.isFinite ? fixed($0, digits) : "none" } ?? ""
    }
    let showsError = draws > 1
    var table = TextTable(["image", "log p (nats)", "bits/dim"] + (showsError ? ["±"] : []))
    for row in rows {
      table.add(
        [row.name, text(row.logProb, 3), text(row.bitsPerDim, 4)]
          + (showsError ? [text(row.expected?.standardError, 4)] : []))
    }
    if let mean, rows.count > 1 {
      let logProb = finite.reduce(0) { $0 + $1.logProb } / Double(finite.count)
      table.addRule()
      table.add(
        ["mean", text(logProb, 3), text(mean.bitsPerDim, 4)]
          + (showsError ? [text(mean.standardError, 4)] : []))
    }
    guard draws > 0 else { return table.text }
    return table.text + "\nbits/dim: the mean of \(counted(draws, "draw")) of the noise in the bins"
  }

  package var json: JSONValue {
    func numbers(_ value: (ImageLikelihood) -> Double?) -> JSONValue {
      .array(rows.map { .optional(value($0)) })
    }
    return [
      "logprob": numbers(\.logProb), "bitsPerDim": numbers(\.bitsPerDim),
      "standardError": numbers { $0.expected?.standardError }, "bitsPerDimAtPoint": numbers(\.bitsAtPoint),
      "draws": .int(draws), "mean": JSONValue(encoding: mean),
    ]
  }
}
