import CAIPOFFT
import Testing

@testable import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

@Suite struct FourierTests {
  /// Even, odd, prime, with factors 7 and 11, one row, one column, one pixel; lengths of a chirp among them.
  static let shapes = [
    (8, 12, 1), (15, 9, 3), (13, 17, 2), (28, 22, 1), (1, 10, 3), (1, 31, 1), (23, 1, 2), (1, 1, 3),
    (2, 1, 1), (62, 5, 1),
  ].map { ImageShape(height: $0, width: $1, channels: $2) }

  static func image(_ shape: ImageShape) throws -> Tensor<Double> {
    var random = Philox(seed: 5, purpose: .test)
    return try Tensor((0..<shape.count).map { _ in random.normal() })
  }

  static func spectrum(_ x: Tensor<Double>, _ transform: FourierTransform, threads: Int = 1) throws -> Tensor<
    Double
  > {
    let result = try Tensor<Double>(count: transform.spectrumCount)
    try withExtendedLifetime(x) {
      try transform.forward(x.view, into: result.view, Scratch(pool: ThreadPool(threads: threads)))
    }
    return result
  }

  @Test(arguments: shapes) func isTheSum(_ shape: ImageShape) throws {
    let (h, w, c) = (shape.height, shape.width, shape.channels)
    let x = try Self.image(shape)
    let found = try Self.spectrum(x, FourierTransform(shape))
    var worst = 0.0
    for i in 0..<h {
      for k in 0...w / 2 {
        for channel in 0..<c {
          var (re, im) = (0.0, 0.0)
          for y in 0..<h {
            for z in 0..<w {
              let turns = Double(i * y % h) / Double(h) + Double(k * z % w) / Double(w)
              let value = x[flat: (y * w + z) * c + channel]
              re += value * cos(2 * Double.pi * turns)
              im -= value * sin(2 * Double.pi * turns)
            }
          }
          let place = 2 * ((i * (w / 2 + 1) + k) * c + channel)
          worst = max(worst, abs(found[flat: place] - re), abs(found[flat: place + 1] - im))
        }
      }
    }
    #expect(worst < 1e-13 * Double(h * w).squareRoot() * 10)
  }

  /// Two lines at once and as many as the processor takes: the same bits, of any number of lines.
  @Test(arguments: [1, 2, 3, 4, 5, 7, 8, 12, 31, 60]) func lanesDoNotMatter(_ n: Int) throws {
    let plans = [aipo_fft_make_narrow(n), aipo_fft_make(n)].map { $0! }
    defer { plans.forEach(aipo_fft_free) }
    for lines in 1...9 {
      let x = try Self.image(ImageShape(height: n, width: 2 * lines, channels: 1))
      let results = try plans.map { plan in
        var y = x
        let work = try Tensor<Double>(count: aipo_fft_workspace(plan))
        y.withMemory { aipo_fft_lines(plan, 0, lines, 1, lines, $0.base, work.view.base) }
        return y.elements
      }
      #expect(results[0] == results[1], "\(lines) lines")
    }
  }

  @Test(
    arguments: shapes + [
      ImageShape(height: 128, width: 97, channels: 3), ImageShape(height: 509, width: 250, channels: 1),
    ])
  func comesBack(_ shape: ImageShape) throws {
    let transform = try FourierTransform(shape)
    let x = try Self.image(shape)
    let back = try Tensor<Double>(count: shape.count)
    let spectrum = try Self.spectrum(x, transform)
    try withExtendedLifetime(spectrum) { try transform.backward(spectrum.view, into: back.view, Scratch()) }
    let worst = zip(x.elements, back.elements).map { abs($0 - $1) }.max()!
    #expect(worst < 1e-13)
  }

  @Test func hasTheSameBitsOnAnyNumberOfThreads() throws {
    let transform = try FourierTransform(ImageShape(height: 131, width: 90, channels: 3))
    let x = try Self.image(transform.shape)
    let one = try Self.spectrum(x, transform)
    for threads in [2, 5] { #expect(try Self.spectrum(x, transform, threads: threads) == one) }
  }
}
