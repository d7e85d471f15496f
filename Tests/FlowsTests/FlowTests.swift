import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import Foundation
import Testing

@Suite struct FlowTests {
  private func glow<Scalar: KernelScalar>(
    _: Scalar.Type = Scalar.self, steps: Int = 2, base: FlowSpec.Base = .gaussian, seed: UInt64 = 1,
    threads: Int = 1
  ) throws -> Flow<Scalar> {
    try Flow(
      spec: .glow(levels: 2, steps: steps, hidden: 8, base: base),
      imageShape: ImageShape(height: 8, width: 8, channels: 3), seed: seed, pool: ThreadPool(threads: threads)
    )
  }

  // MARK: Start

  /// Every actnorm must give the batch zero mean and unit variance a channel where it stands: the flow is built up
  /// layer by layer, so that its latents are the activations after each.
  @Test(arguments: [Double.self, Float.self] as [any KernelScalar.Type])
  func initialization(_ type: any KernelScalar.Type) throws { try initializes(type) }

  private func initializes<Scalar: KernelScalar>(_: Scalar.Type) throws {
    let steps: [LayerSpec] = [
      .actnorm, .conv1x1(.plu), FlowCase.coupling(), .actnorm, .squeeze(.interleaved), .actnorm,
    ]
    let shape = ImageShape(height: 4, width: 6, channels: 2)
    let batch: Tensor<Scalar> = try normal([9, 4, 6, 2], seed: 2, mean: 3, deviation: 7)
    for end in [1, 4, 6] {
      let flow = try Flow<Scalar>(spec: FlowSpec(layers: Array(steps[..<end])), imageShape: shape, seed: 4)
      try flow.initialize(from: batch)
      let latents = try flow.encode(batch).latents.elements.map { Double($0) }
      let channels = end == 6 ? 8 : 2
      for c in 0..<channels {
        let values = stride(from: c, to: latents.count, by: channels).map { latents[$0] }
        let mean = values.reduce(0, +) / Double(values.count)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
        let limit = Scalar.self == Double.self ? 1e-12 : 1e-5
        #expect(
          abs(mean) < limit && abs(variance - 1) < limit, "\(end) layers, channel \(c): \(mean), \(variance)")
      }
      // Once only: another batch changes nothing.
      let parameters = flow.parameters
      try flow.initialize(from: try normal([2, 4, 6, 2], seed: 3))
      #expect(flow.parameters == parameters)
    }
  }

  @Test func initializationFromBadBatches() throws {
    let flow = try glow(Float.self)
    var batch: Tensor<Float> = try normal([2, 8, 8, 3], seed: 1)
    batch[flat: 5] = .nan
    #expect(throws: FlowError.self) { try flow.initialize(from: batch) }
    #expect(throws: FlowError.self) { try flow.initialize(from: try Tensor(shape: [0, 8, 8, 3])) }
    #expect(throws: FlowError.self) { try flow.initialize(from: try Tensor(shape: [2, 8, 8, 1])) }
    // A constant batch has no variance, and still gives a usable flow.
    let constant = try Tensor<Float>(shape: [2, 8, 8, 3], elements: [Float](repeating: 0.25, count: 384))
    let other = try glow(Float.self)
    try other.initialize(from: constant)
    #expect(try other.evaluate(constant).allSatisfy { $0.isFinite })
  }

  // MARK: Parameters

  @Test(arguments: FlowCase.others)
  func tensorsRoundTrip(_ flow: FlowCase) throws {
    let one = try flow.make(Float.self)
    try randomizeParameters(of: one, seed: 8)
    let tensors = one.namedTensors
    #expect(Set(tensors.map(\.name)).count == tensors.count)
    let other = try flow.make(Float.self)
    try other.load(tensors.reversed())
    #expect(other.namedTensors == tensors)
    #expect(other.parameters == one.parameters)
    let x: Tensor<Float> = try normal([2, flow.shape.height, flow.shape.width, flow.shape.channels], seed: 9)
    #expect(try other.encode(x).latents == one.encode(x).latents)
  }

  @Test func tensorsThatDoNotFit() throws {
    let flow = try glow(Float.self)
    let tensors = flow.namedTensors
    func message(_ change: (inout [NamedTensor]) -> Void) -> String {
      var changed = tensors
      change(&changed)
      do {
        try flow.load(changed)
        return "no error"
      } catch { return "\(error)" }
    }
    let first = tensors[0]
    #expect(message { $0.removeFirst() } == "the tensor \(first.name) is missing")
    #expect(message { $0.append(first) } == "the tensor \(first.name) appears twice")
    #expect(
      message { $0.append(NamedTensor(name: "zeta", shape: [1], scalars: [1 as Float])) }
        == "the tensor zeta belongs to no layer of this flow")
    #expect(
      message { $0[0] = NamedTensor(name: first.name, shape: first.shape + [1], values: first.values) }
        == "the tensor \(first.name) has shape \(first.shape + [1]), expected \(first.shape)")
    #expect(
      message {
        $0[0] = NamedTensor(
          name: first.name, shape: first.shape, scalars: [Float](repeating: .nan, count: first.count))
      }.contains("\(first.name) is unusable"))
    let permutation = tensors.firstIndex { $0.name.hasSuffix(".permutation") }!
    for value in [-1, 0.5, 12, Float.greatestFiniteMagnitude] {
      #expect(
        message {
          $0[permutation] = NamedTensor(
            name: $0[permutation].name, shape: $0[permutation].shape,
            scalars: [Float](repeating: value, count: $0[permutation].count))
        }.contains("it is no permutation"))
    }
    let sign = tensors.firstIndex { $0.name.hasSuffix(".sign") }!
    #expect(
      message {
        $0[sign] = NamedTensor(
          name: $0[sign].name, shape: $0[sign].shape, scalars: [Float](repeating: 2, count: $0[sign].count))
      }.contains("expected 1 or -1"))
  }

  @Test func parametersThatCannotBeUsed() throws {
    let shape = ImageShape(height: 2, width: 2, channels: 3)
    for layer: LayerSpec in [.actnorm, .conv1x1(.plu), .conv1x1(.dense), FlowCase.coupling()] {
      let flow = try Flow<Double>(spec: FlowSpec(layers: [layer]), imageShape: shape)
      let good = flow.parameters
      for bad in [Double.nan, .infinity] {
        for position in [0, good.count - 1] {
          var values = good
          values[position] = bad
          let error = #expect(throws: FlowError.self) { try flow.setParameters(values) }
          #expect("\(error!)".contains("layers.0."), "\(error!)")
        }
      }
      try flow.setParameters(good)
      #expect(throws: FlowError.self) { try flow.setParameters(good + [0]) }
    }
    let flow = try Flow<Double>(spec: FlowSpec(layers: [.conv1x1(.dense)]), imageShape: shape)
    #expect(
      throws: FlowError.unusableParameters(
        name: "layers.0.weight", reason: "the matrix is singular at working precision")
    ) { try flow.setParameters([1, 2, 3, 2, 4, 6, 1, 0, 1]) }
  }

  @Test func randomStartDependsOnTheSeed() throws {
    #expect(try glow(Float.self, seed: 1).parameters == glow(Float.self, seed: 1).parameters)
    #expect(try glow(Float.self, seed: 1).parameters != glow(Float.self, seed: 2).parameters)
  }

  // MARK: Density

  /// At the identity the densities are known in closed form.
  @Test func closedForms() throws {
    let shape = ImageShape(height: 2, width: 3, channels: 2)
    let x: Tensor<Double> = try normal([4, 2, 3, 2], seed: 1)
    let gaussian = try Flow<Double>(spec: FlowSpec(layers: []), imageShape: shape)
    for (i, value) in try gaussian.logProb(x).enumerated() {
      let row = x.elements[i * 12..<(i + 1) * 12]
      #expect(abs(value + 0.5 * row.reduce(0) { $0 + $1 * $1 } + 6 * log(2 * Double.pi)) < 1e-12)
    }
    // A uniform base behind a logistic is the logistic density.
    let logistic = try Flow<Double>(spec: FlowSpec(base: .uniform, layers: [.logistic]), imageShape: shape)
    for (i, value) in try logistic.logProb(x).enumerated() {
      let row = x.elements[i * 12..<(i + 1) * 12]
      #expect(abs(value - row.reduce(0) { $0 - $1 - 2 * log1p(exp(-$1)) }) < 1e-12)
    }
    // A fresh Glow coupling scales by σ(2), and the rotations have determinant one.
    let spec = FlowSpec(layers: [.conv1x1(.plu), FlowCase.coupling(hidden: 3), .conv1x1(.dense)])
    let fresh = try Flow<Double>(spec: spec, imageShape: shape)
    for value in try fresh.encode(x).logDet { #expect(abs(value - 6 * -log1p(exp(-2))) < 1e-12) }
  }

  @Test func outsideTheSupport() throws {
    let shape = ImageShape(height: 1, width: 2, channels: 1)
    let flow = try Flow<Double>(spec: FlowSpec(base: .uniform, layers: []), imageShape: shape)
    let x = try Tensor<Double>(shape: [4, 1, 2, 1], elements: [0, 1, 0.5, 1.0000001, 0.5, .nan, -0.1, 0.2])
    let values = try flow.evaluate(x)
    #expect(values[0] == 0 && values[1] == -.infinity && values[2].isNaN && values[3] == -.infinity)
    #expect(throws: FlowError.notFinite(image: 1, value: -.infinity)) { try flow.logProb(x) }
    #expect(try flow.logProb(try x.rows([0])) == [0])
    let gradient = try flow.evaluateWithGradient(x)
    #expect(gradient.logProb[1] == -.infinity)
    #expect(gradient.gradient.elements[0..<2] == [0, 0])
  }

  @Test func extremeImagesThrowAndNeverReturn() throws {
    let flow = try glow(Float.self)
    try randomizeParameters(of: flow, seed: 1)
    for value in [Float.infinity, -.infinity, .nan] {
      var x = try Tensor<Float>(shape: [1, 8, 8, 3])
      x[flat: 17] = value
      #expect(throws: FlowError.self) { try flow.logProb(x) }
    }
  }

  /// A NaN in one image leaves the others their bits.
  @Test(arguments: FlowCase.all)
  func nanStaysInItsImage(_ flow: FlowCase) throws {
    let shape = [3, flow.shape.height, flow.shape.width, flow.shape.channels]
    let clean: Tensor<Float> = try normal(shape, seed: 4)
    for threads in [1, 2, 5] {
      let model = try flow.make(Float.self, pool: ThreadPool(threads: threads))
      try randomizeParameters(of: model, seed: 2)
      let expected = try model.evaluateWithGradient(clean)
      let expectedLatents = try model.encode(clean)
      for position in [0, flow.shape.count - 1] {
        var x = clean
        x[flat: flow.shape.count + position] = .nan
        let found = try model.evaluateWithGradient(x)
        let latents = try model.encode(x)
        #expect(!found.logProb[1].isFinite)
        for i in [0, 2] {
          #expect(found.logProb[i] == expected.logProb[i] && latents.logDet[i] == expectedLatents.logDet[i])
          #expect(try found.gradient.rows([i]) == expected.gradient.rows([i]))
          #expect(try latents.latents.rows([i]) == expectedLatents.latents.rows([i]))
        }
        let decoded = try model.decode(latents.latents)
        let expectedImages = try model.decode(expectedLatents.latents)
        for i in [0, 2] { #expect(try decoded.images.rows([i]) == expectedImages.images.rows([i])) }
      }
    }
  }

  @Test func emptyBatches() throws {
    let flow = try glow(Float.self, threads: 2)
    let none = try Tensor<Float>(shape: [0, 8, 8, 3])
    #expect(try flow.evaluate(none).isEmpty)
    #expect(try flow.encode(none).latents.shape == [0, 192])
    #expect(try flow.evaluateWithGradient(none).gradient.shape == [0, 8, 8, 3])
    #expect(try flow.decode(try Tensor(shape: [0, 192])).images.shape == [0, 8, 8, 3])
  }

  @Test func shapesThatDoNotFit() throws {
    let flow = try glow(Float.self)
    let x = try Tensor<Float>(shape: [2, 8, 8, 3])
    #expect(
      throws: FlowError.shapeMismatch(what: "image batch", found: [2, 8, 8, 1], expected: [2, 8, 8, 3])
    ) { try flow.evaluate(try Tensor(shape: [2, 8, 8, 1])) }
    #expect(
      throws: FlowError.shapeMismatch(what: "latents", found: [2, 191], expected: [2, 192])
    ) { try flow.decode(try Tensor(shape: [2, 191])) }
    #expect(throws: FlowError.self) { try flow.evaluate(try Tensor(shape: [192])) }
    #expect(throws: FlowError.self) {
      try flow.decodeGradient(at: x, imageCotangent: x, logDetCotangent: [1])
    }
    #expect(throws: FlowError.self) {
      try flow.decodeGradient(at: x, imageCotangent: try x.rows([0]), logDetCotangent: [1, 1])
    }
    #expect(throws: FlowError.self) {
      try flow.decodeParameterGradient(at: x, imageCotangent: try x.rows([0]), logDetCotangent: [1, 1])
    }
    #expect(throws: FlowError.self) {
      try flow.encodeGradient(at: x, latentCotangent: try Tensor(shape: [1, 192]), logDetCotangent: [1, 1])
    }
  }

  @Test func errorsAreOneLine() {
    let shape = ImageShape(height: 3, width: 4, channels: 1)
    let errors: [FlowError] = [
      .unsupportedShape(shape, reason: "odd"), .invalidSpec("none"), .notFinite(image: 3, value: -.infinity),
      .shapeMismatch(what: "x", found: [1], expected: [2]),
      .unusableParameters(name: "w", reason: "singular"),
      .tensorMismatch(name: "w", reason: "is missing"),
    ]
    for error in errors {
      #expect(!error.description.contains("\n") && !error.description.contains("Optional"))
    }
    #expect(
      FlowError.notFinite(image: 3, value: -.infinity).description
        == "the log-density of image 3 is -inf, expected a finite value")
  }

  // MARK: Draws

  @Test func drawsAreKeyedByIndex() throws {
    let flow = try glow(Float.self, threads: 2)
    try randomizeParameters(of: flow, seed: 1)
    let whole = try flow.sample(indices: 3..<9, seed: 7)
    for (row, index) in (3..<9).enumerated() {
      #expect(try flow.sample(indices: index..<index + 1, seed: 7) == whole.rows([row]))
    }
    #expect(try flow.sample(indices: 3..<9, seed: 8) != whole)
    #expect(Set(try (0..<6).map { try whole.rows([$0]).elements }).count == 6)
    #expect(try flow.sample(indices: 5..<5, seed: 7).shape == [0, 8, 8, 3])
    // Temperature scales the latents, and zero is the base's centre.
    let full = try flow.sampleLatents(indices: 0..<2, temperature: 1, seed: 7).elements
    let half = try flow.sampleLatents(indices: 0..<2, temperature: 0.5, seed: 7).elements
    #expect(zip(full, half).allSatisfy { abs($0 / 2 - $1) <= 1e-6 * abs($0) })
    #expect(try flow.sampleLatents(indices: 0..<2, temperature: 0, seed: 7).elements.allSatisfy { $0 == 0 })
    let cold = try flow.sample(indices: 0..<2, temperature: 0, seed: 7)
    #expect(try cold.rows([0]) == cold.rows([1]))
    #expect(try cold.rows([0]) == flow.decode(try Tensor(shape: [1, 192])).images)
  }

  @Test func drawsFollowTheBase() throws {
    let shape = ImageShape(height: 4, width: 4, channels: 1)
    let normal = try Flow<Double>(spec: FlowSpec(layers: []), imageShape: shape)
    let values = try normal.sampleLatents(indices: 0..<1000, temperature: 1, seed: 1).elements
    let mean = values.reduce(0, +) / 16000
    let variance = values.reduce(0) { $0 + $1 * $1 } / 16000
    let fourth = values.reduce(0) { $0 + $1 * $1 * $1 * $1 } / 16000
    #expect(abs(mean) < 0.04 && abs(variance - 1) < 0.05 && abs(fourth - 3) < 0.4)
    let uniform = try Flow<Double>(spec: FlowSpec(base: .uniform, layers: []), imageShape: shape)
    let flat = try uniform.sampleLatents(indices: 0..<1000, temperature: 1, seed: 1).elements
    #expect(flat.allSatisfy { $0 >= 0 && $0 < 1 })
    #expect(abs(flat.reduce(0, +) / 16000 - 0.5) < 0.012)
    #expect(
      try uniform.sampleLatents(indices: 0..<2, temperature: 0, seed: 1).elements.allSatisfy { $0 == 0.5 })
  }

  // MARK: Kernels

  /// All variants of the kernels give the same density to rounding. In a process of its own, as the variant is one
  /// choice for all.
  @Test func variantsAgree() async {
    await #expect(processExitsWith: .success) {
      var logProbs: [[Double]] = []
      for variant in KernelVariant.available {
        try #require(KernelVariant.choose(variant))
        let flow = try Flow<Double>(
          spec: .glow(levels: 2, steps: 2, hidden: 9),
          imageShape: ImageShape(height: 8, width: 12, channels: 3),
          pool: ThreadPool(threads: 2))
        try randomizeParameters(of: flow, seed: 1)
        var random = Philox(seed: 2, purpose: .test)
        let x = try Tensor<Double>(
          shape: [3, 8, 12, 3], elements: (0..<864).map { _ in random.uniform() })
        let (logProb, gradient) = try flow.evaluateWithGradient(x)
        logProbs.append(logProb + gradient.elements)
      }
      for values in logProbs {
        for (a, b) in zip(values, logProbs[0]) { try #require(abs(a - b) <= 1e-10 * max(1, abs(b))) }
      }
    }
  }

  /// AVX-512 has the bits of AVX2: what one machine computed another repeats.
  @Test(.enabled(if: KernelVariant.available.contains("avx512"))) func longerVectorsGiveTheSameBits() async {
    await #expect(processExitsWith: .success) {
      for activation in [NetSpec.Activation.relu, .silu] {
        let short = try flowValues(Float.self, "avx2", activation)
        let long = try flowValues(Float.self, "avx512", activation)
        try #require(long == short)
        let shortDoubles = try flowValues(Double.self, "avx2", activation)
        let longDoubles = try flowValues(Double.self, "avx512", activation)
        try #require(longDoubles == shortDoubles)
      }
    }
  }

  // MARK: At once

  @Test func callersOnSeveralThreads() async throws {
    let flow = try glow(Float.self, threads: 3)
    try randomizeParameters(of: flow, seed: 1)
    let x: Tensor<Float> = try normal([5, 8, 8, 3], seed: 1)
    let expected = try flow.evaluateWithGradient(x)
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for _ in 0..<8 {
        group.addTask {
          let found = try flow.evaluateWithGradient(x)
          return found.logProb == expected.logProb && found.gradient == expected.gradient
        }
      }
      for try await same in group { #expect(same) }
    }
  }

  /// One tensor set by its name, against all of them at once.
  @Test func oneTensorIsSetByName() throws {
    let (one, all) = (try flowOfNames(), try flowOfNames())
    var parameters = all.parameters
    let (name, range) = try #require(all.parameterRanges.last { $0.name.hasSuffix(".weight") })
    for k in range { parameters[k] = 0.01 * Float(k % 7) }
    try all.setParameters(parameters)
    try one.setParameters(Array(parameters[range]), of: name)
    #expect(one.parameters == parameters)
    let x = try one.sample(indices: 0..<2, seed: 1)
    #expect(try one.evaluate(x) == all.evaluate(x))
    #expect(throws: FlowError.self) { try one.setParameters([1], of: name) }
    #expect(throws: FlowError.self) { try one.setParameters([1], of: "layers.0.nothing") }
    let bad = [Float](repeating: .nan, count: range.count)
    #expect(throws: FlowError.self) { try one.setParameters(bad, of: name) }
  }

  /// Tensors set one by one, in either order, against all of them at once.
  @Test(arguments: [false, true]) func everyTensorIsSetByName(backwards: Bool) throws {
    let (one, all) = (try flowOfNames(), try flowOfNames())
    try randomizeParameters(of: all, seed: 8)
    let parameters = all.parameters
    let ranges = backwards ? all.parameterRanges.reversed() : all.parameterRanges
    for (name, range) in ranges { try one.setParameters(Array(parameters[range]), of: name) }
    #expect(one.parameters == parameters)
    let x = try all.sample(indices: 0..<2, seed: 1)
    #expect(try one.evaluate(x) == all.evaluate(x))
    #expect(try one.encode(x).latents == all.encode(x).latents)
  }

  private func flowOfNames() throws -> Flow<Float> {
    try Flow(
      spec: .glow(levels: 1, steps: 2, hidden: 5), imageShape: ImageShape(height: 4, width: 4, channels: 1))
  }
}

