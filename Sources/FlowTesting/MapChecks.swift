import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems

/// Checks that a map of one's own can be put through, at random vectors:
///
/// ```swift
/// try MapChecks.measure(MyBlur()).verify()
/// ```
///
/// Outputs hold NaNs before a map is called, so that one that adds to them, or leaves some out, doesn't pass.
public enum MapChecks {
  /// All that a map must do: its derivative against central differences at x, at most 1e-7; of a linear map the adjoint,
  /// and `normal` against the products, at most 1e-12; and the same bits on 1, 2 and 5 threads.
  ///
  /// `x`: where the derivative is taken; a standard normal image unless given.
  public static func measure(_ map: any Map, at x: Tensor<Double>? = nil, seed: UInt64 = 0) throws
    -> [CheckResult]
  {
    let x = try x ?? point(map, seed: seed)
    var results = [
      CheckResult(
        property: "pullback against central differences",
        measured: try pullbackMismatch(map, at: x, seed: seed),
        bound: .atMost(1e-7)),
      CheckResult(
        property: "values that differ on 1, 2 and 5 threads",
        measured: Double(try differingValues(map, at: x, seed: seed)), bound: .atMost(0)),
    ]
    if let map = map as? any LinearMap {
      results += [
        CheckResult(
          property: "adjoint (dot test)", measured: try adjointMismatch(map, seed: seed),
          bound: .atMost(1e-12)),
        CheckResult(
          property: "normal form against products", measured: try normalMismatch(map, seed: seed),
          bound: .atMost(1e-12)),
      ]
    }
    return results
  }

  /// `|⟨Ax, u⟩ − ⟨x, Aᵀu⟩| / (‖Ax‖‖u‖ + ‖x‖‖Aᵀu‖)` at random x and u, the dot test: about 1e-16 for a right adjoint.
  public static func adjointMismatch(_ map: any LinearMap, seed: UInt64 = 0) throws -> Double {
    let x = try normals(map.input.count, seed: seed)
    let u = try normals(map.output.count, seed: seed, index: 1)
    let scratch = Scratch()
    return try scratch.scope {
      let forward = try blank(map.output.count, scratch)
      let back = try blank(map.input.count, scratch)
      try map.apply(x.view, into: forward, scratch)
      try map.adjoint(u.view, into: back, scratch)
      return mismatch(
        forward.dot(u.view), x.view.dot(back),
        scale: forward.norm() * u.view.norm() + x.view.norm() * back.norm())
    }
  }

  /// `|⟨J(x)v, u⟩ − ⟨v, J(x)ᵀu⟩|`, relative as above, at random v and u, with J(x)v by central differences of step h:
  /// about h² for a smooth map.
  public static func pullbackMismatch(
    _ map: any Map, at x: Tensor<Double>, step h: Double = 1e-5, seed: UInt64 = 0
  ) throws -> Double {
    let v = try normals(map.input.count, seed: seed)
    let u = try normals(map.output.count, seed: seed, index: 1)
    let scratch = Scratch()
    return try scratch.scope {
      let moved = try blank(map.output.count, scratch)
      let before = try blank(map.output.count, scratch)
      let point = try scratch.take(map.input.count)
      let back = try blank(map.input.count, scratch)
      point.setEach(nil, x.view, v.view) { $0 + h * $1 }
      try map.apply(point, into: moved, scratch)
      point.setEach(nil, x.view, v.view) { $0 - h * $1 }
      try map.apply(point, into: before, scratch)
      moved.setEach(nil, moved, before) { ($0 - $1) / (2 * h) }
      try map.pullback(u.view, at: x.view, into: back, scratch)
      return mismatch(
        moved.dot(u.view), v.view.dot(back), scale: moved.norm() * u.view.norm() + v.view.norm() * back.norm()
      )
    }
  }

  /// The largest relative difference between products with A and Aᵀ at a random x and what `applyNormal` and `normal` say.
  public static func normalMismatch(_ map: any LinearMap, seed: UInt64 = 0) throws -> Double {
    worse(try formMismatch(map, seed: seed), try normalProductMismatch(map, seed: seed))
  }

  private static func normalProductMismatch(_ map: any LinearMap, seed: UInt64) throws -> Double {
    let x = try normals(map.input.count, seed: seed)
    let scratch = Scratch()
    return try scratch.scope {
      let (product, image) = (try blank(map.input.count, scratch), try blank(map.output.count, scratch))
      let normal = try blank(map.input.count, scratch)
      try map.apply(x.view, into: image, scratch)
      try map.adjoint(image, into: product, scratch)
      try map.applyNormal(x.view, into: normal, scratch)
      return mismatch(product, normal)
    }
  }

