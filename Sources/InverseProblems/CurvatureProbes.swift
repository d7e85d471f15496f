import AIPOKernels
import Synchronization

/// How the diagonal of a curvature `MᵀM` is estimated where only `Mᵀv` can be had: the mean of `(Mᵀv)²` over
/// random normal v (M. F. Hutchinson, Communications in Statistics 18, 1989).
///
/// A flow's curvature differs by orders of magnitude between the parts of an image, and from place to place. At
/// a wild start it says little about where the solution is going to be, so by default the first steps are made
/// without.
public struct CurvatureProbes: Sendable, Hashable {
  /// Random vectors a time; each costs an evaluation.
  public var count: Int
  /// Accepted steps on the flow's objective before each time.
  public var after: [Int]
  public var seed: UInt64

  public init(count: Int = 4, after: [Int] = [10, 30], seed: UInt64 = 0) {
    self.count = count
    self.after = after
    self.seed = seed
  }

  /// No probes: the curvature stays a guess.
  public static let none = CurvatureProbes(count: 0, after: [])

  /// The mean squares at each point by one call of `product` for all, nil where one isn't finite. v has
  /// `widths[i]` entries at `points[i]`.
  func meanSquares(
    points: [[Double]], keys: [UInt64], widths: [Int],
    _ product: (_ places: [Int], _ directions: [[Double]]) throws -> [[Double]]
  ) rethrows -> [[Double]?] {
    let finite = points.indices.filter { allFinite(points[$0]) }
    var results = [[Double]?](repeating: nil, count: points.count)
    guard count > 0, !finite.isEmpty else { return results }
    var directions: [[Double]] = []
    for i in finite {
      var random = Philox(seed: seed, index: keys[i], purpose: .curvature)
      for _ in 0..<count { directions.append((0..<widths[i]).map { _ in random.normal() }) }
    }
    let found = try product(finite.flatMap { [Int](repeating: $0, count: count) }, directions)
    for (k, i) in finite.enumerated() {
      var sum = [Double](repeating: 0, count: found[k * count].count)
      for row in found[(k * count)..<((k + 1) * count)] {
        for j in sum.indices { sum[j] += row[j] * row[j] / Double(count) }
      }
      if allFinite(sum) { results[i] = sum }
    }
    return results
  }

  /// The estimate kept above a thousandth of its mean, or nil where there is none.
  static func usable(_ diagonal: [Double]) -> [Double]? {
    let mean = diagonal.reduce(0, +) / Double(max(diagonal.count, 1))
    guard mean.isNormal, mean > 0 else { return nil }
    return diagonal.map { max($0, 1e-3 * mean) }
  }
}

/// Each channel smoothed by the binomial filter (1, 2, 1)/4 along both axes, edges repeated: few probes
/// are noisy, and neighbours have about the same curvature.
func smoothed(_ values: [Double], _ shape: ImageShape) -> [Double] {
  func pass(_ v: [Double], length: Int, stride: Int) -> [Double] {
    guard length > 1 else { return v }
    return v.indices.map { i in
      let place = i / stride % length
      func at(_ offset: Int) -> Double { v[i + (min(max(place + offset, 0), length - 1) - place) * stride] }
      return (at(-1) + at(1) + 2 * at(0)) / 4
    }
  }
  let rows = pass(values, length: shape.width, stride: shape.channels)
  return pass(rows, length: shape.height, stride: shape.width * shape.channels)
}

/// Factorisations by operator and λ: several λ of a shared operator, the latest of an image's own.
final class CurvatureCache: Sendable {
  struct Key: Hashable {
    /// −1 where all images share it.
    let image: Int
    let lambda: Double
  }
  private let store = Mutex<[(Key, any CurvatureSolver)]>([])

  func solver(_ key: Key, _ make: () throws -> any CurvatureSolver) rethrows -> any CurvatureSolver {
    if let known = store.withLock({ entries in entries.first { $0.0 == key }?.1 }) { return known }
    let made = try make()
    store.withLock { entries in
      let own = entries.indices.filter { entries[$0].0.image == key.image }
      if own.count >= (key.image < 0 ? 4 : 1) { entries.remove(at: own[0]) }
      entries.append((key, made))
    }
    return made
  }

  func clear() { store.withLock { $0.removeAll() } }
}
