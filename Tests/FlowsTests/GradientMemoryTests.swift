import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import Testing

/// Inputs recomputed on the way back, or kept.
@Suite struct GradientMemoryTests {
  private func glow(
    steps: Int = 2, activation: NetSpec.Activation = .relu, threads: Int = 1
  ) throws -> Flow<Float> {
    let flow = try Flow<Float>(
      spec: .glow(levels: 2, steps: steps, hidden: 8, activation: activation),
      imageShape: ImageShape(height: 8, width: 8, channels: 3), seed: 1, pool: ThreadPool(threads: threads))
    try randomizeParameters(of: flow, seed: 1, scale: 0.02)
    return flow
  }

  /// Scratch memory of each gradient: of x, of ε along the way and from the image, of the parameters.
  private func bytes(steps: Int, _ memory: GradientMemory) throws -> [Int] {
    let x: Tensor<Float> = try normal([4, 8, 8, 3], seed: 1)
    func used(_ body: (Flow<Float>) throws -> Void) throws -> Int {
      let flow = try glow(steps: steps)
      flow.gradientMemory = memory
      try body(flow)
      return flow.workspaceBytes
    }
    return try [
      used { _ = try $0.evaluateWithGradient(x) },
      used { _ = try latentGradient(of: $0, try $0.sampleLatents(indices: 0..<4, temperature: 1, seed: 1)) },
      used { _ = try $0.decodeGradient(at: x, imageCotangent: x, logDetCotangent: [1, 1, 1, 1]) },
      used {
        var gradient: [Float] = []
        _ = try $0.trainingGradient(x, gradient: &gradient)
      },
    ]
  }

  /// Of ½‖x‖² + log-det by ε.
  private func latentGradient(of flow: Flow<Float>, _ latents: Tensor<Float>) throws -> DecodeGradient<Float>
  {
    var result = try DecodeGradient<Float>()
    try flow.decodeWithGradient(latents, &result) { result, part in
      for i in part {
        result.logDetCotangent[i] = 1
        for k in i * flow.dimension..<(i + 1) * flow.dimension {
          result.imageCotangent[flat: k] = result.images[flat: k]
        }
      }
    }
    return result
  }

  /// On one thread, as on several chance decides which of them needs how much.
  @Test func flatMemoryDoesNotGrowWithDepth() throws {
    let (shallow, deep) = (try bytes(steps: 4, .flat), try bytes(steps: 64, .flat))
    for (shallow, deep) in zip(shallow, deep) {
      #expect(shallow > 0)
      #expect(abs(Double(deep - shallow)) <= 0.05 * Double(shallow), "\(shallow) bytes, then \(deep)")
    }
  }

