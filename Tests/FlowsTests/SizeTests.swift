import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import Testing

/// A net at sizes that it wasn't made for, and images in strips of rows.
@Suite struct SizeTests {
  private static let made = ImageShape(height: 4, width: 4, channels: 1)

  /// Inverse, log-determinant against the dense Jacobian's to 1e-10, all gradients, and bits.
  @Test(arguments: [(4, 8, 1), (8, 4, 1), (12, 4, 1), (8, 8, 1), (4, 12, 3)])
  func everyPropertyHoldsAtOtherSizes(_ height: Int, _ width: Int, _ channels: Int) throws {
    let specs: [FlowSpec] = [
      .glow(levels: 2, steps: 2, hidden: 5, base: .learnedGaussian, activation: .silu),
      .realNVP(levels: 2, couplings: 1, hidden: 4, blocks: 1, base: .learnedGaussian, activation: .silu),
    ]
    for spec in specs {
      let checks = FlowChecks<Double> {
        let made = ImageShape(height: 4, width: 4, channels: channels)
        let flow = try Flow<Double>(spec: spec, imageShape: made, seed: 3, pool: $0)
        return try flow.at(ImageShape(height: height, width: width, channels: channels))
      }
      for result in try checks.measure() { #expect(result.holds, "\(result)") }
    }
  }

  /// A flow made for a size, and one of another size taken there, with the same numbers.
  @Test func sizeOfTheMakingDoesNotMatter() throws {
    let spec = FlowSpec.glow(levels: 2, steps: 2, hidden: 6, base: .learnedGaussian)
    let small = try Flow<Float>(spec: spec, imageShape: Self.made, seed: 1, pool: ThreadPool(threads: 1))
    try randomizeParameters(of: small, seed: 2)
    let shape = ImageShape(height: 12, width: 20, channels: 1)
    let large = try Flow<Float>(
      spec: spec, imageShape: shape, tensors: small.namedTensors, pool: ThreadPool(threads: 1))
    let x: Tensor<Float> = try images(2, shape)
    let (a, b) = (try small.at(shape).evaluateWithGradient(x), try large.evaluateWithGradient(x))
    #expect(a.logProb == b.logProb && a.gradient == b.gradient)
    #expect(try small.at(Self.made) === small)
  }

  /// A base with a mean and a scale a channel has the same ones everywhere: the density of four times the pixels of a
  /// flow without windows is that of the four parts together.
  @Test func baseIsSharedOverPositions() throws {
    let spec = FlowSpec(
      base: .learnedGaussian, layers: [.squeeze(.interleaved), .actnorm, .conv1x1(.plu), .split])
    let small = try Flow<Double>(spec: spec, imageShape: Self.made, seed: 1)
    try randomizeParameters(of: small, seed: 2)
    let large = try small.at(ImageShape(height: 16, width: 4, channels: 1))
    let x: Tensor<Double> = try images(4, Self.made)
    let parts = try small.logProb(x).reduce(0, +)
    let whole = try large.logProb(x.reshaped([1, 16, 4, 1]))[0]
    #expect((whole - parts).magnitude < 1e-10 * parts.magnitude)
  }

  @Test func sizesThatDoNotFitAreRefused() throws {
    func reason(_ spec: FlowSpec, _ h: Int, _ w: Int, _ c: Int) throws -> String {
      let flow = try Flow<Float>(spec: spec, imageShape: Self.made, pool: ThreadPool(threads: 1))
      let shape = ImageShape(height: h, width: w, channels: c)
      #expect(!flow.net.accepts(shape))
      let error = #expect(throws: FlowError.self) { try flow.at(shape) }
      return error.map { "\($0)" } ?? ""
    }
    let glow = FlowSpec.glow(levels: 2, steps: 1, hidden: 4)
    #expect(try reason(glow, 8, 6, 1).hasSuffix("8x6x1: height and width divisible by 4"))
    #expect(try reason(glow, 8, 8, 3).hasSuffix("it is for images of 1 channels"))
    let own = FlowSpec.glow(levels: 2, steps: 1, hidden: 4, base: .diagonalGaussian)
    #expect(
      try reason(own, 8, 8, 1).hasSuffix(
        "its base density has a mean and a scale for every value; 4x4x1 alone fits"))
    let far = FlowSpec(layers: [.squeeze(.contiguous), .actnorm])
    #expect(try reason(far, 8, 8, 1).contains("its contiguous squeeze joins places far apart"))
  }

  // MARK: Strips

