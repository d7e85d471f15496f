import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The Adam optimiser with bias correction:
/// `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `θ ← θ − η·m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε)`.
///
/// Source: D. P. Kingma, J. Ba, *Adam: a method for stochastic optimization*, ICLR 2015.
public struct Adam: Sendable, Hashable {
  public var beta1: Double
  public var beta2: Double
  public var epsilon: Double

  public init(beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8) {
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
  }
}

/// What an update of the parameters changes: the parameters, Adam's moments and the averaged parameters.
public struct OptimizerState<Scalar: KernelScalar>: Equatable {
  public internal(set) var parameters: [Scalar]
  var first: [Scalar]
  var second: [Scalar]
  /// The exponential moving average of the parameters.
  public internal(set) var average: [Scalar]
  /// Updates made.
  public internal(set) var updates = 0

  /// The state before the first update.
  public init(parameters: [Scalar]) {
    self.parameters = parameters
    first = Array(repeating: 0, count: parameters.count)
    second = first
    average = parameters
  }

  init(parameters: [Scalar], first: [Scalar], second: [Scalar], average: [Scalar], updates: Int) {
    self.parameters = parameters
    self.first = first
    self.second = second
    self.average = average
    self.updates = updates
  }

  /// Takes the state after `old` with the gradient times `scale`; the buffers of `self` are reused.
  ///
  /// `averageDecay` is d in `average ← d·average + (1−d)·θ`.
  public mutating func advance(
    from old: OptimizerState, gradient: [Scalar], scale: Double, rate: Double, averageDecay: Double,
    adam: Adam
  ) {
    let n = old.parameters.count
    precondition(gradient.count == n && parameters.count == n)
    updates = old.updates + 1
    let step = AdamStep<Scalar>(
      beta1: Scalar(adam.beta1), beta2: Scalar(adam.beta2), epsilon: Scalar(adam.epsilon),
      gradientScale: Scalar(scale), rate: Scalar(rate / (1 - pow(adam.beta1, Double(updates)))),
      secondScale: Scalar(1 / (1 - pow(adam.beta2, Double(updates)))),
      averageGain: Scalar(1 - averageDecay))
    gradient.withUnsafeBufferPointer { g in
      old.parameters.withUnsafeBufferPointer { p0 in
        old.first.withUnsafeBufferPointer { m0 in
          old.second.withUnsafeBufferPointer { v0 in
            old.average.withUnsafeBufferPointer { a0 in
              parameters.withUnsafeMutableBufferPointer { p in
                first.withUnsafeMutableBufferPointer { m in
                  second.withUnsafeMutableBufferPointer { v in
                    average.withUnsafeMutableBufferPointer { a in
                      advanceAll(step, n, g, p0, m0, v0, a0, p, m, v, a)
                    }
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}

private struct AdamStep<Scalar: KernelScalar> {
  var beta1: Scalar
  var beta2: Scalar
  var epsilon: Scalar
  var gradientScale: Scalar
  var rate: Scalar
  var secondScale: Scalar
  var averageGain: Scalar
}

@_specialize(where Scalar == Float)
@_specialize(where Scalar == Double)
private func advanceAll<Scalar: KernelScalar>(
  _ s: AdamStep<Scalar>, _ n: Int, _ g: UnsafeBufferPointer<Scalar>, _ p0: UnsafeBufferPointer<Scalar>,
  _ m0: UnsafeBufferPointer<Scalar>, _ v0: UnsafeBufferPointer<Scalar>, _ a0: UnsafeBufferPointer<Scalar>,
  _ p: UnsafeMutableBufferPointer<Scalar>, _ m: UnsafeMutableBufferPointer<Scalar>,
  _ v: UnsafeMutableBufferPointer<Scalar>, _ a: UnsafeMutableBufferPointer<Scalar>
) {
  for i in 0..<n {
    let gi = g[i] * s.gradientScale
    let mi = s.beta1 * m0[i] + (1 - s.beta1) * gi
    let vi = s.beta2 * v0[i] + (1 - s.beta2) * gi * gi
    let pi = p0[i] - s.rate * mi / ((vi * s.secondScale).squareRoot() + s.epsilon)
    m[i] = mi
    v[i] = vi
    p[i] = pi
    a[i] = a0[i] + s.averageGain * (pi - a0[i])
  }
}

/// The Euclidean norm, summed in double in a fixed order (NaN or ∞ where an element is).
@_specialize(where Scalar == Float)
@_specialize(where Scalar == Double)
func euclideanNorm<Scalar: KernelScalar>(_ values: [Scalar]) -> Double {
  values.withUnsafeBufferPointer { values in
    var sums = SIMD8<Double>()
    let whole = values.count / 8 * 8
    for i in stride(from: 0, to: whole, by: 8) {
      var x = SIMD8<Double>()
      for k in 0..<8 { x[k] = Double(values[i + k]) }
      sums += x * x
    }
    var total = 0.0
    for k in 0..<8 { total += sums[k] }
    for i in whole..<values.count { total += Double(values[i]) * Double(values[i]) }
    return total.squareRoot()
  }
}