/// log p, its gradient and one by the parameters of a small flow, by one variant of the kernels.
private func flowValues<T: KernelScalar>(
  _: T.Type, _ variant: String, _ activation: NetSpec.Activation
) throws -> [Double] {
  try #require(KernelVariant.choose(variant))
  // 45 channels are a panel of three long vectors; 9 of the net's outputs are part of one.
  let flow = try Flow<T>(
    spec: .glow(levels: 2, steps: 2, hidden: 45, activation: activation),
    imageShape: ImageShape(height: 12, width: 20, channels: 3), pool: ThreadPool(threads: 2))
  try randomizeParameters(of: flow, seed: 1)
  let x: Tensor<T> = try normal([3, 12, 20, 3], seed: 2)
  let (logProb, gradient) = try flow.evaluateWithGradient(x)
  let parameters = try flow.decodeParameterGradient(
    at: x, imageCotangent: normal([3, 12, 20, 3], seed: 3), logDetCotangent: [1, -1, 0.5])
  return logProb + gradient.elements.map { Double($0) } + parameters.map { Double($0) }
}

/// Normal numbers in a tensor.
func normal<Scalar: KernelScalar>(
  _ shape: [Int], seed: UInt64, mean: Double = 0.5, deviation: Double = 0.5
)
  throws -> Tensor<Scalar>
{
  var random = Philox(seed: seed, purpose: .test)
  return try Tensor(
    shape: shape, elements: (0..<shape.reduce(1, *)).map { _ in Scalar(mean + deviation * random.normal()) }
  )
}
