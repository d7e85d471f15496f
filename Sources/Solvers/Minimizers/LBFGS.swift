import AIPOKernels
import AIPOProblems

/// Limited-memory BFGS whose initial inverse Hessian is `γ (∇²F + λ·curvature of R)⁻¹`, with γ = sᵀy /
/// yᵀH₀y. Without the data term's curvature sensing in pixel space is hopeless.
///
/// The pairs (s, y) are kept a term: when λ or t changes, y is recombined at the new weights, so the memory
/// survives the step along the path at no evaluation; in the last solve, after which no weights change, y alone. Where memory is
/// short, fewer pairs are kept.
public final class LBFGS: Minimizer {
  /// Length of the first step where no curvature is known.
  public let firstStep: Double
  /// Pairs kept at most.
  public private(set) var memory: Int
  /// Fewer aren't worth it.
  private static let leastMemory = 3

  /// How the terms' gradients changed along a step, as in the samples.
  private struct Terms {
    let recon: Vector
    let flow: Vector
    let gaussian: Vector
    var hasFlow = false
    var hasGaussian = false
  }

  /// A step and how the gradient changed along it.
  private final class Pair {
    let step: Vector
    /// At the present weights.
    let y: Vector
    /// Nil where y serves the weights that it was made at, and no others.
    var terms: Terms?
    var combinedAt: ObjectiveWeights?
    var rho = 0.0
    private let storage: Storage<Double>

    init(dimension d: Int, hasTerms: Bool) throws(TensorError) {
      let stride = (d + 7) / 8 * 8
      storage = try Storage(count: (hasTerms ? 5 : 2) * stride)
      let memory = storage.memory
      func part(_ k: Int) -> Vector { memory[k * stride..<k * stride + d] }
      (step, y) = (part(0), part(1))
      if hasTerms { terms = Terms(recon: part(2), flow: part(3), gaussian: part(4)) }
    }

    /// Takes the way from one evaluated point to another; false where they have no terms in common.
    func set(
      from a: ObjectiveSample, to b: ObjectiveSample, _ weights: ObjectiveWeights, _ scratch: Scratch
    ) throws -> Bool {
      guard a.combinedAt == b.combinedAt else { return false }
      let pool = scratch.pool
      combinedAt = a.combinedAt
      step.setDifference(b.point, a.point, pool)
      let hasFlow = a.flow != nil && b.flow != nil
      let hasGaussian = a.gaussian != nil && b.gaussian != nil
      guard let terms else {
        y.setDifference(b.reconGradient, a.reconGradient, pool)
        guard combinedAt == nil else { return true }
        combinedAt = weights
        return try scratch.scope {
          let change = try scratch.take(y.count)
          for (weight, isKnown, gradient) in [
            (weights.flow, hasFlow, \ObjectiveSample.flowGradient),
            (weights.gaussian, hasGaussian, \.gaussianGradient),
          ] where weight != 0 {
            guard isKnown else { return false }
            change.setDifference(b[keyPath: gradient], a[keyPath: gradient], pool)
            y.add(change, times: weight, pool)
          }
          return true
        }
      }
      terms.recon.setDifference(b.reconGradient, a.reconGradient, pool)
      if combinedAt == nil {
        if hasFlow { terms.flow.setDifference(b.flowGradient, a.flowGradient, pool) }
        if hasGaussian { terms.gaussian.setDifference(b.gaussianGradient, a.gaussianGradient, pool) }
      }
      (self.terms!.hasFlow, self.terms!.hasGaussian) = (hasFlow, hasGaussian)
      return true
    }

    /// Makes y that of the weights; false where a term is missing or the curvature along the step isn't positive.
    func combine(_ weights: ObjectiveWeights, _ pool: ThreadPool) -> Bool {
      if let combinedAt, combinedAt != weights { return false }
      if let terms {
        y.set(terms.recon, pool)
        if combinedAt == nil {
          if weights.flow != 0 {
            guard terms.hasFlow else { return false }
            y.add(terms.flow, times: weights.flow, pool)
          }
          if weights.gaussian != 0 {
            guard terms.hasGaussian else { return false }
            y.add(terms.gaussian, times: weights.gaussian, pool)
          }
        }
      }
      let product = step.dot(y, pool)
      guard product > 1e-8 * step.norm(pool) * y.norm(pool), product.isNormal else { return false }
      rho = 1 / product
      return true
    }
  }

  /// Oldest first, and those to be used again.
  private var pairs: [Pair] = []
  private var spare: [Pair] = []
  private var gamma = 1.0
  private var alphas: [Double] = []

  public init(memory: Int = 30, firstStep: Double = 0.1) {
    self.memory = memory
    self.firstStep = firstStep
  }

