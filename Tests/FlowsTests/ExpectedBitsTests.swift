import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

/// p(x) = Π 2xᵢ on [0, 1]ᵈ.
private struct Ramp<Scalar: KernelScalar>: ImagePrior {
  let imageShape = ImageShape(height: 2, width: 3, channels: 1)

  func evaluate(_ x: Tensor<Scalar>) throws -> [Double] {
    (0..<x.shape[0]).map { i in
      (0..<6).reduce(0.0) { $0 + log(2 * Double(x[flat: 6 * i + $1])) }
    }
  }

  func evaluateWithGradient(_ x: Tensor<Scalar>) throws -> (logProb: [Double], gradient: Tensor<Scalar>) {
    fatalError("no gradient is asked for")
  }
}

@Suite struct ExpectedBitsTests {
  private let dequantization = Dequantization(bits: 5)
  private let values: [UInt8] = [9, 0, 255, 128, 77, 31, 200, 201, 7, 8, 64, 130]

  private func images(_ value: (UInt8) -> Double) throws -> Tensor<Double> {
    try Tensor(shape: [2, 2, 3, 1], elements: values.map(value))
  }

  private func measure(_ images: Tensor<Double>, draws: Int = 8) throws -> [ExpectedBits] {
    try ExpectedBits.measure(
      Ramp<Double>(), images, indices: [3, 11], dequantization: dequantization, draws: draws, seed: 5)
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
    let images = try Tensor<Float>(
      shape: [7, 4, 4, 1], elements: set.pixels.map { (Float($0) + 0.5) / 256 })
    let found = try ExpectedBits.measure(
      flow, images, indices: Array(0..<7), dequantization: dequantization, draws: 1, seed: 3)
    #expect(Evaluation(of: found.map(\.bitsPerDim)) == evaluation)
    #expect(found.allSatisfy { $0.standardError == nil })
    // The last three alone, under their own indices.
    let last = try ExpectedBits.measure(
      flow, try images.rows(4..<7), indices: [4, 5, 6], dequantization: dequantization, draws: 1, seed: 3)
    #expect(last == Array(found[4...]))
  }

  @Test func oneImageHasNoStandardError() throws {
    let one = Evaluation(of: [2.5])
    #expect(one.standardError == nil && one.bitsPerDim == 2.5 && one.images == 1)
    #expect(Evaluation(of: [1, 3]).standardError == 1)
    // Earlier versions wrote 0.
    let old = Data(#"{"bitsPerDim":2.5,"standardError":0,"images":1}"#.utf8)
    #expect(try JSONDecoder().decode(Evaluation.self, from: old) == one)
    #expect(FlowModel.json(one) == #"{"bitsPerDim":2.5,"images":1}"#)
  }

  // MARK: Images that are unlike the training images

  @Test func quantilesOfBits() throws {
    let distribution = BitsDistribution((0...1000).map { 1 + Double($0) / 1000 }.shuffled())
    #expect(distribution.images == 1001)
    for level in BitsDistribution.levels { #expect(abs(distribution[level] - (1 + level)) < 1e-12) }
    #expect(BitsDistribution([2, 1])[0.25] == 1.25)
    #expect(BitsDistribution([2]).quantiles.allSatisfy { $0 == 2 })
  }

  @Test func adviceIsForWhatIsBeyondBothLimits() throws {
    var figures = ModelFigures()
    #expect(figures.advice(bitsPerDim: 1e9, of: "x") == nil)
    figures.trainingBits = BitsDistribution([1, 2, 3])
    figures.validationBits = BitsDistribution([1, 2, 4])
    let limit = try #require(figures.bitsLimit)
    // Three images: the greatest and half as far again from the median.
    #expect(limit == 5)
    #expect(abs(BitsDistribution((0...1000).map { Double($0) }).limit - 999) < 1e-9)
    #expect(figures.advice(bitsPerDim: limit, of: "x") == nil)
    let text = try #require(figures.advice(bitsPerDim: 5.25, of: "x")).description
    #expect(text.hasPrefix("x: 5.25 bits/dim") && text.contains("less than 5:"))
    #expect(figures.advice(bitsPerDim: .nan, of: "x") == nil)
  }

  /// A file of another make may hold anything there, and an older one nothing.
  @Test func distributionsAreReadAndChecked() throws {
    let good = BitsDistribution([1, 2, 3])
    let back = try JSONDecoder().decode(BitsDistribution.self, from: Data(FlowModel.json(good).utf8))
    #expect(back == good)
    for bad in [
      #"{"images":3,"quantiles":[1,2]}"#, #"{"images":0,"quantiles":[1,1,1,1,1,1,1,1,1,1,1]}"#,
      #"{"images":3,"quantiles":[1,1,1,1,9,1,1,1,1,1,1]}"#,
    ] {
      #expect(throws: DecodingError.self) {
        try JSONDecoder().decode(BitsDistribution.self, from: Data(bad.utf8))
      }
    }
    let old = try JSONDecoder().decode(ModelFigures.self, from: Data(#"{"steps":3}"#.utf8))
    #expect(old.trainingBits == nil && old.bitsLimit == nil)
  }
}
