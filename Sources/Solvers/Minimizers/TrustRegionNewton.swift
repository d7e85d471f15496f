import AIPOKernels
import AIPOProblems

/// Newton's method in a trust region, its steps found by preconditioned conjugate gradients that stop at the
/// region's edge or where the curvature is negative (Steihaug, SIAM J. Numer. Anal. 20, 1983; Nocedal and
/// Wright, algorithm 7.2).
///
/// Hessian-vector products are central differences of gradients, two evaluations each. The preconditioner is
/// the metric, which also measures the region: `‖p‖² = pᵀMp`.
public final class TrustRegionNewton: Minimizer {
  /// Most products a step.
  public let products: Int
  /// From solve to solve; nil where nothing is known of it.
  private var radius: Double?

  public init(products: Int = 12) { self.products = products }

  public func minimize(_ solve: Solve) throws -> SolveEnd {
    let weights = solve.weights
    return try solve.scratch.scope {
      let gradient = try solve.scratch.take(solve.dimension)
      var search = try SteihaugSearch(gradient: gradient, solve.scratch)
      solve.current.gradient(weights, into: gradient, solve.pool)
      var (gradientNorm, firstGradientNorm) = (gradient.norm(solve.pool), gradient.norm(solve.pool))
      // Whether this step goes along the preconditioned gradient alone.
      var isGradientStep = false
      while true {
        let start = solve.current
        let (value, slack) = (solve.value, solve.rounding)
        try search.begin(solve.metric)
        if isGradientStep {
          search.goToEdge(search.firstLength)
        } else {
          // A step by the preconditioner alone promises half of gᵀM⁻¹g.
          guard search.residualSquare.isFinite, 0.5 * search.residualSquare > 0.1 * slack else {
            return .resolution
          }
          try findStep(
            &search, solve, tolerance: min(max((gradientNorm / firstGradientNorm).squareRoot(), 0.02), 0.5))
          if search.stepSquare == 0 {
            // No density beside the point: a shorter step along the gradient.
            isGradientStep = true
            search.goToEdge(0.2 * (radius ?? search.firstLength))
          }
        }

        var failures = 0
        while true {
          let length = search.stepSquare.squareRoot()
          let promised = search.decrease
          let trial = try solve.trial { point in
            point.set(start.point, solve.pool)
            point.add(search.step, solve.pool)
          }
          if let trial, trial.value(weights) < value {
            let ratio = (value - trial.value(weights)) / promised
            setRadius(ratio: ratio, length: length, isAtEdge: search.isAtEdge, isGradientStep: isGradientStep)
            isGradientStep = ratio < 0.1 && !isGradientStep
            let (stop, metricChanged) = try solve.accept(trial)
            if let stop { return .verdict(stop) }
            trial.gradient(weights, into: gradient, solve.pool)
            gradientNorm = gradient.norm(solve.pool)
            if metricChanged { (firstGradientNorm, isGradientStep) = (gradientNorm, false) }
            break
          }
          radius = 0.25 * length
          failures += 1
          let isTooSmallToTell = promised <= slack || length <= 1e-12 * (1 + search.firstLength)
          if isGradientStep, isTooSmallToTell {
            // A small region promises little anywhere, and a way found by bad products is no descent however short: only
            // what the gradient's own way promises at its whole length tells that nothing is left.
            return 0.5 * search.firstLength * search.firstLength <= slack ? .resolution : .lineSearch
          }
          if !isGradientStep, isTooSmallToTell || failures == 3 {
            isGradientStep = true
            try search.begin(solve.metric)
            search.goToEdge(search.firstLength)
          } else {
            // The same products serve for a shorter step along the way that was found.
            search.shorten(0.25)
          }
        }
      }
    }
  }

  /// The conjugate gradients of a step, as far as there is a density beside the point.
  private func findStep(_ search: inout SteihaugSearch, _ solve: Solve, tolerance: Double) throws {
    try solve.scratch.scope {
      let product = try solve.scratch.take(solve.dimension)
      for _ in 0..<products {
        let isFinite = try CentralDifference.product(
          search.direction, at: solve.current.point, into: product, weights: solve.weights,
          resolution: solve.evaluator.objective.resolution, solve.scratch, evaluate: solve.trial)
        guard isFinite else { return }
        let isDone = try search.advance(
          product: product, radius: radius ?? search.residualSquare.squareRoot(), tolerance: tolerance)
        if isDone { return }
      }
    }
  }

  private func setRadius(ratio: Double, length: Double, isAtEdge: Bool, isGradientStep: Bool) {
    if isGradientStep {
      radius = nil
    } else if ratio < 0.25 {
      radius = 0.25 * length
    } else if ratio > 0.75, isAtEdge {
      radius = 2 * length
    } else if radius == nil {
      radius = length
    }
  }
}
