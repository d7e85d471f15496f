import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import AIPOTestFiles
import Foundation
import Testing

@testable import AIPOSolvers

/// An image whose rows are shared by ranks: all must be as if one had it.
@Suite struct StripTests {
  private static func shape(_ height: Int, _ width: Int, _ channels: Int = 1) -> ImageShape {
    ImageShape(height: height, width: width, channels: channels)
  }

  /// This rank's rows of an image.
  fileprivate static func own<Scalar>(_ x: [Scalar], _ shape: ImageShape, _ rows: Range<Int>) -> [Scalar] {
    let size = shape.width * shape.channels
    return Array(x[rows.lowerBound * size..<rows.upperBound * size])
  }

  private func prior(_ image: ImageShape, patch: ImageShape, stride: Int, _ ranks: any Ranks) throws
    -> PatchPrior<Float>
  {
    let flow = try Flow<Float>(
      spec: FlowSpec.glow(levels: 1, steps: 2, hidden: 4, activation: .silu).conditioned(), imageShape: patch,
      seed: 1, pool: ThreadPool(threads: 1))
    try randomizeParameters(of: flow, seed: 2)
    return try PatchPrior(flow, imageShape: image, stride: stride, ranks: ranks)
  }

  @Test(arguments: [1, 2, 3, 5, 8])
  func sumsOverStripsAreThoseOfTheWhole(ranks: Int) throws {
    let shape = Self.shape(23, 4001, 1)
    let x = randomVector(shape.count, seed: 1)
    let y = randomVector(shape.count, seed: 2)
    let results = try ThreadRanks.run(ranks) { ranks -> [[Double]] in
      let strips = Strips(ranks: ranks, height: shape.height)
      return try [1, 3].map { threads in
        let pool = ThreadPool(threads: threads, strips: strips)
        let (u, v) = (
          try Tensor(Self.own(x, shape, strips.rows())), try Tensor(Self.own(y, shape, strips.rows()))
        )
        var w = try Tensor<Double>(count: u.count)
        let summed = w.withMemory { $0.setEachSumming(u.view, v.view, pool) { ($0, $0 * $1) } }
        #expect(w.elements == u.elements)
        let isFinite = u.view.isFinite(pool)
        if ranks.rank == ranks.count - 1 { w.withMemory { $0[0] = .nan } }
        return [
          u.view.dot(v.view, pool), u.view.distance(to: v.view, pool), u.view.norm(pool), u.view.total(pool),
          Double(u.view.wholeCount(pool)), summed, isFinite ? 1 : 0, w.view.isFinite(pool) ? 1 : 0,
        ]
      }
    }
    let dot = ExactSum(of: zip(x, y).map { $0 * $1 }).value
    let distance = ExactSum(of: zip(x, y).map { ($0 - $1) * ($0 - $1) }).value.squareRoot()
    let norm = ExactSum(of: x.map { $0 * $0 }).value.squareRoot()
    let expected = [dot, distance, norm, ExactSum(of: x).value, Double(shape.count), dot, 1, 0]
    for values in results.joined() { #expect(values == expected) }
  }

  /// Rows that several ranks away have, too, and none.
  @Test func neighbouringRowsAreThoseOfTheImage() throws {
    let shape = Self.shape(10, 3, 2)
    let x = randomVector(shape.count, seed: 5)
    let needed = [0..<10, 2..<4, 3..<10, 0..<8]
    let results = try ThreadRanks.run(4) { ranks -> [Double] in
      let strips = Strips(ranks: ranks, height: shape.height)
      let (rows, mine) = (strips.rows(), needed[ranks.rank])
      let size = shape.width * shape.channels
      let own = Self.own(x, shape, rows)
      var above = try Tensor<Double>(count: Strips.above(mine, rows).count * size)
      var below = try Tensor<Double>(count: Strips.below(mine, rows).count * size)
      let strip = try Tensor(own)
      try above.withMemory { above in
        try below.withMemory { below in
          try strips.neighbouringRows(
            { needed[$0] }, of: strip.view, rowLength: size, above: above, below: below)
        }
      }
      return above.elements + own + below.elements
    }
    for (rank, found) in results.enumerated() {
      let rows = [0..<2, 2..<4, 4..<6, 6..<10][rank]
      let all = min(rows.lowerBound, needed[rank].lowerBound)..<max(rows.upperBound, needed[rank].upperBound)
      #expect(found == Self.own(x, shape, all))
    }
  }

  /// Grids that fit and that don't, images smaller than patches, strips thinner than a patch, colours.
  @Test(arguments: [
    (shape(24, 16), shape(4, 4), 2), (shape(11, 13), shape(4, 4), 3), (shape(5, 6), shape(8, 8), 4),
    (shape(13, 9, 3), shape(6, 4, 3), 4), (shape(7, 5), shape(4, 4), 1),
  ])
  func aPatchPriorIsTheSameInStrips(_ image: ImageShape, _ patch: ImageShape, stride: Int) throws {
    let x = randomVector(image.count, seed: 3).map { 0.5 + 0.2 * $0 }
    for turn in [0, 1, 3] {
      func look(_ ranks: any Ranks) throws -> (values: [Double], gradient: [Double], mean: [Double]) {
        let prior = try prior(image, patch: patch, stride: stride, ranks)
        let smoothed = try prior.smoothed(by: 0.2, turn: turn)
        let strip = try Tensor(Self.own(x, image, try #require(prior.strips).rows()))
        #expect(smoothed.imageShape.count == strip.count && prior.imageShape == smoothed.imageShape)
        let scratch = Scratch()
        var (gradient, mean) = (
          try Tensor<Double>(count: strip.count), try Tensor<Double>(count: strip.count)
        )
        let value = try gradient.withMemory { try smoothed.evaluate(strip.view, gradient: $0, scratch) }
        let alone = try smoothed.evaluate(strip.view, gradient: nil, scratch)
        let denoised = try mean.withMemory {
          try prior.denoise(strip.view, noise: 0.1, turn: turn, into: $0, scratch)
        }
        let bits = try ExpectedBits.measure(
          smoothed, strip.view, index: 3, dequantization: Dequantization(bits: 8), draws: 3, seed: 1,
          Scratch(pool: ThreadPool(threads: 1, strips: prior.strips)))
        return ([value, alone, denoised, bits.bitsPerDim], gradient.elements, mean.elements)
      }
      let whole = try look(OneRank())
      for ranks in [2, 3, 5] {
        let parts = try ThreadRanks.run(ranks) { try look($0) }
        for part in parts { #expect(part.values == whole.values) }
        #expect(parts.flatMap(\.gradient) == whole.gradient)
        #expect(parts.flatMap(\.mean) == whole.mean)
      }
    }
  }

  /// Squeezes, splits, checkerboards, whitenings, learned bases, colours; heights that divide evenly and that don't.
  enum RowFlow: CaseIterable {
    case glow, levels, blocks, realNVP

    var spec: FlowSpec {
      switch self {
      case .glow: .glow(levels: 1, steps: 2, hidden: 4, activation: .silu).conditioned()
      case .levels:
        .glow(levels: 2, steps: 1, hidden: 5, base: .learnedGaussian, activation: .silu).conditioned()
      case .blocks:
        FlowSpec(
          condition: Condition(),
          layers: [
            .squeeze(.interleaved), .squeeze(.interleaved), .whitening(.pixel), .actnorm,
            .permutation(.reverse),
            .coupling(CouplingSpec(net: NetSpec(hidden: 6))),
          ])
      case .realNVP: .realNVP(levels: 2, couplings: 1, hidden: 4, blocks: 0).conditioned()
      }
    }

    var image: ImageShape {
      switch self {
      case .glow: StripTests.shape(132, 10)
      case .levels: StripTests.shape(200, 8, 3)
      case .blocks: StripTests.shape(136, 12)
      case .realNVP: StripTests.shape(226, 6)
      }
    }

    func prior(_ ranks: any Ranks) throws -> FlowPrior<Float> {
      let patch = StripTests.shape(16, 16, image.channels)
      let flow = try Flow<Float>(spec: spec, imageShape: patch, seed: 1, pool: ThreadPool(threads: 1))
      try randomizeParameters(of: flow, seed: 2)
      return try FlowPrior(flow, try #require(FlowRows(spec, imageShape: image, ranks: ranks)))
    }
  }

  @Test(arguments: RowFlow.allCases) func aFlowIsTheSameInStrips(_ kind: RowFlow) throws {
    let image = kind.image
    let x = randomVector(image.count, seed: 3).map { 0.5 + 0.2 * $0 }
    func look(_ ranks: any Ranks) throws -> (values: [Double], gradient: [Double], mean: [Double]) {
      let prior = try kind.prior(ranks)
      let strips = try #require(prior.strips)
      let smoothed = try prior.smoothed(by: 0.2, turn: 0)
      let strip = try Tensor(Self.own(x, image, strips.rows()))
      #expect(smoothed.imageShape.count == strip.count && prior.imageShape == smoothed.imageShape)
      let scratch = Scratch()
      var (gradient, mean) = (try Tensor<Double>(count: strip.count), try Tensor<Double>(count: strip.count))
      let value = try gradient.withMemory { try smoothed.evaluate(strip.view, gradient: $0, scratch) }
      let alone = try smoothed.evaluate(strip.view, gradient: nil, scratch)
      let denoised = try mean.withMemory {
        try prior.denoise(strip.view, noise: 0.1, turn: 0, into: $0, scratch)
      }
      return ([value, alone, denoised], gradient.elements, mean.elements)
    }
    let whole = try look(OneRank())
    // What a flow gives that isn't asked for rows.
    let plain = try FlowPrior(kind.prior(OneRank()).flow.smoothed(by: 0.2)).evaluate(x)
    #expect(plain.gradient == whole.gradient)
    #expect(abs(plain.value - whole.values[0]) < 1e-6 * abs(plain.value))
    for ranks in [2, 3, 5] {
      let parts = try ThreadRanks.run(ranks) { try look($0) }
      for part in parts { #expect(part.values == whole.values) }
      #expect(parts.flatMap(\.gradient) == whole.gradient)
      #expect(parts.flatMap(\.mean) == whole.mean)
    }
  }

  /// Flows that see whole images, and images that are hardly higher than what they see.
  @Test func flowsThatReachTooFarAreNotTakenByRows() {
    let image = Self.shape(132, 10)
    #expect(FlowRows(RowFlow.glow.spec, imageShape: image) != nil)
    #expect(FlowRows(RowFlow.glow.spec, imageShape: Self.shape(124, 10)) == nil)
    #expect(FlowRows(RowFlow.glow.spec, imageShape: image, ranks: ManyRanks()) == nil)
    #expect(FlowRows(.dense(couplings: 2, hidden: [4]).conditioned(), imageShape: image) == nil)
    let dense = FlowSpec.glow(levels: 1, steps: 1, hidden: 4).conditioned(whitening: .dense)
    #expect(FlowRows(dense, imageShape: image) == nil)
  }

  private struct ManyRanks: Ranks {
    var rank: Int { 0 }
    var count: Int { 64 }
    var neighbours: Int { 64 }
    func exchange(
      _ outgoing: [UnsafeRawBufferPointer], _ incoming: [UnsafeMutableRawBufferPointer], patience: Double?
    ) {}
    func abort(_ code: Int32) -> Never { fatalError() }
    func leave() {}
  }

  /// What is seen of an image in rows: all values, some (none in the first strips), or sums of them.
  enum Measurement: CaseIterable {
    case whole, mask, blur, circularBlur, fourierBlur
    /// The mask with a descent under the sharp density at the end.
    case descendedMask

    func map(_ own: ImageShape, whole: ImageShape, _ strips: Strips) throws -> any LinearMap {
      func blur(_ boundary: Boundary, _ path: ConvolutionMap.Path) throws -> any LinearMap {
        try ConvolutionMap(
          own, kernel: try .gaussian(deviation: 1.1), boundary: boundary, path: path, strips: strips)
      }
      switch self {
      case .whole: return IdentityMap(own)
      case .mask, .descendedMask:
        var random = Philox(seed: 2, purpose: .mask)
        let seen = (0..<whole.count).map { random.uniform() < 0.6 && $0 >= 7 * whole.width }
        return try MaskMap(own, mask: StripTests.own(seen, whole, strips.rows()))
      case .blur: return try blur(.reflect, .separable)
      case .circularBlur: return try blur(.circular, .fourier)
      case .fourierBlur: return try blur(.zero, .fourier)
      }
    }
  }

  @Test(arguments: Measurement.allCases, [1, 3])
  func aPathInStripsGivesTheSameBits(_ measurement: Measurement, channels: Int) throws {
    let image = Self.shape(19, 14, channels)
    try expectSamePath(measurement, image) {
      try prior(image, patch: Self.shape(4, 4, channels), stride: 2, $0)
    }
  }

  @Test(arguments: [Measurement.whole, .mask, .descendedMask]) func aPathUnderAFlowInStripsGivesTheSameBits(
    _ measurement: Measurement
  ) throws {
    try expectSamePath(measurement, RowFlow.glow.image) { try RowFlow.glow.prior($0) }
  }

  private func expectSamePath(
    _ measurement: Measurement, _ image: ImageShape, prior: @escaping (any Ranks) throws -> any Prior
  ) throws {
    let channels = image.channels
    let truth = randomVector(image.count, seed: 7).map { 0.5 + 0.3 * $0 }
    var lags: [Float] = []
    for y in -5...5 {
      for x in -5...5 {
        for (a, b) in LagCovariance.pairs(channels) {
          lags.append((a == b ? 0.05 : 0.03) * Float(pow(0.7, Double(abs(y) + abs(x)))))
        }
      }
    }
    let covariance = LagCovariance(channels: channels, lagY: 5, lagX: 5, values: lags)
    func solve(_ ranks: any Ranks, threads: Int) throws -> ReconstructionResult {
      let prior = try prior(ranks)
      let strips = try #require(prior.strips)
      let own = prior.imageShape
      let gaussian = try GaussianPrior(
        channelMeans: (0..<channels).map { 0.4 + 0.1 * Double($0) },
        covariance: StationaryCovariance(own, lags: covariance, strips: strips, Scratch()))
      let map = try measurement.map(own, whole: image, strips)
      let scratch = Scratch(pool: ThreadPool(threads: 1, strips: strips))
      let pixels = try Tensor(Self.own(truth, image, strips.rows()))
      var y = try Tensor<Double>(count: map.output.count)
      try y.withMemory { try map.apply(pixels.view, into: $0, scratch) }
      let problem = try InverseProblem(
        maps: [map], noises: [GaussianNoise(sigma: 0.1)], observations: [y], imageShape: own)
      var options = ReconstructionOptions()
      if measurement == .descendedMask {
        options.smooth = SmoothPath(states: 18, end: 1, lambda: 0.25, finish: 10)
      }
      return try Reconstructor(
        problem: problem, prior: prior, gaussian: gaussian, options: options,
        pool: ThreadPool(threads: threads)
      ).run()[0]
    }
    let whole = try solve(OneRank(), threads: 1)
    #expect(whole.path == "smooth" && whole.objective?.isFinite == true)
    #expect((whole.gaussian != nil) == (measurement == .descendedMask))
    for (ranks, threads) in [(1, 2), (2, 1), (3, 2), (5, 1)] {
      let parts = try ThreadRanks.run(ranks) { try solve($0, threads: threads) }
      #expect(parts.flatMap(\.image.elements) == whole.image.elements)
      for part in parts {
        #expect(part.objective == whole.objective && part.recon == whole.recon && part.reg == whole.reg)
        #expect(part.gaussian == whole.gaussian && part.iterations == whole.iterations)
        #expect(part.misfit == whole.misfit && part.evaluations == whole.evaluations)
        #expect(part.trace.map(\.objective) == whole.trace.map(\.objective))
        #expect(part.trace.map(\.gradientNorm) == whole.trace.map(\.gradientNorm))
      }
    }
  }

  /// A rank that is lost in a sum is told by the next step that can throw.
  @Test func aLostRankIsTold() throws {
    struct Lost: Ranks {
      var rank: Int { 0 }
      var count: Int { 2 }
      var neighbours: Int { 2 }
      func exchange(
        _ outgoing: [UnsafeRawBufferPointer], _ incoming: [UnsafeMutableRawBufferPointer], patience: Double?
      ) throws { throw RankError.silent(ranks: [1], seconds: 5) }
      func abort(_ code: Int32) -> Never { fatalError() }
      func leave() {}
    }
    let strips = Strips(ranks: Lost(), height: 4)
    let x = try Tensor([1.0, 2])
    #expect(x.view.total(ThreadPool(threads: 1, strips: strips)).isNaN)
    #expect(!x.view.isFinite(ThreadPool(threads: 1, strips: strips)))
    #expect(throws: RankError.silent(ranks: [1], seconds: 5)) { try strips.check() }
    let prior = try prior(Self.shape(8, 8), patch: Self.shape(4, 4), stride: 2, Lost())
    #expect(throws: RankError.silent(ranks: [1], seconds: 5)) {
      try prior.evaluate([Double](repeating: 0.5, count: prior.count))
    }
  }
}
