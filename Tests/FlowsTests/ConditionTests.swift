import AIPOFlowTesting
import AIPOKernels
import Foundation
import Testing
import Yams

@testable import AIPOFlows

/// Flows that know their noise level.
@Suite struct ConditionTests {
  private static let shape = ImageShape(height: 2, width: 3, channels: 2)

  private func normal(_ count: Int, _ shape: ImageShape = shape) throws -> Tensor<Double> {
    var random = Philox(seed: 9, purpose: .test)
    return try Tensor(
      shape: [count, shape.height, shape.width, shape.channels],
      elements: (0..<count * shape.count).map { _ in 0.5 + 0.4 * random.normal() })
  }

  /// Mean and covariance of d values, from a random factor.
  private func statistics(_ d: Int) -> ImageStatistics {
    var random = Philox(seed: 4, purpose: .test)
    let a = (0..<d * d).map { _ in 0.3 * random.normal() }
    var triangle: [Float] = []
    for i in 0..<d {
      for j in 0...i {
        triangle.append(
          Float((0..<d).reduce(i == j ? 0.01 : 0) { $0 + a[i * d + $1] * a[j * d + $1] }))
      }
    }
    return ImageStatistics(
      mean: (0..<d).map { _ in Float(random.uniform()) }, covariance: .full(lowerTriangle: triangle))
  }

  /// Behind a dense whitening alone, p_s is the Gaussian N(μ, C + s²I), and D_s(v) the mean of x given x + s n = v.
  @Test(arguments: [0.05, 0.3, 7]) func whiteningIsTheGaussian(s: Double) throws {
    let d = Self.shape.count
    let statistics = statistics(d)
    let flow = try Flow<Double>(
      spec: FlowSpec(layers: []).conditioned(Condition(least: 0.01, greatest: 0.5), whitening: .dense),
      imageShape: Self.shape, pool: ThreadPool(threads: 1))
    try flow.whiten(statistics)
    let smoothed = try flow.smoothed(by: s)
    let v = try normal(3)
    let (logProb, denoised) = (try smoothed.logProb(v), try smoothed.denoised(v))
    let covariance = try #require(try statistics.matrix()).columnMajor
    let noisy = try Matrix(rows: d, columns: d) { covariance[$0 * d + $1] + ($0 == $1 ? s * s : 0) }
    let factor = try Cholesky(noisy)
    for i in 0..<3 {
      let centred = (0..<d).map { v[flat: i * d + $0] - Double(statistics.mean[$0]) }
      var solved = centred
      solved.withUnsafeMutableBufferPointer { factor.solve(Vector($0)) }
      let logDet = try noisy.symmetricEigen().values.reduce(0) { $0 + log($1) }
      let expected =
        -0.5 * (zip(centred, solved).reduce(0) { $0 + $1.0 * $1.1 } + logDet + Double(d) * log(2 * .pi))
      #expect((logProb[i] - expected).magnitude < 1e-6)
      for k in 0..<d {
        // μ + C(C + s²I)⁻¹(v − μ)
        let mean = (0..<d).reduce(Double(statistics.mean[k])) { $0 + covariance[k * d + $1] * solved[$1] }
        #expect((denoised[flat: i * d + k] - mean).magnitude < 1e-6)
      }
    }
  }

