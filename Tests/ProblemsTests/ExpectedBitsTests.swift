import AIPOFlows
import AIPOKernels
import AIPOPriors
import Foundation
import Testing

/// p(x) = Π 2xᵢ on [0, 1]ᵈ.
private struct Ramp: Prior {
  let imageShape = ImageShape(height: 2, width: 3, channels: 1)

  func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    -x.total { log(2 * $0) }
  }
}

@Suite struct ExpectedBitsTests {
  private let dequantization = Dequantization(bits: 5)
  private let values: [UInt8] = [9, 0, 255, 128, 77, 31, 200, 201, 7, 8, 64, 130]

  private func images(_ value: (UInt8) -> Double) throws -> Tensor<Double> {
    try Tensor(shape: [2, 2, 3, 1], elements: values.map(value))
  }

  private func measure(_ images: Tensor<Double>, draws: Int = 8) throws -> [ExpectedBits] {
    try [3, 11].enumerated().map { k, index in
      try ExpectedBits.measure(
        Ramp(), images.row(k), index: index, dequantization: dequantization, draws: draws, seed: 5, Scratch())
    }
  }

  /// The mean over a bin [a, b] of log₂ 2x is `(b log₂ 2b − a log₂ 2a)/(b − a) − 1/ln 2`.
  @Test func expectationIsTheIntegralOverTheBins() throws {
    func entropy(_ x: Double) -> Double { x == 0 ? 0 : x * log2(2 * x) }
    let found = try measure(try images { Double($0) / 255 }, draws: 4000)
    for (i, found) in found.enumerated() {
      let expected =
        5
        - values[6 * i..<6 * i + 6].reduce(0.0) { sum, value in
          let (a, b) = (Double(value / 8) / 32, Double(value / 8 + 1) / 32)
          return sum + (entropy(b) - entropy(a)) * 32 - 1 / log(2)
        } / 6
      let error = try #require(found.standardError)
      #expect(error > 0 && error < 0.01)
      #expect(abs(found.bitsPerDim - expected) < 4 * error, "\(found), expected \(expected)")
    }
  }

  /// What a file holds of an image decides nothing beyond its bins.
  @Test func sameFigureWhateverTheType() throws {
    let ofPixels = try measure(try images { (Double($0) + 0.5) / 256 })
    #expect(try measure(try images { Double($0) / 255 }) == ofPixels)
    #expect(try measure(try images { (Double($0 / 8) + 0.999) / 32 }) == ofPixels)
    #expect(try measure(try images { (Double($0 / 8)) / 32 }) == ofPixels)
    #expect(try measure(try images { Double($0 ^ 8) / 255 }) != ofPixels)
  }

  /// A draw belongs to the image's index, and the first is that of `Evaluation`.
  @Test func firstDrawIsThatOfTheEvaluation() throws {
    let shape = ImageShape(height: 4, width: 4, channels: 1)
    let flow = try Flow<Float>(spec: .glow(levels: 1, steps: 2, hidden: 4), imageShape: shape, seed: 4)
    var random = Philox(seed: 9, purpose: .test)
    try flow.setParameters(flow.parameters.map { $0 + Float(0.1 * random.normal()) })
    let set = try TrainingImages(
      shape: shape, pixels: (0..<7 * 16).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ $0 / 16) })
    let evaluation = try Evaluation.measure(flow, on: set, dequantization: dequantization, seed: 3)
    let images = try Tensor<Double>(shape: [7, 16], elements: set.pixels.map { (Double($0) + 0.5) / 256 })
    let found = try (0..<7).map { index in
      try ExpectedBits.measure(
        FlowPrior(flow), images.row(index), index: index, dequantization: dequantization, draws: 1, seed: 3,
        Scratch())
    }
    #expect(Evaluation(of: found.map(\.bitsPerDim)) == evaluation)
    #expect(found.allSatisfy { $0.standardError == nil })
  }
}
