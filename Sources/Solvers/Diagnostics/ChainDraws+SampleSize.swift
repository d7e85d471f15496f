import AIPOPlatform

extension ChainDraws {
  /// How many independent draws tell as much about the quantity's middle.
  public var essBulk: Double? { isValid ? split.normalScores.plainSize : nil }

  /// The same of its 5 % and 95 % quantiles: the lesser of the two.
  public var essTail: Double? {
    guard let low = essQuantile(0.05), let high = essQuantile(0.95) else { return nil }
    return min(low, high)
  }

  /// The same of the mean.
  public var essMean: Double? { isValid ? split.plainSize : nil }

  /// The same of a quantile.
  public func essQuantile(_ probability: Double) -> Double? {
    guard isValid else { return nil }
    let quantile = Self.quantile(all.sorted(), probability)
    guard !quantile.isNaN else { return nil }
    return map { $0 <= quantile ? 1 : 0 }.split.plainSize
  }

  // MARK: Standard errors by Monte Carlo

  /// Of the mean.
  public var mcseMean: Double? {
    guard let size = essMean else { return nil }
    return (Self.variance(all) / size).squareRoot().number
  }

  /// Of the standard deviation.
  public var mcseSD: Double? {
    guard isValid else { return nil }
    let mean = Self.mean(all)
    let squares = map { ($0 - mean) * ($0 - mean) }
    guard let size = squares.essMean else { return nil }
    let variance = Self.mean(squares.all)
    let spread = Self.mean(squares.all.map { $0 * $0 }) - variance * variance
    return (spread / size / variance / 4).squareRoot().number
  }

  /// Of a quantile: half the distance of the order statistics that hold it with the probability of one deviation.
  public func mcseQuantile(_ probability: Double) -> Double? {
    guard let size = essQuantile(probability) else { return nil }
    let sorted = all.sorted()
    let n = Double(sorted.count)
    let ends = [0.1586553, 0.8413447].map {
      BetaDistribution.quantile($0, size * probability + 1, size * (1 - probability) + 1) * n - 1
    }
    let low = Int(max(ends[0], 0).rounded(.down))
    let high = Int(min(ends[1], n - 1).rounded(.up))
    return ((sorted[high] - sorted[low]) / 2).number
  }

  // MARK: The estimate

  /// By the autocorrelations ρ of all chains together, cut where the sum of two neighbours is no longer positive, and made to
  /// fall (C. J. Geyer, Statistical Science 7, 1992): `n/(−1 + 2 Σρ)`, at most `n log₁₀ n`. Of draws that are all the same, n.
  var plainSize: Double? {
    let values = all
    guard !values.contains(where: \.isNaN) else { return nil }
    guard let least = values.min(), let greatest = values.max() else { return nil }
    let total = Double(values.count)
    if greatest - least < 1e-15 { return total }
    let n = draws
    let chains = chains
    let means = chains.map { Self.mean($0) }
    let centered = zip(chains, means).map { chain, mean in chain.map { $0 - mean } }
    /// The mean autocovariance of the chains.
    func covariance(_ lag: Int) -> Double {
      var sum = 0.0
      for chain in centered {
        chain.withUnsafeBufferPointer { chain in
          var part = 0.0
          for k in 0..<max(n - lag, 0) { part += chain[k] * chain[k + lag] }
          sum += part / Double(n)
        }
      }
      return sum / Double(chains.count)
    }
    let within = covariance(0) * Double(n) / Double(n - 1)
    var whole = within * Double(n - 1) / Double(n)
    if chains.count > 1 { whole += Self.variance(means) }
    func correlation(_ lag: Int) -> Double { 1 - (within - covariance(lag)) / whole }
    var rho = [Double](repeating: 0, count: n + 2)
    var (even, odd) = (1.0, n > 1 ? correlation(1) : 0)
    (rho[0], rho[1]) = (even, odd)
    var t = 1
    while t < n - 3, even + odd > 0 {
      (even, odd) = (correlation(t + 1), correlation(t + 2))
      if even + odd >= 0 { (rho[t + 1], rho[t + 2]) = (even, odd) }
      t += 2
    }
    // Infinite draws.
    guard !rho.contains(where: \.isNaN) else { return nil }
    let last = t - 2
    if even > 0 { rho[last + 1] = even }
    t = 1
    while t <= last - 2 {
      if rho[t + 1] + rho[t + 2] > rho[t - 1] + rho[t] {
        rho[t + 1] = (rho[t - 1] + rho[t]) / 2
        rho[t + 2] = rho[t + 1]
      }
      t += 2
    }
    var time = -1 + 2 * rho[..<max(last + 1, 0)].reduce(0, +) + rho[last + 1]
    time = max(time, 1 / log10(total))
    return (total / time).number
  }
}

extension Double {
  /// Nil for NaN.
  fileprivate var number: Double? { isNaN ? nil : self }
}

/// How well the momenta that a chain is given move its energy: the mean of `(Eₜ − Eₜ₋₁)²` over the variance of the energies. Below 0.3
/// the chain crosses the energies too slowly (M. Betancourt, *Diagnosing suboptimal cotangent disintegrations*, 2016).
public func energyFraction(_ energies: [Double]) -> Double? {
  guard energies.count > 1 else { return nil }
  let steps = zip(energies.dropFirst(), energies).map { ($0 - $1) * ($0 - $1) }
  let value = ChainDraws.mean(steps) / ChainDraws.variance(energies)
  return value.isNaN ? nil : value
}
