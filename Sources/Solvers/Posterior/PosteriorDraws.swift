import AIPOKernels

/// What is kept of the draws of one image: sums over all of them, and single draws of each chain, evenly spaced. Once there are
/// as many of these as are kept, every second one is dropped and the spacing doubles, so memory doesn't grow with the draws.
public struct PosteriorDraws: Sendable {
  /// Sums over the draws of one chain.
  public struct ChainSums: Sendable, Equatable {
    public internal(set) var values: VectorMoments
    public var acceptance = 0.0
    public var divergences = 0
    var energy = RunningMoments()
    var lastEnergy = 0.0
    /// `Σ (Eₜ − Eₜ₋₁)²`
    var energySteps = 0.0

    init(_ d: Int) throws(TensorError) { values = try VectorMoments(dimension: d) }
  }

  /// Mean and sum of squares of a number, one value after another (B. P. Welford, Technometrics 4, 1962).
  struct RunningMoments: Sendable, Equatable {
    var count = 0.0
    var mean = 0.0
    var squares = 0.0

    mutating func add(_ value: Double) {
      count += 1
      let difference = value - mean
      mean += difference / count
      squares += difference * (value - mean)
    }
  }

  /// A draw that is kept.
  public struct Draw: Sendable {
    /// Its d values.
    public var image: Tensor<Float>
    public var functionals: [Double]
  }

  public let shape: ImageShape
  public let functionals: ImageFunctionals
  /// Draws of each chain so far.
  public private(set) var count = 0
  public private(set) var sums: [ChainSums]
  /// Draws that exceeded the threshold, of each value.
  public private(set) var exceeding: Tensor<Double>?
  public let threshold: Double?
  /// Draws from one that is kept to the next.
  public private(set) var spacing: Int
  /// The draws that are kept, `[chain][kept]`.
  public private(set) var kept: [[Draw]]
  private let limit: Int

  /// Bytes that kept draws may take.
  static let keptBytes = 256 << 20
  /// Draws of a chain that are kept at most.
  static let keptLimit = 4000

  /// - `thin`: draws from one that is kept to the next, at first.
  /// - `threshold`: for the probability that a value exceeds it.
  public init(
    _ functionals: ImageFunctionals, _ shape: ImageShape, chains: Int, thin: Int = 1, threshold: Double? = nil
  ) throws {
    self.functionals = functionals
    self.shape = shape
    self.threshold = threshold
    spacing = thin
    sums = try (0..<chains).map { _ in try ChainSums(shape.count) }
    exceeding = try threshold.map { _ in try Tensor(count: shape.count) }
    kept = .init(repeating: [], count: chains)
    // Even, so that halving keeps the spacing.
    limit = max(16, min(Self.keptLimit, Self.keptBytes / (4 * chains * shape.count))) / 2 * 2
  }

  public var chains: Int { sums.count }
  /// Kept draws of each chain.
  public var keptCount: Int { kept.first?.count ?? 0 }

  /// Takes a draw of every chain.
  public mutating func add(_ chains: [MarkovChain], _ round: MarkovChains.Round) throws {
    precondition(chains.count == sums.count)
    let isKept = count % spacing == 0
    count += 1
    for (k, chain) in chains.enumerated() {
      let (pixels, move) = (chain.sample.pixels, round.moves[k])
      sums[k].values.add(pixels)
      sums[k].add(move)
      if let threshold {
        exceeding!.withMemory { $0.setEach(nil, $0, pixels) { $0 + ($1 > threshold ? 1 : 0) } }
      }
      guard isKept else { continue }
      var image = try Tensor<Float>(shape: [shape.count])
      image.withMemory { pixels.convert(into: $0) }
      kept[k].append(Draw(image: image, functionals: functionals.values(chain.sample)))
    }
    guard isKept, keptCount == limit else { return }
    spacing *= 2
    for k in kept.indices {
      kept[k] = stride(from: 0, to: limit, by: 2).map { kept[k][$0] }
    }
  }

  /// The kept draws of a value.
  public func draws(value i: Int) -> ChainDraws {
    ChainDraws(kept.map { $0.map { Double($0.image[flat: i]) } })
  }

  /// The kept draws of a functional.
  public func draws(functional k: Int) -> ChainDraws { ChainDraws(kept.map { $0.map { $0.functionals[k] } }) }

  /// `[chain, draw, h, w, c]`
  public func array() throws(TensorError) -> Tensor<Float> {
    try Tensor(
      shape: [chains, keptCount, shape.height, shape.width, shape.channels],
      elements: kept.flatMap { $0.flatMap(\.image.elements) })
  }
}

extension PosteriorDraws {
  /// Becomes what was kept; false where it doesn't fit.
  mutating func restore(
    count: Int, spacing: Int, mean: Tensor<Double>, squares: Tensor<Double>, sums: Tensor<Double>,
    kept: Tensor<Double>, values: Tensor<Double>, exceeding: Tensor<Double>?
  ) throws -> Bool {
    let (d, n, functionals) = (shape.count, kept.shape[1], self.functionals.count)
    guard n <= limit, n == (count + spacing - 1) / spacing, (exceeding == nil) == (threshold == nil) else {
      return false
    }
    (self.count, self.spacing, self.exceeding) = (count, spacing, exceeding)
    for k in 0..<chains {
      self.sums[k].values.count = Double(count)
      self.sums[k].values.mean = try mean.row(k).tensor(shape: [d])
      self.sums[k].values.squares = try squares.row(k).tensor(shape: [d])
      self.sums[k].numbers = sums.row(k).elements
      self.kept[k] = try (0..<n).map { j in
        try Draw(
          image: Tensor(shape: [d], elements: kept.row(k)[j * d..<(j + 1) * d].elements.map { Float($0) }),
          functionals: values.row(k)[j * functionals..<(j + 1) * functionals].elements)
      }
    }
    return true
  }
}

extension PosteriorDraws.ChainSums {
  /// All but the arrays.
  var numbers: [Double] {
    get {
      [acceptance, Double(divergences), energy.count, energy.mean, energy.squares, lastEnergy, energySteps]
    }
    set {
      acceptance = newValue[0]
      divergences = Int(exactly: newValue[1]) ?? 0
      (energy.count, energy.mean, energy.squares) = (newValue[2], newValue[3], newValue[4])
      (lastEnergy, energySteps) = (newValue[5], newValue[6])
    }
  }

  fileprivate mutating func add(_ move: Move) {
    acceptance += move.acceptance
    if move.isDivergent { divergences += 1 }
    if energy.count > 0 { energySteps += (move.energy - lastEnergy) * (move.energy - lastEnergy) }
    lastEnergy = move.energy
    energy.add(move.energy)
  }

  /// `energyFraction` of all draws; nil for one draw, or energies that are all the same.
  public var energyFraction: Double? {
    guard energy.count > 1, energy.squares > 0 else { return nil }
    return energySteps / energy.squares
  }
}