  /// All that a call takes stays below the limit; and the way back through `decode` keeps nothing.
  @Test func keptMemoryIsBounded() throws {
    let flat = try bytes(steps: 64, .flat)
    let kept = try bytes(steps: 64, .kept)
    #expect(kept[0] > 2 * flat[0] && kept[1] > 2 * flat[1] && kept[2] == flat[2] && kept[3] > flat[3])
    let limit = 1_200_000
    let some = try bytes(steps: 64, .upTo(bytes: limit))
    for some in some { #expect(some <= limit) }
    #expect(kept.contains { $0 > limit })
  }

  /// A plan says what a call then takes: no less, and not much more.
  @Test(
    arguments: [GradientMemory.flat, .kept, .automatic, .upTo(bytes: 1 << 20)],
    [NetSpec.Activation.relu, .silu])
  func plansAreKept(_ memory: GradientMemory, _ activation: NetSpec.Activation) throws {
    let glow = FlowSpec.glow(levels: 2, steps: 4, hidden: 24, activation: activation)
    for (height, count, spec) in [(8, 4, glow), (64, 1, glow), (32, 3, glow), (32, 3, glow.conditioned())] {
      let shape = ImageShape(height: height, width: 24, channels: 3)
      let x: Tensor<Float> = try normal([count, height, 24, 3], seed: 1)
      for purpose in [FlowPlan.Purpose.value, .gradient, .parameterGradient] {
        let flow = try Flow<Float>(spec: spec, imageShape: shape, seed: 1, pool: ThreadPool(threads: 1))
        try randomizeParameters(of: flow, seed: 1, scale: 0.02)
        flow.gradientMemory = memory
        guard let plan = try? flow.plan(purpose, count: count) else { continue }
        switch purpose {
        case .value: _ = try flow.evaluate(x)
        case .gradient: _ = try flow.evaluateWithGradient(x)
        case .parameterGradient:
          var gradient: [Float] = []
          _ = try flow.trainingGradient(x, gradient: &gradient)
        }
        // What begins at multiples of 64 bytes takes a little more.
        #expect(flow.workspaceBytes <= plan.bytes + 8192, "\(purpose) \(height) \(plan)")
        #expect(plan.bytes <= 3 * flow.workspaceBytes, "\(purpose) \(height) \(plan)")
        if case .upTo(let bytes) = memory { #expect(plan.bytes <= bytes) }
      }
    }
  }

  @Test func memoryIsReused() throws {
    for memory in [GradientMemory.flat, .kept] {
      let flow = try glow()
      flow.gradientMemory = memory
      let x: Tensor<Float> = try normal([4, 8, 8, 3], seed: 1)
      _ = try flow.evaluateWithGradient(x)
      let before = flow.workspaceBytes
      for _ in 0..<20 {
        _ = try flow.evaluateWithGradient(x)
        _ = try flow.evaluate(x)
      }
      #expect(Double(flow.workspaceBytes) <= 1.05 * Double(before))
    }
  }

  /// Whatever is kept, of however many images at a time, in whatever strips, on any number of threads: the same bits,
  /// those of the parameters' gradients too.
  @Test(arguments: [1, 3], [NetSpec.Activation.relu, .silu])
  func partsGiveTheSameBits(threads: Int, _ activation: NetSpec.Activation) throws {
    let whole = try glow(activation: activation)
    let parted = try glow(activation: activation, threads: threads)
    whole.gradientMemory = .kept
    var plans: Set<FlowPlan> = []
    // Four steps from each power of two to the next.
    for k in 48..<88 {
      parted.gradientMemory = .upTo(bytes: (4 + k % 4) << (k / 4 - 2))
      for purpose in [FlowPlan.Purpose.gradient, .parameterGradient] {
        guard let plan = try? parted.plan(purpose, count: 7) else { continue }
        if plans.insert(plan).inserted { try expectSameBits(whole, parted, purpose) }
      }
    }
    #expect(plans.count > 4 && plans.contains { $0.imagesAtOnce < 7 })
  }

  private func expectSameBits(_ whole: Flow<Float>, _ parted: Flow<Float>, _ purpose: FlowPlan.Purpose) throws
  {
    let x: Tensor<Float> = try normal([7, 8, 8, 3], seed: 2)
    let z: Tensor<Float> = try normal([7, 192], seed: 3)
    let ones = [Double](repeating: 1, count: 7)
    // An eighth of the batch is one image.
    var (first, second): ([Float], [Float]) = ([], [])
    if purpose == .parameterGradient {
      #expect(
        try whole.trainingGradient(x, gradient: &first) == parted.trainingGradient(x, gradient: &second))
      #expect(first == second)
      return
    }
    let (a, b) = (try whole.evaluateWithGradient(x), try parted.evaluateWithGradient(x))
    #expect(a.logProb == b.logProb && a.gradient == b.gradient)
    #expect(
      try whole.encodeGradient(at: x, latentCotangent: z, logDetCotangent: ones)
        == parted.encodeGradient(at: x, latentCotangent: z, logDetCotangent: ones))
    let (there, here) = (try latentGradient(of: whole, z), try latentGradient(of: parted, z))
    #expect(there.images == here.images && there.logDet == here.logDet && there.gradient == here.gradient)
  }

