import AIPO

/// The rows of a batch that a model gives nothing usable for. They cost the others nothing.
struct UnusableRows {
  /// What the rows have, as "have no finite log-density".
  let what: String
  private(set) var names: [String] = []

  init(_ what: String) { self.what = what }

  mutating func add(_ more: [String]) { names += more }

  var isEmpty: Bool { names.isEmpty }

  /// One line that names them, with the remedy; nil where there are none.
  func advice(of total: Int, precision: Precision) -> Advice? {
    guard !isEmpty else { return nil }
    let remedy =
      precision == .float32
      ? "too far from the training images for float32: try --precision float64"
      : "too far from the training images even for float64"
    return Advice(what, "\(names.count) of \(total) \(what): \(Advice.list(names)); \(remedy)")
  }
}

extension CommonOptions {
  /// Warns of unusable rows, a line for each kind that there is, and of what else there is to say.
  func warn(
    about kinds: [UnusableRows], of total: Int, and others: [Advice] = [],
    after earlier: AdviceList = AdviceList()
  ) -> AdviceList {
    var advices = earlier
    warn(advices.add(kinds.compactMap { $0.advice(of: total, precision: precision) } + others))
    return advices
  }
}
