import AIPOKernels
import AIPOPlatform
import AIPOProblems

/// Hessian-vector products by the central difference of two gradients,
///
///     ∇²L v ≈ (∇L(x + hv) − ∇L(x − hv)) / 2h
///
/// with h such that a coordinate moves by about the cube root of the arithmetic's resolution.
enum CentralDifference {
  /// `product ← ∇²L v` at x; false where L isn't finite beside x.
  ///
  /// - Parameter evaluate: evaluates L at the weights where its argument writes, as `Evaluator.evaluate` does: the points
  ///   are as they were evaluated, after rounding.
  static func product(
    _ v: Vector, at x: Vector, into product: Vector, weights: ObjectiveWeights, resolution: Double,
    _ scratch: Scratch,
    evaluate: (_ set: (_ point: Vector) throws -> Void) throws -> ObjectiveSample?
  ) throws -> Bool {
    let pool = scratch.pool
    let length = v.norm(pool)
    let move = cbrt(resolution) * Double(v.count).squareRoot() / length
    func beside(_ move: Double) throws -> ObjectiveSample? {
      try evaluate { point in
        point.set(x, pool)
        point.add(v, times: move, pool)
      }
    }
    guard let ahead = try beside(move), let behind = try beside(-move) else { return false }
    try scratch.scope {
      let gradient = try scratch.take(v.count)
      ahead.gradient(weights, into: product, pool)
      behind.gradient(weights, into: gradient, pool)
      product.add(gradient, times: -1, pool)
    }
    product.scale(by: length / ahead.point.distance(to: behind.point, pool), pool)
    return true
  }
}
