import AIPO

/// Descents by BFGS with a backtracking line search, all at once so that the flow is asked in batches. Independent of
/// the solver under test.
struct Polish {
  let prior: TrainedPrior
  let problem: InverseProblem

  private struct Descent {
    let image: Int
    var x: [Double]
    var value: Double
    var gradient: [Double]
    /// Inverse Hessian, row-major.
    var inverse: [Double]
    var direction: [Double] = []
    var step = 1.0
    var evaluations = 1
    var isDone = false
  }

  /// L at λ = 1 and its gradient; nil where it isn't finite.
  private func evaluate(_ points: [[Double]], _ images: [Int]) throws -> [(
    value: Double, gradient: [Double]
  )?] {
    guard !points.isEmpty else { return [] }
    let d = points[0].count
    let x = try Tensor<Double>(shape: [points.count, 1, 1, d], elements: Array(points.joined()))
    let (logProb, gradient) = try prior.flow.evaluateWithGradient(x)
    let slopes = gradient.elements
    let scratch = Scratch()
    return try points.indices.map { i in
      let (recon, reconGradient) = try problem.dataTerm(images[i], encoding: nil).evaluate(points[i], scratch)
      let total = (0..<d).map { reconGradient[$0] - slopes[i * d + $0] }
      let value = recon - logProb[i]
      return value.isFinite && total.allSatisfy(\.isFinite) ? (value, total) : nil
    }
  }

  /// Where a descent ended.
  struct Minimum {
    let image: Int
    let value: Double
    let x: [Double]
    let evaluations: Int
  }

  /// Where the descents from the starts end.
  func minima(from starts: [(image: Int, x: [Double])]) throws -> [Minimum] {
    let d = problem.imageShape.count
    var descents: [Descent] = []
    for (start, first) in zip(starts, try evaluate(starts.map(\.x), starts.map(\.image))) {
      guard let first else { continue }
      var inverse = [Double](repeating: 0, count: d * d)
      for i in 0..<d { inverse[i * d + i] = 1e-3 }
      descents.append(
        Descent(
          image: start.image, x: start.x, value: first.value, gradient: first.gradient, inverse: inverse))
    }
    for k in descents.indices { Self.aim(&descents[k]) }
    for _ in 0..<200 {
      let active = descents.indices.filter { !descents[$0].isDone }
      if active.isEmpty { break }
      let trials = active.map { k in
        zip(descents[k].x, descents[k].direction).map { $0 + descents[k].step * $1 }
      }
      for (j, sample) in try evaluate(trials, active.map { descents[$0].image }).enumerated() {
        Self.advance(&descents[active[j]], to: trials[j], sample)
      }
    }
    return descents.map { Minimum(image: $0.image, value: $0.value, x: $0.x, evaluations: $0.evaluations) }
  }

  private static func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

  private static func times(_ matrix: [Double], _ x: [Double]) -> [Double] {
    let d = x.count
    return (0..<d).map { i in (0..<d).reduce(0) { $0 + matrix[i * d + $1] * x[$1] } }
  }

  /// Sets out along −H⁻¹∇L; done where that promises less than 10⁻⁷ nats.
  private static func aim(_ descent: inout Descent) {
    descent.direction = times(descent.inverse, descent.gradient).map { -$0 }
    descent.step = 1
    if -dot(descent.gradient, descent.direction) < 1e-7 { descent.isDone = true }
  }

  private static func advance(
    _ descent: inout Descent, to x: [Double], _ sample: (value: Double, gradient: [Double])?
  ) {
    let slope = dot(descent.gradient, descent.direction)
    descent.evaluations += 1
    guard let sample, sample.value <= descent.value + 1e-4 * descent.step * slope else {
      descent.step /= 3
      if descent.step < 1e-8 { descent.isDone = true }
      return
    }
    let s = zip(x, descent.x).map { $0 - $1 }
    let y = zip(sample.gradient, descent.gradient).map { $0 - $1 }
    let sy = dot(s, y)
    if sy > 1e-12 * dot(y, y).squareRoot() * dot(s, s).squareRoot() {
      // H ← (I − syᵀ/sᵀy) H (I − ysᵀ/sᵀy) + ssᵀ/sᵀy
      let hy = times(descent.inverse, y)
      let factor = (1 + dot(y, hy) / sy) / sy
      let d = s.count
      for i in 0..<d {
        for j in 0..<d {
          descent.inverse[i * d + j] += factor * s[i] * s[j] - (hy[i] * s[j] + s[i] * hy[j]) / sy
        }
      }
    }
    (descent.x, descent.value, descent.gradient) = (x, sample.value, sample.gradient)
    aim(&descent)
  }
}
