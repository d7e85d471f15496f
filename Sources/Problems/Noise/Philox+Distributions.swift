import AIPOKernels
import AIPOPlatform

extension Philox {
  /// A Gamma draw of this shape > 0 and scale 1.
  ///
  /// Source: G. Marsaglia, W. W. Tsang, *A simple method for generating gamma variables*, 2000.
  mutating func gamma(shape: Double) -> Double {
    // Γ(a) = Γ(a + 1)·U^{1/a} for a < 1.
    let boost = shape < 1 ? pow(1 - uniform(), 1 / shape) : 1
    let d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3
    let c = 1 / (9 * d).squareRoot()
    while true {
      let x = normal()
      let v = (1 + c * x) * (1 + c * x) * (1 + c * x)
      if v > 0, log(1 - uniform()) < 0.5 * x * x + d - d * v + d * log(v) { return boost * d * v }
    }
  }

  /// A Poisson draw of this mean, from 0 to about 1e15.
  ///
  /// By multiplying uniforms below 10, else by transformed rejection with squeeze (PTRS).
  /// Source: W. Hörmann, *The transformed rejection method for generating Poisson random variables*, 1993.
  mutating func poisson(mean: Double) -> Double {
    guard mean >= 10 else {
      let limit = exp(-mean)
      var count = 0.0
      var product = 1 - uniform()
      while product > limit {
        count += 1
        product *= 1 - uniform()
      }
      return count
    }
    let b = 0.931 + 2.53 * mean.squareRoot()
    let a = -0.059 + 0.02483 * b
    let inverseAlpha = 1.1239 + 1.1328 / (b - 3.4)
    let acceptance = 0.9277 - 3.6224 / (b - 2)
    while true {
      let u = uniform() - 0.5
      let v = 1 - uniform()
      let us = 0.5 - u.magnitude
      let k = ((2 * a / us + b) * u + mean + 0.43).rounded(.down)
      if us >= 0.07, v <= acceptance { return k }
      guard k >= 0, us >= 0.013 || v <= us else { continue }
      if log(v * inverseAlpha / (a / (us * us) + b)) <= k * log(mean) - mean - lgamma(k + 1) { return k }
    }
  }
}
