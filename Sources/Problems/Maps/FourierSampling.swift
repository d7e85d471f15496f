import AIPOKernels
import AIPOPriors

/// Which samples of k-space are taken, `[h, w]` with the zero frequency at (h/2, w/2), halves rounded down.
public enum SamplingPattern: Hashable, Sendable, CustomStringConvertible {
  /// `random:SHARE`: a share of the rows, those of the middle among them.
  case random(Double)
  /// `lines:N`: every N-th row, and those of the middle.
  case lines(Int)

  /// The share of the rows around the zero frequency that are taken always.
  static let middle = 0.08

  /// Reads `random:0.25` or `lines:4`.
  public init?(_ text: String) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    if parts[0] == "random", let share = Double(parts[1]), share > 0, share <= 1 {
      self = .random(share)
    } else if parts[0] == "lines", let step = Int(parts[1]), step > 0 {
      self = .lines(step)
    } else {
      return nil
    }
  }

  public var description: String {
    switch self {
    case .random(let share): "random:\(share)"
    case .lines(let step): "lines:\(step)"
    }
  }

  /// The samples, row by row, drawn from the seed alone.
  public func samples(height h: Int, width w: Int, seed: UInt64) -> [Bool] {
    let kept = max(1, Int((Self.middle * Double(h)).rounded()))
    var rows = (0..<h).map { i in i >= h / 2 - kept / 2 && i < h / 2 - kept / 2 + kept }
    switch self {
    case .lines(let step):
      for i in 0..<h where (i - h / 2) % step == 0 { rows[i] = true }
    case .random(let share):
      var random = Philox(seed: seed, purpose: .mask)
      var missing = max(Int((share * Double(h)).rounded()) - rows.count { $0 }, 0)
      var left = rows.count { !$0 }
      for i in 0..<h where !rows[i] {
        if random.uniform() * Double(left) < Double(missing) {
          rows[i] = true
          missing -= 1
        }
        left -= 1
      }
    }
    return rows.flatMap { [Bool](repeating: $0, count: w) }
  }
}

