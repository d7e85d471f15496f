import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

@Suite struct StationaryFitTests {
  let dequantization = Dequantization(bits: 8)

  /// Smooth images, brighter on one side, whose channels have much in common.
  private func images(_ count: Int, _ shape: ImageShape) throws -> TrainingImages {
    var random = Philox(seed: 7, purpose: .test)
    var pixels: [UInt8] = []
    for _ in 0..<count {
      let (phase, turn, level) = (6 * random.uniform(), random.normal(), random.normal())
      for y in 0..<shape.height {
        for x in 0..<shape.width {
          let wave = sin(phase + 0.5 * Double(y) + 0.3 * turn * Double(x))
          for a in 0..<shape.channels {
            let value = 110 + 25 * level + 40 * wave + Double(3 * x + 9 * a) + 4 * random.normal()
            pixels.append(UInt8(max(0, min(255, value))))
          }
        }
      }
    }
    return try TrainingImages(shape: shape, pixels: pixels)
  }

  private func lags(_ statistics: ImageStatistics?) throws -> LagCovariance {
    guard case .stationary(let lags) = try #require(statistics).covariance else {
      throw TestFailure("not stationary")
    }
    return lags
  }

  private struct TestFailure: Error {
    let text: String
    init(_ text: String) { self.text = text }
  }

  /// A stationary Gaussian of images of a shape.
  private struct Gaussian {
    let mean: [Float]
    let covariance: StationaryCovariance
    let scratch: Scratch

    init(_ mean: [Float], _ lags: LagCovariance, _ shape: ImageShape, _ scratch: Scratch) throws {
      self.mean = mean
      self.scratch = scratch
      covariance = try StationaryCovariance(shape, lags: lags, scratch)
    }

    func negativeLogProb(_ x: Vector) throws -> Double {
      try scratch.scope {
        let (u, v) = (try scratch.take(x.count), try scratch.take(x.count))
        for i in 0..<x.count { u[i] = x[i] - Double(mean[i % mean.count]) }
        try covariance.apply({ 1 / $0 }, u, into: v, scratch)
        return 0.5 * (u.dot(v) + covariance.logDeterminant + Double(x.count) * log(2 * Double.pi))
      }
    }

    func sample(into x: Vector, seed: UInt64, index: UInt64) throws {
      var random = Philox(seed: seed, index: index, purpose: .test)
      for i in 0..<x.count { x[i] = random.normal() }
      try covariance.apply({ $0.squareRoot() }, x, into: x, scratch)
      for i in 0..<x.count { x[i] += Double(mean[i % mean.count]) }
    }
  }

  /// From the same images, a dense Gaussian and a stationary one are both the most probable of their kind, where the mean of
  /// (x − μ)ᵀC⁻¹(x − μ) is d. So the stationary one has ½(log det S − log det C) nats more an image, and not fewer.
  @Test(arguments: [1, 3]) func isTheMostProbableOfItsKind(_ channels: Int) throws {
    let shape = ImageShape(height: 6, width: 7, channels: channels)
    let d = shape.count
    let images = try images(400, shape)
    let dense = try #require(
      try ImageStatistics.fit(images, indices: Array(0..<400), dequantization: dequantization))
    let factor = try Cholesky(try #require(try dense.matrix()))
    let scratch = Scratch()
    let statistics = try #require(dense.stationary(shape))
    let stationary = try Gaussian(statistics.mean, try lags(statistics), shape, scratch)
    let x = try scratch.take(d)
    var (ofDense, ofStationary) = (0.0, 0.0)
    for index in 0..<400 {
      let values = try images.pixels(at: index).map { dequantization.middle($0) }
      x.copy(from: values)
      ofStationary += try stationary.negativeLogProb(x) / 400
      let offset = zip(values, dense.mean).map { $0 - Double($1) }
      var solution = offset
      solution.withUnsafeMutableBufferPointer { factor.solve(Vector($0)) }
      ofDense += 0.5 * zip(offset, solution).reduce(0) { $0 + $1.0 * $1.1 } / 400
    }
    // The images' dequantisation noise, which the covariances hold.
    let inverse = try factor.inverse()
    ofDense += 0.5 * dequantization.noiseVariance * (0..<d).reduce(0) { $0 + inverse[$1, $1] }
    ofStationary += 0.5 * dequantization.noiseVariance * stationary.covariance.trace { 1 / $0 }
    let constants = Double(d) * log(2 * Double.pi)
    #expect(abs(ofDense - 0.5 * Double(d)) < 1e-4 * Double(d))
    ofDense += 0.5 * (constants + factor.logDeterminant)
    let gap = 0.5 * (stationary.covariance.logDeterminant - factor.logDeterminant)
    #expect(abs(ofStationary - ofDense - gap) < 2e-4 * Double(d))
    #expect(gap > 0)
  }

  /// Windows as large as the images see what the dense covariance knows.
  @Test func windowsAgreeWithTheDenseCovariance() throws {
    for shape in [
      ImageShape(height: 7, width: 5, channels: 3), ImageShape(height: 1, width: 8, channels: 1),
    ] {
      let images = try images(50, shape)
      let reals = try TrainingImages(shape: shape, reals: images.pixels.map { Double($0) / 100 })
      for (images, dequantization) in [(images, self.dequantization), (reals, Dequantization.none)] {
        let all = Array(0..<50)
        let dense = try ImageStatistics.fit(images, indices: all, dequantization: dequantization)
        let expected = try #require(dense?.stationary(shape))
        let fit = try #require(
          try ImageStatistics.fitStationary(images, indices: all, dequantization: dequantization))
        for (a, b) in zip(fit.mean, expected.mean) { #expect(abs(a - b) < 1e-6) }
        let (a, b) = (try lags(fit), try lags(expected))
        #expect(
          a.lagY == shape.height - 1 && a.lagX == shape.width - 1 && b.lagY == a.lagY && b.lagX == a.lagX)
        for (a, b) in zip(a.values, b.values) { #expect(abs(a - b) < 2e-7) }
      }
    }
  }

  /// Windows of a larger image are images of their own.
  @Test func windowsCoverAnImage() throws {
    let shape = ImageShape(height: 8, width: 12, channels: 2)
    let images = try images(5, shape)
    var parts: [UInt8] = []
    for k in 0..<5 {
      for (y, x) in [(0, 0), (0, 4), (0, 8), (4, 0), (4, 4), (4, 8)] {
        for row in y..<y + 4 {
          let start = ((k * 8 + row) * 12 + x) * 2
          parts += images.pixels[start..<start + 8]
        }
      }
    }
    let windows = try TrainingImages(shape: ImageShape(height: 4, width: 4, channels: 2), pixels: parts)
    let whole = try ImageStatistics.fitStationary(
      images, indices: Array(0..<5), dequantization: dequantization, window: 4)
    let cut = try ImageStatistics.fitStationary(
      windows, indices: Array(0..<30), dequantization: dequantization, window: 4)
    for (a, b) in zip(try lags(whole).values, try lags(cut).values) { #expect(abs(a - b) < 1e-7) }
    // Whatever the order.
    #expect(
      try ImageStatistics.fitStationary(
        images, indices: [3, 1, 4, 0, 2], dequantization: dequantization, window: 4) == whole)
  }

  @Test func theSpectrumIsPositiveAtEverySize() throws {
    for channels in [1, 3] {
      let images = try images(3, ImageShape(height: 20, width: 17, channels: channels))
      let lags = try lags(
        try ImageStatistics.fitStationary(
          images, indices: [0, 1, 2], dequantization: dequantization, window: 16))
      for (h, w) in [(1, 1), (5, 7), (16, 16), (33, 20), (3, 130)] {
        let covariance = try StationaryCovariance(
          ImageShape(height: h, width: w, channels: channels), lags: lags, Scratch())
        var least = Double.infinity
        _ = covariance.trace {
          least = min(least, $0)
          return 0
        }
        // All that rounding to single precision takes from the noise's variance.
        #expect(least > 0.8 * dequantization.noiseVariance)
      }
    }
  }

  /// From n = 64 draws of a known stationary Gaussian of c = 3 channels, one more draw costs as many nats as under the known
  /// one, but for what n periodograms leave open: ½ (n/(n − c) − 1 + (1/c) Σᵢ (log n − ψ(n − i))) = 0.0128 a value.
  @Test func recoversAKnownGaussian() throws {
    let shape = ImageShape(height: 65, width: 64, channels: 3)
    // White noise of channels that have much in common, averaged over 6 × 6 pixels: lags of two triangles.
    let mixture = [[1.0, 0, 0], [0.8, 0.4, 0], [0.6, 0.2, 0.5]]
    var values: [Float] = []
    for y in -5...5 {
      for x in -5...5 {
        let triangles = Double((6 - abs(y)) * (6 - abs(x))) / 36
        for (a, b) in LagCovariance.pairs(3) {
          let common = zip(mixture[a], mixture[b]).reduce(0) { $0 + $1.0 * $1.1 }
          values.append(Float(0.04 * triangles * common + (x == 0 && y == 0 && a == b ? 1e-3 : 0)))
        }
      }
    }
    let lags = LagCovariance(channels: 3, lagY: 5, lagX: 5, values: values)
    let scratch = Scratch()
    let known = try Gaussian([0.4, 0.5, 0.6], lags, shape, scratch)
    let x = try scratch.take(shape.count)
    var reals: [Double] = []
    for index in 0..<64 as Range<UInt64> {
      try known.sample(into: x, seed: 1, index: index)
      reals += x.elements
    }
    let images = try TrainingImages(shape: shape, reals: reals)
    let fit = try ImageStatistics.fit(images, indices: Array(0..<64), dequantization: .none)
    let found = try Gaussian(try #require(fit).mean, try self.lags(fit), shape, scratch)
    var excess = 0.0
    for index in 0..<8 as Range<UInt64> {
      try known.sample(into: x, seed: 2, index: index)
      excess += try found.negativeLogProb(x)
      excess -= try known.negativeLogProb(x)
    }
    excess /= Double(8 * shape.count)
    #expect(abs(excess - 0.0128) < 0.003)
  }
}
