import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

/// Any size, any number of channels, any number of threads.
@Suite struct SizeTests {
  private func prior(_ shape: ImageShape, threads: Int = 1) throws -> FlowPrior<Float> {
    let flow = try Flow<Float>(
      spec: .glow(levels: 1, steps: 2, hidden: 6), imageShape: shape, seed: 1,
      pool: ThreadPool(threads: threads))
    try randomizeParameters(of: flow, seed: 2, scale: 0.05)
    return FlowPrior(flow)
  }

  private func observed(_ map: any Map, seed: UInt64) throws -> [Double] {
    let truth = randomVector(map.input.count, seed: seed).map { 0.5 + 0.2 * $0 }
    return adding(try map.apply(truth), randomVector(map.output.count, seed: seed + 1), scaledBy: 0.1)
  }

  /// A colour image of 256 × 256 with a quarter of its values missing: the objective falls within few evaluations, and
  /// what is seen is followed.
  @Test func aLargeColourImage() throws {
    let shape = ImageShape(height: 256, width: 256, channels: 3)
    let map = try MaskMap(shape, mask: (0..<shape.count).map { $0 % 4 != 1 })
    let y = try observed(map, seed: 5)
    var options = ReconstructionOptions()
    options.path = .lambda
    options.lambda = .value(1)
    options.maximumEvaluations = 8
    options.isotropicCurvature = 1
    let result = try reconstruct(
      InverseProblem(map, GaussianNoise(sigma: 0.1), [y]), try prior(shape, threads: 2), nil, options,
      threads: 2)[0]
    #expect(result.evaluations <= 9 && result.trace.count > 2)
    #expect(try #require(result.objective).isFinite)
    let start = try #require(result.trace.first)
    let end = try #require(result.trace.last)
    #expect(end.recon + end.flow! < start.recon + start.flow!)
    #expect(result.misfit < 2)
    #expect(result.image.shape == [256, 256, 3])
  }

  /// Every method at odd sizes, with one channel and three, on one thread, on two and on five: images beside each other,
  /// and one image on all threads, are the same bits.
  @Test func theSameBitsOnAnyNumberOfThreads() throws {
    for shape in [
      ImageShape(height: 6, width: 10, channels: 3), ImageShape(height: 14, width: 2, channels: 1),
    ] {
      let gaussian = try GaussianPrior(
        imageShape: shape, mean: [Double](repeating: 0.5, count: shape.count),
        covariance: try randomCovariance(shape.count, seed: 3))
      for map in try [
        IdentityMap(shape), MaskMap(shape, mask: (0..<shape.count).map { $0 % 3 != 0 }),
        DenseMap.gaussian(measurements: 17, input: shape, seed: 1),
      ] as [any LinearMap] {
        let observations = try (0..<3).map { try observed(map, seed: UInt64(10 + $0)) }
        for method in ReconstructionMethod.allCases {
          for space in SolutionSpace.allCases where method == .aipo || space == .x {
            var options = ReconstructionOptions()
            options.method = method
            options.space = space
            options.maximumEvaluations = 16
            options.restarts = method == .restarts ? 2 : nil
            let runs = try [1, 2, 5].map { threads in
              try reconstruct(
                InverseProblem(map, GaussianNoise(sigma: 0.1), observations), prior(shape, threads: threads),
                gaussian,
                options, threads: threads)
            }
            for run in runs {
              #expect(run.map(\.index) == [0, 1, 2])
              for (result, first) in zip(run, runs[0]) {
                #expect(
                  result.image == first.image && result.target == first.target, "\(shape) \(map) \(method)")
                #expect(result.evaluations == first.evaluations && result.reason == first.reason)
              }
            }
            // An image alone is what it is among others.
            options.sourceIndices = [2]
            let alone = try reconstruct(
              InverseProblem(map, GaussianNoise(sigma: 0.1), [observations[2]]), prior(shape), gaussian,
              options)[0]
            #expect(alone.image == runs[0][2].image && alone.evaluations == runs[0][2].evaluations)
          }
        }
      }
    }
  }

  /// Long vectors are cut into blocks for the threads: one image, one after the other, of more than a block.
  @Test func largeImagesAreTheSameBits() throws {
    let shape = ImageShape(height: 122, width: 94, channels: 3)
    let map = try MaskMap(shape, mask: (0..<shape.count).map { $0 % 5 != 1 })
    let y = try observed(map, seed: 5)
    for space in SolutionSpace.allCases {
      for minimizer in MinimizerChoice.allCases {
        var options = ReconstructionOptions()
        options.path = .lambda
        options.lambda = .value(1)
        options.space = space
        options.minimizer = minimizer.makeMinimizer
        options.maximumEvaluations = 8
        options.isotropicCurvature = 1
        let runs = try [1, 2, 5].map { threads in
          try reconstruct(
            InverseProblem(map, GaussianNoise(sigma: 0.1), [y]), prior(shape, threads: threads), nil, options,
            threads: threads)[0]
        }
        for run in runs.dropFirst() {
          #expect(run.image == runs[0].image && run.objective == runs[0].objective, "\(space) \(minimizer)")
        }
      }
    }
  }
}
