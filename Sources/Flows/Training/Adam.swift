import AIPOKernels
import AIPOPlatform

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

/// What an update of the parameters changes: the parameters, Adam's moments and, where they are averaged, the averaged
/// parameters.
public struct OptimizerState<Scalar: KernelScalar>: Equatable, Sendable {
  public internal(set) var parameters: [Scalar]
  var first: [Scalar]
  var second: [Scalar]
  /// The exponential moving average of the parameters; empty where none is kept.
  var average: [Scalar]
  /// Updates made.
  public internal(set) var updates = 0

  /// The state before the first update.
  public init(parameters: [Scalar], isAveraging: Bool) {
    self.parameters = parameters
    first = Array(repeating: 0, count: parameters.count)
    second = first
    average = isAveraging ? parameters : []
  }

  init(parameters: [Scalar], first: [Scalar], second: [Scalar], average: [Scalar], updates: Int) {
    self.parameters = parameters
    self.first = first
    self.second = second
    self.average = average
    self.updates = updates
  }

  /// Parameters that a thread takes at least.
  static var leastShare: Int { 1 << 18 }

  /// What a training gives: the averaged parameters, or without an average the last ones.
  public var result: [Scalar] { average.isEmpty ? parameters : average }

  /// Takes the state after `old` with the gradient times `scale`; the buffers of `self`, which averages if `old` does,
  /// are reused.
  ///
  /// `averageDecay` is d in `average ← d·average + (1−d)·θ`.
  public mutating func advance(
    from old: OptimizerState, gradient: [Scalar], scale: Double, rate: Double, averageDecay: Double,
    adam: Adam, pool: ThreadPool
  ) throws {
    let n = old.parameters.count
    precondition(gradient.count == n && parameters.count == n && average.count == old.average.count)
    updates = old.updates + 1
    let correction1 = 1 - pow(adam.beta1, Double(updates))
    let correction2 = 1 - pow(adam.beta2, Double(updates))
    try gradient.withUnsafeBufferPointer { g in
      try old.withBuffers { old in
        try withMutableBuffers { new in
          try pool.split(n, minimum: Self.leastShare) { range, _ in
            Kernel.adam(
              rate: rate, beta1: adam.beta1, beta2: adam.beta2, correction1: correction1,
              correction2: correction2, epsilon: adam.epsilon, scale: scale, averageDecay: averageDecay,
              range: range, gradient: g, from: old, to: new)
          }
        }
      }
    }
  }

  private func withBuffers(_ body: (Kernel<Scalar>.AdamArrays) throws -> Void) rethrows {
    try parameters.withUnsafeBufferPointer { p in
      try first.withUnsafeBufferPointer { m in
        try second.withUnsafeBufferPointer { v in
          try average.withUnsafeBufferPointer { try body((p, m, v, $0)) }
        }
      }
    }
  }

  private mutating func withMutableBuffers(_ body: (Kernel<Scalar>.MutableAdamArrays) throws -> Void) rethrows
  {
    try parameters.withUnsafeMutableBufferPointer { p in
      try first.withUnsafeMutableBufferPointer { m in
        try second.withUnsafeMutableBufferPointer { v in
          try average.withUnsafeMutableBufferPointer { try body((p, m, v, $0)) }
        }
      }
    }
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
