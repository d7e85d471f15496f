import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

/// Dequantisation, augmentation, batches, optimiser, schedule and statistics.
@Suite struct TrainingPartsTests {
  @Test(arguments: 1...8) func dequantisedValuesStayInTheirBins(bits: Int) throws {
    let dequantization = Dequantization(bits: bits)
    let images = try TrainingImages(
      shape: ImageShape(height: 16, width: 16, channels: 1),
      pixels: (0..<40 * 256).map { UInt8($0 % 256) })
    func draw<Scalar: KernelScalar>(_: Scalar.Type) throws -> [Scalar] {
      let x: Tensor<Scalar> = try images.dequantized(0..<40, dequantization, seed: 2)
      return x.elements
    }
    let (single, double) = (try draw(Float.self), try draw(Double.self))
    #expect(single.map { Double($0) } == double)
    let width = 1 / Double(1 << bits)
    var (sum, squares) = (0.0, 0.0)
    for (k, x) in double.enumerated() {
      let v = k % 256
      let bin = v * (1 << bits) / 256
      let u = x / width - Double(bin)
      #expect(u >= 0 && u < 1)
      #expect(dequantization.middle(UInt8(v)) == (Double(bin) + 0.5) * width)
      sum += u
      squares += u * u
    }
    let n = Double(double.count)
    #expect(abs(sum / n - 0.5) < 0.02 && abs(squares / n - 1.0 / 3) < 0.02)
    #expect(single.allSatisfy { $0 < 1 })
  }

  @Test func middlesAndBitsPerDim() throws {
    let dequantization = Dequantization(bits: 5)
    let x = try Tensor<Double>(shape: [1, 1, 5, 1], elements: [-0.5, 0, 0.03126, 0.999, 2])
    #expect(dequantization.middles(of: x).elements == [0.5, 0.5, 1.5, 31.5, 31.5].map { $0 / 32 })
    // A uniform density on [0, 1]^d spends all bits; one that is 2^b higher in a bin spends none.
    #expect(dequantization.bitsPerDim(logProb: 0, dimensions: 7) == 5)
    #expect(abs(dequantization.bitsPerDim(logProb: 7 * 5 * log(2), dimensions: 7)) < 1e-12)
  }

  @Test func evaluationDoesNotDependOnTheBatch() throws {
    let shape = ImageShape(height: 3, width: 2, channels: 2)
    let flow = TrainingGaussian<Float>(shape)
    let images = trainingImages(23, shape)
    let all = try Evaluation.measure(flow, on: images, dequantization: .init(bits: 5), batch: 23)
    for batch in [1, 4, 64] {
      #expect(try Evaluation.measure(flow, on: images, dequantization: .init(bits: 5), batch: batch) == all)
    }
    #expect(try Evaluation.measure(flow, on: images, dequantization: .init(bits: 5), seed: 1) != all)
  }

