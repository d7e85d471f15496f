import AIPOKernels
import AIPOProblems

/// Looks at the Hessian of an objective, by central differences of gradients.
struct CurvatureLook {
  /// The prior isn't finite at a point beside the path.
  struct NotFinite: Error {}

  let evaluator: Evaluator
  /// At which samples are taken; their terms serve every λ.
  let target: ObjectiveWeights
  private var random: Philox

  init(_ evaluator: Evaluator, target: ObjectiveWeights, seed: UInt64, source: UInt64) {
    self.evaluator = evaluator
    self.target = target
    random = Philox(seed: seed, index: source, purpose: .curvature)
  }

  private var scratch: Scratch { evaluator.scratch }
  private var pool: ThreadPool { evaluator.pool }

  /// `‖∇R‖` at a point.
  func priorSlope(_ point: Vector) throws -> Double {
    guard let sample = try evaluator.evaluate(target, at: { $0.set(point, pool) }) else { throw NotFinite() }
    return sample.flowGradient.norm(pool)
  }

  /// `product ← ∇²L v` at λ.
  private func product(_ point: Vector, _ v: Vector, lambda: Double, into product: Vector) throws {
    let isFinite = try CentralDifference.product(
      v, at: point, into: product, weights: ObjectiveWeights(lambda: lambda),
      resolution: evaluator.objective.resolution, scratch
    ) { set in try evaluator.evaluate(target, at: set) }
    guard isFinite else { throw NotFinite() }
  }

  /// `v ←` a random direction, of length 1.
  mutating func setDirection(_ v: Vector) {
    v.setNormals(&random)
    makeUnit(v)
  }

  private func makeUnit(_ v: Vector) { v.scale(by: 1 / v.norm(pool), pool) }

  /// Most products of one run of Lanczos.
  private static let lanczosSteps = 60

  /// The least and the greatest eigenvalue of ∇²L, by Lanczos with every vector made orthogonal to all before.
  mutating func extremes(_ point: Vector, lambda: Double) throws -> (least: Double, greatest: Double) {
    let d = evaluator.dimension
    let most = min(d, Self.lanczosSteps)
    var diagonal: [Double] = []
    var beside: [Double] = []
    try scratch.scope {
      var basis = [try scratch.take(d)]
      setDirection(basis[0])
      while true {
        let next = try scratch.take(d)
        let last = basis[basis.count - 1]
        try product(point, last, lambda: lambda, into: next)
        diagonal.append(next.dot(last, pool))
        for _ in 0..<2 {
          for q in basis { next.add(q, times: -next.dot(q, pool), pool) }
        }
        let length = next.norm(pool)
        guard diagonal.count < most, length > 1e-6 * diagonal.reduce(0, { max($0, $1.magnitude) }) else {
          break
        }
        beside.append(length)
        next.scale(by: 1 / length, pool)
        basis.append(next)
      }
    }
    let n = diagonal.count
    let tridiagonal = try Matrix(rows: n, columns: n) { i, j in
      i == j ? diagonal[i] : abs(i - j) == 1 ? beside[min(i, j)] : 0
    }
    let values = try tridiagonal.symmetricEigen().values
    return (values[0], values[n - 1])
  }

  /// How far a coordinate is moved, in the mean square, to see a change of the Hessian.
  private static let shift = 0.01

  /// `‖∇²L(x + ρu) − ∇²L(x)‖ / ρ` for u of length 1, the norm by a few power iterations.
  mutating func lipschitz(_ point: Vector, along u: Vector, lambda: Double) throws -> Double {
    let d = evaluator.dimension
    let distance = Self.shift * Double(d).squareRoot()
    return try scratch.scope {
      let moved = try scratch.take(d)
      let v = try scratch.take(d)
      let there = try scratch.take(d)
      let here = try scratch.take(d)
      moved.set(point, pool)
      moved.add(u, times: distance, pool)
      evaluator.objective.round(moved, scratch)
      setDirection(v)
      var largest = 0.0
      for _ in 0..<4 {
        try product(moved, v, lambda: lambda, into: there)
        try product(point, v, lambda: lambda, into: here)
        v.setDifference(there, here, pool)
        let length = v.norm(pool)
        largest = max(largest, length / distance)
        guard length > 0 else { break }
        v.scale(by: 1 / length, pool)
      }
      return largest
    }
  }
}
