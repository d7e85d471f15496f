import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// Gaussian noise of deviation σ, of which a measurement tells an interval [a, b) alone, as it was rounded or ran into an end of
/// the sensor's range:
///
///     −log p = −log(Φ((b − f(x))/σ) − Φ((a − f(x))/σ))
///
/// With `bits` the range is cut into 2^bits equal steps, of which a measurement is the middle, and the outermost reach to
/// infinity. Without, measurements within the range are exact, as under Gaussian noise, and those at an end of it tell
/// that it was reached.
public struct IntervalNoise: IndependentNoise {
  public let sigma: Double
  public let range: ClosedRange<Double>
  /// Nil where nothing is rounded.
  public let bits: Int?
  private let step: Double

  public static let bitsRange = 1...24

  /// σ as for Gaussian noise; the range must have a finite width above 0.
  public init(sigma: Double, bits: Int?, range: ClosedRange<Double> = 0...1) throws(ProblemError) {
    _ = try GaussianNoise(sigma: sigma)
    let width = range.upperBound - range.lowerBound
    guard width > 0, width.isFinite else {
      throw .invalidParameter(
        name: "the width of the sensor's range", value: width, expected: "a finite number above 0")
    }
    if let bits { try requireParameter("the number of bits", Double(bits), in: 1...24) }
    (self.sigma, self.bits, self.range) = (sigma, bits, range)
    step = bits.map { width / Double(1 << $0) } ?? 0
  }

  /// What a measurement tells: the ends of an interval, equal where it is exact.
  private func interval(_ y: Double) -> (low: Double, high: Double) {
    let (low, high) = (range.lowerBound, range.upperBound)
    guard let bits else {
      return y <= low ? (-.infinity, low) : y >= high ? (high, .infinity) : (y, y)
    }
    let last = Double((1 << bits) - 1)
    let bin = min(max(((y - low) / step).rounded(.down), 0), last)
    return (bin == 0 ? -.infinity : low + bin * step, bin == last ? .infinity : low + (bin + 1) * step)
  }

  /// What the sensor says of a value.
  private func reported(_ value: Double) -> Double {
    let (low, high) = interval(value)
    guard bits != nil else { return min(max(value, range.lowerBound), range.upperBound) }
    if low == -.infinity { return range.lowerBound + step / 2 }
    return high == .infinity ? range.upperBound - step / 2 : (low + high) / 2
  }

  public func negativeLogLikelihood(_ y: Double, prediction: Double) -> (value: Double, derivative: Double) {
    let (low, high) = interval(y)
    let (a, b) = ((low - prediction) / sigma, (high - prediction) / sigma)
    let width = b - a
    guard width < 1e-3 else {
      let logMass = Self.logMass(a, b)
      func density(_ t: Double) -> Double { exp(-0.5 * t * t - 0.5 * log(2 * Double.pi) - logMass) }
      return (-logMass, ((b.isFinite ? density(b) : 0) - (a.isFinite ? density(a) : 0)) / sigma)
    }
    // The density in the middle, and its bend across the interval; of an exact value the density.
    let middle = 0.5 * (a + b)
    let bend = width * width / 24
    let factor = 1 + (middle * middle - 1) * bend
    let size = low == high ? log(sigma) : -log(width)
    return (
      0.5 * middle * middle + 0.5 * log(2 * Double.pi) + size - log(factor),
      -(middle - 2 * middle * bend / factor) / sigma
    )
  }

  /// `log(Φ(b) − Φ(a))`, a < b.
  private static func logMass(_ a: Double, _ b: Double) -> Double {
    // In the lower tail, where nothing is near 1.
    if a > 0 { return logMass(-b, -a) }
    let upper = logNormal(b)
    return a == -.infinity ? upper : upper + log(-expm1(logNormal(a) - upper))
  }

  /// `log Φ(t)`: by erfc, and below −30, where that vanishes, by the asymptotic series.
  private static func logNormal(_ t: Double) -> Double {
    if t > 0 { return log1p(-0.5 * erfc(t / 2.0.squareRoot())) }
    guard t < -30 else { return log(0.5 * erfc(-t / 2.0.squareRoot())) }
    let q = 1 / (t * t)
    return -0.5 * t * t - log(-t) - 0.5 * log(2 * Double.pi) + log1p(-q * (1 - 3 * q * (1 - 5 * q)))
  }

  public func sample(prediction: Double, random: inout Philox) -> Double {
    reported(prediction + sigma * random.normal())
  }

  public var scale: Double? { sigma }

  /// Root mean square over the expected one of what a prediction is off; one beyond an end that was reached isn't off.
  public func misfit(_ y: Vector, prediction: Vector, _ scratch: Scratch) throws -> Double {
    guard y.count > 0 else { return 0 }
    return try scratch.scope {
      let off = try scratch.take(y.count)
      off.setEach(scratch.pool, y, prediction) { y, f in
        let (low, high) = interval(y)
        return low == -.infinity && f < high || high == .infinity && f >= low ? 0 : f - y
      }
      return (off.dot(off, scratch.pool) / (Double(y.count) * variance)).squareRoot()
    }
  }

  /// That of the noise, and of a value's place in its step.
  private var variance: Double { sigma * sigma + step * step / 12 }

  public func matched(_ y: Vector) -> GaussianNoise { GaussianNoise(checked: .isotropic(variance: variance)) }
}