  /// A block that is the whole image has the density that all its values have; and of the same lags, the same block.
  @Test func whiteningOfABlock() throws {
    let shape = ImageShape(height: 4, width: 4, channels: 1)
    let statistics = statistics(shape.count)
    func flow(
      _ layers: [LayerSpec], _ image: ImageShape, _ statistics: ImageStatistics
    ) throws -> Flow<Double> {
      let flow = try Flow<Double>(
        spec: FlowSpec(condition: Condition(), layers: layers), imageShape: image,
        pool: ThreadPool(threads: 1))
      try flow.whiten(statistics)
      return flow
    }
    let block: [LayerSpec] = [.squeeze(.interleaved), .squeeze(.interleaved), .whitening(.pixel)]
    var random = Philox(seed: 5, purpose: .test)
    let x = try Tensor(shape: [2, 4, 4, 1], elements: (0..<32).map { _ in random.normal() })
    let whole = try flow([.whitening(.dense)], shape, statistics).smoothed(by: 0.3).logProb(x)
    let blocks = try flow(block, shape, statistics).smoothed(by: 0.3).logProb(x)
    for i in 0..<2 { #expect((whole[i] - blocks[i]).magnitude < 1e-9 * whole[i].magnitude) }

    // Of images that are alike in all places, lags tell what pairs of pixels do.
    func covariance(_ a: Int, _ b: Int, _ width: Int) -> Double {
      exp(-0.3 * Double((a / width - b / width).magnitude + (a % width - b % width).magnitude))
    }
    let large = ImageShape(height: 8, width: 8, channels: 1)
    let alike = ImageStatistics(
      mean: [Float](repeating: 0.5, count: 64),
      covariance: .full(lowerTriangle: (0..<64).flatMap { i in (0...i).map { Float(covariance(i, $0, 8)) } }))
    let lags = try #require(alike.stationary(large))
    let tensors = try [alike, lags].map { statistics in
      try flow(block, large, statistics).smoothed(by: 0.3).logProb(
        try Tensor(shape: [1, 8, 8, 1], elements: (0..<64).map { cos(Double($0)) }))[0]
    }
    #expect((tensors[0] - tensors[1]).magnitude < 1e-4)
  }

  /// The variance that a channel's whitening takes counts how far its pixels' means lie apart.
  @Test func whiteningOfChannelsHasTheirMoments() throws {
    let d = Self.shape.count
    let statistics = statistics(d)
    let flow = try Flow<Double>(
      spec: FlowSpec(layers: []).conditioned(), imageShape: Self.shape, pool: ThreadPool(threads: 1))
    try flow.whiten(statistics)
    let tensors = flow.namedTensors.reduce(into: [:]) { $0[$1.name] = $1.scalars(as: Double.self) }
    let matrix = try #require(try statistics.matrix())
    for c in 0..<2 {
      let places = stride(from: c, to: d, by: 2).map { $0 }
      let mean = places.reduce(0) { $0 + Double(statistics.mean[$1]) } / Double(places.count)
      let second = places.reduce(0) {
        $0 + matrix[$1, $1] + pow(Double(statistics.mean[$1]), 2)
      }
      #expect((tensors["layers.0.mean"]![c] - mean).magnitude < 1e-12)
      let variance = second / Double(places.count) - mean * mean
      #expect((tensors["layers.0.variance"]![c] - variance).magnitude < 1e-12)
    }
  }

  /// A flow that is nearly the Gaussian has nearly its bits/dim.
  @Test func figuresOfAGaussian() throws {
    let folder = TrainingFolder()
    let shape = ImageShape(height: 8, width: 8, channels: 1)
    var config = TrainingConfig()
    config.steps = 1
    config.batch = 2
    config.validation.images = .count(7)
    config.samples.every = 0
    let training = FlowTraining(
      spec: FlowSpec(layers: [.actnorm]).conditioned(whitening: .dense), config: config,
      images: trainingImages(60, shape), folder: folder.path, threads: 1)
    guard case .finished(var model) = try training.run(as: Double.self, resume: false) else {
      throw CancellationError()
    }
    let figures = try #require(model.figures.noise)
    #expect(figures.count == 5 && figures[0].level == 0.005 && (figures[4].level - 0.5).magnitude < 1e-12)
    let bits = try figures.map { try #require($0.gaussian).bitsPerDim }
    #expect(figures.allSatisfy { $0.flow.images == 7 && $0.gaussian?.images == 7 })
    // A fresh actnorm behind the whitening changes next to nothing where noise is what there is.
    #expect((figures[4].flow.bitsPerDim - bits[4]).magnitude < 0.2)
    // No less than the noise alone has, log₂(s√(2πe)) + 5.
    #expect(bits[4] > log2(0.5 * (2 * .pi * M_E).squareRoot()) + 4.9 && bits[4] < 7)
    try model.save(path: folder.path + "/copy.safetensors")
    #expect(try FlowModel.load(path: folder.path + "/copy.safetensors").figures.noise == figures)
  }

  private func glow() throws -> Flow<Double> {
    let flow = try Flow<Double>(
      spec: FlowSpec.glow(levels: 1, steps: 2, hidden: 4, activation: .silu).conditioned(),
      imageShape: ImageShape(height: 4, width: 4, channels: 1), seed: 2, pool: ThreadPool(threads: 1))
    try randomizeParameters(of: flow, seed: 3)
    return flow
  }

  @Test func levelsMatterWithinTheRange() throws {
    let flow = try glow()
    let x = try normal(1, flow.imageShape)
    func value(_ s: Double) throws -> Double { try flow.smoothed(by: s).logProb(x)[0] }
    let condition = try #require(flow.condition)
    // What is sharper than the training made it is as sharp as that.
    #expect(try value(0) == value(condition.least) && flow.logProb(x)[0] == value(0))
    let levels = try [condition.least, 0.02, 0.1, condition.greatest, 3].map(value)
    #expect(Set(levels).count == levels.count)
    // Each image of a batch has its own, as alone.
    let both = try flow.smoothed(by: [0.02, 0.1]).logProb(x.rows([0, 0]))
    #expect(both == [levels[1], levels[2]])
    #expect(
      try flow.smoothed(by: 0.1).sample(indices: 0..<2, seed: 1) != flow.sample(indices: 0..<2, seed: 1))
  }

  @Test func densitiesOfOneNetShareScratchMemory() throws {
    let flow = try glow()
    _ = try flow.smoothed(by: 0.1).evaluateWithGradient(normal(2, flow.imageShape))
    let bytes = flow.workspaceBytes
    for s in [0.01, 0.2] { _ = try flow.smoothed(by: s).evaluateWithGradient(normal(2, flow.imageShape)) }
    #expect(bytes > 0 && flow.workspaceBytes == bytes)
  }

  @Test func levelsThatAreNoneAreRefused() throws {
    let flow = try glow()
    for s in [-0.1, .nan, .infinity] { #expect(throws: FlowError.self) { try flow.smoothed(by: s) } }
    #expect(throws: FlowError.self) { try flow.smoothed(by: [0.1, -1]) }
    let two = try flow.smoothed(by: [0.1, 0.2])
    #expect(throws: FlowError.shapeMismatch(what: "noise levels", found: [2], expected: [3])) {
      try two.logProb(normal(3, flow.imageShape))
    }
    let clean = try Flow<Double>(spec: FlowSpec(layers: []), imageShape: Self.shape)
    #expect(throws: FlowError.self) { try clean.smoothed(by: 0.1) }
    #expect(try clean.smoothed(by: 0).logProb(normal(2)) == clean.logProb(normal(2)))
  }

  @Test func settings() throws {
    func read(_ yaml: String) throws -> FlowSpec { try YAMLDecoder().decode(FlowSpec.self, from: yaml) }
    let glow = FlowSpec.glow(levels: 1, steps: 2, hidden: 4)
    let family = "glow: {levels: 1, steps: 2, hidden: 4}"
    #expect(try read("condition: noise\n\(family)") == glow.conditioned())
    #expect(
      try read("condition: {noise: {greatest: 2}}\nwhitening: dense\n\(family)")
        == glow.conditioned(Condition(greatest: 2), whitening: .dense))
    #expect(
      try read("condition: noise\nlayers: [whitening, actnorm]")
        == FlowSpec(layers: [.actnorm]).conditioned())
    for wrong in ["condition: blur\n\(family)", "whitening: dense\n\(family)"] {
      #expect(throws: DecodingError.self) { try read(wrong) }
    }
    for condition in [Condition(least: 0), Condition(least: 1, greatest: 1), Condition(greatest: .nan)] {
      #expect(throws: FlowError.self) { try glow.conditioned(condition).flattened() }
    }
    #expect(throws: FlowError.self) { try FlowSpec(layers: [.actnorm, .whitening(.channel)]).flattened() }
    #expect(throws: FlowError.self) {
      try glow.conditioned(whitening: .dense).shapes(from: ImageShape(height: 66, width: 64, channels: 1))
    }
    let own = glow.conditioned(whitening: .dense).reasonForOneSize
    #expect(own != nil && glow.conditioned().reasonForOneSize == nil)
  }
}
