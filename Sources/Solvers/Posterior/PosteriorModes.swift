import AIPOKernels
import AIPOPlatform

/// Draws of one posterior that lie apart from the others: a way in which the measurement can be explained.
public struct PosteriorMode: Sendable {
  /// Its share of the posterior; nil where chains disagree, since they then don't go from mode to mode.
  public var weight: Double?
  /// The standard error of the weight, by the spread of the chains or runs; nil of one alone.
  public var weightError: Double?
  /// Its draws among those that were looked at, and by how many chains or runs they were made.
  public var draws: Int
  public var chains: Int
  /// `[h, w, c]`, of its draws.
  public var mean: Tensor<Double>
  /// The draw that is nearest to the mean.
  public var draw: Tensor<Float>
}

extension PosteriorDraws {
  /// The modes of the kept draws, the heaviest first; one where no valley parts them.
  ///
  /// Draws are split in two as k-means does, by their first principal components, as long as there is a valley between the
  /// halves: on the line through their centres the density in between falls below 0.4 of that at either centre. A single hump
  /// has none there, however long it is. So what differs by a grey level, or by a little everywhere, is no mode of its own.
  ///
  /// - Parameters:
  ///   - logWeights: of each chain's draws, up to a constant: log p(y) of runs of particles; nil: alike.
  ///   - areWeighed: whether chains go from mode to mode.
  public func modes(logWeights: [Double]? = nil, areWeighed: Bool = true) throws -> [PosteriorMode] {
    let greatest = logWeights?.max() ?? 0
    let chainWeights = (0..<chains).map { exp((logWeights?[$0] ?? 0) - greatest) }
    let total = chainWeights.reduce(0, +)
    let looked = try ModeSearch(self)
    let clusters = looked.clusters()
    return try clusters.map { cluster in
      let shares = (0..<chains).map { chain in
        Double(cluster.count { looked.chain[$0] == chain }) / Double(looked.chain.count { $0 == chain })
      }
      let weight = zip(chainWeights, shares).reduce(0) { $0 + $1.0 * $1.1 } / total
      let spread = zip(chainWeights, shares).reduce(0.0) { sum, pair in
        let part = pair.0 / total * (pair.1 - weight)
        return sum + part * part
      }
      let own = cluster.reduce(0) { $0 + chainWeights[looked.chain[$1]] }
      var mean = try Tensor<Double>(shape: [shape.height, shape.width, shape.channels])
      for k in cluster {
        let share = chainWeights[looked.chain[k]] / own
        for i in 0..<shape.count { mean[flat: i] += share * Double(looked.images[k][flat: i]) }
      }
      func distance(_ k: Int) -> Double {
        (0..<shape.count).reduce(0) { sum, i in
          let difference = Double(looked.images[k][flat: i]) - mean[flat: i]
          return sum + difference * difference
        }
      }
      let nearest = cluster.map { ($0, distance($0)) }.min { $0.1 < $1.1 }!.0
      return PosteriorMode(
        weight: areWeighed ? weight : nil,
        weightError: areWeighed && chains > 1
          ? (spread * Double(chains) / Double(chains - 1)).squareRoot() : nil,
        draws: cluster.count, chains: Set(cluster.map { looked.chain[$0] }).count, mean: mean,
        draw: looked.images[nearest].reshaped([shape.height, shape.width, shape.channels]))
    }.sorted { ($0.weight ?? Double($0.draws)) > ($1.weight ?? Double($1.draws)) }
  }
}

/// The search for valleys between draws.
private struct ModeSearch {
  /// The draws that are looked at, evenly spaced, and the chain of each.
  let images: [Tensor<Float>]
  let chain: [Int]
  /// Coordinates along the principal components, a row a draw.
  private let scores: Matrix

  /// Draws that are looked at, and numbers of all of them, at most.
  private static let mostDraws = 400
  private static let mostValues = 1 << 22
  private static let mostComponents = 8
  private static let mostModes = 6
  /// A mode's least share of the draws, and its least number of them.
  private static let leastShare = 0.02
  private static let leastDraws = 5
  /// Draws that can be split at least, and for each component that they are split by: of fewer a single hump looks split by
  /// chance now and then.
  private static let leastSplit = 50
  private static let drawsForComponent = 10
  /// The density in a valley over that at the lower centre, at most, and the kernel's width over `s n^−⅕` (Silverman's rule has 1.06). Of
  /// 60 samples of a normal density of 60 dimensions none had such a valley (40 to 400 draws: 1 % quantiles 0.54 to 0.91).
  private static let valley = 0.4
  private static let smoothing = 1.5

  init(_ draws: PosteriorDraws) throws {
    let most = min(max(Self.mostValues / draws.shape.count, 32), Self.mostDraws) / draws.chains
    let (kept, d) = (draws.keptCount, draws.shape.count)
    let each = max(min(most, kept), min(kept, 1))
    var (images, chain) = ([Tensor<Float>](), [Int]())
    for k in 0..<draws.chains {
      for j in 0..<each {
        images.append(draws.kept[k][j * kept / each].image)
        chain.append(k)
      }
    }
    (self.images, self.chain) = (images, chain)
    let n = images.count
    guard n > 1 else {
      scores = try Matrix(rows: 1, columns: 1) { _, _ in 0 }
      return
    }
    var middle = [Double](repeating: 0, count: d)
    for image in images { for i in 0..<d { middle[i] += Double(image[flat: i]) / Double(n) } }
    // XᵀX of the centred draws as columns: its eigenvectors, times the roots of the eigenvalues, are the scores.
    let columns = try Matrix(rows: d, columns: n) { Double(images[$1][flat: $0]) - middle[$0] }
    let (values, vectors) = try columns.transposedTimes(columns).symmetricEigen()
    let components = min(max(n / Self.drawsForComponent, 1), Self.mostComponents, n - 1)
    // Ascending.
    let order = values.indices.sorted { values[$0] > values[$1] }.prefix(components)
    scores = try Matrix(rows: n, columns: components) { k, c in
      vectors[k, order[c]] * max(values[order[c]], 0).squareRoot()
    }
  }

