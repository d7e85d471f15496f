import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// The sum of the magnitudes of an image's orthonormal two-dimensional cosine transform (DCT-II), channel by
/// channel: the lasso's penalty in that basis.
final class CosineSparsity: Penalty {
  let shape: ImageShape
  private let cosines: CosineTransform

  var count: Int { shape.count }

  init(shape: ImageShape) throws(TensorError) {
    self.shape = shape
    cosines = try CosineTransform(shape)
  }

  /// The gradient is that of the least norm where there are several, at coefficients that are 0.
  func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let coefficients = try gradient ?? scratch.take(count)
      coefficients.set(x, scratch.pool)
      try cosines.forward(coefficients, scratch)
      let value = coefficients.total(scratch.pool) { $0.magnitude }
      if let gradient {
        gradient.setEach(scratch.pool) { $0 > 0 ? 1 : $0 < 0 ? -1 : 0 }
        try cosines.backward(gradient, scratch)
      }
      return value
    }
  }

  /// Soft thresholding of the coefficients.
  func proximal(_ x: Vector, weight: Double, _ scratch: Scratch) throws -> Double {
    try cosines.forward(x, scratch)
    x.setEach(scratch.pool) { $0 > weight ? $0 - weight : $0 < -weight ? $0 + weight : 0 }
    let value = x.total(scratch.pool) { $0.magnitude }
    try cosines.backward(x, scratch)
    return value
  }
}

/// The orthonormal cosine transform (DCT-II) along both axes of images of any size, each channel by itself:
///
///     c[i, k] = sᵢ sₖ Σ x[y, x] cos(π(y + ½)i/h) cos(π(x + ½)k/w),   s = √(1/n) for 0, else √(2/n)
///
/// by the Fourier transform of the image with its even rows and columns first and its odd ones backwards behind.
/// Source: J. Makhoul, *A fast cosine transform in one and two dimensions*, IEEE Trans. ASSP 28 (1980).
final class CosineTransform: Sendable {
  let shape: ImageShape
  private let fourier: FourierTransform
  private let rows: Axis
  private let columns: Axis

  /// What is known of an axis of length n.
  private struct Axis {
    let n: Int
    /// `e^(−iπk/2n)`
    let turns: [(cos: Double, sin: Double)]
    /// sₖ
    let scales: [Double]

    init(_ n: Int) {
      self.n = n
      turns = (0..<n).map { k in
        let angle = Double.pi * Double(k) / Double(2 * n)
        return (cos(angle), -sin(angle))
      }
      scales = (0..<n).map { ($0 == 0 ? 1 / Double(n) : 2 / Double(n)).squareRoot() }
    }

    /// The place of the image that comes to place k.
    func source(_ k: Int) -> Int { 2 * k < n ? 2 * k : 2 * n - 1 - 2 * k }
    /// −k
    func opposite(_ k: Int) -> Int { k == 0 ? 0 : n - k }
  }

  init(_ shape: ImageShape) throws(TensorError) {
    self.shape = shape
    fourier = try FourierTransform(shape)
    (rows, columns) = (Axis(shape.height), Axis(shape.width))
  }

  /// `x ←` its coefficients, in its order.
  func forward(_ x: Vector, _ scratch: Scratch) throws {
    let (w, c, half) = (shape.width, shape.channels, shape.width / 2 + 1)
    try scratch.scope {
      let sorted = try scratch.take(shape.count)
      let spectrum = try scratch.take(fourier.spectrumCount)
      try scratch.pool.run(shape.height) { i, _ in
        let source = rows.source(i)
        for k in 0..<w {
          let (from, to) = ((source * w + columns.source(k)) * c, (i * w + k) * c)
          for channel in 0..<c { sorted[to + channel] = x[from + channel] }
        }
      }
      try fourier.forward(sorted, into: spectrum, scratch)
      try scratch.pool.run(shape.height) { i, _ in
        let (e, opposite) = (rows.turns[i], rows.opposite(i))
        for k in 0..<w {
          // cos a cos b = ½ Re(e^−i(a+b) + e^−i(a−b)), the second at −k. Of k beyond the half there is V[−i, −k] conj.
          let isStored = k < half
          let own = 2 * ((isStored ? i : opposite) * half + (isStored ? k : w - k)) * c
          let other = 2 * ((isStored ? opposite : i) * half + (isStored ? k : w - k)) * c
          let f = columns.turns[k]
          let plus = (e.cos * f.cos - e.sin * f.sin, e.sin * f.cos + e.cos * f.sin)
          let minus = (e.cos * f.cos + e.sin * f.sin, e.sin * f.cos - e.cos * f.sin)
          let sign: Double = isStored ? 1 : -1
          let scale = 0.5 * rows.scales[i] * columns.scales[k]
          for channel in 0..<c {
            let (a, b) = (own + 2 * channel, other + 2 * channel)
            x[(i * w + k) * c + channel] =
              scale
              * (plus.0 * spectrum[a] - sign * plus.1 * spectrum[a + 1] + minus.0 * spectrum[b] + sign
                * minus.1
                * spectrum[b + 1])
          }
        }
      }
    }
  }

  /// `x ←` the image of coefficients x.
  func backward(_ x: Vector, _ scratch: Scratch) throws {
    let (h, w, c, half) = (shape.height, shape.width, shape.channels, shape.width / 2 + 1)
    try scratch.scope {
      let sorted = try scratch.take(shape.count)
      let spectrum = try scratch.take(fourier.spectrumCount)
      try scratch.pool.run(h) { i, _ in
        for k in 0..<half {
          // conj(e f) (1 − iS)(1 − iS′) c, where S takes i to h − i, and what is at h or w is 0.
          let (e, f) = (rows.turns[i], columns.turns[k])
          let (re, im) = (e.cos * f.cos - e.sin * f.sin, -(e.sin * f.cos + e.cos * f.sin))
          func coefficient(_ i: Int, _ k: Int, _ channel: Int) -> Double {
            i == h || k == w ? 0 : x[(i * w + k) * c + channel] / (rows.scales[i] * columns.scales[k])
          }
          for channel in 0..<c {
            let a = coefficient(i, k, channel) - coefficient(h - i, w - k, channel)
            let b = -(coefficient(h - i, k, channel) + coefficient(i, w - k, channel))
            let place = 2 * ((i * half + k) * c + channel)
            spectrum[place] = re * a - im * b
            spectrum[place + 1] = re * b + im * a
          }
        }
      }
      try fourier.backward(spectrum, into: sorted, scratch)
      try scratch.pool.run(h) { i, _ in
        let source = rows.source(i)
        for k in 0..<w {
          let (to, from) = ((source * w + columns.source(k)) * c, (i * w + k) * c)
          for channel in 0..<c { x[to + channel] = sorted[from + channel] }
        }
      }
    }
  }
}
