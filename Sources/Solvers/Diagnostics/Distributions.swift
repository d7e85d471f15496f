import AIPOPlatform

/// N(0, 1).
enum NormalDistribution {
  /// Φ(x)
  static func probability(_ x: Double) -> Double { 0.5 * erfc(-x / 2.0.squareRoot()) }

  /// Φ⁻¹(p), to about 10⁻¹⁶ relative: M. J. Wichura's algorithm AS 241 (Applied Statistics 37, 1988).
  static func quantile(_ p: Double) -> Double {
    guard p > 0, p < 1 else { return p == 0 ? -.infinity : p == 1 ? .infinity : .nan }
    let q = p - 0.5
    if abs(q) <= 0.425 {
      let r = 0.180625 - q * q
      return q
        * ratio(
          r,
          [
            3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
            1.3731693765509461125e4,
            4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4,
            2.5090809287301226727e3,
          ],
          [
            1, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
            2.1213794301586595867e4,
            3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
          ])
    }
    var r = (-log(q < 0 ? p : 1 - p)).squareRoot()
    let value: Double
    if r <= 5 {
      r -= 1.6
      value = ratio(
        r,
        [
          1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
          3.64784832476320460504e0,
          1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2,
          7.74545014278341407640e-4,
        ],
        [
          1, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
          1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
          1.05075007164441684324e-9,
        ])
    } else {
      r -= 5
      value = ratio(
        r,
        [
          6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
          2.96560571828504891230e-1,
          2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5,
          2.01033439929228813265e-7,
        ],
        [
          1, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
          7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
          2.04426310338993978564e-15,
        ])
    }
    return q < 0 ? -value : value
  }

  private static func ratio(_ r: Double, _ above: [Double], _ below: [Double]) -> Double {
    above.reversed().reduce(0) { $0 * r + $1 } / below.reversed().reduce(0) { $0 * r + $1 }
  }
}

/// The beta distribution.
enum BetaDistribution {
  /// `I_x(a, b)` by its continued fraction (Abramowitz and Stegun, 26.5.8).
  static func probability(_ x: Double, _ a: Double, _ b: Double) -> Double {
    guard x > 0 else { return 0 }
    guard x < 1 else { return 1 }
    // The fraction converges quickly on this side of the mean.
    if x > (a + 1) / (a + b + 2) { return 1 - probability(1 - x, b, a) }
    let front = exp(
      lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    let tiny = 1e-300
    var (c, d) = (1.0, 1 / guarded(1 - (a + b) * x / (a + 1), tiny))
    var value = d
    for m in 1..<10_000 {
      let k = Double(m)
      for term in [
        k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k)),
        -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1)),
      ] {
        d = 1 / guarded(1 + term * d, tiny)
        c = guarded(1 + term / c, tiny)
        value *= d * c
      }
      if abs(d * c - 1) < 1e-16 { break }
    }
    return front * value / a
  }

  private static func guarded(_ value: Double, _ tiny: Double) -> Double { abs(value) < tiny ? tiny : value }

  /// The x of a probability, by bisection.
  static func quantile(_ p: Double, _ a: Double, _ b: Double) -> Double {
    guard a.isFinite, b.isFinite, a > 0, b > 0 else { return .nan }
    var (low, high) = (0.0, 1.0)
    for _ in 0..<200 {
      let middle = 0.5 * (low + high)
      if middle == low || middle == high { break }
      if probability(middle, a, b) < p { low = middle } else { high = middle }
    }
    return 0.5 * (low + high)
  }
}