  private static func formMismatch(_ map: any LinearMap, seed: UInt64) throws -> Double {
    let x = try normals(map.input.count, seed: seed)
    let scratch = Scratch()
    return try scratch.scope {
      let product = try blank(map.input.count, scratch)
      let claimed = try blank(map.input.count, scratch)
      let image = try blank(map.output.count, scratch)
      let other = try blank(map.output.count, scratch)
      try map.apply(x.view, into: image, scratch)
      try map.adjoint(image, into: product, scratch)
      switch map.normal {
      case .unknown: return 0
      case .stationary(let spectrum):
        guard spectrum.shape == map.input else { return .infinity }
        try spectrum.apply({ $0 }, x.view, into: claimed, scratch)
        return mismatch(product, claimed)
      case .dense(let matrix):
        guard matrix.rows == image.count, matrix.columns == x.count else { return .infinity }
        matrix.multiply(x.view, into: other)
        matrix.multiplyTransposed(other, into: claimed)
        return worse(mismatch(image, other), mismatch(product, claimed))
      case .pixelwise(let diagonal):
        guard diagonal.count == x.count else { return .infinity }
        claimed.setEach(nil, diagonal.view, x.view) { $0 * $1 }
        // Where a measurement is one value times a, (Ax)² is A(x²) · a, and A1 = a.
        let squared = try blank(map.output.count, scratch)
        let input = try scratch.take(x.count)
        input.setEach(nil, x.view) { $0 * $0 }
        try map.apply(input, into: squared, scratch)
        input.set(1)
        try map.apply(input, into: other, scratch)
        squared.setEach(nil, squared, other) { $0 * $1 }
        image.setEach { $0 * $0 }
        return worse(mismatch(image, squared), mismatch(product, claimed))
      }
    }
  }

  /// How many values of `apply`, `pullback` and `adjoint` aren't the same bits on 2 and 5 threads as on one.
  public static func differingValues(_ map: any Map, at x: Tensor<Double>, seed: UInt64 = 0) throws -> Int {
    let u = try normals(map.output.count, seed: seed, index: 1)
    func values(threads: Int) throws -> [UInt64] {
      let scratch = Scratch(pool: ThreadPool(threads: threads))
      return try scratch.scope {
        let y = try blank(map.output.count, scratch)
        let g = try blank(map.input.count, scratch)
        let back = try blank(map.input.count, scratch)
        try map.apply(x.view, into: y, scratch)
        try map.pullback(u.view, at: x.view, into: g, scratch)
        try (map as? any LinearMap)?.adjoint(u.view, into: back, scratch)
        return [y, g, back].flatMap { $0.elements.map(\.bitPattern) }
      }
    }
    let one = try values(threads: 1)
    return try [2, 5].reduce(0) { sum, threads in
      sum + zip(one, try values(threads: threads)).count { $0 != $1 }
    }
  }

  /// A standard normal image.
  public static func point(_ map: any Map, seed: UInt64 = 0) throws -> Tensor<Double> {
    try normals(map.input.count, seed: seed, index: 3)
  }

  /// `‖A‖`.
  public static func norm(_ map: any LinearMap) throws -> Double {
    try map.squaredNorm(Scratch()).squareRoot()
  }

  // MARK: Parts

  /// The larger, and NaN before all.
  static func worse(_ a: Double, _ b: Double) -> Double { a.isNaN || b <= a ? a : b }

  private static func normals(_ count: Int, seed: UInt64, index: UInt64 = 0) throws -> Tensor<Double> {
    var random = Philox(seed: seed, index: index, purpose: .test)
    return try Tensor((0..<count).map { _ in random.normal() })
  }

  private static func blank(_ count: Int, _ scratch: Scratch) throws -> Vector {
    let memory = try scratch.take(count)
    memory.set(.nan)
    return memory
  }

  private static func mismatch(_ a: Double, _ b: Double, scale: Double) -> Double {
    scale == 0 ? 0 : (a - b).magnitude / scale
  }

  private static func mismatch(_ a: Vector, _ b: Vector) -> Double {
    let scale = a.norm() + b.norm()
    return scale == 0 ? 0 : a.distance(to: b) / scale
  }
}