  public func minimize(_ solve: Solve) throws -> SolveEnd {
    let (weights, pool, d) = (solve.weights, solve.pool, solve.dimension)
    try restart(solve)
    var didReset = false
    return try solve.scratch.scope {
      let gradient = try solve.scratch.take(d)
      let direction = try solve.scratch.take(d)
      let trialGradient = try solve.scratch.take(d)
      while true {
        let start = solve.current
        let (value, slack) = (solve.value, solve.rounding)
        start.gradient(weights, into: gradient, pool)
        var slope = try setDirection(direction, gradient, solve)
        if !(slope < 0) || !slope.isFinite {
          forget()
          slope = try setDirection(direction, gradient, solve)
        }
        // A Newton-like step promises a decrease of half the slope. Below the value's resolution the slopes
        // still tell a better point, the further the finer the arithmetic.
        guard slope < 0, slope.isFinite,
          -0.5 * slope > min(0.1, 1e6 * solve.evaluator.objective.resolution) * slack
        else { return .resolution }
        var search = LineSearch(value: value, slope: slope, slack: slack)
        var step = solve.metric == nil && pairs.isEmpty ? min(1, firstStep / direction.norm(pool)) : 1
        var next: ObjectiveSample?
        var lowest: ObjectiveSample?
        searching: while true {
          let trial = try solve.trial { point in
            point.set(start.point, pool)
            point.add(direction, times: step, pool)
          }
          var trialSlope = Double.nan
          if let trial {
            trial.gradient(weights, into: trialGradient, pool)
            trialSlope = trialGradient.dot(direction, pool)
          }
          let verdict = search.receive(step: step, value: trial?.value(weights), slope: trialSlope)
          if case .accept = verdict {
            next = trial
            break searching
          }
          if let trial, trial.value(weights) < (lowest ?? start).value(weights) { lowest = trial }
          guard case .retry(let other) = verdict else { break searching }
          step = other
        }
        if let next = next ?? lowest {
          try keep(from: start, to: next, solve)
          didReset = false
          let (stop, metricChanged) = try solve.accept(next)
          if let stop { return .verdict(stop) }
          if metricChanged { try restart(solve) }
          continue
        }
        if -0.5 * slope <= slack { return .resolution }
        guard !didReset, !pairs.isEmpty else { return .lineSearch }
        didReset = true
        forget()
      }
    }
  }

  private func forget() {
    spare += pairs
    pairs.removeAll(keepingCapacity: true)
    gamma = 1
  }

  /// Takes the pairs that serve the weights of a solve.
  private func restart(_ solve: Solve) throws {
    let old = pairs
    pairs.removeAll(keepingCapacity: true)
    gamma = 1
    for pair in old {
      if pair.combine(solve.weights, solve.pool) { pairs.append(pair) } else { spare.append(pair) }
    }
    for pair in pairs.reversed() where try setGamma(pair, solve) { break }
  }

  private func setGamma(_ pair: Pair, _ solve: Solve) throws -> Bool {
    let scaled = try solve.scratch.scope {
      let preconditioned = try solve.scratch.take(solve.dimension)
      try solve.precondition(pair.y, into: preconditioned)
      return pair.y.dot(preconditioned, solve.pool)
    }
    guard scaled > 0, scaled.isFinite else { return false }
    gamma = min(max(1 / (pair.rho * scaled), 1e-6), 1e6)
    return true
  }

  private func keep(from start: ObjectiveSample, to next: ObjectiveSample, _ solve: Solve) throws {
    guard let pair = try freePair(solve), try pair.set(from: start, to: next, solve.weights, solve.scratch)
    else { return }
    guard pair.combine(solve.weights, solve.pool) else {
      spare.append(pair)
      return
    }
    pairs.append(pair)
    _ = try setGamma(pair, solve)
  }

  /// Memory for a pair: the oldest one's, if there are as many as may be, or memory is short on any rank.
  private func freePair(_ solve: Solve) throws -> Pair? {
    let hasTerms = !solve.progress.isFinal
    if let free = spare.lastIndex(where: { !hasTerms || $0.terms != nil }) { return spare.remove(at: free) }
    if pairs.count < memory {
      let made = Result { try Pair(dimension: solve.dimension, hasTerms: hasTerms) }
      let isShort = (try? made.get()) == nil
      guard solve.pool.strips?.any(isShort) ?? isShort else { return try made.get() }
      if pairs.count < Self.leastMemory { _ = try made.get() }
      memory = pairs.count
    }
    return pairs.isEmpty ? nil : pairs.removeFirst()
  }

  /// `direction ← −H∇L`; gives its slope.
  private func setDirection(_ direction: Vector, _ gradient: Vector, _ solve: Solve) throws -> Double {
    try multiplyInverseHessian(gradient, into: direction, solve)
    direction.scale(by: -1, solve.pool)
    return gradient.dot(direction, solve.pool)
  }

  /// `r ← H v` with the inverse Hessian learned so far, by the two-loop recursion.
  func multiplyInverseHessian(_ v: Vector, into r: Vector, _ solve: Solve) throws {
    let pool = solve.pool
    try solve.scratch.scope {
      let q = try solve.scratch.take(v.count)
      q.set(v, pool)
      alphas.removeAll(keepingCapacity: true)
      for pair in pairs.reversed() {
        let alpha = pair.rho * pair.step.dot(q, pool)
        q.add(pair.y, times: -alpha, pool)
        alphas.append(alpha)
      }
      try solve.precondition(q, into: r)
      if gamma != 1 { r.scale(by: gamma, pool) }
      for (k, pair) in pairs.enumerated() {
        let alpha = alphas[pairs.count - 1 - k]
        r.add(pair.step, times: alpha - pair.rho * pair.y.dot(r, pool), pool)
      }
    }
  }
}
