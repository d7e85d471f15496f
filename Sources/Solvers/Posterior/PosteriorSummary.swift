import AIPOKernels

/// What the draws of one image come to.
public struct PosteriorSummary: Sendable {
  /// One quantity's diagnostics, and where they are the worst.
  public struct Worst: Sendable {
    public var value: Double
    /// The pixel or functional.
    public var name: String
  }

  /// A functional with its interval.
  public struct Functional: Sendable {
    public var name: String
    public var mean: Double
    public var sd: Double
    /// The ends of the central interval; nil where chains disagree.
    public var interval: ClosedRange<Double>?
    public var rHat: Double?
    public var essBulk: Double?
    public var essTail: Double?
    public var mcse: Double?
  }

  public let shape: ImageShape
  public let chains: Int
  public let draws: Int
  public let spacing: Int
  /// `[h, w, c]`, of all draws.
  public let mean: Tensor<Double>
  public let sd: Tensor<Double>
  /// Of each chain.
  public let chainMeans: [Tensor<Double>]
  /// Quantiles of every value with their probabilities, by the kept draws; empty where chains disagree.
  public private(set) var quantiles: [(probability: Double, image: Tensor<Double>)]
  /// The probability that a value exceeds the threshold.
  public let exceedance: Tensor<Double>?
  public private(set) var functionals: [Functional]
  /// Over all functionals; nil where none can be told.
  public let functionalRHat: Worst?
  /// Over all values; of images of many values over `valueLimit` of them, evenly spaced.
  public let rHat: Worst?
  public let essBulk: Worst?
  public let essTail: Worst?
  /// The greatest standard error of a value's mean by Monte Carlo.
  public let mcse: Worst?
  public let acceptance: Double
  public let divergences: Int
  /// The least of the chains' energy fractions.
  public let energyFraction: Double?
  /// The mass of the central intervals.
  public let level: Double

  /// R̂ from which on chains disagree, of a functional, and of a value: of so many values that are judged at once the greatest
  /// is greater by chance.
  public static let functionalLimit = 1.01
  public static let valueLimit = 1.05
  /// Values of an image that are looked at one by one.
  static let examined = 4096

  /// Why no interval is given; nil where chains agree.
  public var disagreement: String? {
    guard chains > 1 else { return "one chain can't be compared with another" }
    guard draws >= 4 else { return "\(draws) draws a chain tell nothing" }
    let faults = [(functionalRHat, Self.functionalLimit), (rHat, Self.valueLimit)].compactMap {
      worst, limit in
      worst.flatMap {
        $0.value < limit ? nil : "R-hat of \($0.name) is \(rounded($0.value)), expected below \(limit)"
      }
    }
    return faults.isEmpty ? nil : faults.joined(separator: "; ")
  }

  private func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }

  /// - `probabilities`: of the quantiles.
  /// - `level`: the mass of the functionals' intervals.
  public init(_ draws: PosteriorDraws, probabilities: [Double] = [0.05, 0.95], level: Double = 0.9) throws {
    let shape = draws.shape
    let (d, dimensions) = (shape.count, [shape.height, shape.width, shape.channels])
    self.shape = shape
    self.level = level
    chains = draws.chains
    self.draws = draws.count
    spacing = draws.spacing
    let n = Double(draws.count)
    let chainCount = Double(draws.chains)
    chainMeans = draws.sums.map { $0.values.mean.reshaped(dimensions) }
    var mean = try Tensor<Double>(shape: dimensions)
    var sd = try Tensor<Double>(shape: dimensions)
    for i in 0..<d {
      let middle = draws.sums.reduce(0) { $0 + $1.values.mean[flat: i] } / chainCount
      let squares = draws.sums.reduce(0.0) {
        let difference = $1.values.mean[flat: i] - middle
        return $0 + $1.values.squares[flat: i] + n * difference * difference
      }
      mean[flat: i] = middle
      sd[flat: i] = (squares / max(n * chainCount - 1, 1)).squareRoot()
    }
    (self.mean, self.sd) = (mean, sd)
    exceedance = draws.exceeding.map { counts in
      var share = counts.reshaped(dimensions)
      share.withMemory { $0.scale(by: 1 / (n * chainCount)) }
      return share
    }
    acceptance = draws.sums.reduce(0) { $0 + $1.acceptance } / (n * chainCount)
    divergences = draws.sums.reduce(0) { $0 + $1.divergences }
    energyFraction = draws.sums.compactMap(\.energyFraction).min()

    let tails = [(1 - level) / 2, (1 + level) / 2]
    let found = draws.functionals.names.enumerated().map { k, name in
      let all = draws.draws(functional: k)
      let sorted = all.all.sorted()
      return Functional(
        name: name, mean: ChainDraws.mean(sorted),
        sd: sorted.count > 1 ? ChainDraws.variance(sorted).squareRoot() : 0,
        interval: sorted.isEmpty
          ? nil : ChainDraws.quantile(sorted, tails[0])...ChainDraws.quantile(sorted, tails[1]),
        rHat: all.rHat, essBulk: all.essBulk, essTail: all.essTail, mcse: all.mcseMean)
    }
    functionalRHat = Self.worst(found.map { ($0.rHat, $0.name) })

    typealias Named = [(Double?, String)]
    var (rHats, bulks, tailSizes, errors) = (Named(), Named(), Named(), Named())
    let stride = max(1, (d + Self.examined - 1) / Self.examined)
    for i in Swift.stride(from: 0, to: d, by: stride) {
      let all = draws.draws(value: i)
      let pixel = i / shape.channels
      let name =
        "pixel (\(pixel / shape.width), \(pixel % shape.width))"
        + (shape.channels > 1 ? " of channel \(i % shape.channels)" : "")
      rHats.append((all.rHat, name))
      bulks.append((all.essBulk.map { -$0 }, name))
      tailSizes.append((all.essTail.map { -$0 }, name))
      errors.append((all.mcseMean, name))
    }
    rHat = Self.worst(rHats)
    essBulk = Self.worst(bulks).map { Worst(value: -$0.value, name: $0.name) }
    essTail = Self.worst(tailSizes).map { Worst(value: -$0.value, name: $0.name) }
    mcse = Self.worst(errors)
    quantiles = []
    functionals = found
    if disagreement != nil {
      for k in functionals.indices { functionals[k].interval = nil }
      return
    }
    quantiles = try probabilities.map { probability in
      var image = try Tensor<Double>(shape: dimensions)
      for i in 0..<d {
        image[flat: i] = ChainDraws.quantile(draws.draws(value: i).all.sorted(), probability)
      }
      return (probability, image)
    }
  }

  private static func worst(_ values: [(Double?, String)]) -> Worst? {
    values.compactMap { value, name in value.map { Worst(value: $0, name: name) } }.max {
      $0.value < $1.value
    }
  }
}
