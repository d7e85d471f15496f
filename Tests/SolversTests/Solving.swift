import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

// Arrays where the solver takes vectors, and an image at a time.

/// A state with the image there.
@dynamicMemberLookup struct Place {
  let state: PathState
  let image: [Double]
  subscript<T>(dynamicMember path: KeyPath<PathState, T>) -> T { state[keyPath: path] }
}

/// Solves along a path and gives the states.
func solve(
  _ objective: any Objective, from start: [Double], path: any SolutionPath,
  by minimizer: any Minimizer = LBFGS(), _ settings: PathSettings = PathSettings(), data: DataTerm? = nil
) throws -> (states: [Place], outcome: PathOutcome) {
  var states: [Place] = []
  let run = try Continuation(
    Evaluator(objective, Scratch()), path: path, minimizer: minimizer, settings: settings, data: data
  ) { state, pixels in states.append(Place(state: state, image: pixels.elements)) }
  let outcome = try run.run { $0.copy(from: start) }
  return (states, outcome)
}

/// Reconstructs on one thread.
func reconstruct(
  _ problem: InverseProblem, _ prior: any Prior, _ gaussian: GaussianPrior? = nil,
  _ options: ReconstructionOptions = ReconstructionOptions(), threads: Int = 1,
  _ observer: ReconstructionObserver = ReconstructionObserver()
) throws -> [ReconstructionResult] {
  try Reconstructor(
    problem: problem, prior: prior, gaussian: gaussian, options: options, pool: ThreadPool(threads: threads)
  ).run(observer)
}

extension InverseProblem {
  init(_ map: any Map, _ noise: any NoiseModel, _ y: [[Double]]) throws {
    try self.init(
      maps: [map], noises: [noise], observations: y.map { try Tensor($0) }, imageShape: map.input)
  }
}

extension DataTerm {
  init(_ map: any Map, _ noise: any NoiseModel, _ y: [Double]) throws {
    self.init(map: map, noise: noise, observation: try Tensor(y))
  }
}

extension PathOutcome {
  var point: [Double] { sample?.point.elements ?? [] }
}

extension ObjectiveSample {
  func gradient(_ weights: ObjectiveWeights) -> [Double] {
    var g = [Double](repeating: .nan, count: point.count)
    g.withUnsafeMutableBufferPointer { gradient(weights, into: Vector($0), ThreadPool(threads: 1)) }
    return g
  }
}

extension Objective {
  func sample(_ x: [Double], _ weights: ObjectiveWeights) throws -> ObjectiveSample? {
    let sample = try ObjectiveSample(dimension: dimension)
    sample.point.copy(from: x)
    return try evaluate(sample, weights: weights, Scratch()) ? sample : nil
  }

  func curvature(_ x: [Double], key: UInt64, _ probes: CurvatureProbes) throws -> [Double]? {
    try x.asVector { try probeCurvature($0, key: key, probes: probes, Scratch()) }?.elements
  }
}

extension LatentPrior {
  func decode(_ latents: [Double]) throws -> [Double] {
    try latents.asVector { z in try written(count) { _ = try decode(z, into: $0, $1) } }
  }

  func encode(_ x: [Double]) throws -> [Double] {
    try x.asVector { x in try written(count) { _ = try encode(x, into: $0, $1) } }
  }
}

extension LinearMap {
  /// A⁺y as far as noise of this deviation lets it be seen.
  func leastSquares(_ y: [Double], sigma: Double = 1e-6) throws -> [Double] {
    try y.asVector { y in
      try written(input.count) { try leastSquares(y, noise: GaussianNoise(sigma: sigma), into: $0, $1) }
    }
  }
}

extension GaussianPrior {
  /// The closed-form solution at λ.
  func posteriorMean(_ map: any LinearMap, _ noise: GaussianNoise, _ y: [Double], lambda: Double) throws
    -> [Double]
  {
    try y.asVector { y in
      try written(count) {
        try GaussianPosterior(self, map: map, noise: noise, lambda: lambda, $1).mean(y, into: $0, $1)
      }
    }
  }
}

/// Counts calls, from any thread.
final class Counter: @unchecked Sendable {
  private let lock = Lock()
  private var value = 0

  var count: Int { lock.withLock { value } }

  /// The number of calls before.
  func next() -> Int {
    lock.withLock {
      defer { value += 1 }
      return value
    }
  }
}
