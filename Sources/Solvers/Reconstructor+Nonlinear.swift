import AIPOKernels
import AIPOPriors
import AIPOProblems

/// How a problem that isn't linear was begun: from several starts, each brought to a minimum under the Gaussian prior. Nobody
/// can tell whether the lowest of them is the global one; many that end in it make that probable, one among many doesn't.
public struct StartSearch: Sendable, Hashable, Codable {
  /// Starts that were tried.
  public let count: Int
  /// Those that ended as low as the lowest: within `agreement` nats a root of the image's values.
  public let agreeing: Int
}

/// A start is told from others long before its descent has converged.
private struct StartRule: StopRule {
  func verdict(_ progress: SolveProgress) -> StopVerdict? {
    if progress.gradientNorm <= 1e-6 * progress.startGradientNorm { return .gradient }
    if let change = progress.change(over: 4), change < progress.threshold(ToleranceRule().intermediateEpsilon)
    {
      return .objective
    }
    return progress.iterations >= 200 ? .iterations : nil
  }
}

extension Reconstructor {
  /// Starts of a problem that isn't linear where nobody says how many.
  static let usualStarts = 6
  /// Nats by which minima may differ and still be one, a root of the image's values.
  static let agreement = 0.1

  /// `v ←` the lowest minimum under the Gaussian at λ that is found from the Gaussian's mean, from what the measurements alone
  /// suggest if the map knows, and from draws of the Gaussian. None of the flow's evaluations are spent.
  func setLowestMinimum(_ v: Vector, _ image: Int, lambda: Double, _ scratch: Scratch) throws {
    guard let gaussian else { throw SolverError.unsupported("the model holds no Gaussian prior") }
    let data = problem.dataTerm(image, encoding: nil)
    let objective = PixelObjective(data: data, prior: gaussian, gaussian: gaussian)
    let weights = ObjectiveWeights(lambda: lambda, t: 0)
    var values: [Double] = []
    var lowest = Double.infinity
    var hasEstimate = false
    v.set(gaussian.mean.view)
    try scratch.scope {
      let point = try scratch.take(v.count)
      for k in 0..<(options.restarts ?? Self.usualStarts) {
        switch k {
        case 0: point.set(gaussian.mean.view)
        case 1:
          hasEstimate = try data.map.estimate(data.observation.view, into: point, scratch)
          if !hasEstimate { fallthrough }
        default:
          try gaussian.sample(
            seed: options.seed, index: Int(source(image)) * ReconstructionOptions.restartLimit + k,
            purpose: .start, into: point, scratch)
        }
        let outcome = try Continuation(
          Evaluator(objective, scratch), path: FixedWeights(weights),
          settings: PathSettings(stopRule: StartRule(), maximumEvaluations: 1)
        ).run { $0.set(point) }
        guard let sample = outcome.sample else { continue }
        let value = sample.value(weights)
        values.append(value)
        if value < lowest {
          lowest = value
          v.set(sample.pixels)
        }
      }
    }
    let slack = Self.agreement * Double(v.count).squareRoot()
    shared.note(
      StartSearch(count: values.count, agreeing: values.count { $0 <= lowest + slack }), of: image)
  }
}
