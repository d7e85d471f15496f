import AIPOInverseProblems
import AIPOKernels

/// Estimates the effective degrees of freedom of a fit, `tr(A H⁻¹ Aᵀ)/σ²` with `H = AᵀA/σ² + λ∇²R`, by one
/// random probe b of signs: `bᵀA v` where `H v = Aᵀb/σ²` is solved by a few preconditioned conjugate
/// gradient steps. A Hessian product is the difference of two gradients of R, of which one is known: it
/// costs one evaluation.
struct FreedomProbe: Sendable {
  private let linearOperator: any LinearOperator
  private let dataWeight: Double
  private let weights: ObjectiveWeights
  private let curvature: any CurvatureSolver
  private let point: [Double]
  private let slope: [Double]
  private let right: [Double]
  private let length: Double
  private let limit: Int

  private var solution: [Double]
  private var residual: [Double]
  private var direction: [Double]
  private var product: Double
  private var steps = 0
  private var trial: [Double] = []
  private let scale: Double

  /// `sample` must hold split gradients at `point`.
  init?(
    linearOperator: any LinearOperator, dataWeight: Double, weights: ObjectiveWeights,
    curvature: any CurvatureSolver, point: [Double], sample: ObjectiveSample, steps limit: Int, seed: UInt64,
    source: UInt64
  ) {
    guard case .split(let recon, _, _) = sample.gradient else { return nil }
    self.linearOperator = linearOperator
    self.dataWeight = dataWeight
    self.weights = weights
    self.curvature = curvature
    self.point = point
    self.limit = limit
    slope = adding(sample.gradient(weights), recon, scaledBy: -1)
    var random = Philox(seed: seed, index: source, purpose: .probe)
    let signs = (0..<linearOperator.outputCount).map { _ in random.next() & 1 == 0 ? 1.0 : -1.0 }
    right = linearOperator.adjoint(signs).map { dataWeight * $0 }
    solution = [Double](repeating: 0, count: right.count)
    residual = right
    direction = curvature.solve(right)
    product = dot(right, direction)
    length = norm(right)
    // A step of a twentieth of σ a pixel: far above rounding, well inside the noise.
    scale = 0.05 * (Double(right.count) / dataWeight).squareRoot()
  }

  /// The next point whose gradient is needed; nil when the estimate is ready.
  mutating func propose(_ representable: ([Double]) -> [Double]) -> [Double]? {
    guard steps < limit, product > 1e-6 * length * length / dataWeight else { return nil }
    let size = norm(direction)
    guard size > 0, size.isFinite else { return nil }
    trial = representable(adding(point, direction, scaledBy: scale / size))
    return trial
  }

  /// The sample at the proposed point; nil where it wasn't finite, which ends the estimate.
  mutating func receive(_ sample: ObjectiveSample?) {
    steps += 1
    guard let sample, case .split(let recon, _, _) = sample.gradient else {
      steps = limit
      return
    }
    let rise = adding(adding(sample.gradient(weights), recon, scaledBy: -1), slope, scaledBy: -1)
    let inverse = norm(direction) / scale
    let normal = linearOperator.adjoint(linearOperator.apply(direction))
    let image = direction.indices.map { dataWeight * normal[$0] + inverse * rise[$0] }
    let bend = dot(direction, image)
    guard bend > 0, bend.isFinite else {
      steps = limit
      return
    }
    let advance = product / bend
    solution = adding(solution, direction, scaledBy: advance)
    residual = adding(residual, image, scaledBy: -advance)
    let next = curvature.solve(residual)
    let nextProduct = dot(residual, next)
    direction = adding(next, direction, scaledBy: nextProduct / product)
    product = nextProduct
  }

  /// The estimate, between 0 and m.
  var degreesOfFreedom: Double {
    min(max(dot(right, solution) / dataWeight, 0), Double(linearOperator.outputCount))
  }
}
