import AIPOInverseProblems

/// What choosing λ takes.
struct LambdaChooser: Sendable {
  let rule: any LambdaRule
  let problem: InverseProblem
  let linearOperator: any LinearOperator
  /// Of the noise's curvature.
  let noise: GaussianNoise
}

/// Choosing λ: solves at one λ after another, each with an estimate of its degrees of freedom.
extension ImageRun {
  mutating func beginProbe() throws {
    // What is left must pay for the estimate and then for the solve at the chosen λ.
    guard let chooser, let sample, evaluations + 2 * chooser.rule.probeEvaluations <= limit else {
      try settle(trials.min { $0.risk < $1.risk }?.lambda ?? weights.lambda)
      return
    }
    let probe = try FreedomProbe(
      problem: chooser.problem, image: image, linearOperator: chooser.linearOperator, noise: chooser.noise,
      point: point, sample: sample, limit: chooser.rule.probeEvaluations, seed: settings.seed, source: source)
    self.probe = probe
    probeEnd = evaluations + probe.limit
    self.sample = try probe.tilted(sample, at: point)
    try beginSolve()
  }

  /// Back to the measurements as they are.
  mutating func leave(_ probe: FreedomProbe) {
    (point, sample) = (probe.point, probe.sample)
    self.probe = nil
  }

  mutating func endProbe(_ probe: FreedomProbe) throws {
    guard let chooser else { return }
    let freedom = probe.degreesOfFreedom(at: point)
    leave(probe)
    guard let sample else { return }
    trials.append(
      LambdaTrial(
        lambda: weights.lambda, recon: sample.recon, degreesOfFreedom: freedom,
        measurements: chooser.linearOperator.outputCount, sigma: chooser.noise.sigma))
    tried.append((point, sample))
    report(.lambda)
    let isSpent = evaluations + 3 * chooser.rule.probeEvaluations > limit
    switch chooser.rule.decide(trials) {
    case .attempt(let lambda) where !isSpent:
      weights.lambda = lambda
      try beginSolve()
    case .attempt: try settle(trials.min { $0.risk < $1.risk }!.lambda)
    case .settle(let lambda): try settle(lambda)
    }
  }

  /// Goes on to the end at this λ, from the nearest that was tried.
  mutating func settle(_ lambda: Double) throws {
    stage = .final
    weights.lambda = lambda
    if let nearest = trials.indices.min(by: {
      (trials[$0].lambda - lambda).magnitude < (trials[$1].lambda - lambda).magnitude
    }) {
      (point, sample) = (tried[nearest].point, tried[nearest].sample)
    }
    try beginSolve()
  }
}
