import AIPOKernels

/// All that it takes to go on with the sampling of one image, as arrays: positions of the chains, what the warm-up found, and
/// what is kept of the draws. Random numbers need no place in it, as they are keyed by the draw.
public struct PosteriorState: Sendable {
  var draws: PosteriorDraws
  /// `[chains, d]`, in the density's coordinates.
  var positions: Tensor<Double>
  var tuning: SamplerTuning
  var evaluations: Int
  var warmUpEvaluations: Int

  /// Draws of each chain so far.
  public var count: Int { draws.count }

  public func arrays() throws -> [(name: String, array: Tensor<Double>)] {
    let (d, chains) = (draws.shape.count, draws.chains)
    var list: [(String, Tensor<Double>)] = [
      (
        "numbers",
        try Tensor([
          Double(draws.count), Double(draws.spacing), Double(evaluations), Double(warmUpEvaluations),
          tuning.step,
          tuning.length,
        ])
      ),
      ("positions", positions), ("mass", try tuning.mass.array()),
      ("mean", try Tensor(shape: [chains, d], elements: draws.sums.flatMap(\.values.mean.elements))),
      ("squares", try Tensor(shape: [chains, d], elements: draws.sums.flatMap(\.values.squares.elements))),
      ("sums", try Tensor(shape: [chains, 7], elements: draws.sums.flatMap(\.numbers))),
      (
        "kept",
        try Tensor(
          shape: [chains, draws.keptCount, d],
          elements: draws.kept.flatMap { $0.flatMap { $0.image.elements.map(Double.init) } })
      ),
      (
        "functionals",
        try Tensor(
          shape: [chains, draws.keptCount, draws.functionals.count],
          elements: draws.kept.flatMap { $0.flatMap(\.functionals) })
      ),
    ]
    if let exceeding = draws.exceeding { list.append(("exceeding", exceeding)) }
    return list
  }

  /// Nil where arrays are missing or of other shapes.
  ///
  /// `empty`: draws of the same settings, none of them made.
  public init?(_ arrays: [(name: String, array: Tensor<Double>)], empty: PosteriorDraws) throws {
    func array(_ name: String, _ shape: [Int]) -> Tensor<Double>? {
      arrays.first { $0.name == name && $0.array.shape == shape }?.array
    }
    let (d, chains, functionals) = (empty.shape.count, empty.chains, empty.functionals.count)
    guard let numbers = array("numbers", [6])?.elements, let positions = array("positions", [chains, d]),
      let mass = arrays.first(where: { $0.name == "mass" })?.array,
      let known = try Mass(array: mass, dimension: d),
      let mean = array("mean", [chains, d]), let squares = array("squares", [chains, d]),
      let sums = array("sums", [chains, 7]),
      let kept = arrays.first(where: { $0.name == "kept" })?.array, kept.shape.count == 3,
      kept.shape[0] == chains, kept.shape[2] == d,
      let values = array("functionals", [chains, kept.shape[1], functionals]),
      numbers[..<4].allSatisfy({ $0 >= 0 && $0 < 1e15 && $0 == $0.rounded() }), numbers[1] >= 1,
      numbers[4] > 0, numbers[5] > 0
    else { return nil }
    var draws = empty
    guard
      try draws.restore(
        count: Int(numbers[0]), spacing: Int(numbers[1]), mean: mean, squares: squares, sums: sums,
        kept: kept,
        values: values, exceeding: array("exceeding", [d]))
    else { return nil }
    self.draws = draws
    self.positions = positions
    (evaluations, warmUpEvaluations) = (Int(numbers[2]), Int(numbers[3]))
    tuning = SamplerTuning(mass: known, step: numbers[4], length: numbers[5])
  }

  init(
    draws: PosteriorDraws, positions: Tensor<Double>, tuning: SamplerTuning, evaluations: Int,
    warmUpEvaluations: Int
  ) {
    (self.draws, self.positions, self.tuning) = (draws, positions, tuning)
    (self.evaluations, self.warmUpEvaluations) = (evaluations, warmUpEvaluations)
  }
}
