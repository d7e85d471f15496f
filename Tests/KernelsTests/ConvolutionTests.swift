import Testing

@testable import AIPOKernels

/// Every variant of the convolutions against their definition. The variant is one choice for the whole process, so
/// these tests run in processes of their own.
@Suite struct ConvolutionTests {
  @Test func threeByThree() async {
    await #expect(processExitsWith: .success) {
      try ConvolutionCheck.run(kernel: 3)
    }
  }

  @Test func oneByOne() async {
    await #expect(processExitsWith: .success) {
      try ConvolutionCheck.run(kernel: 1)
    }
  }

  @Test func variantsAreChosenByName() async {
    await #expect(processExitsWith: .success) {
      let names = KernelVariant.available
      try #require(names.contains("portable") && names.last == "reference")
      try #require(KernelVariant.current == names[0])
      for name in names {
        try #require(KernelVariant.choose(name))
        try #require(KernelVariant.current == name)
      }
      try #require(!KernelVariant.choose("quantum") && KernelVariant.current == "reference")
    }
  }
}

/// One shape in one precision: all directions, epilogues, strides and splits of the rows.
private struct ConvolutionCheck<T: KernelScalar> {
  let oracle: ConvolutionOracle
  let x: [Double]
  let g: [Double]
  let weights: [Double]
  let bias: [Double]
  let there: [Double]
  let forward: ConvolutionOracle.Sums
  let back: [Double]
  let adjoint: ConvolutionOracle.Sums
  let gradient: (weights: ConvolutionOracle.Sums, bias: ConvolutionOracle.Sums)

  /// A convolution's values in memory whose pixels lie further apart than their channels.
  private static func spread(_ dense: [Double], channels: Int, gap: Int) -> [Double] {
    var result: [Double] = []
    for p in 0..<dense.count / channels {
      result += dense[p * channels..<(p + 1) * channels] + [Double](repeating: 777, count: gap)
    }
    return result
  }

  private func sums(
    _ sums: ConvolutionOracle.Sums, terms: Int, found: [Double], channels: Int, gap: Int, what: String
  )
    throws
  {
    let limit = roundoff(T.self) * Double(terms + 6)
    for p in 0..<sums.values.count / channels {
      for c in 0..<channels {
        let (i, k) = (p * channels + c, p * (channels + gap) + c)
        let allowed = limit * (sums.magnitudes[i] + 1)
        guard (found[k] - sums.values[i]).magnitude <= allowed else {
          Issue.record(
            "\(what) of \(oracle), \(T.self), \(KernelVariant.current): \(found[k]) for \(sums.values[i])")
          throw Mismatch()
        }
      }
      for c in 0..<gap where found[p * (channels + gap) + channels + c] != 777 {
        Issue.record("\(what) of \(oracle), \(T.self), \(KernelVariant.current) writes beyond its channels")
        throw Mismatch()
      }
    }
  }

  private struct Mismatch: Error {}

  private func ranges(_ rows: Int) -> [Range<Int>] {
    let cuts = Set([0, 1, rows / 3, rows - rows / 4, rows]).filter { $0 <= rows }.sorted()
    return zip(cuts, cuts.dropFirst()).map { $0..<$1 }
  }

  private func mask(bytes: [UInt8]) throws -> Mask {
    let array = try TestArray<T>([Double](repeating: 0, count: bytes.count))
    let mask = Mask(array.memory)[0..<bytes.count]
    mask.copy(from: bytes)
    return mask
  }

  /// Bits of a dense `[pixels, channels]` or one with a gap, one a value.
  private static func packed(channels: Int, gap: Int, _ values: [Double], _ isSet: (Double) -> Bool)
    -> [UInt8]
  {
    let pixels = (values.count + gap) / (channels + gap)
    var bytes = [UInt8](repeating: 0, count: pixels * Mask.bytes(channels: channels))
    for p in 0..<pixels {
      for c in 0..<channels where isSet(values[p * (channels + gap) + c]) {
        bytes[p * Mask.bytes(channels: channels) + c / 8] |= 1 << UInt8(c % 8)
      }
    }
    return bytes
  }

  private func applied(_ sums: ConvolutionOracle.Sums, _ flags: Int32, there: [Double], gate: [Double]?)
    -> ConvolutionOracle.Sums
  {
    var result = sums
    for i in result.values.indices {
      if flags & 1 != 0 { result.add(there[i], at: i) }
      if flags & 2 != 0 { result.values[i] = max(result.values[i], 0) }
      if flags & 4 != 0, gate![i] <= 0 { result.values[i] = 0 }
    }
    return result
  }

