import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// An orthonormal transform of real sequences.
public enum SensingTransform: String, CaseIterable, Sendable {
  /// Of length 2ᵏ: entries ±1 over the root of the length, in Sylvester's order.
  case hadamard
  /// Cosines, DCT-II.
  case dct
  /// Cosines and sines: real and imaginary parts of the discrete Fourier transform.
  case fourier
}

/// Random sensing by a fast transform, at any size: `f(x) = √(n/m) S T D x` with random signs D of the d values, an orthonormal
/// transform T of length n ≥ d, zeros behind the values, and a random choice S of m of its n coefficients, in ascending order.
///
/// As with `A_ij ~ N(0, 1/m)` the mean of A_ij² is 1/m, so that σ and λ mean the same. n is d, or for Hadamard's transform the
/// power of two from d on. O(n log n), and no matrix. (T. Do, L. Gan, N. Nguyen, T. Tran, *Fast and efficient compressive sensing
/// using structurally random matrices*, 2012)
public struct TransformSensing: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { .vector(rows.count) }
  public let transform: SensingTransform
  /// n.
  public let length: Int
  /// The coefficients that are measured.
  public let rows: [Int]
  private let signs: Tensor<Double>
  private let fourier: FourierTransform?
  private let scale: Double

  /// Drawn from the seed alone. Throws where there are more measurements than coefficients.
  public init(_ transform: SensingTransform, measurements m: Int, input: ImageShape, seed: UInt64) throws {
    let d = input.count
    var n = d
    if transform == .hadamard {
      n = 1
      while n < d { n *= 2 }
    }
    guard (1...n).contains(m) else {
      throw ProblemError.invalidParameter(
        name: "the number of measurements", value: Double(m), expected: "1 to \(n) with \(transform.rawValue)"
      )
    }
    (self.input, self.transform, length) = (input, transform, n)
    scale = (Double(n) / Double(m)).squareRoot()
    var random = Philox(seed: seed, purpose: .operatorEntries)
    var signs = try Tensor<Double>(count: d)
    signs.withMemory { $0.setSigns(&random) }
    self.signs = signs
    // Chosen one after another, each as probable (selection sampling).
    var rows: [Int] = []
    rows.reserveCapacity(m)
    for k in 0..<n where random.uniform() * Double(n - k) < Double(m - rows.count) { rows.append(k) }
    self.rows = rows
    fourier =
      transform == .hadamard ? nil : try FourierTransform(ImageShape(height: 1, width: n, channels: 1))
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == rows.count)
    try scratch.scope {
      let all = try scratch.take(length)
      all.set(0)
      all[0..<x.count].setEach(scratch.pool, x, signs.view) { $0 * $1 }
      try forward(all, scratch)
      for (i, row) in rows.enumerated() { y[i] = scale * all[row] }
    }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && u.count == rows.count)
    try scratch.scope {
      let all = try scratch.take(length)
      all.set(0)
      for (i, row) in rows.enumerated() { all[row] = scale * u[i] }
      try backward(all, scratch)
      x.setEach(scratch.pool, all[0..<x.count], signs.view) { $0 * $1 }
    }
  }

  /// `v ← T v`
  private func forward(_ v: Vector, _ scratch: Scratch) throws {
    guard let fourier else { return hadamard(v) }
    let n = length
    let (one, two) = ((1 / Double(n)).squareRoot(), (2 / Double(n)).squareRoot())
    try scratch.scope {
      let spectrum = try scratch.take(fourier.spectrumCount)
      if transform == .fourier {
        // 1, cos, sin, cos, sin, …
        try fourier.forward(v, into: spectrum, scratch)
        v[0] = one * spectrum[0]
        for k in 1..<max(n / 2 + 1, 1) {
          let isAlone = 2 * k == n
          v[2 * k - 1] = (isAlone ? one : two) * spectrum[2 * k]
          if !isAlone { v[2 * k] = -two * spectrum[2 * k + 1] }
        }
      } else {
        // Even places and then odd ones backwards, turned by a quarter of a step (J. Makhoul, 1980).
        let folded = try scratch.take(n)
        for i in 0..<n { folded[i] = v[i < (n + 1) / 2 ? 2 * i : 2 * (n - i) - 1] }
        try fourier.forward(folded, into: spectrum, scratch)
        v[0] = one * spectrum[0]
        for k in 1..<max(n / 2 + 1, 1) {
          let angle = Double.pi * Double(k) / Double(2 * n)
          let (re, im) = (spectrum[2 * k], spectrum[2 * k + 1])
          v[n - k] = two * (sin(angle) * re - cos(angle) * im)
          v[k] = two * (cos(angle) * re + sin(angle) * im)
        }
      }
    }
  }

  /// `v ← Tᵀ v`, the inverse.
  private func backward(_ v: Vector, _ scratch: Scratch) throws {
    guard let fourier else { return hadamard(v) }
    let n = length
    let (one, two) = (Double(n).squareRoot(), (Double(n) / 2).squareRoot())
    try scratch.scope {
      let spectrum = try scratch.take(fourier.spectrumCount)
      spectrum[0] = one * v[0]
      spectrum[1] = 0
      if transform == .fourier {
        for k in 1..<max(n / 2 + 1, 1) {
          let isAlone = 2 * k == n
          spectrum[2 * k] = (isAlone ? one : two) * v[2 * k - 1]
          spectrum[2 * k + 1] = isAlone ? 0 : -two * v[2 * k]
        }
        try fourier.backward(spectrum, into: v, scratch)
      } else {
        for k in 1..<max(n / 2 + 1, 1) {
          let angle = Double.pi * Double(k) / Double(2 * n)
          let (a, b) = (v[k], v[n - k])
          spectrum[2 * k] = two * (cos(angle) * a + sin(angle) * b)
          spectrum[2 * k + 1] = two * (sin(angle) * a - cos(angle) * b)
        }
        let folded = try scratch.take(n)
        try fourier.backward(spectrum, into: folded, scratch)
        for i in 0..<n { v[i < (n + 1) / 2 ? 2 * i : 2 * (n - i) - 1] = folded[i] }
      }
    }
  }

  private func hadamard(_ v: Vector) {
    let n = length
    v.withUnsafeMutableBufferPointer { v in
      var half = 1
      while half < n {
        var start = 0
        while start < n {
          for i in start..<start + half {
            let (a, b) = (v[i], v[i + half])
            v[i] = a + b
            v[i + half] = a - b
          }
          start += 2 * half
        }
        half *= 2
      }
    }
    v.scale(by: 1 / Double(n).squareRoot())
  }
}