  /// Draws by mode; all in one where no valley parts them.
  func clusters() -> [[Int]] {
    var (open, done) = ([Array(images.indices)], [[Int]]())
    while let cluster = open.popLast() {
      if open.count + done.count + 1 < Self.mostModes, let (a, b) = split(cluster) {
        open += [a, b]
      } else {
        done.append(cluster)
      }
    }
    return done
  }

  /// The halves of draws that a valley parts.
  private func split(_ cluster: [Int]) -> ([Int], [Int])? {
    let least = max(Self.leastDraws, Int(Self.leastShare * Double(images.count)))
    guard cluster.count >= max(2 * least, Self.leastSplit) else { return nil }
    let components = min(scores.columns, cluster.count / Self.drawsForComponent)
    var best: (ratio: Double, halves: ([Int], [Int]))?
    for axis in 0..<components {
      let sorted = cluster.sorted { (scores[$0, axis], $0) < (scores[$1, axis], $1) }
      for place in cuts(sorted.map { scores[$0, axis] }, least) {
        let halves = refined(Array(sorted[..<place]), Array(sorted[place...]), components)
        guard min(halves.0.count, halves.1.count) >= least, let ratio = self.ratio(halves, components) else {
          continue
        }
        if ratio < best?.ratio ?? Self.valley { best = (ratio, halves) }
      }
    }
    return best?.halves
  }

  /// Where sorted values are cut: for the least sum of squares about two means, and at the widest gap.
  private func cuts(_ values: [Double], _ least: Int) -> [Int] {
    let n = values.count
    var sums = [0.0]
    for value in values { sums.append(sums.last! + value) }
    let places = least...n - least
    func gain(_ k: Int) -> Double {
      let (left, right) = (sums[k], sums[n] - sums[k])
      return left * left / Double(k) + right * right / Double(n - k)
    }
    let means = places.max { gain($0) < gain($1) }!
    let gap = places.max { values[$0] - values[$0 - 1] < values[$1] - values[$1 - 1] }!
    return means == gap ? [means] : [means, gap]
  }

  private func center(_ draws: [Int], _ components: Int) -> [Double] {
    (0..<components).map { c in draws.reduce(0) { $0 + scores[$1, c] } / Double(draws.count) }
  }

  private func distance(_ k: Int, _ center: [Double]) -> Double {
    center.indices.reduce(0) { $0 + (scores[k, $1] - center[$1]) * (scores[k, $1] - center[$1]) }
  }

  /// Two means, by moving draws to the nearer centre.
  private func refined(_ a: [Int], _ b: [Int], _ components: Int) -> ([Int], [Int]) {
    var halves = (a, b)
    let all = a + b
    for _ in 0..<50 {
      let (p, q) = (center(halves.0, components), center(halves.1, components))
      let next = (
        all.filter { distance($0, p) <= distance($0, q) }, all.filter { distance($0, p) > distance($0, q) }
      )
      if next.0.isEmpty || next.1.isEmpty || next == halves { break }
      halves = next
    }
    return halves
  }

  /// The density in the valley over that at the lower centre, by a kernel estimate on the line through both.
  private func ratio(_ halves: ([Int], [Int]), _ components: Int) -> Double? {
    let (p, q) = (center(halves.0, components), center(halves.1, components))
    let line = zip(p, q).map { $1 - $0 }
    let square = line.reduce(0) { $0 + $1 * $1 }
    guard square > 0 else { return nil }
    func place(_ k: Int) -> Double {
      line.indices.reduce(0) { $0 + (scores[k, $1] - p[$1]) * line[$1] } / square
    }
    let (a, b) = (halves.0.map(place), halves.1.map(place))
    let (all, n) = (a + b, Double(halves.0.count + halves.1.count))
    let within =
      (a.reduce(0) { $0 + $1 * $1 } + b.reduce(0) { $0 + ($1 - 1) * ($1 - 1) }) / max(n - 2, 1)
    let width = max(Self.smoothing * within.squareRoot() * pow(n, -0.2), 0.02)
    func density(_ t: Double) -> Double {
      all.reduce(0) { sum, value in
        let u = (t - value) / width
        return sum + exp(-0.5 * u * u)
      }
    }
    func extreme(_ range: ClosedRange<Double>, _ pick: (Double, Double) -> Double) -> Double {
      (0...20).map { density(range.lowerBound + Double($0) / 20 * (range.upperBound - range.lowerBound)) }
        .reduce(density(range.lowerBound), pick)
    }
    let peaks = min(extreme(-0.25...0.25, max), extreme(0.75...1.25, max))
    return peaks > 0 ? extreme(0.25...0.75, min) / peaks : nil
  }
}
