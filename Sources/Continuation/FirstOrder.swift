import AIPOInverseProblems

/// Gradient descent with backtracking: the step grows by half after every success and is halved until the
/// objective falls by `10⁻⁴·α‖∇L‖²`. The first step is `firstStep / ‖∇L‖`.
public struct GradientDescent: Corrector {
  public let firstStep: Double

  private var point: [Double] = []
  private var sample: ObjectiveSample?
  private var weights = ObjectiveWeights(lambda: 0)
  private var gradient: [Double] = []
  private var resolution = 0.0
  private var step: Double?
  private var halvings = 0

  public init(firstStep: Double = 0.1) { self.firstStep = firstStep }

  public mutating func begin(
    _ point: [Double], _ sample: ObjectiveSample, weights: ObjectiveWeights,
    curvature: (any CurvatureSolver)?, resolution: Double
  ) {
    self.point = point
    self.sample = sample
    self.weights = weights
    self.resolution = resolution
    gradient = sample.gradient(weights)
    halvings = 0
    let length = norm(gradient)
    if step == nil, length > 0 { step = firstStep / length }
  }

  public mutating func propose() -> Result<[Double], CorrectorFailure> {
    guard let step, let sample, dot(gradient, gradient) > 0 else {
      return .failure(CorrectorFailure(.resolution))
    }
    let promised = step * dot(gradient, gradient)
    if promised < 0.25 * sample.rounding(weights, resolution: resolution), halvings == 0 {
      return .failure(CorrectorFailure(.resolution))
    }
    return .success(adding(point, gradient, scaledBy: -step))
  }

  public mutating func receive(_ trial: [Double], _ outcome: ObjectiveSample?) -> CorrectorOutcome {
    guard let length = step, let sample else { return .stuck(.lineSearch) }
    let square = dot(gradient, gradient)
    let value = sample.value(weights)
    if let outcome, outcome.value(weights) <= value - 1e-4 * length * square {
      point = trial
      self.sample = outcome
      gradient = outcome.gradient(weights)
      step = 1.5 * length
      halvings = 0
      return .accepted(point: trial, sample: outcome)
    }
    halvings += 1
    step = length / 2
    if length * square < 0.25 * sample.rounding(weights, resolution: resolution) {
      return .stuck(.resolution)
    }
    return halvings < 60 ? .searching : .stuck(.lineSearch)
  }
}

/// Adam (Kingma and Ba, 2015), rate 0.01 by default. A point that isn't finite is not taken: the rate is
/// halved and the moments start anew. The objective may rise from step to step; the caller keeps the best
/// point.
public struct AdamDescent: Corrector {
  public let rate: Double
  public let decay: (first: Double, second: Double)

  private var point: [Double] = []
  private var weights = ObjectiveWeights(lambda: 0)
  private var gradient: [Double] = []
  private var first: [Double] = []
  private var second: [Double] = []
  private var count = 0
  private var scale = 1.0

  public init(rate: Double = 0.01, decay: (first: Double, second: Double) = (0.9, 0.999)) {
    self.rate = rate
    self.decay = decay
  }

  public mutating func begin(
    _ point: [Double], _ sample: ObjectiveSample, weights: ObjectiveWeights,
    curvature: (any CurvatureSolver)?, resolution: Double
  ) {
    self.point = point
    self.weights = weights
    gradient = sample.gradient(weights)
    if first.isEmpty { restart() }
  }

  private mutating func restart() {
    first = [Double](repeating: 0, count: point.count)
    second = first
    count = 0
  }

  public mutating func propose() -> Result<[Double], CorrectorFailure> {
    guard gradient.contains(where: { $0 != 0 }) else { return .failure(CorrectorFailure(.resolution)) }
    count += 1
    let bias1 = 1 - power(decay.first, count)
    let bias2 = 1 - power(decay.second, count)
    var next = point
    for i in next.indices {
      first[i] = decay.first * first[i] + (1 - decay.first) * gradient[i]
      second[i] = decay.second * second[i] + (1 - decay.second) * gradient[i] * gradient[i]
      next[i] -= scale * rate * (first[i] / bias1) / ((second[i] / bias2).squareRoot() + 1e-12)
    }
    return .success(next)
  }

  private func power(_ base: Double, _ exponent: Int) -> Double {
    var result = 1.0
    for _ in 0..<min(exponent, 40_000) { result *= base }
    return result
  }

  public mutating func receive(_ trial: [Double], _ outcome: ObjectiveSample?) -> CorrectorOutcome {
    guard let outcome else {
      scale /= 2
      restart()
      return scale > 1e-9 ? .searching : .stuck(.lineSearch)
    }
    point = trial
    gradient = outcome.gradient(weights)
    return .accepted(point: trial, sample: outcome)
  }
}
