import AIPOInverseProblems

/// Limited-memory BFGS whose initial inverse Hessian is `γ (∇²F + λ·curvature of R)⁻¹`, with γ = sᵀy /
/// yᵀH₀y. Without the data term's curvature sensing in pixel space is hopeless.
///
/// The pairs (s, y) are kept a term: when λ or t changes, y is recombined at the new weights, so the memory
/// survives the step along the path at no evaluation.
public struct LBFGS: Corrector {
  /// Pairs kept.
  public let memory: Int
  /// Length of the first step where no curvature is known.
  public let firstStep: Double

  private struct Pair: Sendable {
    var step: [Double]
    /// The same terms as in the samples.
    var change: ObjectiveSample.Gradient
    var y: [Double] = []
    var rho = 0.0
  }

  private var point: [Double] = []
  private var sample: ObjectiveSample?
  private var weights = ObjectiveWeights(lambda: 0)
  private var curvature: (any CurvatureSolver)?
  private var resolution = 0.0
  private var gradient: [Double] = []
  private var pairs: [Pair] = []
  private var gamma = 1.0
  private var direction: [Double]?
  private var search = LineSearch(value: 0, slope: 0, slack: 0)
  private var step = 1.0
  private var best: (point: [Double], sample: ObjectiveSample)?
  private var didReset = false

  public init(memory: Int = 30, firstStep: Double = 0.1) {
    self.memory = memory
    self.firstStep = firstStep
  }

  public mutating func begin(
    _ point: [Double], _ sample: ObjectiveSample, weights: ObjectiveWeights,
    curvature: (any CurvatureSolver)?, resolution: Double
  ) {
    self.point = point
    self.sample = sample
    self.weights = weights
    self.curvature = curvature
    self.resolution = resolution
    gradient = sample.gradient(weights)
    direction = nil
    didReset = false
    let old = pairs
    pairs = []
    gamma = 1
    for pair in old { keep(pair) }
  }

  public mutating func propose() -> Result<[Double], CorrectorFailure> {
    guard let sample else { return .failure(CorrectorFailure(.lineSearch)) }
    if direction == nil {
      var candidate = inverseHessianTimesGradient()
      var slope = dot(gradient, candidate)
      if !(slope < 0) || !slope.isFinite {
        pairs = []
        gamma = 1
        candidate = inverseHessianTimesGradient()
        slope = dot(gradient, candidate)
      }
      let value = sample.value(weights)
      let slack = sample.rounding(weights, resolution: resolution)
      // A Newton-like step promises a decrease of half the slope. Below the value's resolution the slopes
      // still tell a better point, the further the finer the arithmetic.
      guard slope < 0, slope.isFinite, -0.5 * slope > min(0.1, 1e6 * resolution) * slack else {
        return .failure(CorrectorFailure(.resolution))
      }
      direction = candidate
      search = LineSearch(value: value, slope: slope, slack: slack)
      step = 1
      if curvature == nil && pairs.isEmpty { step = min(1, firstStep / norm(candidate)) }
      best = nil
    }
    return .success(adding(point, direction!, scaledBy: step))
  }

  public mutating func receive(_ trial: [Double], _ outcome: ObjectiveSample?) -> CorrectorOutcome {
    guard let direction, let sample else { return .stuck(.lineSearch) }
    var slope = Double.nan
    if let outcome { slope = dot(outcome.gradient(weights), direction) }
    switch search.receive(step: step, value: outcome?.value(weights), slope: slope) {
    case .accept: return accept(trial, outcome!)
    case .retry(let next):
      remember(trial, outcome)
      step = next
      return .searching
    case .fail:
      remember(trial, outcome)
      if let best { return accept(best.point, best.sample) }
      let promised = -0.5 * dot(gradient, direction)
      self.direction = nil
      if promised <= sample.rounding(weights, resolution: resolution) {
        return .stuck(.resolution)
      }
      guard !didReset, !pairs.isEmpty else { return .stuck(.lineSearch) }
      didReset = true
      pairs = []
      gamma = 1
      return .searching
    }
  }

  /// Keeps the lowest trial of a search, if it is below the current point.
  private mutating func remember(_ trial: [Double], _ outcome: ObjectiveSample?) {
    guard let outcome, let sample else { return }
    if outcome.value(weights) < (best?.sample ?? sample).value(weights) { best = (trial, outcome) }
  }

  private mutating func accept(_ next: [Double], _ outcome: ObjectiveSample) -> CorrectorOutcome {
    let moved = adding(next, point, scaledBy: -1)
    if let change = Self.difference(outcome.gradient, sample!.gradient) {
      keep(Pair(step: moved, change: change))
    }
    point = next
    sample = outcome
    gradient = outcome.gradient(weights)
    direction = nil
    didReset = false
    return .accepted(point: next, sample: outcome)
  }

  private static func difference(_ a: ObjectiveSample.Gradient, _ b: ObjectiveSample.Gradient)
    -> ObjectiveSample.Gradient?
  {
    func minus(_ a: [Double]?, _ b: [Double]?) -> [Double]? {
      guard let a, let b else { return nil }
      return adding(a, b, scaledBy: -1)
    }
    switch (a, b) {
    case (.split(let r1, let f1, let g1), .split(let r0, let f0, let g0)):
      return .split(recon: adding(r1, r0, scaledBy: -1), flow: minus(f1, f0), gaussian: minus(g1, g0))
    case (.combined(let one, let w1), .combined(let zero, let w0)) where w1 == w0:
      return .combined(adding(one, zero, scaledBy: -1), w1)
    default: return nil
    }
  }

  /// y of a pair at the present weights, nil where a term is missing.
  private func change(_ pair: Pair) -> [Double]? {
    switch pair.change {
    case .combined(let y, let own): return own == weights ? y : nil
    case .split(let recon, let flow, let gaussian):
      var y = recon
      if weights.flow != 0 {
        guard let flow else { return nil }
        y = adding(y, flow, scaledBy: weights.flow)
      }
      if weights.gaussian != 0 {
        guard let gaussian else { return nil }
        y = adding(y, gaussian, scaledBy: weights.gaussian)
      }
      return y
    }
  }

  private mutating func keep(_ pair: Pair) {
    guard let y = change(pair) else { return }
    let product = dot(pair.step, y)
    guard product > 1e-8 * norm(pair.step) * norm(y), product.isNormal else { return }
    var pair = pair
    pair.y = y
    pair.rho = 1 / product
    pairs.append(pair)
    if pairs.count > memory { pairs.removeFirst() }
    let scaled = dot(y, curvature?.solve(y) ?? y)
    if scaled > 0, scaled.isFinite { gamma = min(max(product / scaled, 1e-6), 1e6) }
  }

  /// `−H∇L` by the two-loop recursion.
  private func inverseHessianTimesGradient() -> [Double] {
    inverseHessianTimes(gradient).map { -$0 }
  }

  /// `H v` with the inverse Hessian learned so far.
  public func inverseHessianTimes(_ v: [Double]) -> [Double] {
    var q = v
    var alphas: [Double] = []
    for pair in pairs.reversed() {
      let alpha = pair.rho * dot(pair.step, q)
      q = adding(q, pair.y, scaledBy: -alpha)
      alphas.append(alpha)
    }
    var r = curvature?.solve(q) ?? q
    if gamma != 1 { for i in r.indices { r[i] *= gamma } }
    for (pair, alpha) in zip(pairs, alphas.reversed()) {
      r = adding(r, pair.step, scaledBy: alpha - pair.rho * dot(pair.y, r))
    }
    return r
  }
}
