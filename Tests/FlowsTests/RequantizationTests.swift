import AIPOKernels
import Testing

@testable import AIPOFlows

@Suite struct RequantizationTests {
  /// Four bins: nearly all black in the darkest, white in the brightest, the others even or narrow.
  private func uneven() throws -> Requantization {
    try #require(Requantization(means: [0.01, 0.37, 0.6, 0.98], slopes: [0.05, 1, 0.4, 0.1]))
  }

  @Test func meansStandInTheMiddles() throws {
    let h = try uneven()
    for (k, mean) in h.means.enumerated() { #expect(abs(h.pixel((Double(k) + 0.5) / 4) - mean) < 1e-15) }
  }

  @Test func ascendsWithoutAGapAndHasAnInverse() throws {
    let h = try uneven()
    var before = h.pixel(-0.2)
    for step in 1...2800 {
      let x = -0.2 + Double(step) / 2000
      let now = h.pixel(x)
      #expect(now > before && now - before < 4.0 / 2000)
      #expect(abs(h.value(now) - x) < 1e-12)
      before = now
    }
    #expect(h.values(h.pixels([0.3, 0.9])).map { ($0 * 1e12).rounded() } == [0.3e12, 0.9e12])
  }

  @Test func slopesAreDerivatives() throws {
    let h = try uneven()
    var random = Philox(seed: 4, purpose: .test)
    for _ in 0..<200 {
      let x = 1.4 * random.uniform() - 0.2
      // Away from the joints.
      guard abs((8 * x).rounded() - 8 * x) > 1e-3 else { continue }
      #expect(abs((h.pixel(x + 1e-6) - h.pixel(x - 1e-6)) / 2e-6 - h.slope(x)) < 1e-6)
    }
  }

  @Test func evenBinsStandForThemselves() throws {
    let images = try TrainingImages(
      shape: ImageShape(height: 16, width: 16, channels: 1), pixels: (0..<256).map { UInt8($0) })
    for bits in [3, 5, 8] {
      let h = try #require(try Requantization.fit(images, indices: [0], dequantization: .init(bits: bits)))
      for x in [0.01, 0.2, 0.5, 0.77, 0.99] { #expect(abs(h.pixel(x) - x) < 1 / 256.0, "\(bits) \(x)") }
    }
  }

  @Test func blackIsBlack() throws {
    var random = Philox(seed: 5, purpose: .test)
    let pixels = (0..<4000).map { _ in random.uniform() < 0.6 ? UInt8(0) : UInt8(random.next() & 255) }
    let images = try TrainingImages(shape: ImageShape(height: 10, width: 10, channels: 1), pixels: pixels)
    let h = try #require(
      try Requantization.fit(images, indices: Array(0..<40), dequantization: .init(bits: 5)))
    let dark = pixels.filter { $0 < 8 }.map { (Double($0) + 0.5) / 256 }
    let mean = dark.reduce(0, +) / Double(dark.count)
    let variance = dark.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(dark.count)
    #expect(abs(h.means[0] - mean) < 1e-12 && variance * 12 * 1024 < 0.2 && h.slopes[0] == 0.2)
    // All of the darkest bin reads as about the mean, where uniform noise had spread it over 1/32.
    #expect(abs(h.pixel(0.001) - mean) < 0.004 && abs(h.pixel(0.028) - mean) < 0.008)
    #expect(abs(h.pixel(0.5) - 0.5) < 0.01)
  }

  @Test func realNumbersAndUnusableLevelsHaveNone() throws {
    let images = try TrainingImages(shape: .vector(2), reals: [0, 1, 2, 3])
    #expect(try Requantization.fit(images, indices: [0, 1], dequantization: .none) == nil)
    #expect(Requantization(means: [0.1, 0.9], slopes: [1]) == nil)
    #expect(Requantization(means: [0.1, 0.4], slopes: [1, 1]) == nil)
    #expect(Requantization(means: [0.1, .nan], slopes: [1, 1]) == nil)
    #expect(Requantization(means: [0.5, 0.5], slopes: [1, 1]) == nil)
    #expect(Requantization(means: [0.1, 0.9], slopes: [1, .infinity]) == nil)
    #expect(Requantization(means: [], slopes: []) == nil)
  }
}
