import AIPOKernels
import AIPOPriors

/// `f(x) = F S x` for every coil: the Fourier transform of an image times the coil's sensitivity at any places of k-space,
///
///     y[j] = 1/√(h·w) Σ x[n] e^(−2πi k_j·(n − c)),   c = (⌊h/2⌋, ⌊w/2⌋)
///
/// magnetic resonance along spirals and spokes. Frequencies k = (ky, kx) are in cycles a pixel, from −½ to ½, so that those of
/// a Cartesian grid, (i − ⌊h/2⌋)/h, give what `FourierSampling` does. Images have one channel of real values or two, real and
/// imaginary parts; measurements are real and imaginary part of each sample, coil by coil.
///
/// By `NonuniformTransform`; AᵀA by `ToeplitzNormal`.
public struct TrajectorySampling: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { .vector(2 * transform.count * coils) }
  public let nearNormal: Spectrum?
  /// Number of coils.
  public var coils: Int { sensitivities.count }
  /// (ky, kx) a sample.
  public let frequencies: [SIMD2<Double>]
  private let transform: NonuniformTransform
  private let toeplitz: ToeplitzNormal
  private let sensitivities: CoilSensitivities
  private let scale: Double

  /// `sensitivities`: `[coils, h, w, 2]`, real and imaginary parts; nil for one coil that sees all alike.
  ///
  /// Throws where a frequency isn't from −½ to ½.
  public init(
    _ shape: ImageShape, frequencies: [SIMD2<Double>], sensitivities: Tensor<Double>? = nil,
    _ scratch: Scratch = Scratch()
  ) throws {
    for k in frequencies {
      for axis in 0..<2 { try requireParameter("a frequency, in cycles a pixel,", k[axis], in: -0.5...0.5) }
    }
    let coils = try CoilSensitivities(shape, factors: sensitivities)
    input = shape
    self.frequencies = frequencies
    self.sensitivities = coils
    let (h, w) = (shape.height, shape.width)
    transform = try NonuniformTransform(height: h, width: w, frequencies: frequencies)
    toeplitz = try ToeplitzNormal(height: h, width: w, frequencies: frequencies, scratch)
    nearNormal = try toeplitz.near(shape, times: coils.gain / Double(h * w), scratch)
    scale = 1 / Double(h * w).squareRoot()
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == output.count)
    try sensitivities.each(of: x, scratch) { coil, image in
      try transform.forward(image, into: samples(of: coil, in: y), scratch)
    }
    y.scale(by: scale, scratch.pool)
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && u.count == output.count)
    try sensitivities.each(into: x, scratch) { coil, image in
      try transform.adjoint(samples(of: coil, in: u), into: image, scratch)
    }
    x.scale(by: scale, scratch.pool)
  }

  public func applyNormal(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == input.count)
    try sensitivities.each(of: x, into: y, scratch) { _, image in
      try toeplitz.apply(image, into: image, scratch)
    }
    y.scale(by: scale * scale, scratch.pool)
  }

  private func samples(of coil: Int, in y: Vector) -> Vector {
    y[2 * coil * transform.count..<2 * (coil + 1) * transform.count]
  }

  /// Rounds of the search for the samples' weights.
  private static let densityRounds = 12

  /// Of one coil `AᵀWy`, gridding: W weighs every sample by the area of k-space that is its own (`setDensityWeights`), scaled so
  /// that a constant image comes back with its mean. What zero-filling is to a grid.
  public func estimate(_ y: Vector, into x: Vector, _ scratch: Scratch) throws -> Bool {
    guard coils == 1 else { return false }
    try scratch.scope {
      let weights = try scratch.take(transform.count)
      try setDensityWeights(weights, scratch)
      let weighted = try scratch.take(y.count)
      func weigh(_ from: Vector) {
        for i in 0..<from.count { weighted[i] = weights[i / 2] * from[i] }
      }
      let (ones, seen) = (try scratch.take(x.count), try scratch.take(y.count))
      for i in 0..<x.count { ones[i] = i % input.channels == 0 ? 1 : 0 }
      try apply(ones, into: seen, scratch)
      weigh(seen)
      let mean = weighted.dot(seen, scratch.pool) / Double(input.height * input.width)
      weigh(y)
      try adjoint(weighted, into: x, scratch)
      if mean > 0 { x.scale(by: 1 / mean, scratch.pool) }
    }
    return true
  }

  /// The weights above 0 that make `AᴴWA` of complex images the nearest to the identity, in the sum of squares of all entries:
  /// `K w = 1`, K the squared magnitudes of AAᴴ. K correlates the samples with the transform of the image's own
  /// autocorrelation, and is applied by two transforms of twice the image; w is divided by Kw in every round.
  /// (J. Pipe & P. Menon, *Sampling density compensation in MRI*, Magnetic Resonance in Medicine 41(1), 1999, for the rounds;
  /// K. Johnson & J. Pipe, *Convolution kernel design and efficient algorithm for sampling density correction*, Magnetic
  /// Resonance in Medicine 61(2), 2009, for the kernel)
  private func setDensityWeights(_ weights: Vector, _ scratch: Scratch) throws {
    let (h, w) = (input.height, input.width)
    let wide = try NonuniformTransform(height: 2 * h, width: 2 * w, frequencies: frequencies)
    try scratch.scope {
      let (numbers, lags) = (try scratch.take(2 * weights.count), try scratch.take(8 * h * w))
      weights.set(1)
      for _ in 0..<Self.densityRounds {
        for j in 0..<weights.count { (numbers[2 * j], numbers[2 * j + 1]) = (weights[j], 0) }
        try wide.adjoint(numbers, into: lags, scratch)
        for y in 0..<2 * h {
          for x in 0..<2 * w {
            // How many pairs of pixels lie so far apart, over all squared: a sample's own entry of K is 1.
            let pairs = Double((h - abs(y - h)) * (w - abs(x - w))) / Double(h * w * h * w)
            lags[2 * (2 * w * y + x)] *= pairs
            lags[2 * (2 * w * y + x) + 1] *= pairs
          }
        }
        try wide.forward(lags, into: numbers, scratch)
        for j in 0..<weights.count { weights[j] /= numbers[2 * j] }
      }
    }
  }
}
