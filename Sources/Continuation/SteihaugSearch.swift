import AIPOInverseProblems

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
