import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

@Suite struct FigureTests {
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
