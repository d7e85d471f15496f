import AIPOFlows
import AIPOKernels
import Foundation
import Testing
import Yams

@Suite struct FlowSpecTests {
  private static let specs: [FlowSpec] = [
    .glow(levels: 3, steps: 8, hidden: 128),
    .glow(
      levels: 1, steps: 1, hidden: 3, base: .uniform, matrix: .dense, transform: .additive, activation: .silu),
    .realNVP(levels: 2, hidden: 16, base: .learnedGaussian),
    FlowSpec(layers: []),
    FlowSpec.glow(levels: 2, steps: 2, hidden: 4).conditioned(Condition(least: 0.01, greatest: 2)),
    FlowSpec.vector(couplings: 2, hidden: [3]).conditioned(whitening: .dense),
    .vector(couplings: 3, hidden: [8, 7], base: .learnedGaussian, activation: .relu),
    FlowSpec(layers: [
      .permutation(.swap), .permutation(.reverse), .permutation(.given([2, 0, 1])),
      .maskedAffine(
        MaskedAffineSpec(
          mask: .channels([true, false, true]), transform: .unboundedExponential,
          nets: .separate(shift: nil, scale: MLPSpec(hidden: [4])))),
    ]),
    FlowSpec(
      base: .uniform,
      layers: [
        .squeeze(.interleaved), .repeated(2, [.actnorm, .repeated(3, [.conv1x1(.dense), .conv1x1(.plu)])]),
        .split,
        .logistic, .logit(margin: 0.125),
        .coupling(
          CouplingSpec(
            mask: .checkerboardOdd, transform: .exponential,
            net: NetSpec(kind: .residual, hidden: 5, blocks: 3, activation: .silu, padding: 0.5))),
      ]),
  ]

  @Test(arguments: specs)
  func roundTrips(_ spec: FlowSpec) throws {
    #expect(try JSONDecoder().decode(FlowSpec.self, from: try JSONEncoder().encode(spec)) == spec)
    #expect(try YAMLDecoder().decode(FlowSpec.self, from: try YAMLEncoder().encode(spec)) == spec)
  }

