import AIPOKernels
import AIPOPlatform

/// Whether ranks are uniform: the rank of a truth among L draws of its posterior takes each value from 0 to L with the same
/// probability, if the draws are right.
///
/// The distribution function of N ranks is compared with the straight line at every rank at once. Its band is where each point
/// has the same probability of being left, so small that 95 % of uniform samples stay inside everywhere (T. Säilynoja,
/// P.-C. Bürkner, A. Vehtari, *Graphical test for discrete uniformity*, Statistics and Computing 32, 2022); that probability is
/// found by simulation.
public struct RankUniformity: Sendable {
  /// N and L.
  public let count: Int
  public let draws: Int
  /// The least tail probability of simulated uniform samples, ascending.
  private let least: [Double]
  /// Binomial(N, z) at each rank's z.
  private let below: [BinomialTails]

  static let simulations = 2000

  public init(count: Int, draws: Int, seed: UInt64 = 0) {
    precondition(count > 0 && draws > 0)
    (self.count, self.draws) = (count, draws)
    below = (0..<draws).map { BinomialTails(count, Double($0 + 1) / Double(draws + 1)) }
    var found: [Double] = []
    for k in 0..<Self.simulations {
      var random = Philox(seed: seed, index: UInt64(k), purpose: .evaluation)
      let ranks = (0..<count).map { _ in min(Int(random.uniform() * Double(draws + 1)), draws) }
      found.append(Self.leastTail(ranks, below, draws))
    }
    least = found.sorted()
  }

  /// The share of uniform samples that leave the line by as much: below 0.05 the ranks are outside of the 95 % band.
  public func probability(_ ranks: [Int]) -> Double {
    precondition(ranks.count == count)
    let own = Self.leastTail(ranks, below, draws)
    return Double(least.count { $0 <= own } + 1) / Double(least.count + 1)
  }

  /// The band of the distribution function after each rank but the last.
  public var band: [(low: Double, high: Double)] {
    let tail = least[least.count / 20] / 2
    return below.map { counts in
      let low = counts.upTo.firstIndex { $0 > tail } ?? 0
      let high = counts.upTo.firstIndex { $0 >= 1 - tail } ?? count
      return (Double(low) / Double(count), Double(high) / Double(count))
    }
  }

  /// The least over all ranks of twice the smaller tail of the number of ranks at or below it.
  private static func leastTail(_ ranks: [Int], _ below: [BinomialTails], _ draws: Int) -> Double {
    var counts = [Int](repeating: 0, count: draws + 1)
    for rank in ranks { counts[rank] += 1 }
    var (sum, least) = (0, 1.0)
    for k in 0..<draws {
      sum += counts[k]
      let upper = sum == 0 ? 1 : 1 - below[k].upTo[sum - 1]
      least = min(least, 2 * min(below[k].upTo[sum], upper))
    }
    return least
  }
}

/// `P(X ≤ k)` of Binomial(n, p), for k from 0 to n.
private struct BinomialTails: Sendable {
  let upTo: [Double]

  init(_ n: Int, _ p: Double) {
    var sum = 0.0
    upTo = (0...n).map { k in
      let (n, k) = (Double(n), Double(k))
      sum += exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p))
      return min(sum, 1)
    }
  }
}