  /// The gradient on the way agrees with the one from the image.
  @Test func latentGradientsAgree() throws {
    let flow = try glow()
    let z: Tensor<Float> = try normal([3, 192], seed: 3)
    for memory in [GradientMemory.kept, .flat] {
      flow.gradientMemory = memory
      let found = try latentGradient(of: flow, z)
      let (images, logDet) = try flow.decode(z)
      #expect(found.images == images && found.logDet == logDet)
      let expected = try flow.decodeGradient(at: images, imageCotangent: images, logDetCotangent: [1, 1, 1])
      let scale = expected.elements.reduce(0) { max($0, $1.magnitude) }
      #expect(
        zip(found.gradient.elements, expected.elements).allSatisfy { ($0 - $1).magnitude <= 1e-4 * scale })
      #expect(memory == .kept || found.gradient == expected)
    }
  }

  /// What can't be had is refused, with the size that could; nothing else is done instead.
  @Test func tooLittleForOneImageIsRefused() throws {
    let flow = try glow().at(ImageShape(height: 64, width: 128, channels: 3))
    let x: Tensor<Float> = try normal([1, 64, 128, 3], seed: 2)
    flow.gradientMemory = .upTo(bytes: 400_000)
    let error = try #require(throws: FlowError.self) { _ = try flow.evaluateWithGradient(x) }
    guard case .tooLarge(let shape, .gradient, let bytes, 400_000, let fits?) = error else {
      Issue.record("\(error)")
      return
    }
    #expect(shape == flow.imageShape && bytes > 400_000)
    #expect(fits.height < 64 && fits.height % 4 == 0 && fits.width == 2 * fits.height)
    // That one fits, and the next one wouldn't.
    let smaller = try flow.at(fits)
    _ = try smaller.evaluateWithGradient(try normal([1, fits.height, fits.width, 3], seed: 2))
    let next = try flow.at(ImageShape(height: fits.height + 4, width: fits.width + 8, channels: 3))
    #expect(throws: FlowError.self) { try next.plan(.gradient, count: 1) }
    flow.gradientMemory = .upTo(bytes: 1000)
    let none = try #require(throws: FlowError.self) { _ = try flow.evaluateWithGradient(x) }
    #expect("\(none)".hasSuffix("no size fits"))
  }

  @Test func automaticIsExact() throws {
    let flow = try glow()
    let x: Tensor<Float> = try normal([3, 8, 8, 3], seed: 2)
    flow.gradientMemory = .flat
    let flat = try flow.evaluateWithGradient(x).gradient
    flow.gradientMemory = .automatic
    let found = try flow.evaluateWithGradient(x).gradient
    flow.gradientMemory = .kept
    #expect(try flow.evaluateWithGradient(x).gradient == found)
    #expect(found != flat)
  }

  // MARK: A scale that underflows

  /// Three couplings with rotations between them, of which the middle one scales its channels by about e^bias.
  private func shrinking<Scalar: KernelScalar>(_: Scalar.Type, bias: Double) throws -> Flow<Scalar> {
    let flow = try Flow<Scalar>(
      spec: FlowSpec(layers: [
        .squeeze(.interleaved), .actnorm, .conv1x1(.plu), FlowCase.coupling(), .conv1x1(.plu),
        FlowCase.coupling(),
        .conv1x1(.plu), FlowCase.coupling(.secondHalf),
      ]), imageShape: ImageShape(height: 4, width: 4, channels: 1), seed: 3,
      pool: ThreadPool(threads: 1))
    try randomizeParameters(of: flow, seed: 4)
    var tensors = flow.namedTensors
    let last = try #require(
      tensors.lastIndex { $0.name.hasPrefix("layers.5.net.") && $0.name.hasSuffix(".bias") })
    var values: [Scalar] = tensors[last].values.scalars(as: Scalar.self)
    // Shifts first, then scales.
    for k in values.count / 2..<values.count { values[k] = Scalar(bias) }
    tensors[last] = NamedTensor(name: tensors[last].name, shape: tensors[last].shape, scalars: values)
    // Both precisions get the same numbers.
    try flow.load(tensors)
    try flow.setParameters(flow.parameters.map { Scalar(Float($0)) })
    return flow
  }

  /// Central differences of log p of one image, in double precision.
  private func differences(of flow: Flow<Double>, at x: Tensor<Double>) throws -> [Double] {
    let d = flow.dimension
    var plus = try x.rows([Int](repeating: 0, count: d))
    var minus = plus
    for j in 0..<d {
      plus[flat: j * d + j] += 1e-5
      minus[flat: j * d + j] -= 1e-5
    }
    return zip(try flow.evaluate(plus), try flow.evaluate(minus)).map { ($0 - $1) / 2e-5 }
  }

  private func distance<Scalar: KernelScalar>(_ a: [Scalar], _ b: [Double]) -> Double {
    guard a.count == b.count, a.allSatisfy({ $0.isFinite }) else { return .infinity }
    let scale = b.reduce(1) { max($0, $1.magnitude) }
    return zip(a, b).reduce(0) { max($0, (Double($1.0) - $1.1).magnitude) } / scale
  }

  /// What such a coupling scales down is lost below the rounding of its neighbours, so it can't be recomputed; with
  /// its input kept, the gradients are right.
  @Test(arguments: [-20.0, -40, -120]) func scaleThatUnderflows(bias: Double) throws {
    let exact = try shrinking(Double.self, bias: bias)
    let single = try shrinking(Float.self, bias: bias)
    let x: Tensor<Float> = try normal([1, 4, 4, 1], seed: 5)
    let wide = try x.converted(to: Double.self)
    let expected = try differences(of: exact, at: wide)
    for flow in [GradientMemory.kept, .automatic] {
      exact.gradientMemory = flow
      single.gradientMemory = flow
      #expect(distance(try exact.evaluateWithGradient(wide).gradient.elements, expected) < 1e-7)
      #expect(distance(try single.evaluateWithGradient(x).gradient.elements, expected) < 1e-3)
      var gradient: [Double] = []
      var rounded: [Float] = []
      _ = try exact.trainingGradient(wide, gradient: &gradient)
      _ = try single.trainingGradient(x, gradient: &rounded)
      #expect(distance(rounded, gradient) < 1e-3)
    }
    // The reason for keeping: without it the single-precision gradient is far off.
    single.gradientMemory = .flat
    #expect(!(distance(try single.evaluateWithGradient(x).gradient.elements, expected) < 1e-2))
  }
}
