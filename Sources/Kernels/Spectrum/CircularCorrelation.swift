/// The correlation of images with a kernel around their torus, each channel by itself, by Fourier transforms:
///
///     y[i, j] = Σ k[a, b] x[(i + a − top) mod h, (j + b − left) mod w]
///
/// A kernel larger than the image winds around it.
public struct CircularCorrelation: Sendable {
  public let transform: FourierTransform
  /// What every frequency is multiplied by, `[h, ⌊w/2⌋ + 1]` complex or the part of it that this rank has: the conjugate of the
  /// kernel's transform.
  private let response: Tensor<Double>

  /// - `shape`: of the images; over ranks of this one's strip.
  /// - `kernel`: `[rows, columns]`.
  /// - `top`, `left`: the kernel's entry that lies over the pixel itself.
  /// - `strips`: where ranks share an image.
  public init(
    _ shape: ImageShape, kernel: [Double], rows: Int, columns: Int, top: Int, left: Int,
    strips: Strips? = nil, _ scratch: Scratch
  ) throws {
    precondition(kernel.count == rows * columns, "\(kernel.count) values of a kernel of \(rows)x\(columns)")
    transform = try FourierTransform(shape, strips: strips)
    let plane = try FourierTransform(
      ImageShape(height: shape.height, width: shape.width, channels: 1), strips: strips)
    let (height, own) = (strips?.height ?? shape.height, strips?.rows() ?? 0..<shape.height)
    var response = try Tensor<Double>(count: plane.spectrumCount)
    try scratch.scope {
      let field = try scratch.take(plane.shape.count)
      field.set(0)
      func wrapped(_ i: Int, _ n: Int) -> Int { (i % n + n) % n }
      for a in 0..<rows {
        let row = wrapped(a - top, height)
        guard own.contains(row) else { continue }
        let start = (row - own.lowerBound) * shape.width
        for b in 0..<columns { field[start + wrapped(b - left, shape.width)] += kernel[a * columns + b] }
      }
      try response.withMemory { spectrum in
        try plane.forward(field, into: spectrum, scratch)
        for k in 0..<spectrum.count / 2 { spectrum.base[2 * k + 1] *= -1 }
      }
    }
    self.response = response
  }

  public var shape: ImageShape { transform.shape }

  /// `y ← A x`. x may be y.
  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try multiply(x, into: y, scratch) { $0 }
  }

  /// `x ← Aᵀ u`. u may be x.
  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    try multiply(u, into: x, scratch) { $0.conjugate }
  }

  private func multiply(
    _ x: Vector, into y: Vector, _ scratch: Scratch, _ factor: (Complex) -> Complex
  ) throws {
    let (c, factors) = (shape.channels, response.view.base.complex)
    try scratch.scope {
      let spectrum = try scratch.take(transform.spectrumCount)
      try transform.forward(x, into: spectrum, scratch)
      let numbers = spectrum.base.complex
      try scratch.pool.split(response.count / 2, minimum: 1 << 12) { range, _ in
        for k in range {
          let own = factor(factors[k])
          for i in k * c..<(k + 1) * c { numbers[i] = own * numbers[i] }
        }
      }
      try transform.backward(spectrum, into: y, scratch)
    }
  }

  /// `AᵀA`, |k̂|² of every frequency, times a factor.
  public func normal(times factor: Double = 1) throws(TensorError) -> Spectrum {
    var values = try Tensor<Double>(count: response.count / 2)
    let factors = response.view.base.complex
    values.withMemory { values in
      for k in 0..<values.count {
        values[k] = factor * (factors[k].re * factors[k].re + factors[k].im * factors[k].im)
      }
    }
    return Spectrum(transform, values: values)
  }
}
