import AIPOFlowTesting
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

@Suite struct FourierSamplingTests {
  private let shapes = [(1, 1), (1, 7), (6, 1), (4, 4), (5, 6), (6, 5), (7, 9), (16, 11)]

  private func coils(_ count: Int, _ height: Int, _ width: Int) throws -> Tensor<Double> {
    try Tensor(
      shape: [count, height, width, 2], elements: randomVector(count * height * width * 2, seed: 3))
  }

  /// Against the sum that defines it, one coil and two, real images and complex ones.
  @Test func againstTheSum() throws {
    for (h, w) in shapes {
      for channels in 1...2 {
        for count in 1...2 {
          let shape = ImageShape(height: h, width: w, channels: channels)
          let taken = (0..<h * w).map { $0 % 4 != 2 }
          let sensitivities = count == 1 ? nil : try coils(count, h, w)
          let map = try FourierSampling(shape, taken: taken, sensitivities: sensitivities)
          let x = randomVector(shape.count, seed: 5)
          let y = try map.apply(x)
          var next = 0
          var error = 0.0
          for coil in 0..<count {
            for k in 0..<h * w where taken[k] {
              var (re, im) = (0.0, 0.0)
              for pixel in 0..<h * w {
                let rows = Double((pixel / w - h / 2) * (k / w - h / 2)) / Double(h)
                let columns = Double((pixel % w - w / 2) * (k % w - w / 2)) / Double(w)
                let angle = -2 * Double.pi * (rows + columns)
                var (a, b) = channels == 1 ? (x[pixel], 0) : (x[2 * pixel], x[2 * pixel + 1])
                if let sensitivities {
                  let at = 2 * (coil * h * w + pixel)
                  let (s, t) = (sensitivities[flat: at], sensitivities[flat: at + 1])
                  (a, b) = (s * a - t * b, s * b + t * a)
                }
                re += a * cos(angle) - b * sin(angle)
                im += a * sin(angle) + b * cos(angle)
              }
              let scale = 1 / Double(h * w).squareRoot()
              error = max(error, (y[next] - scale * re).magnitude, (y[next + 1] - scale * im).magnitude)
              next += 2
            }
          }
          #expect(next == y.count && error < 1e-12, "\(shape) \(count) \(error)")
          for result in try MapChecks.measure(map) { #expect(result.holds, "\(shape) \(count): \(result)") }
        }
      }
    }
  }

  @Test func patterns() throws {
    let lines = try #require(SamplingPattern("lines:4")).samples(height: 100, width: 3, seed: 1)
    let rows = (0..<100).filter { lines[3 * $0] }
    #expect(
      (46..<54).allSatisfy(rows.contains) && (0..<100).filter { ($0 - 50) % 4 == 0 }.allSatisfy(rows.contains)
    )
    #expect(rows.count == 25 + 6 && lines.count { $0 } == 3 * rows.count)
    let random = try #require(SamplingPattern("random:0.25")).samples(height: 100, width: 2, seed: 1)
    #expect(random.count { $0 } == 50 && (46..<54).allSatisfy { random[2 * $0] })
    #expect(SamplingPattern("random:0.25")?.samples(height: 100, width: 2, seed: 2) != random)
    for wrong in ["lines:0", "random:0", "random:1.5", "spiral:3", "lines"] {
      #expect(SamplingPattern(wrong) == nil)
    }
    #expect(throws: ProblemError.self) {
      try FourierSampling(ImageShape(height: 2, width: 2, channels: 3), taken: [true, true, true, true])
    }
  }
}

@Suite struct IntervalNoiseTests {
  /// The probabilities of all that a sensor can say add up to 1.
  @Test func stepsSumToOne() throws {
    for (bits, sigma) in [(1, 0.2), (3, 0.05), (6, 1e-3), (8, 0.3), (12, 0.2)] {
      let noise = try IntervalNoise(sigma: sigma, bits: bits, range: -0.5...1.5)
      let count = 1 << bits
      for prediction in [-1.0, -0.2, 0.37, 1.5, 2] {
        let sum = (0..<count).reduce(0.0) { sum, bin in
          let y = -0.5 + 2 * (Double(bin) + 0.5) / Double(count)
          return sum + exp(-noise.negativeLogLikelihood(y, prediction: prediction).value)
        }
        #expect((sum - 1).magnitude < 1e-11, "\(bits) \(sigma) \(prediction) \(sum)")
      }
    }
  }

  /// Both ends of a range and the density between them, too.
  @Test func saturationSumsToOne() throws {
    let noise = try IntervalNoise(sigma: 0.2, bits: nil, range: 0...1)
    for prediction in [-0.3, 0.1, 0.8, 1.4] {
      let ends = [0, 1].reduce(0.0) {
        $0 + exp(-noise.negativeLogLikelihood($1, prediction: prediction).value)
      }
      let n = 20000
      let middle = (0..<n).reduce(0.0) { sum, k in
        sum + exp(-noise.negativeLogLikelihood((Double(k) + 0.5) / Double(n), prediction: prediction).value)
          / Double(n)
      }
      #expect((ends + middle - 1).magnitude < 1e-8)
    }
  }

  /// Draws are as frequent as the likelihood says, within five deviations.
  @Test func draws() throws {
    for bits in [1, 2, nil] as [Int?] {
      let noise = try IntervalNoise(sigma: 0.3, bits: bits, range: -0.2...0.8)
      var random = Philox(seed: 3, purpose: .test)
      let n = 20000
      let drawn = (0..<n).map { _ in noise.sample(prediction: 0.4, random: &random) }
      var values = [-0.2, 0.8]
      if let bits {
        let count = 1 << bits
        values = (0..<count).map { (bin: Int) -> Double in -0.2 + (Double(bin) + 0.5) / Double(count) }
      }
      for value: Double in values {
        let probability = exp(-noise.negativeLogLikelihood(value, prediction: 0.4).value)
        let found = Double(drawn.count { abs($0 - value) < 1e-12 }) / Double(n)
        let deviation = (probability / Double(n)).squareRoot()
        #expect(abs(found - probability) < 5 * deviation, "\(value)")
      }
      #expect(drawn.allSatisfy { $0 >= -0.2 && $0 <= 0.8 })
    }
  }

  /// Far from the interval the value is finite and its slope that of a parabola.
  @Test func farAway() throws {
    let noise = try IntervalNoise(sigma: 0.01, bits: 2)
    for prediction in [-3.0, -0.6, 4, 100] {
      let (value, derivative) = noise.negativeLogLikelihood(0.375, prediction: prediction)
      let off = prediction < 0 ? prediction - 0.25 : prediction - 0.5
      #expect(value.isFinite && (value / (off * off / 2e-4) - 1).magnitude < 0.02)
      #expect((derivative / (off / 1e-4) - 1).magnitude < 0.01)
    }
    // Many steps within a deviation are Gaussian noise.
    let fine = try IntervalNoise(sigma: 0.2, bits: 20, range: 0...1)
    let y = (Double(1 << 19) + 0.5) / Double(1 << 20)
    let (value, derivative) = fine.negativeLogLikelihood(y, prediction: 0.3)
    let off = (y - 0.3) / 0.2
    let expected = off * off / 2 + log(0.2 * (2 * Double.pi).squareRoot()) + log(Double(1 << 20))
    #expect((value - expected).magnitude < 1e-9 && (derivative + off / 0.2).magnitude < 1e-9)
  }
}
