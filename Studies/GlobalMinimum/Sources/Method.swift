import AIPO

/// A way to look for the minimum, with the solver's defaults but for a final solve to the end.
struct Method {
  let name: String
  let method: ReconstructionMethod
  var path = PathChoice.auto
  let start: StartChoice
  /// Solves from different starts, of which the lowest counts.
  var solves = 1
  /// Whether it looks with `Particles`, in place of the solver.
  var hasParticles = false
  /// Whether it needs a linear f.
  var needsLinear = false
  /// Whether the path is followed in 100 steps, each solved to the end: what the theorem speaks of, and too dear for
  /// more than the plane.
  var isExact = false

  func isMeant(for dimension: Int) -> Bool { dimension == 2 || !isExact }
  func applies(to cell: Cell) -> Bool { (cell.isLinear || !needsLinear) && isMeant(for: cell.dimension) }

  static let all = [
    Method(name: "prior path", method: .aipo, path: .prior, start: .auto),
    Method(name: "λ path", method: .aipo, path: .lambda, start: .auto),
    Method(name: "noise path", method: .aipo, path: .noise, start: .auto),
    Method(name: "prior path, 100 steps", method: .aipo, path: .prior, start: .auto, isExact: true),
    Method(name: "λ path, 100 steps", method: .aipo, path: .lambda, start: .auto, isExact: true),
    Method(name: "fixed, Gaussian start", method: .fixed, start: .gaussian),
    Method(name: "fixed, observed", method: .fixed, start: .observed, needsLinear: true),
    Method(name: "fixed, zero", method: .fixed, start: .zero),
    Method(name: "fixed, random", method: .fixed, start: .random),
    Method(name: "best of 8 random", method: .fixed, start: .random, solves: 8),
    Method(name: "particles", method: .fixed, start: .prior, hasParticles: true),
  ]

  /// Places in `all` of those that follow a path.
  static let paths = all.indices.filter { all[$0].method == .aipo }

  /// What it follows at λ = 1.
  var solutionPath: any SolutionPath {
    switch path {
    case .prior: PriorPath(target: ObjectiveWeights(lambda: 1))
    case .lambda, .theorem, .smooth: LambdaPath(target: ObjectiveWeights(lambda: 1))
    case .noise, .auto: CurvePath.noise(target: ObjectiveWeights(lambda: 1))
    case .curve(let corners): CurvePath(corners: corners)
    }
  }

  /// A state of a path, and where it was.
  struct Visited {
    let s: Double
    let event: PathEvent
    let pixels: [Double]
  }

  /// What one problem got.
  struct Found {
    var objective = Double.infinity
    var point: [Double] = []
    var evaluations = 0
    /// The states of the path where it was solved, in order; of the last solve.
    var states: [Visited] = []
  }

  func run(
    _ problem: InverseProblem, _ prior: TrainedPrior, isLinear: Bool, seed: UInt64, pool: ThreadPool
  ) throws -> [Found] {
    if hasParticles {
      let particles = Particles(prior: prior, problem: problem, seed: seed)
      return try (0..<problem.count).map { try particles.run($0, pool: pool) }
    }
    var found = [Found](repeating: Found(), count: problem.count)
    for solve in 0..<solves {
      var options = ReconstructionOptions()
      options.method = method
      options.path = path
      // Of a non-linear f the closed form doesn't exist; its place takes the Gaussian's mean.
      options.start = start == .gaussian && !isLinear ? .auto : start
      options.lambda = .value(1)
      options.stopRule =
        isExact ? ToleranceRule.exact(tolerance: 1e-6) : ToleranceRule(tolerance: 1e-7, epsilon: 5e-7)
      if isExact {
        options.stepControl = AdaptiveStep(firstStep: 0.01, smallest: 1e-7, largest: 0.01)
        options.maximumEvaluations = 20_000
      }
      options.seed = seed &+ UInt64(solve)
      let solver = try Reconstructor(
        problem: problem, prior: FlowPrior(prior.flow), gaussian: prior.gaussian, options: options)
      var states = [[Visited]](repeating: [], count: problem.count)
      let observer = ReconstructionObserver(onState: { image, state, pixels in
        if method == .aipo, [.start, .solved, .unfinished, .finished].contains(state.event) {
          states[image].append(Visited(s: state.s, event: state.event, pixels: pixels.elements))
        }
      })
      for result in try solver.run(observer) {
        found[result.index].evaluations += result.evaluations
        found[result.index].states = states[result.index]
        guard let objective = result.objective, objective < found[result.index].objective else { continue }
        found[result.index].objective = objective
        found[result.index].point = result.image.elements
      }
    }
    return found
  }
}
