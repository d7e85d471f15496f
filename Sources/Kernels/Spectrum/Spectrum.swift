/// A symmetric positive semidefinite operator that acts on every frequency of an image's torus by itself, and on all its
/// channels alike:
///
///     S = F⁻¹ diag(s) F,   so   f(S) = F⁻¹ diag(f(s)) F
///
/// for any function f of its eigenvalues. Each costs two Fourier transforms.
public struct Spectrum: Sendable {
  public let transform: FourierTransform
  /// s ≥ 0, `[h, ⌊w/2⌋ + 1]`, or the part of it that this rank has.
  public let values: Tensor<Double>

  public init(_ transform: FourierTransform, values: Tensor<Double>) {
    precondition(values.count == transform.frequencies, "\(values.count) eigenvalues")
    self.transform = transform
    self.values = values
  }

  public var shape: ImageShape { transform.shape }

  /// `y ← f(S) x`. x may be y. Throws where there is no memory for temporaries.
  public func apply(
    _ function: (_ eigenvalue: Double) -> Double, _ x: Vector, into y: Vector, _ scratch: Scratch
  ) throws {
    let (c, values) = (shape.channels, values.view)
    try scratch.scope {
      let spectrum = try scratch.take(transform.spectrumCount)
      try transform.forward(x, into: spectrum, scratch)
      let numbers = spectrum.base.complex
      try scratch.pool.split(values.count, minimum: 1 << 12) { range, _ in
        for k in range {
          let factor = function(values.base[k])
          for i in k * c..<(k + 1) * c { numbers[i] = factor * numbers[i] }
        }
      }
      try transform.backward(spectrum, into: y, scratch)
    }
  }

  /// The mean of f over the eigenvalues: `tr f(S)` over d, every diagonal element.
  public func mean(_ function: (_ eigenvalue: Double) -> Double = { $0 }) -> Double {
    transform.sum { function(values[flat: $0]) } / Double(transform.wholeCount / shape.channels)
  }

  /// The least and the greatest eigenvalue.
  public var extent: ClosedRange<Double> {
    let (least, greatest) = transform.extent(of: values.view)
    return least...greatest
  }

  /// a·S
  public func scaled(by a: Double) throws(TensorError) -> Spectrum {
    var values = values
    values.withMemory { $0.scale(by: a) }
    return Spectrum(transform, values: values)
  }
}

extension FourierTransform {
  /// The least length from n on that is made of the factors 2, 3 and 5, which transform fastest.
  public static func fastLength(_ n: Int) -> Int {
    var best = Int.max
    var fives = 1
    while fives < 2 * n {
      var threes = fives
      while threes < 2 * n {
        var length = threes
        while length < n { length *= 2 }
        best = min(best, length)
        threes *= 3
      }
      fives *= 5
    }
    return best
  }
}