/// `f(x) = M F S x` for every coil: samples of the unitary Fourier transform of an image times the coil's sensitivity, magnetic
/// resonance on a Cartesian grid. Images have one channel of real values or two, real and imaginary parts.
///
/// Image and k-space have their middles at (h/2, w/2), halves rounded down, as `fftshift(fft2(ifftshift(x), norm="ortho"))`.
/// Measurements are real and imaginary part of each sample, row by row, coil by coil.
public struct FourierSampling: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { .vector(2 * samples.count * coils) }
  /// Number of coils.
  public var coils: Int { sensitivities.count }
  public let normal: NormalForm
  public let nearNormal: Spectrum?
  /// The samples that are taken, in the grid's order.
  public let samples: [Int]
  private let sensitivities: CoilSensitivities
  /// Of real and imaginary parts.
  private let transform: FourierTransform

  /// - `taken`: h·w, whether each sample is taken.
  /// - `sensitivities`: `[coils, h, w, 2]`, real and imaginary parts.
  public init(_ shape: ImageShape, taken: [Bool], sensitivities: Tensor<Double>? = nil) throws {
    let pixels = shape.height * shape.width
    guard taken.count == pixels else {
      throw ProblemError.shapeMismatch(
        what: "mask of k-space", found: [taken.count], expected: [shape.height, shape.width])
    }
    input = shape
    samples = taken.indices.filter { taken[$0] }
    let sensitivities = try CoilSensitivities(shape, factors: sensitivities)
    self.sensitivities = sensitivities
    let (h, w) = (shape.height, shape.width)
    transform = try FourierTransform(ImageShape(height: h, width: w, channels: 2))
    let columns = w / 2 + 1
    // Of real images a sample and its mirror image see the same.
    var seen = try Tensor<Double>(count: h * columns)
    let gain = sensitivities.gain
    seen.withMemory { seen in
      for i in 0..<h {
        for k in 0..<columns {
          func isTaken(_ ky: Int, _ kx: Int) -> Double {
            taken[(ky + h / 2) % h * w + (kx + w / 2) % w] ? 0.5 * gain : 0
          }
          seen[i * columns + k] = isTaken(i, k) + isTaken((h - i) % h, (w - k) % w)
        }
      }
    }
    let near = Spectrum(try FourierTransform(shape), values: seen)
    nearNormal = near
    normal = shape.channels == 1 && sensitivities.isTrivial ? .stationary(near) : .unknown
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && y.count == output.count)
    let scale = 1 / Double(input.height * input.width).squareRoot()
    try scratch.scope {
      let spectrum = try scratch.take(transform.spectrumCount)
      try sensitivities.each(of: x, at: shifted, scratch) { coil, image in
        try transform.forward(image, into: spectrum, scratch)
        for (n, sample) in samples.enumerated() {
          let (at, isMirrored) = frequency(sample)
          let sign: Double = isMirrored ? -1 : 1
          // R + iI of the transforms R and I of both parts.
          let to = 2 * (coil * samples.count + n)
          y[to] = scale * (spectrum[at] - sign * spectrum[at + 3])
          y[to + 1] = scale * (sign * spectrum[at + 1] + spectrum[at + 2])
        }
      }
    }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    precondition(x.count == input.count && u.count == output.count)
    let (h, w) = (input.height, input.width)
    let scale = Double(h * w).squareRoot()
    try scratch.scope {
      let spectrum = try scratch.take(transform.spectrumCount)
      try sensitivities.each(into: x, at: shifted, scratch) { coil, image in
        spectrum.set(0, scratch.pool)
        for (n, sample) in samples.enumerated() {
          let from = 2 * (coil * samples.count + n)
          let (re, im) = (0.5 * scale * u[from], 0.5 * scale * u[from + 1])
          let (ky, kx) = ((sample / w + h - h / 2) % h, (sample % w + w - w / 2) % w)
          // U/2 at k and its conjugate at −k for the real part, −iU/2 and its conjugate for the imaginary one.
          if kx <= w / 2 { add(re, im, im, -re, at: place(ky, kx), in: spectrum) }
          let (my, mx) = ((h - ky) % h, (w - kx) % w)
          if mx <= w / 2 { add(re, -im, im, re, at: place(my, mx), in: spectrum) }
        }
        try transform.backward(spectrum, into: image, scratch)
      }
    }
  }

  /// Of one coil with zeros in place of what wasn't sampled.
  public func estimate(_ y: Vector, into x: Vector, _ scratch: Scratch) throws -> Bool {
    guard coils == 1 else { return false }
    try adjoint(y, into: x, scratch)
    return true
  }

  /// Where a pixel is once the middle is the first.
  private func shifted(_ pixel: Int) -> Int {
    let (h, w) = (input.height, input.width)
    return (pixel / w + h - h / 2) % h * w + (pixel % w + w - w / 2) % w
  }

  /// Where in a spectrum of two channels a frequency of its half is.
  private func place(_ ky: Int, _ kx: Int) -> Int { 4 * (ky * (input.width / 2 + 1) + kx) }

  /// Where a sample's frequency is, or its mirror image, whose transform is the conjugate.
  private func frequency(_ sample: Int) -> (place: Int, isMirrored: Bool) {
    let (h, w) = (input.height, input.width)
    let (ky, kx) = ((sample / w + h - h / 2) % h, (sample % w + w - w / 2) % w)
    return kx <= w / 2 ? (place(ky, kx), false) : (place((h - ky) % h, w - kx), true)
  }

  private func add(
    _ a: Double, _ b: Double, _ c: Double, _ d: Double, at place: Int, in spectrum: Vector
  ) {
    spectrum[place] += a
    spectrum[place + 1] += b
    spectrum[place + 2] += c
    spectrum[place + 3] += d
  }
}