  @Test func familiesAndDefaults() throws {
    let glow = try YAMLDecoder().decode(FlowSpec.self, from: "glow: {levels: 2, steps: 10, hidden: 64}")
    #expect(glow == .glow(levels: 2, steps: 10, hidden: 64))
    let nvp = try YAMLDecoder().decode(
      FlowSpec.self, from: "base: learned-gaussian\nrealnvp: {levels: 2, couplings: 2, hidden: 8, blocks: 1}")
    #expect(nvp == .realNVP(levels: 2, couplings: 2, hidden: 8, blocks: 1, base: .learnedGaussian))
    let vector = try YAMLDecoder().decode(FlowSpec.self, from: "vector: {couplings: 2, hidden: [8, 4]}")
    let net = MLPSpec(hidden: [8, 4], activation: .silu)
    #expect(
      vector.layers == [
        .actnorm, .maskedAffine(MaskedAffineSpec(mask: .even, nets: .joint(net))), .actnorm,
        .maskedAffine(MaskedAffineSpec(mask: .odd, nets: .joint(net))),
      ])
    let layers = try YAMLDecoder().decode(
      FlowSpec.self,
      from: """
        layers:
          - squeeze
          - repeat:
              times: 8
              layers: [actnorm, conv1x1, {coupling: {transform: additive, net: {hidden: 64}}}]
        """)
    let coupling = CouplingSpec(mask: .firstHalf, transform: .additive, net: NetSpec(hidden: 64))
    #expect(
      layers
        == FlowSpec(layers: [
          .squeeze(.interleaved), .repeated(8, [.actnorm, .conv1x1(.plu), .coupling(coupling)]),
        ]))
    #expect(try layers.flattened().count == 25)
  }

  /// A stranger's file: what is wrong, and a word that the message must hold.
  @Test(arguments: [
    ("glow: {levels: 2, steps: 10, hidden: 64, depth: 3}", "depth"),
    ("base: cauchy\nlayers: []", "cauchy"),
    ("glow: {levels: 2, steps: 10, hidden: 64}\nrealnvp: {levels: 2, hidden: 8}", "exactly one"),
    ("base: gaussian", "exactly one"),
    ("layers: [actnorm, warp]", "warp"),
    ("layers: [{coupling: {mask: first-half}}]", "net"),
    ("layers: [{coupling: {net: {hidden: 4, dropout: 1}}}]", "dropout"),
    ("layers: [{coupling: {shift: 1, net: {hidden: 4}}}]", "shift"),
    ("layers: [{conv1x1: {shape: plu}}]", "shape"),
    ("layers: [{repeat: {times: 2, layers: [], each: 1}}]", "each"),
    ("layers: [{actnorm: {}, conv1x1: {}}]", "actnorm"),
    ("layers: [{conv1x1: {}, coupling: {net: {hidden: 4}}}]", "one name"),
    ("glow: {levels: 0, steps: 10, hidden: 64}", "levels is 0"),
    ("glow: {levels: 2, steps: 100000, hidden: 64}", "steps is 100000"),
    ("glow: {levels: 2, steps: 4, hidden: -1}", "hidden is -1"),
    ("realnvp: {levels: 2, hidden: 8, blocks: 1000}", "blocks is 1000"),
    ("vector: {couplings: 0, hidden: [8]}", "couplings is 0"),
    ("layers: [{permutation: shuffle}]", "shuffle"),
    ("layers: [{masked-affine: {mask: even}}]", "either net"),
    ("layers: [{masked-affine: {mask: even, net: {hidden: [4]}, shift: {hidden: [4]}}}]", "either net"),
    ("layers: [{masked-affine: {mask: thirds, net: {hidden: [4]}}}]", "thirds"),
    ("layers: [{masked-affine: {mask: [0, 2], net: {hidden: [4]}}}]", "0 and 1"),
  ])
  func refuses(_ yaml: String, _ word: String) {
    let error = #expect(throws: DecodingError.self) { try YAMLDecoder().decode(FlowSpec.self, from: yaml) }
    #expect(error.map { String(describing: $0).contains(word) } == true, "\(String(describing: error))")
  }

  private func reason(_ body: () throws -> Void) -> String {
    do {
      try body()
      return "no error"
    } catch { return "\(error)" }
  }

  @Test func refusesWhatIsTooMuch() throws {
    func bomb(_ depth: Int, _ times: Int, _ inner: [LayerSpec]) -> FlowSpec {
      FlowSpec(layers: (0..<depth).reduce(inner) { layers, _ in [.repeated(times, layers)] })
    }
    #expect(reason { _ = try bomb(4, 4096, [.actnorm]).flattened() }.contains("more than 4096 layers"))
    #expect(reason { _ = try bomb(12, 1, [.actnorm]).flattened() }.contains("nested more than 8 deep"))
    #expect(reason { _ = try bomb(1, 4097, [.actnorm]).flattened() }.contains("times is 4097"))
    #expect(reason { _ = try bomb(1, -1, [.actnorm]).flattened() }.contains("times is -1"))
    // Repetitions of nothing: 4096⁷ of them must not take for ever.
    #expect(try bomb(7, 4096, []).flattened().isEmpty)
    #expect(try bomb(3, 16, [.actnorm]).flattened().count == 4096)
    let layer = { (net: NetSpec) in FlowSpec(layers: [.coupling(CouplingSpec(net: net))]) }
    #expect(reason { _ = try layer(NetSpec(hidden: 0)).flattened() }.contains("hidden is 0"))
    #expect(reason { _ = try layer(NetSpec(hidden: 100_000)).flattened() }.contains("hidden is 100000"))
    #expect(reason { _ = try layer(NetSpec(hidden: 1, blocks: 65)).flattened() }.contains("blocks is 65"))
    #expect(reason { _ = try layer(NetSpec(hidden: 1, padding: .nan)).flattened() }.contains("padding"))
    let masked = { (transform: CouplingTransform, nets: MaskedAffineSpec.Nets) in
      FlowSpec(layers: [.maskedAffine(MaskedAffineSpec(mask: .even, transform: transform, nets: nets))])
    }
    let net = MLPSpec(hidden: [2])
    for (transform, nets, word) in [
      (.exponential, .joint(MLPSpec(hidden: [4, 0])), "hidden is 0"),
      (.exponential, .joint(MLPSpec(hidden: Array(repeating: 1, count: 65))), "65 hidden layers"),
      (.exponential, .separate(shift: nil, scale: nil), "neither"),
      (.additive, .separate(shift: net, scale: net), "no scale"),
    ] as [(CouplingTransform, MaskedAffineSpec.Nets, String)] {
      #expect(reason { _ = try masked(transform, nets).flattened() }.contains(word))
    }
    for order in [[0, 0], [1, 2], [-1, 0]] {
      let spec = FlowSpec(layers: [.permutation(.given(order))])
      #expect(reason { _ = try spec.flattened() }.contains("no permutation of 0..<2"))
    }
  }

  @Test func refusesDeepNesting() {
    for depth in [100, 400, 5000] {
      let open = String(repeating: #"[{"repeat": {"times": 1, "layers": "#, count: depth)
      let text = #"{"layers": "# + open + "[]" + String(repeating: "}}]", count: depth) + "}"
      #expect(throws: (any Error).self) {
        try JSONDecoder().decode(FlowSpec.self, from: Data(text.utf8)).flattened()
      }
    }
  }

  // MARK: A layer of one's own, as data

  /// Reflections as a user would bring them into files and settings.
  private struct Reflections: LayerKind {
    static let name = "reflections"
    var channels: Int?

    func check() throws(FlowError) {
      if let channels, channels < 1 { throw .invalidSpec("reflections: channels is \(channels)") }
    }

    func output(for input: ImageShape) throws(FlowError) -> ImageShape {
      if let channels, channels != input.channels {
        throw .unsupportedShape(input, reason: "reflections of \(channels) channels meet \(input.channels)")
      }
      return input
    }

    func makeLayer<Scalar: KernelScalar>(
      for input: ImageShape, in flow: FlowSpec, _: Scalar.Type
    ) -> any FlowLayer<Scalar> { HouseholderLayer<Scalar>(channels: input.channels) }
  }

  @Test func layersOfOnesOwn() throws {
    let yaml =
      "layers: [squeeze, {reflections: {channels: 4}}, {repeat: {times: 2, layers: [actnorm, {reflections: {}}]}}]"
    LayerRegistry.register(Reflections.self)
    let spec = try YAMLDecoder().decode(FlowSpec.self, from: yaml)
    #expect(try spec.flattened().count == 6 && spec.isSmooth)
    #expect(spec.layers[1] == LayerSpec(Reflections(channels: 4)))
    #expect(spec.layers[1] != LayerSpec(Reflections(channels: 3)))
    #expect(try JSONDecoder().decode(FlowSpec.self, from: try JSONEncoder().encode(spec)) == spec)

    // Through a model file, and at another size.
    let shape = ImageShape(height: 4, width: 4, channels: 1)
    let flow = try Flow<Double>(spec: spec, imageShape: shape, seed: 2)
    let model = FlowModel(
      spec: spec, imageShape: shape, dequantization: Dequantization(bits: 5), tensors: flow.namedTensors)
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("own-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    var written = model
    try written.save(path: path)
    let read: Flow<Double> = try FlowModel.load(path: path).makeFlow(threads: 1)
    let larger = ImageShape(height: 6, width: 10, channels: 1)
    var random = Philox(seed: 1, purpose: .test)
    let x = try Tensor<Double>(shape: [2, 6, 10, 1], elements: (0..<120).map { _ in random.normal() })
    #expect(try read.at(larger).logProb(x) == flow.at(larger).logProb(x))

    #expect(
      reason { _ = try FlowSpec(layers: [spec.layers[1]]).shapes(from: shape) }.contains(
        "reflections of 4 channels meet 1"))
    #expect(
      reason { _ = try FlowSpec(layers: [LayerSpec(Reflections(channels: 0))]).flattened() }
        .contains("channels is 0"))
    for (bad, word) in [
      ("layers: [reflections]", "{reflections: {}}"), ("layers: [{mirrors: {}}]", "mirrors"),
      ("layers: [mirrors]", "expected one of actnorm"),
    ] {
      let error = #expect(throws: (any Error).self) { try YAMLDecoder().decode(FlowSpec.self, from: bad) }
      #expect("\(error as Any)".contains(word))
    }
  }

  @Test func sizesThatDoNotFit() throws {
    let glow = FlowSpec.glow(levels: 3, steps: 1, hidden: 4)
    let image = ImageShape(height: 8, width: 16, channels: 1)
    #expect(glow.acceptedSizes(trainedOn: image) == "height and width divisible by 8")
    #expect(FlowSpec(layers: [.actnorm]).acceptedSizes(trainedOn: image) == "any height and width")
    var own = glow
    own.base = .diagonalGaussian
    #expect(own.acceptedSizes(trainedOn: image).hasPrefix("8x16 alone: its base density has"))
    #expect(
      try glow.shapes(from: ImageShape(height: 8, width: 16, channels: 3)).last
        == ImageShape(height: 1, width: 2, channels: 48))
    func text(_ spec: FlowSpec, _ h: Int, _ w: Int, _ c: Int) -> String {
      reason { _ = try spec.shapes(from: ImageShape(height: h, width: w, channels: c)) }
    }
    #expect(
      text(glow, 12, 8, 1) == "the flow doesn't accept images of 12x8x1: height and width divisible by 8")
    #expect(text(glow, 0, 8, 1).contains("every extent must be positive"))
    #expect(text(glow, 8, 8, -1).contains("every extent must be positive"))
    #expect(text(FlowSpec(layers: [.split]), 2, 2, 3).contains("a split meets 3 channels"))
    #expect(text(FlowSpec(layers: [FlowCase.coupling()]), 2, 2, 1).contains("single channel"))
    let vector = FlowSpec.vector(couplings: 2, hidden: [4])
    #expect(text(vector, 1, 1, 1).contains("a channel to condition and one to transform"))
    #expect(
      text(FlowSpec(layers: [.permutation(.given([1, 0]))]), 1, 1, 3).contains("permutation of 2 channels"))
    let bits = MaskedAffineSpec(mask: .channels([true, false]), nets: .joint(MLPSpec(hidden: [4])))
    #expect(text(FlowSpec(layers: [.maskedAffine(bits)]), 1, 1, 3).contains("mask of 2 channels meets 3"))
    #expect(text(FlowSpec(layers: []), Int.max, Int.max, 1).contains("limited to 65536"))
    #expect(text(FlowSpec(layers: []), 1, 1, 10000).contains("channels to 8192"))
    #expect(text(FlowSpec(layers: [.squeeze(.interleaved)]), 2, 2, 4096).contains("more than 8192 channels"))
    #expect(throws: FlowError.self) {
      try Flow<Float>(spec: glow, imageShape: ImageShape(height: 12, width: 8, channels: 1))
    }
    #expect(throws: FlowError.self) {
      try Flow<Float>(
        layers: [Coupling(CouplingSpec(net: NetSpec(hidden: 2)), channels: 1)],
        imageShape: ImageShape(height: 2, width: 2, channels: 1))
    }
  }
}
