import AIPOKernels
import AIPOProblems

/// The conjugate gradients of one step: `min gᵀp + ½pᵀHp`, `pᵀMp ≤ Δ²`, product by product.
///
/// Its vectors are the scratch's, so it lives no longer than the scope that it's made in.
struct SteihaugSearch {
  /// p
  let step: Vector
  /// Along which the next product is to be taken.
  let direction: Vector
  private(set) var isAtEdge = false
  /// pᵀMp of the step.
  private(set) var stepSquare = 0.0
  /// `rᵀM⁻¹r` of the residual `r = g + Hp`.
  private(set) var residualSquare = 0.0
  /// `√(gᵀM⁻¹g)`.
  private(set) var firstLength = 0.0

  private let gradient: Vector
  private let residual: Vector
  private let preconditioned: Vector
  private let scratch: Scratch
  private var metric: Metric?
  private var directionSquare = 0.0
  private var cross = 0.0
  /// `½pᵀHp` of the step.
  private var bend = 0.0
  private var gradientNorm = 0.0

  /// g is read by `begin`, and kept.
  init(gradient: Vector, _ scratch: Scratch) throws {
    self.gradient = gradient
    self.scratch = scratch
    step = try scratch.take(gradient.count)
    direction = try scratch.take(gradient.count)
    residual = try scratch.take(gradient.count)
    preconditioned = try scratch.take(gradient.count)
  }

  private var pool: ThreadPool { scratch.pool }

  /// Begins at p = 0, with M the metric's, or the identity.
  mutating func begin(_ metric: Metric?) throws {
    self.metric = metric
    residual.set(gradient, pool)
    residualSquare = try precondition()
    step.set(0, pool)
    direction.set(-1, preconditioned, plus: 0, pool)
    (isAtEdge, stepSquare, cross, bend) = (false, 0, 0, 0)
    directionSquare = residualSquare
    firstLength = max(residualSquare, 0).squareRoot()
    gradientNorm = gradient.norm(pool)
  }

  /// `preconditioned ← M⁻¹r`; gives `rᵀM⁻¹r`.
  private func precondition() throws -> Double {
    if let metric {
      try metric.solve(residual, into: preconditioned, scratch)
    } else {
      preconditioned.set(residual, pool)
    }
    return residual.dot(preconditioned, pool)
  }

  /// What the model says the objective falls by along the step.
  var decrease: Double { -gradient.dot(step, pool) - bend }

  /// Takes `H·direction`; true when the step is complete.
  mutating func advance(product: Vector, radius: Double, tolerance: Double) throws -> Bool {
    let bent = direction.dot(product, pool)
    let length = residualSquare / bent
    let next = stepSquare + 2 * length * cross + length * length * directionSquare
    guard bent > 0, length.isFinite, next < radius * radius else {
      goToEdge(radius, product: product)
      return true
    }
    move(length, product)
    stepSquare = next
    residual.add(product, times: length, pool)
    if residual.norm(pool) <= tolerance * gradientNorm { return true }
    let square = try precondition()
    guard square > 0, square.isFinite else { return true }
    let beta = square / residualSquare
    cross = beta * (cross + length * directionSquare)
    directionSquare = square + beta * beta * directionSquare
    direction.set(-1, preconditioned, plus: beta, pool)
    residualSquare = square
    return false
  }

  /// Along the direction to the edge of the region; without the product the model's bend is left out.
  mutating func goToEdge(_ radius: Double, product: Vector? = nil) {
    let gap = radius * radius - stepSquare
    let root = (cross * cross + directionSquare * max(gap, 0)).squareRoot()
    let length = (root - cross) / directionSquare
    guard length.isFinite, length > 0 else { return }
    move(length, product)
    stepSquare = radius * radius
    isAtEdge = true
  }

  /// Shortens the step, the model with it.
  mutating func shorten(_ factor: Double) {
    step.scale(by: factor, pool)
    stepSquare *= factor * factor
    bend *= factor * factor
    isAtEdge = true
  }

  private mutating func move(_ length: Double, _ product: Vector?) {
    // ½(p + ld)ᵀH(p + ld) = ½pᵀHp + l pᵀHd + ½l² dᵀHd
    if let product {
      bend += length * step.dot(product, pool) + 0.5 * length * length * direction.dot(product, pool)
    }
    step.add(direction, times: length, pool)
  }
}
