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

@Suite struct TrajectorySamplingTests {
  /// Against the sum that defines it, to 1e-9 of the largest sample, one coil and two, real images and complex ones; and AᵀA
  /// by its response against the products.
  @Test func againstTheSum() throws {
    for (h, w, m) in [(1, 1, 3), (1, 9, 20), (8, 1, 5), (5, 6, 40), (16, 11, 7), (32, 27, 300)] {
      for channels in 1...2 {
        for count in 1...2 {
          let shape = ImageShape(height: h, width: w, channels: channels)
          let places = frequencies(m)
          let coils =
            count == 1
            ? nil : try Tensor<Double>(shape: [2, h, w, 2], elements: randomVector(4 * h * w, seed: 3))
          let map = try TrajectorySampling(shape, frequencies: places, sensitivities: coils)
          let x = randomVector(shape.count, seed: 5)
          var expected: [Double] = []
          for coil in 0..<count {
            for k in places {
              var (re, im) = (0.0, 0.0)
              for pixel in 0..<h * w {
                let angle =
                  -2 * Double.pi * (k.x * Double(pixel / w - h / 2) + k.y * Double(pixel % w - w / 2))
                var (a, b) = channels == 1 ? (x[pixel], 0) : (x[2 * pixel], x[2 * pixel + 1])
                if let coils {
                  let at = 2 * (coil * h * w + pixel)
                  let (s, t) = (coils[flat: at], coils[flat: at + 1])
                  (a, b) = (s * a - t * b, s * b + t * a)
                }
                re += a * cos(angle) - b * sin(angle)
                im += a * sin(angle) + b * cos(angle)
              }
              let scale = 1 / Double(h * w).squareRoot()
              expected += [scale * re, scale * im]
            }
          }
          let found = try map.apply(x)
          let largest = expected.map(\.magnitude).max() ?? 1
          let error = zip(found, expected).map { ($0 - $1).magnitude }.max() ?? 1
          #expect(error < 1e-10 * largest, "\(shape) \(count): \(error / largest)")
          for result in try MapChecks.measure(map) { #expect(result.holds, "\(shape) \(count): \(result)") }
        }
      }
    }
  }

  /// On the grid's own frequencies it is the Cartesian map.
  @Test func onTheGrid() throws {
    let shape = ImageShape(height: 6, width: 7, channels: 2)
    var grid: [SIMD2<Double>] = []
    for k in 0..<42 { grid.append(SIMD2(Double(k / 7 - 3) / 6, Double(k % 7 - 3) / 7)) }
    let map = try TrajectorySampling(shape, frequencies: grid)
    let cartesian = try FourierSampling(shape, taken: [Bool](repeating: true, count: 42))
    let x = randomVector(84, seed: 2)
    #expect(try distance(map.apply(x), cartesian.apply(x)) < 1e-10 * norm(x))
    // All of them see every image alike, so that its near spectrum is 1.
    let near = try #require(map.nearNormal)
    #expect((near.extent.lowerBound - 1).magnitude < 1e-9 && (near.extent.upperBound - 1).magnitude < 1e-9)
  }

  /// Gridding of as many spokes as an image needs returns a smooth one.
  @Test func gridding() throws {
    let n = 32
    let shape = ImageShape(height: n, width: n, channels: 1)
    func bell(_ k: Int, _ row: Double, _ column: Double, _ spread: Double) -> Double {
      let (y, x) = (Double(k / n) - row, Double(k % n) - column)
      return exp(-(x * x + y * y) / spread)
    }
    let image = (0..<n * n).map { bell($0, 14, 18, 30) + 0.5 * bell($0, 10, 23, 12) }
    var spokes: [SIMD2<Double>] = []
    for spoke in 0..<64 {
      let angle = Double.pi * Double(spoke) / 64
      for sample in 0..<64 {
        let radius = (Double(sample) - 31.5) / 64
        spokes.append(SIMD2(radius * sin(angle), radius * cos(angle)))
      }
    }
    let map = try TrajectorySampling(shape, frequencies: spokes)
    let y = try map.apply(image)
    let found = try y.asVector { y in
      try written(n * n) { _ = try map.estimate(y, into: $0, $1) }
    }
    #expect(distance(found, image) < 0.01 * norm(image), "\(distance(found, image) / norm(image))")
  }

  @Test func impossibleTrajectories() throws {
    let shape = ImageShape(height: 4, width: 4, channels: 1)
    for bad in [SIMD2(0.6, 0), SIMD2(0, Double.nan), SIMD2(-1, 0)] {
      #expect(throws: ProblemError.self) { try TrajectorySampling(shape, frequencies: [bad]) }
    }
    #expect(throws: ProblemError.self) {
      try TrajectorySampling(ImageShape(height: 4, width: 4, channels: 3), frequencies: [SIMD2(0, 0)])
    }
  }
}

@Suite struct IntensityMapTests {
  /// Coded diffraction against its definition: masks of the phases 1, i, −1, −i and a unitary transform, so that every
  /// pattern's intensities sum up to the image's.
  @Test func codedDiffraction() throws {
    for channels in 1...2 {
      let shape = ImageShape(height: 5, width: 6, channels: channels)
      let map = try IntensityMap.codedDiffraction(shape, patterns: 3, seed: 2)
      let x = randomVector(shape.count, seed: 4)
      let y = try map.apply(x)
      #expect(y.count == 90)
      for pattern in 0..<3 {
        let sum = y[30 * pattern..<30 * (pattern + 1)].reduce(0, +)
        #expect((sum / dot(x, x) - 1).magnitude < 1e-12)
      }
      let turned = try map.apply(x.map { -$0 })
      #expect(distance(y, turned) < 1e-14 * norm(y))
      let other = try IntensityMap.codedDiffraction(shape, patterns: 3, seed: 3).apply(x)
      #expect(distance(y, other) > 0.1 * norm(y))
    }
  }

  /// The spectral estimate of a bright image comes near it.
  @Test func estimate() throws {
    let shape = ImageShape(height: 12, width: 12, channels: 1)
    let x = randomVector(144, seed: 8).map { 0.5 + 0.2 * $0 }
    // The eigenvectors by NumPy's eigh, of six problems like these, are .19 and .15 from x in the mean, .22 and .16 at most.
    let maps = [
      (try IntensityMap.codedDiffraction(shape, patterns: 8, seed: 1), 0.25),
      (IntensityMap(try DenseMap.gaussian(measurements: 1440, input: shape, seed: 2), isComplex: false), 0.2),
    ]
    for (map, bound) in maps {
      let y = try map.apply(x)
      let found = try y.asVector { y in
        try written(144) { x, scratch in
          let isKnown = try map.estimate(y, into: x, scratch)
          #expect(isKnown)
        }
      }
      #expect(distance(found, x) < bound * norm(x), "\(distance(found, x) / norm(x))")
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
