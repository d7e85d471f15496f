import AIPOInverseProblems

/// Newton's method in a trust region, its steps found by preconditioned conjugate gradients that stop at the
/// region's edge or where the curvature is negative (Steihaug, SIAM J. Numer. Anal. 20, 1983; Nocedal and
/// Wright, algorithm 7.2).
///
/// Hessian-vector products are central differences of gradients, two evaluations each. The preconditioner is
/// the curvature, which also measures the region: `‖p‖² = pᵀMp`.
public struct TrustRegionNewton: Corrector {
  /// Most products a step.
  public let products: Int

  private enum Stage: Sendable {
    case product(ahead: (point: [Double], gradient: [Double])?)
    case step
  }

  private var point: [Double] = []
  private var sample: ObjectiveSample?
  private var weights = ObjectiveWeights(lambda: 0)
  private var curvature: (any CurvatureSolver)?
  private var resolution = 0.0
  private var gradient: [Double] = []
  private var firstGradientNorm = 0.0
  private var radius: Double?
  private var stage = Stage.step
  private var search = SteihaugSearch(gradient: [], preconditioned: [])
  private var count = 0
  /// Trials of this step that didn't lower the objective, and whether it goes along the gradient alone.
  private var failures = 0
  private var isGradientStep = false

  public init(products: Int = 12) { self.products = products }

  public mutating func begin(
    _ point: [Double], _ sample: ObjectiveSample, weights: ObjectiveWeights,
    curvature: (any CurvatureSolver)?, resolution: Double
  ) {
    self.curvature = curvature
    self.weights = weights
    self.resolution = resolution
    stand(point, sample)
    firstGradientNorm = norm(gradient)
  }

  /// Begins a step from an evaluated point.
  private mutating func stand(_ point: [Double], _ sample: ObjectiveSample) {
    self.point = point
    self.sample = sample
    gradient = sample.gradient(weights)
    restart()
  }

  private mutating func restart() {
    search = SteihaugSearch(gradient: gradient, preconditioned: curvature?.solve(gradient) ?? gradient)
    stage = .product(ahead: nil)
    count = 0
    failures = 0
    isGradientStep = false
  }

  private var difference: CentralDifference {
    CentralDifference(at: point, along: search.direction, resolution: resolution)
  }

  public mutating func propose() -> Result<[Double], CorrectorFailure> {
    switch stage {
    case .product(let ahead):
      // A step by the preconditioner alone promises half of gᵀM⁻¹g.
      guard let sample, search.residualSquare.isFinite, search.residualSquare > 0,
        count > 0 || 0.5 * search.residualSquare > 0.1 * sample.rounding(weights, resolution: resolution)
      else { return .failure(CorrectorFailure(.resolution)) }
      return .success(ahead == nil ? difference.ahead : difference.behind)
    case .step: return .success(adding(point, search.step, scaledBy: 1))
    }
  }

  public mutating func receive(_ trial: [Double], _ outcome: ObjectiveSample?) -> CorrectorOutcome {
    guard let sample else { return .stuck(.lineSearch) }
    switch stage {
    case .product(nil):
      guard let outcome else { return wall() }
      stage = .product(ahead: (trial, outcome.gradient(weights)))
      return .searching
    case .product(.some(let ahead)):
      guard let outcome else { return wall() }
      count += 1
      let isDone = search.advance(
        product: difference.product(ahead: ahead, behind: (trial, outcome.gradient(weights))),
        radius: radius ?? search.residualSquare.squareRoot(),
        tolerance: min(max((norm(gradient) / firstGradientNorm).squareRoot(), 0.02), 0.5),
        curvature: curvature)
      stage = isDone || count >= products ? .step : .product(ahead: nil)
      return .searching
    case .step: return judge(trial, outcome, sample)
    }
  }

  /// No density beside the point: go on with the step so far, or with a shorter one along the gradient.
  private mutating func wall() -> CorrectorOutcome {
    if search.stepSquare == 0 {
      followGradient(by: 0.2 * (radius ?? search.residualSquare.squareRoot()))
    } else {
      stage = .step
    }
    return .searching
  }

  /// A step along the preconditioned gradient, without products.
  private mutating func followGradient(by length: Double? = nil) {
    isGradientStep = true
    search = SteihaugSearch(gradient: gradient, preconditioned: curvature?.solve(gradient) ?? gradient)
    search.goToEdge(length ?? search.firstLength)
    stage = .step
  }

  private mutating func judge(_ trial: [Double], _ outcome: ObjectiveSample?, _ sample: ObjectiveSample)
    -> CorrectorOutcome
  {
    let length = search.stepSquare.squareRoot()
    let value = sample.value(weights)
    let slack = sample.rounding(weights, resolution: resolution)
    let promised = search.decrease
    guard let outcome, outcome.value(weights) < value else {
      radius = 0.25 * length
      failures += 1
      let isTooSmallToTell = promised <= slack || length <= 1e-12 * (1 + search.firstLength)
      if isGradientStep, isTooSmallToTell {
        // A small region promises little anywhere, and a way found by bad products is no descent however short: only
        // what the gradient's own way promises at its whole length tells that nothing is left.
        return .stuck(0.5 * search.firstLength * search.firstLength <= slack ? .resolution : .lineSearch)
      }
      if !isGradientStep, isTooSmallToTell || failures == 3 {
        followGradient()
      } else {
        // The same products serve for a shorter step along the way that was found.
        search.shorten(0.25)
      }
      return .searching
    }
    let ratio = (value - outcome.value(weights)) / promised
    let isMisled = ratio < 0.1 && !isGradientStep
    if isGradientStep {
      radius = nil
    } else if ratio < 0.25 {
      radius = 0.25 * length
    } else if ratio > 0.75, search.isAtEdge {
      radius = 2 * length
    } else if radius == nil {
      radius = length
    }
    stand(trial, outcome)
    if isMisled { followGradient() }
    return .accepted(point: trial, sample: outcome)
  }
}