  func run() throws {
    let o = oracle
    let convolution = try Convolution<T>(
      height: o.h, width: o.w, inChannels: o.ci, outChannels: o.co, kernel: o.k, padding: T(o.pad))
    let w = try TestArray<T>(weights)
    convolution.pack(w.memory)
    let b = try TestArray<T>(bias)
    let scratch = try TestArray<T>(
      [Double](
        repeating: .nan, count: max(convolution.workspaceCount, convolution.gradientWorkspaceCount)))
    for gap in [0, 3] {
      let xs = try TestArray<T>(Self.spread(x, channels: o.ci, gap: gap))
      let gs = try TestArray<T>(Self.spread(g, channels: o.co, gap: gap))
      let written = try mask(
        bytes: [UInt8](repeating: 0xAA, count: o.pixels * Mask.bytes(channels: o.co)))
      for flags: Int32 in [0, 1, 2, 3] {
        let whole = try TestArray<T>(Self.spread(there, channels: o.co, gap: gap))
        let parts = try TestArray<T>(whole.doubles)
        let epilogue = Convolution<T>.Epilogue(rawValue: flags)
        for (rows, y) in [(0..<o.rows, whole)] + ranges(o.rows).map({ ($0, parts) }) {
          convolution.forward(
            rows: rows, x: xs.memory, stride: o.ci + gap, bias: b.memory, epilogue: epilogue,
            mask: flags & 2 != 0 ? written : nil, y: y.memory, stride: o.co + gap, scratch: scratch.memory)
        }
        if flags & 2 != 0 {
          let positive = Self.packed(channels: o.co, gap: gap, whole.doubles) { $0 > 0 }
          try #require(written.elements == positive, "mask of \(o), \(KernelVariant.current)")
        }
        try sums(
          applied(forward, flags, there: there, gate: nil), terms: o.k * o.k * o.ci, found: whole.doubles,
          channels: o.co, gap: gap, what: "convolution with epilogue \(flags)")
        try #require(whole.memory.elements == parts.memory.elements, "rows of \(o), \(KernelVariant.current)")
      }
      let gateValues = normals(o.pixels * o.ci, seed: 99)
      let gate = try mask(bytes: Self.packed(channels: o.ci, gap: 0, gateValues) { $0 > 0 })
      for flags: Int32 in [0, 1, 4, 5] {
        let whole = try TestArray<T>(Self.spread(back, channels: o.ci, gap: gap))
        let parts = try TestArray<T>(whole.doubles)
        for (rows, y) in [(0..<o.rows, whole)] + ranges(o.rows).map({ ($0, parts) }) {
          convolution.adjoint(
            rows: rows, cotangent: gs.memory, stride: o.co + gap, epilogue: .init(rawValue: flags),
            mask: flags & 4 != 0 ? gate : nil, into: y.memory, stride: o.ci + gap,
            scratch: scratch.memory)
        }
        try sums(
          applied(adjoint, flags, there: back, gate: gateValues), terms: o.k * o.k * o.co,
          found: whole.doubles,
          channels: o.ci, gap: gap, what: "adjoint with epilogue \(flags)")
        try #require(whole.memory.elements == parts.memory.elements, "rows of \(o), \(KernelVariant.current)")
      }
      // Gradients are added to what is there.
      let dw = try TestArray<T>([Double](repeating: 1, count: weights.count))
      let db = try TestArray<T>([Double](repeating: 1, count: o.co))
      convolution.accumulateGradient(
        rows: 0..<o.rows, x: xs.memory, stride: o.ci + gap, cotangent: gs.memory, stride: o.co + gap,
        weights: dw.memory, bias: db.memory, scratch: scratch.memory)
      // The parts one by one, in any order, give the same bits.
      let partsOfWeights = try TestArray<T>([Double](repeating: 1, count: weights.count))
      let partsOfBias = try TestArray<T>([Double](repeating: 1, count: o.co))
      for part in (0..<convolution.gradientParts).reversed() {
        convolution.accumulateGradient(
          parts: part..<part + 1, rows: 0..<o.rows, x: xs.memory, stride: o.ci + gap, cotangent: gs.memory,
          stride: o.co + gap, weights: partsOfWeights.memory, bias: partsOfBias.memory,
          scratch: scratch.memory)
      }
      try #require(partsOfWeights.memory.elements == dw.memory.elements, "parts of \(o)")
      try #require(partsOfBias.memory.elements == db.memory.elements, "parts of \(o)")
      // So do pieces of the images, whose sums are carried on.
      let piecesOfWeights = try TestArray<T>([Double](repeating: 1, count: weights.count))
      let piecesOfBias = try TestArray<T>([Double](repeating: 1, count: o.co))
      let carry = try TestArray<T>([Double](repeating: .nan, count: convolution.gradientCarryCount))
      let block = convolution.gradientBlock
      for start in stride(from: 0, to: o.rows, by: block) {
        var piece: Convolution<T>.Piece = start == 0 ? .first : []
        if start + block >= o.rows { piece.insert(.last) }
        convolution.accumulateGradient(
          rows: start..<min(start + block, o.rows), piece: piece, x: xs.memory, stride: o.ci + gap,
          cotangent: gs.memory, stride: o.co + gap, weights: piecesOfWeights.memory,
          bias: piecesOfBias.memory, carry: carry.memory, scratch: scratch.memory)
      }
      try #require(piecesOfWeights.memory.elements == dw.memory.elements, "pieces of \(o)")
      try #require(piecesOfBias.memory.elements == db.memory.elements, "pieces of \(o)")
      var expected = gradient
      for i in weights.indices { expected.weights.add(1, at: i) }
      for i in 0..<o.co { expected.bias.add(1, at: i) }
      try sums(
        expected.weights, terms: o.pixels + 2, found: dw.doubles, channels: o.co, gap: 0,
        what: "weight gradient")
      try sums(
        expected.bias, terms: o.pixels + 2, found: db.doubles, channels: o.co, gap: 0, what: "bias gradient")
    }
  }
}

