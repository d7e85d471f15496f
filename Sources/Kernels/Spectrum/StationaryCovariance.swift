import AIPOPlatform

/// A covariance of images that depends on the pixels' distance alone, on the image's torus: a block-circulant, symmetric
/// and positive definite matrix C of d × d, kept as the eigenvalues and eigenvectors of its spectrum, which is a Hermitian
/// c × c matrix a frequency:
///
///     C = F⁻¹ diag(V Λ V*) F,   so   f(C) = F⁻¹ diag(V f(Λ) V*) F
///
/// for any function f of its eigenvalues: the inverse, the root, the inverse of a sum with the identity. Each costs two
/// Fourier transforms.
public final class StationaryCovariance: Sendable {
  /// Of the images; over ranks of this one's strip.
  public let shape: ImageShape
  private let transform: FourierTransform
  /// `[h, w/2 + 1, c]`, or the part of it that this rank has.
  private let eigenvalues: Tensor<Double>
  /// `[h, w/2 + 1, c, c]` complex, the eigenvectors in columns; empty for one channel.
  private let eigenvectors: Tensor<Double>
  /// `log det C`
  public var logDeterminant: Double { trace { log($0) } }

  /// The covariance of images of this shape from that at lags.
  ///
  /// Eigenvalues are held above 10⁻⁷ of the variance: a spectrum that is positive semidefinite as it was estimated isn't
  /// quite with lags that were rounded to single precision. Throws `notPositiveDefinite` where there is no variance, and
  /// where there is no memory.
  ///
  /// - `shape`: of the images; over ranks of this one's strip.
  /// - `strips`: where ranks share an image.
  public init(_ shape: ImageShape, lags: LagCovariance, strips: Strips? = nil, _ scratch: Scratch) throws {
    precondition(shape.channels == lags.channels, "\(shape) of a covariance of \(lags.channels) channels")
    let variance = lags.variances.reduce(0, +) / Double(lags.channels)
    guard variance > 0, variance.isFinite else { throw LinearAlgebraError.notPositiveDefinite(order: 1) }
    self.shape = shape
    transform = try FourierTransform(shape, strips: strips)
    let (c, frequencies) = (shape.channels, transform.frequencies)
    eigenvalues = try Tensor(count: frequencies * c)
    eigenvectors = try Tensor(count: c == 1 ? 0 : 2 * frequencies * c * c)
    let (values, vectors) = (eigenvalues.view, eigenvectors.view)
    let pairs = LagCovariance.pairs(c)
    let pairTransform = try FourierTransform(
      ImageShape(height: shape.height, width: shape.width, channels: pairs.count), strips: strips)
    try scratch.scope {
      let field = try scratch.take(pairTransform.shape.count)
      let spectrum = try scratch.take(pairTransform.spectrumCount)
      lags.wrap(
        height: strips?.height ?? shape.height, width: shape.width, rows: strips?.rows() ?? 0..<shape.height,
        into: field)
      try pairTransform.forward(field, into: spectrum, scratch)
      try scratch.pool.split(frequencies, minimum: 256) { range, _ in
        withUnsafeTemporaryAllocation(of: Complex.self, capacity: 2 * c * c) { memory in
          let matrix = memory.baseAddress!
          let vector = matrix + c * c
          for k in range {
            let entries = spectrum.base.complex + k * pairs.count
            for (i, (a, b)) in pairs.enumerated() {
              // C(x, x + δ) = R(δ), so that C multiplies by the conjugate of R's transform.
              matrix[a * c + b] = a == b ? Complex(entries[i].re) : entries[i].conjugate
              matrix[b * c + a] = a == b ? Complex(entries[i].re) : entries[i]
            }
            diagonalise(matrix, vectors: vector, order: c)
            for a in 0..<c { values.base[k * c + a] = max(matrix[a * c + a].re, 1e-7 * variance) }
            if c > 1 { (vectors.base.complex + k * c * c).update(from: vector, count: c * c) }
          }
        }
      }
    }
  }

  /// `y ← f(C) x`. x may be y. Throws where there is no memory for temporaries.
  public func apply(
    _ function: (_ eigenvalue: Double) -> Double, _ x: Vector, into y: Vector, _ scratch: Scratch
  ) throws { try apply({ value, _ in function(value) }, with: nil, x, into: y, scratch) }

  /// `y ← f(C, S) x` with an operator S that has the same eigenvectors, as it acts on frequencies and on all channels
  /// alike; without one, s is 0. x may be y.
  public func apply(
    _ function: (_ eigenvalue: Double, _ s: Double) -> Double, with other: Spectrum?, _ x: Vector,
    into y: Vector, _ scratch: Scratch
  ) throws {
    let c = shape.channels
    precondition(other == nil || other?.shape == shape, "a spectrum of \(String(describing: other?.shape))")
    let others = other?.values.view
    func s(_ k: Int) -> Double { others?.base[k] ?? 0 }
    try scratch.scope {
      let spectrum = try scratch.take(transform.spectrumCount)
      try transform.forward(x, into: spectrum, scratch)
      let (values, vectors, numbers) = (eigenvalues.view, eigenvectors.view, spectrum.base.complex)
      try scratch.pool.split(values.count / c, minimum: 1 << 12) { range, _ in
        if c == 1 {
          for k in range { numbers[k] = function(values.base[k], s(k)) * numbers[k] }
        } else {
          withUnsafeTemporaryAllocation(of: Complex.self, capacity: c) { modes in
            for k in range {
              let v = numbers + k * c
              let V = vectors.base.complex + k * c * c
              for m in 0..<c {
                var sum = Complex(0)
                for a in 0..<c { sum = sum + V[a * c + m].conjugate * v[a] }
                modes[m] = function(values.base[k * c + m], s(k)) * sum
              }
              for a in 0..<c {
                var sum = Complex(0)
                for m in 0..<c { sum = sum + V[a * c + m] * modes[m] }
                v[a] = sum
              }
            }
          }
        }
      }
      try transform.backward(spectrum, into: y, scratch)
    }
  }

  /// `tr f(C)`; divided by d it is every diagonal element's mean.
  public func trace(_ function: (_ eigenvalue: Double) -> Double) -> Double {
    let c = shape.channels
    return transform.sum { k in
      (k * c..<(k + 1) * c).reduce(0) { $0 + function(eigenvalues[flat: $1]) }
    }
  }

  /// d, of the whole image.
  public var order: Int { transform.wholeCount }
}

extension UnsafeMutablePointer<Double> {
  /// Pairs of doubles as complex numbers.
  var complex: UnsafeMutablePointer<Complex> {
    UnsafeMutableRawPointer(self).assumingMemoryBound(to: Complex.self)
  }
}
