import AIPOKernels
import AIPOPriors
import AIPOTestCases
import Testing

@testable import AIPOProblems

@Suite struct NoiseEstimateTests {
  private func estimate(_ pixels: [Double], _ shape: ImageShape) throws -> Double {
    try pixels.asVector { try NoiseEstimate.sigma($0, shape: shape, Scratch()) }
  }

  private func noise(_ count: Int, seed: UInt64, sigma: Double) -> [Double] {
    var random = Philox(seed: seed, index: 0, purpose: .noise)
    return (0..<count).map { _ in sigma * random.normal() }
  }

  /// The median over n responses has a relative deviation of about 1.2·√(4/n): 1.7 % here. A plane adds nothing
  /// to them.
  @Test(arguments: [(1, 1e-2), (1, 0.1), (3, 0.1), (1, 0.7), (2, 1e6)])
  func noiseOnAPlane(_ channels: Int, _ sigma: Double) throws {
    let shape = ImageShape(height: 120, width: 160, channels: channels)
    let noise = noise(shape.count, seed: UInt64(channels), sigma: sigma)
    let pixels = noise.indices.map { i in
      let (y, x) = (i / channels / 160, i / channels % 160)
      return noise[i] + 0.3 + 0.004 * Double(x) - 0.002 * Double(y) + 0.2 * Double(i % channels)
    }
    let found = try estimate(pixels, shape)
    #expect(abs(found / sigma - 1) < 0.06, "\(found) for \(sigma)")
  }

  /// Edges are few: they must not count as noise.
  @Test func edgesHardlyMoveIt() throws {
    let shape = ImageShape(height: 64, width: 64, channels: 1)
    let pixels = noise(shape.count, seed: 5, sigma: 0.05).enumerated().map { i, e in
      e + (i % 64 > 20 && i / 64 > 30 ? 0.9 : 0.1)
    }
    let found = try estimate(pixels, shape)
    #expect(abs(found / 0.05 - 1) < 0.1, "\(found)")
  }

  /// It scales with the image and never falls below the deviation of rounding.
  @Test func scaleAndFloor() throws {
    let shape = ImageShape(height: 9, width: 3, channels: 2)
    let pixels = noise(shape.count, seed: 9, sigma: 1)
    let one = try estimate(pixels, shape)
    let two = try estimate(pixels.map { 2 * $0 }, shape)
    #expect(abs(two - 2 * one) < 1e-12 * one)
    let clean = [Double](repeating: 0.5, count: shape.count)
    #expect(try estimate(clean, shape) == NoiseEstimate.floor)
    #expect(try estimate(pixels.map { $0 * 1e308 }, shape).isFinite)
  }

  /// Against the sorted magnitudes, with ties, zeros of both signs and what isn't finite.
  @Test func ranksOfMagnitudes() throws {
    for n in [1, 2, 7, 300] {
      var values = randomVector(n, seed: UInt64(n)).map { ($0 * 8).rounded() / 8 }
      if n > 2 { values[0...2] = [-0.0, .infinity, .leastNonzeroMagnitude] }
      let sorted = values.map(\.magnitude).sorted()
      values.asVector { v in
        for k in 0..<n { #expect(v.magnitude(ranked: k) == sorted[k], "\(n) \(k)") }
      }
    }
    [3, .nan, -1].asVector { v in
      #expect(v.magnitude(ranked: 0) == 1 && v.magnitude(ranked: 1) == 3 && v.magnitude(ranked: 2).isNaN)
    }
  }

  @Test(arguments: [(2, 9, 18), (9, 2, 18), (5, 5, 24)])
  func unusableImages(_ height: Int, _ width: Int, _ count: Int) {
    let shape = ImageShape(height: height, width: width, channels: 1)
    #expect(throws: ProblemError.self) {
      try estimate([Double](repeating: 0, count: count), shape)
    }
  }
}
