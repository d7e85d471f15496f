import AIPOInverseProblems

/// From one solved place of the path to the next.
extension ImageRun {
  /// Whether the path's last step led to where no descent is possible, so that a shorter one should be tried.
  func isSetback(_ end: SolveEnd) -> Bool {
    guard case .stuck(.lineSearch) = end, progress.iterations == 0, let last = solved.last else {
      return false
    }
    return last.place.s < s && stage != .final && trials.isEmpty && evaluations < limit
  }

  /// The next step along the path, after a solve that ended like this.
  mutating func advance(_ end: SolveEnd) throws {
    var result: StepOutcome
    switch end {
    case .verdict(.gradient), .verdict(.objective), .stuck(.resolution):
      result = .converged(iterations: progress.iterations, deviation: deviation)
    case .verdict(.iterations), .budget: result = .unfinished
    case .stuck(.lineSearch): result = isSetback(end) ? .failed : .unfinished
    }
    if result == .failed {
      report(.failed)
      let last = solved[solved.count - 1]
      point = last.place.point
      sample = last.sample
      s = last.place.s
      stage = .path
      weights = path.weights(at: s)
    } else {
      report(result == .unfinished ? .unfinished : .solved)
      solved.append((PathPoint(s: s, point: point), sample!))
      if solved.count > 2 { solved.removeFirst() }
    }
    if solved.count > 1 || result == .failed {
      guard let next = settings.stepControl.next(after: step, result) else {
        finish(.smallestStep)
        return
      }
      step = next
    }
    let corner = path.corner(after: s)
    var next = min(corner, s + step)
    if corner - next < 0.25 * step { next = corner }
    if weights.flow != 0, evaluations >= limit { next = 1 }
    step = next - s
    // Beyond a corner of the path the way to it says nothing.
    let history = solved.map(\.place).filter { path.corner(after: $0.s) >= next - 1e-9 }
    let guess = history.isEmpty ? point : settings.predictor.predict(history, at: next)
    let products = settings.predictor.tangentProducts
    if products > 0, guess == point, evaluations + 2 * products < limit {
      pending = .slope(s: next)
      if let sample, sample.serves(path.weights(at: next)) { try beginTangent(to: next, sample) }
    } else {
      try go(to: next, from: guess)
    }
  }

  /// How far the prediction was from the solution, over how far the last solution is.
  private var deviation: Double? {
    guard let guess, let last = solved.last else { return nil }
    let way = norm(adding(point, last.place.point, scaledBy: -1))
    return way > 0 ? norm(adding(point, guess, scaledBy: -1)) / way : nil
  }

  /// Solves at `next`, from this guess or the present point.
  private mutating func go(to next: Double, from guess: [Double]) throws {
    self.guess = guess == point ? nil : guess
    var guess = guess
    if weights.flow == 0, path.weights(at: next).flow != 0, let domain = settings.domain {
      // The Gaussian's solution is a picture of pixels. Where in its bin x lies it doesn't know: h⁻¹ would spread its
      // ringing in black over the whole bin, so that the pixel itself is the better guess.
      if guess == point, let pixels = sample?.pixels { guess = pixels }
      guess = guess.map { min(max($0, domain.lowerBound), domain.upperBound) }
    }
    guess = objective.representable(guess)
    if guess == point {
      s = next
      weights = path.weights(at: s)
      try beginSolve()
    } else {
      pending = .predicted(guess, s: next)
    }
  }

  /// `found`: the present point at the weights to come.
  mutating func beginTangent(to next: Double, _ found: ObjectiveSample?) throws {
    guard let sample, let found else {
      try go(to: next, from: point)
      return
    }
    let slope = adding(found.gradient(path.weights(at: next)), sample.gradient(weights), scaledBy: -1)
    let curvature = try objective.curvature(at: point, image: image, weights: weights, probed: probed)
    self.sample = found
    try go(
      on: TangentSearch(
        next: next, slope: slope, products: settings.predictor.tangentProducts, curvature: curvature))
  }

  mutating func continueTangent(_ search: TangentSearch, _ found: ObjectiveSample?) throws {
    var search = search
    let resolution = objective.resolution
    let asked = objective.representable(search.point(beside: point, resolution: resolution))
    search.receive(asked, found?.gradient(weights), beside: point, resolution: resolution)
    try go(on: search)
  }

  private mutating func go(on search: TangentSearch) throws {
    if search.isOver {
      try go(to: search.next, from: adding(point, search.step, scaledBy: 1))
    } else {
      pending = .tangent(search)
    }
  }
}
