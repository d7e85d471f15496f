import AIPOInverseProblems
import AIPOKernels

/// Looks at the Hessian of one image's objective, by central differences of gradients.
struct CurvatureLook {
  /// The prior isn't finite at a point beside the path.
  struct NotFinite: Error {}

  private let objective: any Objective
  private let image: Int
  /// At which samples are taken; their terms serve every λ.
  private let target: ObjectiveWeights
  private var random: Philox
  private(set) var evaluations = 0

  init(objective: any Objective, image: Int, target: ObjectiveWeights, seed: UInt64, source: UInt64) {
    self.objective = objective
    self.image = image
    self.target = target
    random = Philox(seed: seed, index: source, purpose: .curvature)
  }

  mutating func sample(_ point: [Double]) throws -> ObjectiveSample {
    evaluations += 1
    guard let found = try objective.evaluate([point], images: [image], weights: [target])[0] else {
      throw NotFinite()
    }
    return found
  }

  /// `∇²L v` at λ.
  mutating func product(_ point: [Double], _ v: [Double], lambda: Double) throws -> [Double] {
    let weights = ObjectiveWeights(lambda: lambda)
    let difference = CentralDifference(at: point, along: v, resolution: objective.resolution)
    let ahead = objective.representable(difference.ahead)
    let behind = objective.representable(difference.behind)
    return difference.product(
      ahead: (ahead, try sample(ahead).gradient(weights)),
      behind: (behind, try sample(behind).gradient(weights)))
  }

  /// A random direction, of length 1.
  mutating func direction() -> [Double] {
    unit((0..<objective.dimension).map { _ in random.normal() })
  }

  private func unit(_ v: [Double]) -> [Double] {
    let length = norm(v)
    return v.map { $0 / length }
  }

  /// Most products of one run of Lanczos.
  private static let lanczosSteps = 60

  /// The least and the greatest eigenvalue of ∇²L, by Lanczos with every vector made orthogonal to all before.
  mutating func extremes(_ point: [Double], lambda: Double) throws -> (least: Double, greatest: Double) {
    var basis = [direction()]
    var diagonal: [Double] = []
    var beside: [Double] = []
    let most = min(objective.dimension, Self.lanczosSteps)
    while true {
      var next = try product(point, basis[diagonal.count], lambda: lambda)
      diagonal.append(dot(next, basis[diagonal.count]))
      for _ in 0..<2 {
        for q in basis { next = adding(next, q, scaledBy: -dot(next, q)) }
      }
      let length = norm(next)
      guard diagonal.count < most, length > 1e-6 * diagonal.reduce(0, { max($0, $1.magnitude) }) else {
        break
      }
      beside.append(length)
      basis.append(unit(next))
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
  mutating func lipschitz(_ point: [Double], along u: [Double], lambda: Double) throws -> Double {
    let distance = Self.shift * Double(objective.dimension).squareRoot()
    let moved = objective.representable(adding(point, u, scaledBy: distance))
    var v = direction()
    var largest = 0.0
    for _ in 0..<4 {
      let change = adding(
        try product(moved, v, lambda: lambda), try product(point, v, lambda: lambda), scaledBy: -1)
      let length = norm(change)
      largest = max(largest, length / distance)
      guard length > 0 else { break }
      v = unit(change)
    }
    return largest
  }
}
