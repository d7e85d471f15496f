import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// The σ for which `Σ log(e + σ²) + q/(e + σ²)` is least, e the eigenvalues of a covariance and q the squares of an offset
/// along its eigenvectors: the most probable deviation of white noise.
struct EvidenceSearch {
  let eigenvalues: [Double]
  let squares: Vector

  private func cost(_ logSigma: Double) -> Double {
    let variance = exp(2 * logSigma)
    return eigenvalues.indices.reduce(0.0) {
      let total = max(eigenvalues[$1], 0) + variance
      return $0 + log(total) + squares[$1] / total
    }
  }

  /// From `NoiseEstimate.floor` to `greatest`. There can be several minima: the lowest of a grid, and between its
  /// neighbours.
  func sigma(greatest: Double) -> Double {
    let least = log(NoiseEstimate.floor)
    let greatest = max(log(greatest + 1e-150), least)
    let count = 60
    let step = (greatest - least) / Double(count)
    let best = (0...count).map { least + Double($0) * step }.min { cost($0) < cost($1) } ?? least
    var (low, high) = (max(best - step, least), min(best + step, greatest))
    for _ in 0..<40 {
      let third = (high - low) / 3
      if cost(low + third) < cost(high - third) { high -= third } else { low += third }
    }
    return exp(0.5 * (low + high))
  }
}

/// The same where ACAᵀ is known by its products alone. The evidence is stationary where
///
///     σ² = ‖e(σ)‖² / (m − df(σ)),   e = r − A x̂,   df = tr A H⁻¹Aᵀ/σ²,   H = AᵀA/σ² + C⁻¹
///
/// with `x̂ = H⁻¹Aᵀr/σ²`, the mean of what explains the offset r. H is solved with by conjugate gradients; df is estimated with
/// one vector of random signs, which leaves σ a relative error of about `1/√(2(m − df))`. The root is bracketed and halved
/// on a logarithmic scale.
struct EvidenceByProducts {
  let prior: GaussianPrior
  let map: any LinearMap

  /// Halvings of the range of log σ at most, and the relative precision at which they end.
  private static let steps = 12
  private static let precision = 0.01

  func sigma(_ residual: Vector, greatest: Double, _ scratch: Scratch) throws -> Double {
    let floor = NoiseEstimate.floor
    guard residual.count > 0, greatest > floor else { return floor }
    return try scratch.scope {
      let signs = try scratch.take(residual.count)
      var random = Philox(seed: 0, purpose: .curvature)
      signs.setSigns(&random)
      /// log of what σ² should be, over σ²: falls through 0 at the solution.
      func excess(_ logSigma: Double) throws -> Double {
        let variance = exp(2 * logSigma)
        let hessian = try GaussianHessian(prior, map, variance: variance, lambda: 1, scratch)
        let left = try scratch.scope {
          let rest = try scratch.take(residual.count)
          try unexplained(residual, by: hessian, into: rest, scratch)
          return rest.dot(rest, scratch.pool)
        }
        let free = try scratch.scope {
          let rest = try scratch.take(residual.count)
          try unexplained(signs, by: hessian, into: rest, scratch)
          return rest.dot(signs, scratch.pool)
        }
        return log(max(left, .leastNormalMagnitude)) - log(max(free, .leastNormalMagnitude) * variance)
      }
      var (low, high) = (log(floor), log(greatest))
      // From above: where there are several roots it is the largest.
      for _ in 0..<Self.steps where high - low > Self.precision {
        let middle = 0.5 * (low + high)
        if try excess(middle) > 0 { low = middle } else { high = middle }
      }
      return exp(0.5 * (low + high))
    }
  }

  /// `e ← r − A H⁻¹Aᵀr/σ²`
  private func unexplained(_ r: Vector, by hessian: GaussianHessian, into e: Vector, _ scratch: Scratch)
    throws
  {
    try scratch.scope {
      let pulled = try scratch.take(map.input.count)
      let x = try scratch.take(map.input.count)
      try map.adjoint(r, into: pulled, scratch)
      pulled.scale(by: 1 / hessian.variance, scratch.pool)
      try hessian.solve(pulled, into: x, tolerance: 1e-4, scratch)
      try map.apply(x, into: e, scratch)
      e.set(1, r, plus: -1, scratch.pool)
    }
  }
}
