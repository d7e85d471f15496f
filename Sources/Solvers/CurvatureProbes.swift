import AIPOKernels

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

  /// The mean squares of `g ← Mᵀv`, nil where one isn't finite.
  func meanSquares(
    dimension: Int, probeLength: Int, key: UInt64, _ scratch: Scratch,
    _ product: (_ v: Vector, _ g: Vector) throws -> Void
  ) throws -> Tensor<Double>? {
    guard count > 0 else { return nil }
    var random = Philox(seed: seed, index: key, purpose: .curvature)
    var result = try Tensor<Double>(count: dimension)
    let isFinite = try result.withMemory { sum in
      try scratch.scope {
        let v = try scratch.take(probeLength)
        let g = try scratch.take(dimension)
        for _ in 0..<count {
          v.setNormals(&random)
          try product(v, g)
          sum.setEach(scratch.pool, sum, g) { $0 + $1 * $1 / Double(count) }
        }
        return sum.isFinite(scratch.pool)
      }
    }
    return isFinite ? result : nil
  }

  /// The estimate kept above a thousandth of its mean, or nil where there is none.
  static func usable(_ diagonal: Tensor<Double>) -> Tensor<Double>? {
    let mean = diagonal.view.total() / Double(max(diagonal.count, 1))
    guard mean.isNormal, mean > 0 else { return nil }
    var result = diagonal
    result.withMemory { $0.setEach { max($0, 1e-3 * mean) } }
    return result
  }

  /// Smooths each channel by the binomial filter (1, 2, 1)/4 along both axes, edges repeated: few probes are noisy, and
  /// neighbours have about the same curvature.
  static func smooth(_ values: Vector, _ shape: ImageShape, _ scratch: Scratch) throws {
    try scratch.scope {
      let before = try scratch.take(values.count)
      for (length, stride) in [(shape.width, shape.channels), (shape.height, shape.width * shape.channels)]
      where length > 1 {
        before.set(values, scratch.pool)
        for i in 0..<values.count {
          let place = i / stride % length
          let last = place == 0 ? before[i] : before[i - stride]
          let next = place == length - 1 ? before[i] : before[i + stride]
          values[i] = (last + next + 2 * before[i]) / 4
        }
      }
    }
  }
}
