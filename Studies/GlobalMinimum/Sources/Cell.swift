import AIPO

/// One row of the study: many random problems of a family and a kind of measurement.
struct Cell {
  let family: PointFamily
  let dimension: Int
  let kind: MeasurementKind

  var isLinear: Bool { kind != .intensity }

  /// The problems, all with the true global minimum as far as it is known, and what every method found.
  struct Outcome {
    let problem: InverseProblem
    let measurements: [Measurement]
    /// The lowest value that anything found, and where.
    var lowest: [(value: Double, x: [Double])]
    /// As in `CellFigures`.
    var missedByGrid = 0
    /// By method; nil where it doesn't apply.
    var found: [[Method.Found]?] = []
    /// As in `CellFigures`.
    var minima = 0
  }

  func run(_ prior: TrainedPrior, _ landscape: Landscape, problems: Int, seed: UInt64, pool: ThreadPool)
    throws
    -> Outcome
  {
    let drawn = try (0..<problems).map {
      try kind.problem(family, dimension: dimension, seed: seed, index: $0)
    }
    let problem = try InverseProblem(
      maps: drawn.map(\.measurement.map), noises: [try GaussianNoise(sigma: kind.sigma)],
      observations: drawn.map { try Tensor($0.observation) }, imageShape: .vector(dimension))
    var outcome = try truth(problem, drawn, prior, landscape, pool)
    for method in Method.all {
      guard method.applies(to: self) else {
        outcome.found.append(nil)
        continue
      }
      outcome.found.append(try method.run(problem, prior, isLinear: isLinear, seed: seed, pool: pool))
    }
    for image in 0..<problems {
      let best = outcome.found.compactMap { $0?[image] }.min { $0.objective < $1.objective }
      guard let best, best.objective < outcome.lowest[image].value else { continue }
      if best.objective < outcome.lowest[image].value - 0.01 { outcome.missedByGrid += 1 }
      outcome.lowest[image] = (best.objective, best.point)
    }
    return outcome
  }

  /// Brute force: the lowest minima of the grid, polished.
  private func truth(
    _ problem: InverseProblem, _ drawn: [(measurement: Measurement, observation: [Double])],
    _ prior: TrainedPrior, _ landscape: Landscape, _ pool: ThreadPool
  ) throws -> Outcome {
    let minima = Gathered<[Int]>(count: drawn.count, empty: [])
    try pool.run(drawn.count) { image, _ in
      let recon = landscape.recon(drawn[image].measurement, drawn[image].observation, sigma: kind.sigma)
      let values = landscape.objective(recon, ObjectiveWeights(lambda: 1))
      minima[image] = landscape.minima(values, depth: 10, limit: 48)
    }
    let starts = drawn.indices.flatMap { image in
      minima[image].map { (image: image, x: landscape.point($0)) }
    }
    var found = [[Polish.Minimum]](repeating: [], count: drawn.count)
    let polish = Polish(prior: prior, problem: problem)
    for first in stride(from: 0, to: starts.count, by: 4096) {
      let part = Array(starts[first..<min(first + 4096, starts.count)])
      for minimum in try polish.minima(from: part) {
        let known = found[minimum.image].contains {
          abs($0.value - minimum.value) < 1e-3 && Anatomy.distance($0.x, minimum.x) < 1e-2
        }
        if !known { found[minimum.image].append(minimum) }
      }
    }
    let lowest = found.map { $0.min { $0.value < $1.value } }
    return Outcome(
      problem: problem, measurements: drawn.map(\.measurement),
      lowest: lowest.map { ($0?.value ?? .infinity, $0?.x ?? []) },
      minima: zip(found, lowest).reduce(0) { sum, problem in
        sum + problem.0.count { $0.value <= problem.1!.value + 10 }
      })
  }
}

/// Results that tasks of a pool write, each to a place of its own.
final class Gathered<Value>: @unchecked Sendable {
  private let values: UnsafeMutableBufferPointer<Value>

  init(count: Int, empty: Value) {
    values = .allocate(capacity: count)
    values.initialize(repeating: empty)
  }

  deinit {
    values.deinitialize()
    values.deallocate()
  }

  subscript(index: Int) -> Value {
    get { values[index] }
    set { values[index] = newValue }
  }
}
