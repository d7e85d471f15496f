import AIPOInverseProblems

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Newton's method in a trust region, its steps found by preconditioned conjugate gradients that stop at the
/// region's edge or where the curvature is negative (Steihaug, SIAM J. Numer. Anal. 20, 1983; Nocedal and
/// Wright, algorithm 7.2).
///
/// Hessian-vector products are central differences of gradients, two evaluations each, with steps of about
/// the cube root of the arithmetic's resolution a coordinate. The preconditioner is the curvature, which also
/// measures the region: `‖p‖² = pᵀMp`.
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
  }

  /// Where a product's differences are taken: this far to each side.
  private var offset: [Double] {
    let length = norm(search.direction)
    let scale = cbrt(resolution) * Double(point.count).squareRoot() / length
    return search.direction.map { scale * $0 }
  }

  public mutating func propose() -> Result<[Double], CorrectorFailure> {
    switch stage {
    case .product(let ahead):
      // A step by the preconditioner alone promises half of gᵀM⁻¹g.
      guard let sample, search.residualSquare.isFinite, search.residualSquare > 0,
        count > 0 || 0.5 * search.residualSquare > 0.1 * sample.rounding(weights, resolution: resolution)
      else { return .failure(CorrectorFailure(.resolution)) }
      return .success(adding(point, offset, scaledBy: ahead == nil ? 1 : -1))
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
      let change = adding(ahead.gradient, outcome.gradient(weights), scaledBy: -1)
      let scale = norm(search.direction) / norm(adding(ahead.point, trial, scaledBy: -1))
      count += 1
      let isDone = search.advance(
        product: change.map { scale * $0 }, radius: radius ?? search.residualSquare.squareRoot(),
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
      let edge = 0.2 * (radius ?? search.residualSquare.squareRoot())
      radius = edge
      search.goToEdge(edge)
    }
    stage = .step
    return .searching
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
      if promised <= slack { return .stuck(.resolution) }
      guard length > 1e-12 * (1 + search.firstLength) else { return .stuck(.lineSearch) }
      // The same products serve for a shorter step along the way that was found.
      search.shorten(0.25)
      return .searching
    }
    let ratio = (value - outcome.value(weights)) / promised
    if ratio < 0.25 {
      radius = 0.25 * length
    } else if ratio > 0.75, search.isAtEdge {
      radius = 2 * length
    } else if radius == nil {
      radius = length
    }
    stand(trial, outcome)
    return .accepted(point: trial, sample: outcome)
  }
}

/// The conjugate gradients of one step: `min gᵀp + ½pᵀHp`, `pᵀMp ≤ Δ²`, product by product.
struct SteihaugSearch: Sendable {
  private(set) var step: [Double]
  private(set) var direction: [Double]
  private(set) var isAtEdge = false
  /// pᵀMp of the step.
  private(set) var stepSquare = 0.0
  /// `rᵀM⁻¹r` of the residual `r = g + Hp`.
  private(set) var residualSquare: Double
  /// `√(gᵀM⁻¹g)`.
  let firstLength: Double

  private let gradient: [Double]
  private var residual: [Double]
  private var directionSquare: Double
  private var cross = 0.0
  /// `½pᵀHp` of the step.
  private var bend = 0.0
  private let gradientNorm: Double

  init(gradient: [Double], preconditioned: [Double]) {
    self.gradient = gradient
    residual = gradient
    step = [Double](repeating: 0, count: gradient.count)
    direction = preconditioned.map { -$0 }
    residualSquare = dot(gradient, preconditioned)
    directionSquare = residualSquare
    firstLength = max(residualSquare, 0).squareRoot()
    gradientNorm = norm(gradient)
  }

  /// What the model says the objective falls by along the step.
  var decrease: Double { -dot(gradient, step) - bend }

  /// Takes `H·direction`; true when the step is complete.
  mutating func advance(
    product: [Double], radius: Double, tolerance: Double, curvature: (any CurvatureSolver)?
  ) -> Bool {
    let bent = dot(direction, product)
    let length = residualSquare / bent
    let next = stepSquare + 2 * length * cross + length * length * directionSquare
    guard bent > 0, length.isFinite, next < radius * radius else {
      goToEdge(radius, product: product)
      return true
    }
    move(length, product)
    stepSquare = next
    residual = adding(residual, product, scaledBy: length)
    if norm(residual) <= tolerance * gradientNorm { return true }
    let preconditioned = curvature?.solve(residual) ?? residual
    let square = dot(residual, preconditioned)
    guard square > 0, square.isFinite else { return true }
    let beta = square / residualSquare
    cross = beta * (cross + length * directionSquare)
    directionSquare = square + beta * beta * directionSquare
    direction = direction.indices.map { beta * direction[$0] - preconditioned[$0] }
    residualSquare = square
    return false
  }

  /// Along the direction to the edge of the region.
  mutating func goToEdge(_ radius: Double, product: [Double]? = nil) {
    let gap = radius * radius - stepSquare
    let root = (cross * cross + directionSquare * max(gap, 0)).squareRoot()
    let length = (root - cross) / directionSquare
    guard length.isFinite, length > 0 else { return }
    move(length, product ?? [Double](repeating: 0, count: direction.count))
    stepSquare = radius * radius
    isAtEdge = true
  }

  /// Shortens the step, the model with it.
  mutating func shorten(_ factor: Double) {
    step = step.map { factor * $0 }
    stepSquare *= factor * factor
    bend *= factor * factor
    isAtEdge = true
  }

  private mutating func move(_ length: Double, _ product: [Double]) {
    // ½(p + ld)ᵀH(p + ld) = ½pᵀHp + l pᵀHd + ½l² dᵀHd
    bend += length * dot(step, product) + 0.5 * length * length * dot(direction, product)
    step = adding(step, direction, scaledBy: length)
  }
}