  @Test func anEpochTakesEveryImageOnce() throws {
    let shape = ImageShape(height: 1, width: 1, channels: 1)
    let images = try TrainingImages(shape: shape, pixels: (0..<30).map { UInt8($0 * 8) })
    var batches = TrainingBatches(
      images: images, indices: Array(0..<30), size: 7, seed: 3, dequantization: .init(bits: 5),
      augmentation: .init())
    var stream: [Int] = []
    for step in 0..<30 {
      stream += try batches.batch(step: step, as: Double.self).images.elements.map { Int($0 * 32) }
    }
    for epoch in 0..<7 { #expect(Set(stream[(30 * epoch)..<(30 * epoch + 30)]).count == 30) }
    #expect(stream[0..<30] != stream[30..<60])
    // A step's batch is the same whatever was asked before.
    var fresh = batches
    #expect(try fresh.batch(step: 3, as: Float.self) == batches.batch(step: 3, as: Float.self))
  }

  @Test func augmentationMovesAndMirrors() {
    let shape = ImageShape(height: 3, width: 4, channels: 2)
    let image = (0..<24).map { UInt8($0) }
    var seen: Set<[UInt8]> = []
    for index in 0..<400 {
      var random = Philox(seed: 1, index: UInt64(index), purpose: .augmentation)
      seen.insert(
        Augmentation(flip: true, shift: 1).apply(to: image[...], shape: shape, random: &random))
    }
    var expected: Set<[UInt8]> = []
    for flip in [false, true] {
      for dy in -1...1 {
        for dx in -1...1 {
          var out: [UInt8] = []
          for y in 0..<3 {
            for x in 0..<4 {
              let sy = min(max(y + dy, 0), 2)
              let sx = min(max(x + dx, 0), 3)
              for c in 0..<2 { out.append(UInt8((sy * 4 + (flip ? 3 - sx : sx)) * 2 + c)) }
            }
          }
          expected.insert(out)
        }
      }
    }
    #expect(seen == expected && expected.count == 18)
  }

  /// A square image and its mirror image in four positions each, every one as often.
  @Test func augmentationTurns() {
    let shape = ImageShape(height: 2, width: 2, channels: 1)
    func seen(_ augmentation: Augmentation) -> [[UInt8]: Int] {
      var counts: [[UInt8]: Int] = [:]
      for index in 0..<1600 {
        var random = Philox(seed: 1, index: UInt64(index), purpose: .augmentation)
        counts[augmentation.apply(to: [1, 2, 3, 4][...], shape: shape, random: &random), default: 0] += 1
      }
      return counts
    }
    // 1 2 / 3 4 by quarters.
    let turned: Set<[UInt8]> = [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]
    let found = seen(Augmentation(turn: true))
    #expect(Set(found.keys) == turned && found.values.allSatisfy { abs($0 - 400) < 100 })
    let all = seen(Augmentation(flip: true, turn: true))
    #expect(Set(all.keys) == turned.union(turned.map { [$0[1], $0[0], $0[3], $0[2]] }))
    #expect(all.count == 8 && all.values.allSatisfy { abs($0 - 200) < 75 })
  }

  /// Those of a set of images and all that mirroring and turning makes of them.
  @Test func statisticsOfTurnedImages() throws {
    let shape = ImageShape(height: 3, width: 3, channels: 2)
    var random = Philox(seed: 4, purpose: .test)
    let pixels = (0..<5 * shape.count).map { _ in UInt8(random.next() % 256) }
    let dequantization = Dequantization(bits: 8)
    func fit(_ pixels: [UInt8]) throws -> ImageStatistics {
      let images = try TrainingImages(shape: shape, pixels: pixels)
      return try #require(
        try ImageStatistics.fit(
          images, indices: Array(0..<images.count), dequantization: dequantization))
    }
    func moved(_ image: [UInt8], _ source: (_ row: Int, _ column: Int) -> Int) -> [UInt8] {
      var out: [UInt8] = []
      for row in 0..<3 {
        for column in 0..<3 {
          let first = 2 * source(row, column)
          out += image[first..<first + 2]
        }
      }
      return out
    }
    func turned(_ image: [UInt8]) -> [UInt8] { moved(image) { row, column in (2 - column) * 3 + row } }
    func mirrored(_ image: [UInt8]) -> [UInt8] { moved(image) { row, column in row * 3 + 2 - column } }
    var all: [UInt8] = []
    for k in 0..<5 {
      var image = Array(pixels[k * 18..<(k + 1) * 18])
      for _ in 0..<4 {
        all += image + mirrored(image)
        image = turned(image)
      }
    }
    let found = try fit(pixels).augmented(Augmentation(flip: true, shift: 1, turn: true), shape)
    let expected = try fit(all)
    #expect(zip(found.mean, expected.mean).allSatisfy { abs($0 - $1) < 1e-6 })
    let (a, b) = (try #require(try found.matrix()), try #require(try expected.matrix()))
    for i in 0..<18 { for j in 0..<18 { #expect(abs(a[i, j] - b[i, j]) < 1e-6) } }
    #expect(try fit(pixels).augmented(Augmentation(shift: 2), shape) == fit(pixels))
  }

  @Test func adamFollowsItsFormula() throws {
    var states = [[1.0, -2], [0, 0]].map { OptimizerState<Double>(parameters: $0, isAveraging: true) }
    let gradients: [[Double]] = [[0.5, -1], [0.25, 3], [-1, 0]]
    let (b1, b2, epsilon, rate) = (0.8, 0.9, 1e-3, 0.1)
    for (t, gradient) in gradients.enumerated() {
      try states[(t + 1) % 2].advance(
        from: states[t % 2], gradient: gradient, scale: 0.5, rate: rate, averageDecay: 0.75,
        adam: Adam(beta1: b1, beta2: b2, epsilon: epsilon), pool: ThreadPool(threads: 1))
    }
    let result = states[1]
    for i in 0..<2 {
      var (theta, m, v) = ([1.0, -2.0][i], 0.0, 0.0)
      var average = theta
      for t in 1...3 {
        let g = 0.5 * gradients[t - 1][i]
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        let (mHat, vHat) = (m / (1 - pow(b1, Double(t))), v / (1 - pow(b2, Double(t))))
        theta -= rate * mHat / (vHat.squareRoot() + epsilon)
        average = 0.75 * average + 0.25 * theta
      }
      #expect(abs(result.parameters[i] - theta) < 1e-13)
      #expect(abs(result.average[i] - average) < 1e-13)
      #expect(abs(result.first[i] - m) < 1e-15 && abs(result.second[i] - v) < 1e-15)
    }
    #expect(result.updates == 3)
    // The first step is rate·sign(g) whatever the gradient's size.
    var first = OptimizerState<Float>(parameters: [0, 0], isAveraging: false)
    try first.advance(
      from: OptimizerState(parameters: [0, 0], isAveraging: false), gradient: [1e-3, -1e6], scale: 1,
      rate: 0.1,
      averageDecay: 0, adam: Adam(), pool: ThreadPool(threads: 2))
    #expect(first.result == first.parameters)
    #expect(abs(first.parameters[0] + 0.1) < 1e-5 && abs(first.parameters[1] - 0.1) < 1e-5)
  }

  @Test func normIsSummedInDouble() {
    let values = (0..<1003).map { Float($0 % 17) * 1e19 }
    let expected = values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    #expect(abs(euclideanNorm(values) / expected - 1) < 1e-14)
    #expect(euclideanNorm([Float.nan, 1]).isNaN)
    #expect(euclideanNorm([Double.infinity]) == .infinity)
  }

  @Test func clippingBoundsTheGradientThatAdamSees() throws {
    let shape = ImageShape(height: 2, width: 2, channels: 1)
    var config = TrainingConfig()
    config.steps = 1
    config.batch = 4
    config.clip = 0.25
    config.validation.images = .count(0)
    config.samples.every = 0
    let folder = TrainingFolder()
    let trainer = try Trainer(
      flow: TrainingGaussian<Double>(shape), images: trainingImages(9, shape), config: config,
      folder: folder.path, resume: false)
    var norm = 0.0
    _ = try trainer.run { if case .step(_, _, _, let value, _) = $0 { norm = value } }
    #expect(norm > 1)
    let file = try Safetensors.load(path: folder.path + "/checkpoint.safetensors")
    let first = try #require(file["optimizer.first"]).scalars(as: Double.self)
    // m = (1 − β₁)·g, and g has been scaled to the norm 0.25.
    #expect(abs(euclideanNorm(first) - 0.1 * 0.25) < 1e-12)
  }

  @Test func rateWarmsUpStaysAndDecays() {
    var schedule = RateSchedule()
    schedule.peak = 2
    schedule.warmup = 10
    schedule.decayFraction = 0.5
    schedule.final = 0.1
    #expect(schedule.rate(step: 0, steps: 100) == 0.2)
    #expect(schedule.rate(step: 9, steps: 100) == 2 && schedule.rate(step: 49, steps: 100) == 2)
    schedule.decayShape = .linear
    #expect(abs(schedule.rate(step: 75, steps: 100) - 2 * 0.55) < 1e-12)
    schedule.decayShape = .cosine
    #expect(abs(schedule.rate(step: 75, steps: 100) - 2 * 0.55) < 1e-12)
    #expect(schedule.rate(step: 99, steps: 100) > 0.2 && schedule.rate(step: 99, steps: 100) < 0.21)
  }

  @Test func statisticsAreThePlainMoments() throws {
    let shape = ImageShape(height: 5, width: 3, channels: 1)
    let images = trainingImages(700, shape)
    let indices = Array(stride(from: 1, to: 700, by: 1))
    for bits in [5, 8] {
      let dequantization = Dequantization(bits: bits)
      let fit = try #require(
        try ImageStatistics.fit(images, indices: indices, dequantization: dequantization))
      let rows = indices.map { k in (0..<15).map { dequantization.middle(images.pixels[k * 15 + $0]) } }
      let n = Double(rows.count)
      let mean = (0..<15).map { i in rows.reduce(0) { $0 + $1[i] } / n }
      let matrix = try #require(try fit.matrix())
      for i in 0..<15 {
        #expect(abs(Double(fit.mean[i]) - mean[i]) < 1e-7)
        for j in 0..<15 {
          var c = rows.reduce(0) { $0 + ($1[i] - mean[i]) * ($1[j] - mean[j]) } / n
          if i == j { c += pow(2, -2 * Double(bits)) / 12 }
          #expect(abs(matrix[i, j] - c) < 1e-8)
        }
      }
    }
  }
}
