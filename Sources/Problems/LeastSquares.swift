import AIPOKernels
import AIPOPriors

extension LinearMap {
  /// `x ←` an image that the measurements alone suggest: the least-squares solution of least norm, `A⁺y`, as far as the
  /// noise lets it be seen.
  ///
  /// A pixelwise map is inverted value by value; what isn't seen is 0. Else conjugate gradients on the normal equations,
  /// from zero, end where the residual is what the noise leads to expect, `‖W(y − Ax)‖² ≤ m·v`: directions that noise
  /// drowns are left at 0, whatever the rank of A.
  public func leastSquares(_ y: Vector, noise: GaussianNoise, into x: Vector, _ scratch: Scratch) throws {
    let pool = scratch.pool
    try scratch.scope {
      let right = try scratch.take(input.count)
      let white = try scratch.take(output.count)
      white.set(y, pool)
      noise.whitenObservation(white, pool)
      let map = try noise.whitened(self, scratch)
      try map.adjoint(white, into: right, scratch)
      if case .pixelwise(let diagonal) = map.normal {
        x.setEach(pool, right, diagonal.view) { $1 > 0 ? $0 / $1 : 0 }
        return
      }
      let bound = (Double(y.wholeCount(pool)) * noise.whiteVariance).squareRoot()
      let predicted = try scratch.take(output.count)
      x.set(0, pool)
      guard white.norm(pool) > bound else { return }
      try ConjugateGradients.solve(
        right, into: x, tolerance: 1e-10, iterations: 2 * min(x.wholeCount(pool), y.wholeCount(pool)) + 20,
        scratch,
        isDone: { _ in
          try map.apply(x, into: predicted, scratch)
          return predicted.distance(to: white, pool) <= bound
        },
        product: { p, y in try map.applyNormal(p, into: y, scratch) })
    }
  }
}
