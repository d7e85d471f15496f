import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import CAIPOAllocationCounting
import Testing

/// A pass after the first takes no memory: calls of malloc are counted.
@Suite(.enabled(if: allocation_counting_works() != 0)) struct AllocationTests {
  static let specs: [(name: String, spec: FlowSpec)] = [
    ("Glow", .glow(levels: 2, steps: 2, hidden: 8)),
    (
      "Glow, smooth, learned base",
      .glow(levels: 2, steps: 1, hidden: 6, base: .learnedGaussian, activation: .silu)
    ),
    ("RealNVP", .realNVP(levels: 2, couplings: 2, hidden: 6, blocks: 1)),
  ]

  /// The most calls in three runs after two first ones.
  private func calls(_ body: () throws -> Void) rethrows -> Int {
    for _ in 0..<2 { try body() }
    var most = 0
    for _ in 0..<3 {
      allocation_counting_start()
      try body()
      most = max(most, allocation_counting_stop())
    }
    return most
  }

  @Test func callsAreCounted() throws {
    #expect(calls { withExtendedLifetime(try? Tensor<Float>(shape: [100])) {} } > 0)
  }

  /// On two threads where each has its share of the images, nothing but the box of the closure that they share (two,
  /// where a way there and a way back are shared apart); where both work on one image or on parameter gradients, chance
  /// decides how much of the work, and so of the scratch memory, each takes.
  @Test(arguments: specs.indices, [1, 2]) func passesTakeNoMemory(_ index: Int, _ threads: Int) throws {
    let flow = try Flow<Float>(
      spec: Self.specs[index].spec, imageShape: ImageShape(height: 8, width: 8, channels: 1), seed: 1,
      pool: ThreadPool(threads: threads))
    try randomizeParameters(of: flow, seed: 2, scale: 0.05)
    let boxes = threads - 1
    for count in threads == 1 ? [1, 5] : [5] {
      let latents = try flow.sampleLatents(indices: 0..<count, temperature: 1, seed: 1)
      let x = try flow.decode(latents).images
      var (values, gradient) = ([Double](repeating: 0, count: count), try Tensor<Float>(shape: x.shape))
      var (images, codes) = (gradient, latents)
      var parameterGradient: [Float] = []
      var latentGradient = try DecodeGradient<Float>()
      for memory in [GradientMemory.automatic, .flat] {
        flow.gradientMemory = memory
        #expect(try calls { try flow.evaluate(x, logProb: &values) } <= boxes)
        #expect(try calls { try flow.encode(x, latents: &codes, logDet: &values) } <= boxes)
        #expect(try calls { try flow.decode(latents, images: &images, logDet: &values) } <= boxes)
        #expect(
          try calls { try flow.evaluateWithGradient(x, logProb: &values, gradient: &gradient) }
            <= boxes)
        if threads == 1 {
          #expect(
            try calls {
              try flow.trainingGradient(x, nats: &values, gradient: &parameterGradient)
            } <= boxes)
        }
        #expect(
          try calls {
            try flow.decodeWithGradient(latents, &latentGradient) { result, part in
              for i in part { result.logDetCotangent[i] = 1 }
            }
          } <= 2 * boxes)
      }
    }
  }
}
