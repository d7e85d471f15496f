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
    let covariance = statistics.covarianceMatrix
    #expect(abs(statistics.mean[0] - 30) < 0.4 && abs(statistics.mean[1] + 2) < 0.04)
    for (found, expected) in zip(covariance, [25, 1.5, 1.5, 0.25]) {
      #expect(abs(found - expected) < 0.1 * expected)
    }
    let loaded = try FlowModel.load(path: FlowTraining.modelPath(in: folder.path))
    #expect(loaded.dequantization == .none && loaded.imageShape == .vector(2))
    #expect(try TrainingConfig(yaml: loaded.recipe, path: "recipe").dequantization == .none)
  }

  @Test func largeVectorsGetTheLeadingDirections() throws {
    let d = 4200
    var random = Philox(seed: 4, purpose: .test)
    var reals: [Double] = []
    for _ in 0..<40 {
      let a = random.normal()
      reals += (0..<d).map { 7 + a * Double($0 % 7) + 0.1 * random.normal() }
    }
    let images = try TrainingImages(shape: .vector(d), reals: reals)
    let fit = try ImageStatistics.fit(images, indices: Array(0..<40), dequantization: .none, rank: 1)
    guard case .lowRank(let factors, let diagonal) = fit.covariance else {
      Issue.record("not low-rank")
      return
    }
    for i in [0, 6, 4199] {
      let values = (0..<40).map { reals[$0 * d + i] }
      let mean = values.reduce(0, +) / 40
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 40
      #expect(abs(Double(fit.mean[i]) - mean) < 1e-5)
      let own = Double(factors[i]) * Double(factors[i])
      #expect(abs(own + Double(diagonal[i]) - variance) < 1e-3 * (1 + variance))
      #expect(i == 0 || own > 0.9 * variance)
    }
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
