import AIPOPlatform

/// One quantity's draws by several chains of one length: what diagnostics look at.
///
/// All formulas are those of A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner, *Rank-normalization, folding, and
/// localization: an improved R̂ for assessing convergence of MCMC*, Bayesian Analysis 16, 2021. Nil stands for what can't be
/// told: fewer than four draws a chain, a value that is NaN, or draws that are all the same where a ratio is 0/0.
public struct ChainDraws: Sendable, Hashable {
  /// All of them, one chain after the other.
  public let all: [Double]
  /// Of each chain.
  public let draws: Int

  /// - Precondition: chains are of one length.
  public init(_ chains: some Collection<some Collection<Double>>) {
    draws = chains.first?.count ?? 0
    all = chains.flatMap(\.self)
    precondition(chains.allSatisfy { $0.count == draws }, "chains are of one length")
  }

  private init(all: [Double], draws: Int) { (self.all, self.draws) = (all, draws) }

  public var chains: [ArraySlice<Double>] {
    stride(from: 0, to: all.count, by: max(draws, 1)).map { all[$0..<$0 + draws] }
  }

  /// Whether diagnostics can be had.
  var isValid: Bool { draws >= 4 && !all.contains(where: \.isNaN) }

  func map(_ function: (Double) -> Double) -> ChainDraws {
    ChainDraws(all: all.map(function), draws: draws)
  }

  /// Every chain as two, its first and its second half; a draw in the middle is left out.
  var split: ChainDraws {
    let half = draws / 2
    return ChainDraws(chains.map { $0.prefix(half) } + chains.map { $0.suffix(half) })
  }

  /// Draws by their normal scores: `Φ⁻¹((r − 3/8)/(n + 1/4))` of the rank r among all n, ties by their mean rank.
  var normalScores: ChainDraws {
    let values = all
    let order = values.indices.sorted { values[$0] < values[$1] }
    var scores = [Double](repeating: 0, count: values.count)
    var k = 0
    while k < order.count {
      var end = k + 1
      while end < order.count, values[order[end]] == values[order[k]] { end += 1 }
      // Ranks from 1.
      let rank = Double(k + 1 + end) / 2
      let score = NormalDistribution.quantile((rank - 0.375) / (Double(values.count) - 0.75 + 1))
      for j in k..<end { scores[order[j]] = score }
      k = end
    }
    return ChainDraws(all: scores, draws: draws)
  }

  /// Distances from the median.
  var folded: ChainDraws {
    let median = Self.quantile(all.sorted(), 0.5)
    return map { abs($0 - median) }
  }

  /// The quantile of sorted values, between its neighbours in proportion.
  public static func quantile(_ sorted: [Double], _ probability: Double) -> Double {
    guard let last = sorted.last else { return .nan }
    let place = probability * Double(sorted.count - 1)
    let below = Int(place)
    guard below + 1 < sorted.count else { return last }
    let share = place - Double(below)
    if share == 0 { return sorted[below] }
    return (1 - share) * sorted[below] + share * sorted[below + 1]
  }

  // MARK: R̂

  /// R̂: the greater of the rank-normalised split R̂ and the folded one. It takes two chains.
  public var rHat: Double? {
    guard let bulk = rHatBulk, let folded = rHatFolded else { return nil }
    return max(bulk, folded)
  }

  /// The rank-normalised split R̂: whether chains agree in where they are.
  public var rHatBulk: Double? { isValid && all.count > draws ? split.normalScores.plainRHat : nil }

  /// The same of distances from the median: whether chains agree in how wide they are.
  public var rHatFolded: Double? { isValid && all.count > draws ? split.folded.normalScores.plainRHat : nil }

  /// `√((B/W + n − 1)/n)`, B n times the variance of the chains' means, W the mean of their variances.
  var plainRHat: Double? {
    let n = Double(draws)
    let chains = chains
    let means = chains.map { Self.mean($0) }
    let within = Self.mean(chains.map { Self.variance($0) })
    let between = n * Self.variance(means)
    let value = ((between / within + n - 1) / n).squareRoot()
    return value.isNaN ? nil : value
  }

  /// Nested R̂, for many short chains of which `chainsEach` begin at one point, one group after the other: the chains of a
  /// group needn't agree with each other, the groups' means must (C. Margossian et al., *Nested R̂*, Bayesian Analysis, 2024).
  public func nestedRHat(chainsEach size: Int) -> Double? {
    let chains = chains
    guard draws >= 1, size > 0, chains.count % size == 0, chains.count / size > 1,
      size > 1 || draws > 1, !all.contains(where: \.isNaN)
    else { return nil }
    let groups = stride(from: 0, to: chains.count, by: size).map { Array(chains[$0..<$0 + size]) }
    let means = groups.map { group in Self.mean(group.map { Self.mean($0) }) }
    let between = Self.variance(means)
    let within = Self.mean(
      groups.map { group in
        let betweenChains = size > 1 ? Self.variance(group.map { Self.mean($0) }) : 0
        let withinChains = draws > 1 ? Self.mean(group.map { Self.variance($0) }) : 0
        return betweenChains + withinChains
      })
    let value = (1 + between / within).squareRoot()
    return value.isNaN ? nil : value
  }

  // MARK: Plain numbers

  /// Of differences from the first value, so that a large one in common costs no digits.
  static func mean(_ values: some Collection<Double>) -> Double {
    guard let first = values.first, first.isFinite else { return values.reduce(0, +) / Double(values.count) }
    return first + values.reduce(0) { $0 + ($1 - first) } / Double(values.count)
  }

  /// By n − 1.
  static func variance(_ values: some Collection<Double>) -> Double {
    let mean = mean(values)
    return values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)
  }
}
