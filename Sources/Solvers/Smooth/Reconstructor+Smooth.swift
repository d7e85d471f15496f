import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems

extension Reconstructor {
  /// Follows the path in the prior's noise level (`SmoothPath`).
  func smooth(_ work: ImageWork) throws -> Solution {
    let image = work.image
    let coverage = visibleCoverage(of: image)
    let path = smoothPath(of: image)
    var lambda = path.lambda
    if case .value(let value) = options.lambda { lambda = value }
    var pixels = try start(of: image, lambda: 1, work.scratch)
    let evaluator = work.evaluator(pixelObjective(image))
    // One evaluation is left for the sharp density, under which the result is told. A budget below the path's length ends it
    // early, where D_s is still a mean.
    let levels = try noiseLevels(path, coverage, image, from: pixels.view, work.scratch)
    let states = min(path.states, options.maximumEvaluations - 1)
    let weights = ObjectiveWeights(lambda: lambda, t: flowShare(of: image))
    var (stop, sample): (PathStop, ObjectiveSample?) = (.cancelled, nil)
    var taken = 0
    do {
      stop = try pixels.withMemory {
        try walk(path, levels, states: states, lambda: lambda, from: $0, work, evaluator)
      }
      taken = evaluator.evaluations
      let budget = min(options.maximumEvaluations, evaluator.evaluations + path.finish)
      if stop == .levels, budget > evaluator.evaluations + 1 {
        let run = try Continuation(
          evaluator, path: FixedWeights(weights), minimizer: options.minimizer(),
          settings: pathSettings(image, maximumEvaluations: budget), onState: work.report)
        let outcome = try run.run { point in
          point.set(pixels.view)
          if let domain = options.domain { point.clamp(to: domain) }
          prior.encoding.encode(point, into: point)
        }
        return Solution(outcome: outcome, fallback: pixels, path: "smooth")
      }
      if stop == .levels {
        sample = try evaluator.evaluate(weights) { prior.encoding.encode(pixels.view, into: $0) }
        if sample == nil { stop = .noFiniteStart }
      }
    } catch Interruption.cancelled { taken = evaluator.evaluations }
    if let sample {
      work.report(
        PathState(
          event: .finished, s: 1, weights: weights, objective: sample.value(weights), recon: sample.recon,
          flow: sample.flow, gaussian: sample.gaussian, evaluations: evaluator.evaluations,
          iterations: taken, step: 0, gradientNorm: try sample.gradientNorm(weights, work.scratch),
          stop: stop), sample.pixels)
    }
    return Solution(
      outcome: PathOutcome(
        sample: sample, weights: weights, evaluations: evaluator.evaluations, iterations: taken,
        stop: stop),
      fallback: pixels, path: "smooth")
  }

  func smoothPath(of image: Int) -> SmoothPath {
    options.smooth
      ?? .usual(
        for: problem.map(image), visibleCoverage(of: image), under: problem.noise(image),
        isNormalized: prior.isNormalized)
  }

