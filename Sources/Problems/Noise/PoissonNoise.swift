import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// Photon counting, `y = k/P` with `k ~ Poisson(θ)`, `θ = P·ρ(f(x))`, where P is the count at f = 1; with read
/// noise, `y = k/P + σe`, e ~ N(0, 1).
///
///     −log p = θ − k log θ + log Γ(k + 1),  k = Py                       (σ = 0, a probability)
///     −log p = −log Σ_k Poisson(k; θ) N(y; k/P, σ²)                      (σ > 0, a density; the sum in full)
///
/// Counts between integers, as a picture of few bits has them, take the formula as it is. A rate can't be
/// negative, but a solver's image can: ρ(f) = f from ε = 1/512 on, which is the darkest 8-bit pixel, and
/// ρ(f) = ε·e^{f/ε − 1} below, so that ρ and ρ' have no jump and −log p stays convex in f without read noise.
public struct PoissonNoise: IndependentNoise {
  public let peak: Double
  /// Deviation of the read noise; 0: none.
  public let sigma: Double

  public static let peakRange = 1e-2...1e6

  /// - Parameters:
  ///   - peak: P, the mean count of a white pixel, in `peakRange`.
  ///   - sigma: as for Gaussian noise, or 0.
  public init(peak: Double, sigma: Double = 0) throws(ProblemError) {
    try requireParameter("peak", peak, in: Self.peakRange)
    if sigma != 0 { _ = try GaussianNoise(sigma: sigma) }
    self.peak = peak
    self.sigma = sigma
  }

  private static let floor = 1.0 / 512

  /// log θ and its derivative in f.
  private func logRate(_ prediction: Double) -> (value: Double, derivative: Double) {
    prediction >= Self.floor
      ? (log(peak * prediction), 1 / prediction)
      : (log(peak * Self.floor) + prediction / Self.floor - 1, 1 / Self.floor)
  }

  public func negativeLogLikelihood(_ y: Double, prediction: Double) -> (value: Double, derivative: Double) {
    let (logTheta, slope) = logRate(prediction)
    let theta = exp(logTheta)
    guard sigma > 0 else {
      let k = peak * y
      return (theta - k * logTheta + lgamma(k + 1), slope * (theta - k))
    }
    let (logSum, meanCount) = sum(y, theta: theta, logTheta: logTheta)
    let constant = log(sigma) + 0.5 * log(2 * Double.pi)
    return (theta - logSum + constant, slope * (theta - meanCount))
  }

  /// `log Σ_k θᵏ/k! · exp(−(y − k/P)²/(2σ²))` and the mean of k under its terms. They are log-concave in k:
  /// summed from the largest outwards until they no longer count.
  private func sum(_ y: Double, theta: Double, logTheta: Double) -> (logSum: Double, meanCount: Double) {
    let center = peak * y
    let spread = peak * sigma * (peak * sigma)
    /// log of term k + 1 over term k.
    func step(_ k: Double) -> Double { logTheta - log(k + 1) + (center - k - 0.5) / spread }
    var mode = 0.0
    var bound = max(center, theta, 0).rounded(.up) + 1
    while mode < bound {
      let middle = ((mode + bound) / 2).rounded(.down)
      if step(middle) > 0 { mode = middle + 1 } else { bound = middle }
    }
    var sum = 1.0
    var offset = 0.0
    var logTerm = 0.0
    var k = mode
    while true {
      logTerm += step(k)
      k += 1
      guard logTerm > -40 else { break }
      sum += exp(logTerm)
      offset += (k - mode) * exp(logTerm)
    }
    (k, logTerm) = (mode, 0)
    while k > 0 {
      k -= 1
      logTerm -= step(k)
      guard logTerm > -40 else { break }
      sum += exp(logTerm)
      offset += (k - mode) * exp(logTerm)
    }
    let distance = center - mode
    let top = mode * logTheta - lgamma(mode + 1) - distance * distance / (2 * spread)
    return (top + log(sum), mode + offset / sum)
  }

  public func sample(prediction: Double, random: inout Philox) -> Double {
    let count = random.poisson(mean: exp(logRate(prediction).value))
    return count / peak + (sigma > 0 ? sigma * random.normal() : 0)
  }

  public var scale: Double? { sigma > 0 ? sigma : nil }

  /// The root of the mean of `(y − f)²/(f/P + 1/P² + σ²)`, with 1/P² for the counts of which the darkest are few.
  public func misfit(_ y: Vector, prediction: Vector, _ scratch: Scratch) throws -> Double {
    guard y.count > 0 else { return 0 }
    return try scratch.scope {
      let squares = try scratch.take(y.count)
      squares.setEach(scratch.pool, y, prediction) { ($0 - $1) * ($0 - $1) / variance($1) }
      return (squares.total(scratch.pool) / Double(y.count)).squareRoot()
    }
  }

  /// `f/P + 1/P² + σ²`
  private func variance(_ f: Double) -> Double { (peak * max(f, 0) + 1) / (peak * peak) + sigma * sigma }

  /// A measurement's variance is f/P + σ²; f is taken as (k + 1)/P, its mean given the count alone.
  public func matched(_ y: Vector) throws(ProblemError) -> GaussianNoise {
    let variances = try memory { () throws(TensorError) in
      var variances = try Tensor(count: y.count)
      variances.withMemory { $0.setEach(nil, y, variance) }
      return variances
    }
    return GaussianNoise(checked: .diagonal(variances))
  }

  public var dependsOnSignal: Bool { true }

  public func check(_ y: Vector) throws(ProblemError) {
    guard sigma == 0, let bad = (0..<y.count).first(where: { y[$0] < 0 }) else { return }
    throw .impossible(
      position: bad, value: y[bad], reason: "a Poisson count isn't negative; with read noise sigma is above 0"
    )
  }
}
