import AIPOKernels
import Foundation
import Testing

@testable import AIPOFlows

/// Training on vectors of real numbers.
@Suite struct VectorTrainingTests {
  /// A correlated Gaussian far from [0, 1].
  private func points(_ count: Int, seed: UInt64) throws -> TrainingImages {
    var random = Philox(seed: seed, purpose: .test)
    var reals: [Double] = []
    for _ in 0..<count {
      let (a, b) = (random.normal(), random.normal())
      reals += [30 + 5 * a, -2 + 0.3 * a + 0.4 * b]
    }
    return try TrainingImages(shape: .vector(2), reals: reals)
  }

  private var config: TrainingConfig {
    var config = TrainingConfig()
    config.dequantization = .none
    config.steps = 300
    config.batch = 64
    config.rate.peak = 0.01
    config.validation = .init(images: .count(100), every: 300)
    config.samples.every = 0
    return config
  }

  @Test func theDensityIsFound() throws {
    let folder = TrainingFolder()
    let training = FlowTraining(
      spec: .vector(couplings: 2, hidden: [8]), config: config, images: try points(4000, seed: 1),
      test: try points(4000, seed: 2), folder: folder.path, threads: 1)
    guard case .finished(let model) = try training.run(as: Double.self, resume: false) else {
      Issue.record("not finished")
      return
    }
    // ½ log₂ (2πe)² det C over two dimensions, det C = 25·0.25 − 1.5².
    let entropy = 0.5 * log2(2 * Double.pi * exp(1)) + 0.25 * log2(25 * 0.25 - 1.5 * 1.5)
    let test = try #require(model.figures.test)
    #expect(abs(test.bitsPerDim - entropy) < 0.03)
    // The statistics are those of the numbers themselves.
    let statistics = try #require(model.statistics)
    let covariance = try #require(try statistics.matrix()).columnMajor
    #expect(abs(statistics.mean[0] - 30) < 0.4 && abs(statistics.mean[1] + 2) < 0.04)
    for (found, expected) in zip(covariance, [25, 1.5, 1.5, 0.25]) {
      #expect(abs(found - expected) < 0.1 * expected)
    }
    let loaded = try FlowModel.load(path: FlowTraining.modelPath(in: folder.path))
    #expect(loaded.dequantization == .none && loaded.imageShape == .vector(2))
    #expect(try TrainingConfig(yaml: loaded.recipe, path: "recipe").dequantization == .none)
  }

  /// A vector has no places to average over.
  @Test func largeVectorsHaveNoStatistics() throws {
    let images = try TrainingImages(shape: .vector(4200), reals: (0..<3 * 4200).map { Double($0 % 7) })
    #expect(try ImageStatistics.fit(images, indices: [0, 1, 2], dequantization: .none) == nil)
  }

  @Test func whatDoesNotFitIsRefused() throws {
    let folder = TrainingFolder()
    func run(_ images: TrainingImages, _ dequantization: Dequantization) throws {
      var config = config
      config.dequantization = dequantization
      let training = FlowTraining(
        spec: .vector(couplings: 2, hidden: [4]), config: config, images: images, folder: folder.path,
        threads: 1)
      _ = try training.run(as: Float.self, resume: false)
    }
    let pixels = try TrainingImages(shape: .vector(2), pixels: (0..<400).map { UInt8($0 % 200) })
    #expect(throws: TrainingError.dequantization(bits: 5)) {
      try run(try points(200, seed: 1), .init(bits: 5))
    }
    #expect(throws: TrainingError.dequantization(bits: 0)) { try run(pixels, .none) }
    let same = try TrainingImages(shape: .vector(2), reals: Array(repeating: 0.5, count: 400))
    #expect(throws: TrainingError.constantData(value: 0.5, images: 200)) { try run(same, .none) }
    #expect(throws: TrainingError.pixelCount(found: 3, shape: "1x1x2")) {
      try TrainingImages(shape: .vector(2), reals: [1, 2, 3])
    }
    #expect(throws: TrainingError.nonFinite(value: .infinity, image: 1, position: 0)) {
      try TrainingImages(shape: .vector(2), reals: [1, 2, .infinity, 4])
    }
  }
}