extension ConvolutionCheck where T == Double {
  /// Odd sizes, and channel counts about the vector lengths and tile sizes of the kernels.
  static func run(kernel: Int) throws {
    let sizes = [(1, 1), (1, 7), (5, 1), (2, 3), (3, 17), (7, 5), (17, 2), (16, 16)]
    let channels = [
      (1, 1), (1, 2), (2, 1), (3, 5), (4, 16), (5, 3), (8, 8), (6, 13), (9, 7), (16, 4), (17, 33), (33, 17),
      (2, 70), (70, 3), (40, 64), (3, 135), (135, 2),
    ]
    var seed: UInt64 = 0
    for (h, w) in sizes {
      for (ci, co) in channels where h * w * ci * co <= 40000 {
        for pad in kernel == 3 ? [0.0, 1.0] : [0.0] {
          seed += 10
          let oracle = ConvolutionOracle(images: 2, h: h, w: w, ci: ci, co: co, k: kernel, pad: pad)
          let x = normals(oracle.pixels * ci, seed: seed)
          let g = normals(oracle.pixels * co, seed: seed + 1)
          let weights = normals(kernel * kernel * ci * co, seed: seed + 2, scale: 0.3)
          let bias = normals(co, seed: seed + 3)
          let double = ConvolutionCheck<Double>(
            oracle: oracle, x: x, g: g, weights: weights, bias: bias,
            there: normals(oracle.pixels * co, seed: seed + 4),
            forward: oracle.forward(x, weights, bias), back: normals(oracle.pixels * ci, seed: seed + 5),
            adjoint: oracle.adjoint(g, weights), gradient: oracle.weightGradient(x, g))
          let single = ConvolutionCheck<Float>(
            oracle: oracle, x: x, g: g, weights: weights, bias: bias, there: double.there,
            forward: double.forward,
            back: double.back, adjoint: double.adjoint, gradient: double.gradient)
          for variant in KernelVariant.available {
            try #require(KernelVariant.choose(variant))
            try double.run()
            try single.run()
          }
          try double.dotTests()
          ArrayKeeper.shared.releaseAll()
        }
      }
    }
  }

  /// `⟨A x, g⟩ = ⟨x, Aᵀg⟩` and `⟨dw(x, g), w⟩ = ⟨A_w x, g⟩` with zero padding and bias, and the gradient of the weights
  /// against central differences.
  private func dotTests() throws {
    let o = oracle
    func linear(_ weights: [Double], bias: [Double]) throws -> [Double] {
      let convolution = try Convolution<Double>(
        height: o.h, width: o.w, inChannels: o.ci, outChannels: o.co, kernel: o.k, padding: o.pad)
      let scratch = try TestArray<Double>([Double](repeating: 0, count: convolution.workspaceCount))
      let y = try TestArray<Double>([Double](repeating: 0, count: o.pixels * o.co))
      convolution.pack(try TestArray<Double>(weights).memory)
      convolution.forward(
        rows: 0..<o.rows, x: try TestArray<Double>(x).memory, stride: o.ci,
        bias: try TestArray<Double>(bias).memory,
        epilogue: [], y: y.memory, stride: o.co, scratch: scratch.memory)
      return y.doubles
    }
    func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
    let direction = normals(weights.count, seed: 5)
    let step = 1e-3
    let plus = try linear(zip(weights, direction).map { $0 + step * $1 }, bias: bias)
    let minus = try linear(zip(weights, direction).map { $0 - step * $1 }, bias: bias)
    let change = (dot(plus, g) - dot(minus, g)) / (2 * step)
    let scale = zip(gradient.weights.magnitudes, direction).reduce(1) { $0 + $1.0 * $1.1.magnitude }
    try #require((change - dot(gradient.weights.values, direction)).magnitude <= 1e-10 * scale)
    guard o.pad == 0 else { return }
    let zero = [Double](repeating: 0, count: o.co)
    let y = try linear(weights, bias: zero)
    try #require((dot(y, g) - dot(x, adjoint.values)).magnitude <= 1e-12 * scale)
    try #require((dot(y, g) - dot(weights, gradient.weights.values)).magnitude <= 1e-12 * scale)
  }
}