  /// The states of the path, from the image x that is given; x becomes the last D_s(x), or where a descent follows the image
  /// between that and the data. Why it ended; throws where it is cancelled.
  private func walk(
    _ path: SmoothPath, _ levels: (first: Double, last: Double), states: Int, lambda: Double, from x: Vector,
    _ work: ImageWork, _ evaluator: Evaluator
  ) throws -> PathStop {
    let scratch = work.scratch
    let data = problem.dataTerm(work.image, encoding: nil)
    let proximal = try ProximalStep(data, scratch)
    return try scratch.scope {
      // D_s's argument, and between states the x before.
      let (z, point) = (try scratch.take(x.count), try scratch.take(x.count))
      point.set(x, scratch.pool)
      var (s, before) = (levels.first, levels.first)
      for k in 0..<states {
        let beta = min(path.momentum, Double(k) / Double(k + 3))
        point.scale(by: -beta, scratch.pool)
        point.add(x, times: 1 + beta, scratch.pool)
        let flow = try evaluator.denoise(point, prior, noise: s, turn: k, into: z)
        guard flow.isFinite, z.isFinite(scratch.pool) else { return .noFiniteStart }
        z.add(point, times: -1, scratch.pool)
        z.clamp(to: -SmoothPath.reach * s...SmoothPath.reach * s, scratch.pool)
        z.add(point, times: 1, scratch.pool)
        let recon = try data.evaluate(pixels: point, gradient: nil, scratch)
        work.report(
          PathState(
            event: k == 0 ? .start : .solved, s: Double(k + 1) / Double(states),
            weights: ObjectiveWeights(lambda: lambda), noiseLevel: s, objective: recon + lambda * flow,
            recon: recon, flow: flow, gaussian: nil, evaluations: evaluator.evaluations, iterations: k + 1,
            step: k == 0 ? 1 : s / before, gradientNorm: point.distance(to: z, scratch.pool) / (s * s)),
          z)
        point.set(x, scratch.pool)
        let isLast = k == states - 1 || path.steps != .even && s == levels.last
        if isLast, path.finish == 0 {
          x.set(z, scratch.pool)
        } else {
          try proximal.solve(from: z, weight: lambda / (s * s), into: x, scratch)
        }
        if isLast { break }
        before = s
        switch path.steps {
        case .even:
          s = levels.first * pow(levels.last / levels.first, Double(k + 1) / Double(max(path.states - 1, 1)))
        case .following(let factor, let least):
          let moved = x.distance(to: z, scratch.pool) / Double(x.wholeCount(scratch.pool)).squareRoot()
          s = max(min(max(factor * moved, least * s), SmoothPath.Steps.most * s), levels.last)
        }
      }
      return .levels
    }
  }

  /// s at first and at the end: from how far the image is from the start to what the data hide.
  private func noiseLevels(
    _ path: SmoothPath, _ coverage: Coverage, _ image: Int, from start: Vector, _ scratch: Scratch
  ) throws -> (first: Double, last: Double) {
    guard let known = prior.noiseLevels else {
      throw SolverError.unsupported("the path smooth needs a prior that knows its noise level")
    }
    let first = min(
      max(try startDeviation(coverage, image, start, scratch) ?? known.greatest, known.least), known.greatest)
    let deviation = try problem.dataTerm(image, encoding: nil).pixelDeviation()
    return (first, min(max(path.end * deviation, known.least), first))
  }

  /// How far the true image is from the start, root mean square: the noise where the start is what was observed, else the
  /// deviation of an image given its measurements under the Gaussian, by one random vector; of a map that isn't linear by its
  /// derivative at the start. Nil where it isn't known, or the start isn't made of the measurements: D_s of an image that is
  /// much farther than s from any likely one may be anything.
  private func startDeviation(_ coverage: Coverage, _ image: Int, _ start: Vector, _ scratch: Scratch) throws
    -> Double?
  {
    guard !startChoice(image).ignoresData else { return nil }
    let noise = try problem.noise(image).matched(problem.observations[image].view)
    if coverage == .whole, !(smoothPath(of: image).startsAtGaussian && startChoice(image) == .gaussian) {
      return noise.sigma
    }
    guard let gaussian, let map = try problem.map(image).derivative(at: start, scratch) else { return nil }
    return try scratch.scope {
      let (signs, spread) = (try scratch.take(gaussian.count), try scratch.take(gaussian.count))
      var random = Philox(seed: options.seed, index: source(image), purpose: .curvature)
      signs.setSigns(&random, scratch.pool)
      try gaussian.metric(
        for: noise.whitened(map, scratch), variance: noise.whiteVariance, lambda: 1, scratch
      ).solve(signs, into: spread, scratch)
      return (signs.dot(spread, scratch.pool) / Double(gaussian.covariance.order)).squareRoot()
    }
  }
}