  private func images<Scalar: KernelScalar>(_ count: Int, _ shape: ImageShape) throws -> Tensor<Scalar> {
    var random = Philox(seed: 7, purpose: .test)
    return try Tensor(
      shape: [count, shape.height, shape.width, shape.channels],
      elements: (0..<count * shape.count).map { _ in Scalar(0.5 + 0.5 * random.normal()) })
  }

  /// Every kind of coupling, with the least memory in which a call can be had and half as much again: strips of one row
  /// or few, with nets kept or their inputs alone.
  @Test(
    arguments: FlowCase.couplings.filter { $0.name.contains("sigmoid") || $0.name.contains("unbounded") }
      + FlowCase.conditioned.filter { $0.name.contains("coupling") })
  func stripsGiveTheSameBits(_ coupling: FlowCase) throws {
    let shape = ImageShape(height: 37, width: 9, channels: 3)
    for threads in [1, 2] {
      let whole = try coupling.make(Float.self).at(shape)
      try randomizeParameters(of: whole, seed: 3)
      let some = try Flow(net: whole.net, imageShape: shape, pool: ThreadPool(threads: threads))
      whole.gradientMemory = .kept
      for (count, purpose) in [
        (1, FlowPlan.Purpose.value), (1, .gradient), (3, .gradient), (1, .parameterGradient),
        (9, .parameterGradient),
      ] {
        let x: Tensor<Float> = try images(count, shape)
        let noise = coupling.spec?.condition == nil ? [] : (0..<count).map { [0.02, 0.3, 0.1][$0 % 3] }
        func density(_ flow: Flow<Float>) throws -> Flow<Float> {
          noise.isEmpty ? flow : try flow.smoothed(by: noise)
        }
        let (whole, some) = (try density(whole), try density(some))
        let latents = try whole.encode(x)
        let exact = try whole.evaluateWithGradient(x)
        var (parameters, found): ([Float], [Float]) = ([], [])
        let nats = try whole.trainingGradient(x, gradient: &parameters)
        let least = try least(some, purpose, count)
        for bytes in [least, least + least / 2] {
          let some = try density(Flow(net: some.net, imageShape: shape, pool: some.pool))
          some.gradientMemory = .upTo(bytes: bytes)
          if purpose == .value {
            let found = try some.encode(x)
            #expect(found.latents == latents.latents && found.logDet == latents.logDet)
            #expect(try some.decode(found.latents).images == whole.decode(found.latents).images)
          } else if purpose == .parameterGradient {
            #expect(try some.trainingGradient(x, gradient: &found) == nats && found == parameters, "\(bytes)")
          } else {
            let found = try some.evaluateWithGradient(x)
            #expect(found.logProb == exact.logProb && found.gradient == exact.gradient, "\(bytes)")
          }
          #expect(some.workspaceBytes <= bytes + 4096, "\(purpose) of \(count) on \(threads) threads")
        }
        some.gradientMemory = .flat
        whole.gradientMemory = .flat
        #expect(try some.evaluateWithGradient(x).gradient == whole.evaluateWithGradient(x).gradient)
        whole.gradientMemory = .kept
      }
    }
  }

  /// The least bytes for which there is a plan.
  private func least(_ flow: Flow<Float>, _ purpose: FlowPlan.Purpose, _ count: Int) throws -> Int {
    var (low, high) = (0, 1 << 30)
    while high - low > 1 {
      let middle = (low + high) / 2
      flow.gradientMemory = .upTo(bytes: middle)
      if (try? flow.plan(purpose, count: count)) == nil { low = middle } else { high = middle }
    }
    return high
  }

  // MARK: Several threads at once

  /// Passes of one net at three sizes on four threads at once give what they give one after the other.
  @Test func passesRunAtOnce() throws {
    let spec = FlowSpec.glow(levels: 2, steps: 2, hidden: 8)
    let first = try Flow<Float>(spec: spec, imageShape: Self.made, seed: 1, pool: ThreadPool(threads: 2))
    try randomizeParameters(of: first, seed: 2)
    let flows = try [(4, 4), (16, 8), (24, 24)].map {
      try first.at(ImageShape(height: $0.0, width: $0.1, channels: 1))
    }
    let inputs: [Tensor<Float>] = try flows.map { try images(3, $0.imageShape) }
    let expected = try zip(flows, inputs).map { try $0.evaluateWithGradient($1) }
    let team = ThreadPool(threads: 4)
    try team.run(48) { k, _ in
      let found = try flows[k % 3].evaluateWithGradient(inputs[k % 3])
      #expect(found.logProb == expected[k % 3].logProb && found.gradient == expected[k % 3].gradient)
    }
  }
}
