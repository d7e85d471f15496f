import AIPOInverseProblems
import AIPOKernels

/// The continuation of many images as one batch: an iterator of path states. Each call of `next` evaluates
/// every active image once, by one batched call of the prior; an image has its own λ, t, step and stop, and
/// its states are the same bits alone or in a batch.
///
///     var machine = PathMachine(objective: …, starts: x₀, path: PriorPath(target: ObjectiveWeights(lambda: 1)))
///     while let states = try machine.next() { … }
///     machine.outcomes
///
/// Predictor, corrector, step control, stop rule and path are protocols: see `PathSettings` and
/// `SolutionPath`.
public struct PathMachine: Sendable {
  private let objective: any Objective
  private var runs: [ImageRun]

  /// - Parameters:
  ///   - images: the images' places in the objective's batch; all of `0..<starts.count` by default.
  ///   - sources: the images' indices in their source, which key random probes; `images` by default.
  ///   - problem: needed where λ is to be chosen.
  public init(
    objective: any Objective, starts: [[Double]], images: [Int]? = nil, sources: [UInt64]? = nil,
    path: any SolutionPath, settings: PathSettings = PathSettings(), problem: InverseProblem? = nil
  ) {
    let images = images ?? Array(starts.indices)
    let sources = sources ?? images.map { UInt64($0) }
    precondition(images.count == starts.count && sources.count == starts.count)
    self.objective = objective
    runs = starts.indices.map { k in
      ImageRun(
        image: images[k], source: sources[k], start: starts[k], path: path, settings: settings,
        objective: objective,
        problem: problem)
    }
  }

  /// Evaluates once for all active images and gives the states that were reached; nil when all are done.
  public mutating func next() throws(SolverError) -> [PathState]? {
    let clock = ContinuousClock()
    let start = clock.now
    let (asked, states) = try solver { try advance() }
    let span = (clock.now - start).components
    let seconds = Double(span.seconds) + Double(span.attoseconds) * 1e-18
    for k in asked { runs[k].seconds += seconds / Double(asked.count) }
    return asked.isEmpty && states.isEmpty ? nil : states
  }

  private mutating func advance() throws -> ([Int], [PathState]) {
    try BLASThreads.single {
      var asked: [Int] = []
      var samples: [(run: Int, point: [Double], weights: ObjectiveWeights)] = []
      var curvatures: [(run: Int, point: [Double])] = []
      for k in runs.indices {
        guard let request = try runs[k].request() else { continue }
        asked.append(k)
        switch request {
        case .sample(let point, let weights): samples.append((k, point, weights))
        case .curvature(let point): curvatures.append((k, point))
        }
      }
      if !samples.isEmpty {
        let found = try objective.evaluate(
          samples.map { $0.point }, images: samples.map { runs[$0.run].image },
          weights: samples.map { $0.weights })
        for (asked, sample) in zip(samples, found) { try runs[asked.run].receive(sample) }
      }
      if !curvatures.isEmpty {
        let found = try objective.probeCurvature(
          curvatures.map { $0.point }, images: curvatures.map { runs[$0.run].image },
          keys: curvatures.map { runs[$0.run].source }, probes: runs[curvatures[0].run].settings.probes)
        for (asked, diagonal) in zip(curvatures, found) { try runs[asked.run].receive(curvature: diagonal) }
      }
      return (asked, runs.indices.flatMap { runs[$0].takeStates() })
    }
  }

  /// Images still at work.
  public var activeCount: Int { runs.count { !$0.isDone } }

  /// Ends all runs with what they have.
  public mutating func cancel() {
    for k in runs.indices { runs[k].cancel() }
  }

  /// One a image, in order; those not done count as cancelled.
  public var outcomes: [PathOutcome] { runs.map(\.outcome) }
}
