import CAIPOFFT

/// The discrete Fourier transform of real images of one shape, any height and width, each channel by itself:
///
///     X[i, k] = Σ x[y, x] e^(−2πi (iy/h + kx/w)),   0 ≤ i < h, 0 ≤ k ≤ ⌊w/2⌋
///
/// The other half follows from `X[−i, −k] = conj X[i, k]`. A spectrum is `[h, ⌊w/2⌋ + 1, c]` complex numbers as pairs
/// (re, im). O(d log d), the same bits on any number of threads; the object is read only and may be shared.
public final class FourierTransform: Sendable {
  public let shape: ImageShape
  private let rows: Plan
  private let columns: Plan

  /// Frequencies in a row of a spectrum.
  var width: Int { shape.width / 2 + 1 }

  /// Doubles in a spectrum.
  public var spectrumCount: Int { 2 * shape.height * width * shape.channels }

  /// Throws where there is no memory.
  public init(_ shape: ImageShape) throws(TensorError) {
    precondition(shape.height > 0 && shape.width > 0 && shape.channels > 0, "no transform of \(shape)")
    self.shape = shape
    rows = try Plan(length: shape.width)
    columns = try Plan(length: shape.height)
  }

  /// The spectrum of an image. Throws where there is no memory for temporaries.
  public func forward(_ x: Vector, into spectrum: Vector, _ scratch: Scratch) throws {
    try lines(x, spectrum, scratch) { count, x, X, work in
      aipo_fft_real(rows.plan, count, shape.channels, Self.reading(x), X, work)
    }
    try transformColumns(of: spectrum, backward: false, scratch)
  }

  /// The image of a spectrum, which is overwritten: `backward` undoes `forward`.
  public func backward(_ spectrum: Vector, into x: Vector, _ scratch: Scratch) throws {
    try transformColumns(of: spectrum, backward: true, scratch)
    let scale = 1 / Double(shape.height * shape.width)
    try lines(x, spectrum, scratch) { count, x, X, work in
      aipo_fft_real_backward(rows.plan, count, shape.channels, Self.reading(X), scale, x, work)
    }
  }

  private typealias Doubles = UnsafeMutablePointer<Double>
  private typealias Lines = UnsafePointer<Doubles?>

  /// Lines that are read alone.
  private static func reading(_ lines: Lines) -> UnsafePointer<UnsafePointer<Double>?> {
    UnsafeRawPointer(lines).assumingMemoryBound(to: UnsafePointer<Double>?.self)
  }

  /// Runs `body` for the rows of all channels, several at a time.
  private func lines(
    _ x: Vector, _ spectrum: Vector, _ scratch: Scratch,
    _ body: (_ count: Int, _ x: Lines, _ X: Lines, _ work: Doubles) -> Void
  ) throws {
    precondition(x.count == shape.count && spectrum.count == spectrumCount)
    let c = shape.channels
    let atOnce = aipo_fft_real_lines(rows.plan)
    let lines = shape.height * c
    try rows.split((lines + atOnce - 1) / atOnce, scratch) { groups, work in
      withUnsafeTemporaryAllocation(of: Doubles?.self, capacity: 2 * atOnce) { pointers in
        let (of, spectra) = (pointers.baseAddress!, pointers.baseAddress! + atOnce)
        for group in groups {
          let first = group * atOnce
          let count = min(atOnce, lines - first)
          for l in 0..<count {
            let (row, channel) = (first + l).quotientAndRemainder(dividingBy: c)
            (of + l).initialize(to: x.base + row * shape.width * c + channel)
            (spectra + l).initialize(to: spectrum.base + 2 * (row * width * c + channel))
          }
          body(count, of, spectra, work)
        }
      }
    }
  }

  private func transformColumns(of spectrum: Vector, backward: Bool, _ scratch: Scratch) throws {
    guard shape.height > 1 else { return }
    let stride = width * shape.channels
    try columns.split(stride, scratch) { range, work in
      aipo_fft_lines(
        columns.plan, backward ? 1 : 0, range.count, 1, stride, spectrum.base + 2 * range.lowerBound, work)
    }
  }
}

/// One length's plan of the C library.
final class Plan: @unchecked Sendable {
  let plan: OpaquePointer

  init(length: Int) throws(TensorError) {
    guard let plan = aipo_fft_make(length) else { throw .outOfMemory(bytes: 16 * length) }
    self.plan = plan
  }

  deinit { aipo_fft_free(plan) }

  /// Splits a number of transforms of this length over the threads, each with a workspace.
  func split(
    _ count: Int, _ scratch: Scratch, _ body: (Range<Int>, _ work: UnsafeMutablePointer<Double>) -> Void
  ) throws {
    let size = aipo_fft_workspace(plan)
    try scratch.scope {
      let work = try scratch.take(size * scratch.pool.threads)
      try scratch.pool.split(count, minimum: 1 + (1 << 15) / size) { range, worker in
        body(range, work.base + worker * size)
      }
    }
  }
}
