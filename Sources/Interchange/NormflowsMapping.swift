import AIPOFlows
import AIPOKernels
import AIPOPlatform

extension FlowMapping {
  /// normflows' `MultiscaleFlow` of `GlowBlock`s: level 0 is the deepest, and a level's blocks run backwards from images
  /// to latents.
  mutating func mapNormflowsGlow() throws(FileError) {
    let levels = try run(prefix: "flows.", atMost: 16)
    try takeChannels(of: "flows.\(levels - 1)", squeezedIn: "flows.\(levels - 1).0.flows.2.s")
    var range: ImportChoices.PixelRange?
    if choice(.transform, as: ImportChoices.Transform.self) == .logit {
      add(.logit(margin: number(.alpha)))
    } else {
      range = choice(.range)
    }
    var c = channels
    var splits = [Int?](repeating: nil, count: levels)
    for level in (0..<levels).reversed() {
      add(.squeeze(.interleaved))
      c *= 4
      let blocks = try run(prefix: "flows.\(level).", atMost: 1024)
      for k in (0..<blocks).reversed() {
        try addGlowBlock(
          "flows.\(level).\(k).flows.", channels: c,
          range: level == levels - 1 && k == blocks - 1 ? range : nil)
      }
      if level > 0 {
        splits[level] = count
        add(.split)
        c /= 2
      }
    }
    try addBases(splits: splits)
  }

  private mutating func addGlowBlock(
    _ prefix: String, channels c: Int, range: ImportChoices.PixelRange?
  ) throws(FileError) {
    try addNormflowsActnorm(prefix + "2.", [1, c, 1, 1], range: range)
    let mixing = prefix + "1."
    if dict.has(mixing + "W") {
      try addDense(mixing + "W", shape: [c, c])
    } else {
      try addPLU(
        p: mixing + "P", l: mixing + "L", u: mixing + "U", logScale: mixing + "log_S", sign: mixing + "sign_S"
      )
      dict.ignore(mixing + "eye")
    }
    let net = prefix + "0.flows.1.param_map.net."
    let normalized = dict.has(net + "6.weight")
    let convolutions = normalized ? [0, 3, 6] : [0, 2, 4]
    var names = NetNames(
      first: "\(net)\(convolutions[0])", middle: "\(net)\(convolutions[1])", last: "\(net)\(convolutions[2])")
    if normalized {
      names.norms = [1, 4].map { ("\(net)\($0).actNorm.t", "\(net)\($0).actNorm.s") }
      names.hasBiases = false
      for k in [1, 4] { try requireInitialized("\(net)\(k).actNorm.data_dep_init_done") }
    }
    guard try shape(names.first + ".weight", axes: 4)[1] != c else {
      throw dict.source.malformed(
        "split_mode of \(prefix)", "checkerboard",
        "channel or channel_inv, the only ones that can be imported")
    }
    names.leakySlope = number(.leaky)
    let mask: CouplingMask =
      choice(.split, as: ImportChoices.Splitting.self) == .channel ? .firstHalf : .secondHalf
    let additive = try isAdditive(names, channels: c, mask: mask)
    let map: ImportChoices.ScaleMap = additive ? .sigmoid : choice(.scaleMap)
    try addCoupling(names, channels: c, mask: mask, layout: map.layout, transform: map.transform)
  }

  /// `(x − t)·e^(−s)`
  private mutating func addNormflowsActnorm(
    _ prefix: String, _ shape: [Int], range: ImportChoices.PixelRange?
  ) throws(FileError) {
    try requireInitialized(prefix + "data_dep_init_done")
    addActnorm(
      bias: try doubles(prefix + "t", shape).map { -$0 },
      logScale: try doubles(prefix + "s", shape).map { -$0 }, range: range)
  }

  // MARK: Bases

  private enum Base {
    /// A mean and a log-scale per channel.
    case channels(mean: [Double], logScale: [Double])
    /// The same per value, in our order, and the level's size.
    case values(mean: [Double], logScale: [Double], height: Int, width: Int)
  }

  private mutating func addBases(splits: [Int?]) throws(FileError) {
    let levels = splits.count
    var found: [Base] = []
    for level in 0..<levels {
      let squeezes = levels - level
      // Behind its squeeze a level has channels·2^(squeezes + 1); half of them leave, in level 0 all.
      let c = channels << (level == 0 ? squeezes + 1 : squeezes)
      let base = try readBase("q0.\(level).", channels: c)
      if case .values(_, _, let height, let width) = base {
        let image = (height: height << squeezes, width: width << squeezes)
        if let size, size != image {
          throw dict.source.malformed(
            "size of q0.\(level)", "\(height)x\(width)",
            "\(size.height >> squeezes)x\(size.width >> squeezes) as the others"
          )
        }
        size = image
      }
      found.append(base)
    }
    base = size == nil ? .learnedGaussian : .diagonalGaussian
    for level in 0..<levels {
      let squeezes = levels - level
      switch found[level] {
      case .values(let mean, let logScale, _, _):
        addBase(mean: mean, logScale: logScale, atSplit: splits[level])
      case .channels(let mean, let logScale):
        // Beside levels with a base for every value, a channel's is the same everywhere.
        let pixels = size.map { ($0.height >> squeezes) * ($0.width >> squeezes) } ?? 1
        addBase(
          mean: (0..<pixels).flatMap { _ in mean }, logScale: (0..<pixels).flatMap { _ in logScale },
          atSplit: splits[level])
      }
    }
  }

  private mutating func readBase(_ prefix: String, channels c: Int) throws(FileError) -> Base {
    let name = prefix + "loc"
    guard let shape = dict.shape(name) else {
      throw dict.source.malformed("tensor \(name)", "missing", "a base")
    }
    if dict.has(prefix + "loc_logs") {
      func channelwise(_ name: String) throws(FileError) -> [Double] {
        let (value, logs) = (
          try doubles(prefix + name, [1, c, 1, 1]), try doubles(prefix + name + "_logs", [1, c, 1, 1])
        )
        var result = zip(value, logs).map { $0 * exp(3 * $1) }
        if let perClass = dict.shape(prefix + name + "_cc") {
          let all = try doubles(prefix + name + "_cc", [perClass.first ?? 0, c])
          let chosen = try choose(perClass.first ?? 0)
          for k in 0..<c { result[k] += all[chosen * c + k] }
        }
        return result
      }
      return .channels(mean: try channelwise("loc"), logScale: try channelwise("log_scale"))
    }
    let perClass = shape.count == 4 && shape[0] == c && shape[0] != 1
    guard shape.count == 4, perClass || shape[0] == 1 && shape[1] == c,
      shape.allSatisfy({ (1...65536).contains($0) })
    else {
      throw dict.source.malformed(
        "shape of tensor \(name)", "\(shape.prefix(8))", "[1, \(c), h, w], or [\(c), h, w, classes]")
    }
    let (height, width) = perClass ? (shape[1], shape[2]) : (shape[2], shape[3])
    let stride = perClass ? shape[3] : 1
    let first = perClass ? try choose(shape[3]) : 0
    func values(_ name: String) throws(FileError) -> [Double] {
      let all = try doubles(prefix + name, shape)
      return (0..<height * width * c).map { k in
        let (pixel, channel) = k.quotientAndRemainder(dividingBy: c)
        return all[(channel * height * width + pixel) * stride + first]
      }
    }
    return .values(mean: try values("loc"), logScale: try values("log_scale"), height: height, width: width)
  }

  private mutating func choose(_ count: Int) throws(FileError) -> Int {
    if let classes, classes != count {
      throw dict.source.malformed("classes of a base", "\(count)", "\(classes) as the others")
    }
    classes = count
    let index = Int(number(.class))
    guard index < count else { throw dict.source.malformed("option class", "\(index)", "0 to \(count - 1)") }
    return index
  }

  // MARK: Vectors

  /// normflows' `NormalizingFlow` on vectors: flows run 0, 1, … from latents to data, so ours run backwards.
  mutating func mapNormflowsVectors() throws(FileError) {
    let d = try shape("q0.loc", axes: 2)[1]
    channels = d
    size = (1, 1)
    let found = try indices(prefix: "flows.")
    let last = found.last ?? -1
    func addSwap(_ layers: inout FlowMapping) {
      // Of an odd number the half that comes first from images on is the larger one.
      let half = (d + 1) / 2
      layers.add(.permutation(.given(Array(half..<d) + Array(0..<half))))
    }
    // Where nothing says that there is a swap, none is asked about.
    let isOpen = found.count != last + 1 || found.count == 1 || choices.swaps == .every
    let swaps: ImportChoices.Swaps = isOpen ? choice(.permutation) : .between
    if swaps == .every, d > 1 { addSwap(&self) }
    for k in (0..<max(last + 1, 0)).reversed() {
      let prefix = "flows.\(k)."
      if dict.has(prefix + "b") {
        try addMaskedAffine(prefix, dimensions: d)
      } else if dict.has(prefix + "perm") {
        try addPermutation(prefix, dimensions: d)
      } else if dict.has(prefix + "s") {
        try addNormflowsActnorm(prefix, [1, d], range: nil)
      } else if dict.has(prefix + "flows.1.param_map.net.0.weight") {
        try addCouplingBlock(prefix, dimensions: d)
      } else if found.contains(k) {
        throw dict.source.malformed(
          "flows.\(k)", "of an unknown kind", "MaskedAffineFlow, AffineCouplingBlock, Permute or ActNorm")
      } else if swaps != .none {
        addSwap(&self)
      }
    }
    base = .learnedGaussian
    addBase(
      mean: try doubles("q0.loc", [1, d]), logScale: try doubles("q0.log_scale", [1, d]), atSplit: nil)
  }

  /// What a vector flow's file tells of the swaps behind its last flow, by the list of its modules where it has one.
  static func toldSwaps(_ dict: StateDict) -> (value: ImportChoices.Swaps, isCertain: Bool) {
    func index(_ name: String) -> Int? {
      let parts = name.split(separator: ".")
      return parts.count > 1 && parts[0] == "flows" ? Int(parts[1]) : nil
    }
    let found = Set(dict.names.compactMap(index))
    let last = found.max() ?? -1
    if let modules = dict.modules, let end = modules.compactMap(index).max() {
      // Two swaps are none.
      return ((end - last) % 2 == 1 ? .every : .between, true)
    }
    let couplings = found.filter { dict.has("flows.\($0).flows.1.param_map.net.0.weight") }
    let isPattern =
      couplings.count > 1 && couplings.contains(last)
      && couplings.allSatisfy { $0 == last || !found.contains($0 + 1) }
    return (isPattern ? .every : .between, false)
  }

  private mutating func addPermutation(_ prefix: String, dimensions d: Int) throws(FileError) {
    let inverse = try doubles(prefix + "inv_perm", [d]).map { Int(exactly: $0) ?? -1 }
    let forward = try doubles(prefix + "perm", [d]).map { Int(exactly: $0) ?? -1 }
    guard inverse.sorted() == Array(0..<d), (0..<d).allSatisfy({ forward[inverse[$0]] == $0 }) else {
      throw dict.source.malformed(
        "tensor \(prefix)perm", "no permutation with its inverse", "one of 0 to \(d - 1)")
    }
    add(.permutation(.given(inverse)))
  }

  /// z = b·x + (1 − b)·(x − t(b·x))·e^(−s(b·x)): the nets see only what conditions, and give only what is transformed.
  private mutating func addMaskedAffine(_ prefix: String, dimensions d: Int) throws(FileError) {
    let b = try doubles(prefix + "b", [1, d])
    guard b.allSatisfy({ $0 == 0 || $0 == 1 }) else {
      throw dict.source.malformed("tensor \(prefix)b", "not 0 or 1 everywhere", "a mask")
    }
    let (inputs, outputs) = ((0..<d).filter { b[$0] == 1 }, (0..<d).filter { b[$0] == 0 })
    guard !inputs.isEmpty, !outputs.isEmpty else {
      throw dict.source.malformed(
        "tensor \(prefix)b", "the same everywhere", "a mask that parts the dimensions")
    }
    let negative = outputs.map { Output(source: $0, factor: -1) }
    let shift = try mlp(prefix + "t.net.", "shift", inputs: inputs, of: d, outputs: negative, count: d)
    let scale = try mlp(prefix + "s.net.", "scale", inputs: inputs, of: d, outputs: negative, count: d)
    guard shift != nil || scale != nil else {
      throw dict.source.malformed("\(prefix)s and t", "both missing", "a net")
    }
    add(
      .maskedAffine(
        MaskedAffineSpec(
          mask: .channels(b.map { $0 == 1 }), transform: .unboundedExponential,
          nets: .separate(shift: shift?.spec, scale: scale?.spec))),
      (shift?.parameters ?? []) + (scale?.parameters ?? []))
  }

  /// z₂ = (x₂ − shift)·e^(−scale) and the like, the larger half of an odd number conditioning.
  private mutating func addCouplingBlock(
    _ prefix: String, dimensions d: Int
  ) throws(FileError) {
    let first = (d + 1) / 2
    let names = prefix + "flows.1.param_map.net."
    let count = try mlpOutputs(names)
    guard count == d - first || count == 2 * (d - first) else {
      throw dict.source.malformed("outputs of \(names)", "\(count)", "\(2 * (d - first)), or half as many")
    }
    let additive = count == d - first
    let map: ImportChoices.ScaleMap = additive ? .exp : choice(.scaleMap)
    let outputs = Self.head(
      map.layout, count: count, additive: additive, factors: [Double](repeating: 1, count: count))
    guard let net = try mlp(names, "net", inputs: Array(0..<first), of: first, outputs: outputs, count: count)
    else {
      throw dict.source.malformed("tensors of \(names)", "missing", "a net")
    }
    add(
      .maskedAffine(
        MaskedAffineSpec(
          mask: .channels((0..<d).map { $0 < first }),
          transform: additive ? .additive : map.transform, nets: .joint(net.spec))),
      net.parameters)
  }

  // MARK: Fully connected nets

  /// Numbers of the linear layers behind a prefix: 0, 2, 4, …
  private func linears(_ prefix: String) throws(FileError) -> [Int] {
    let found = try indices(prefix: prefix)
    guard found == found.indices.map({ 2 * $0 }), found.count <= 65 else {
      throw dict.source.malformed("numbers behind \(prefix)", "\(found.prefix(8))", "0, 2, 4, …")
    }
    return found
  }

  private func mlpOutputs(_ prefix: String) throws(FileError) -> Int {
    try shape("\(prefix)\(try linears(prefix).last ?? 0).weight", axes: 2)[0]
  }

  /// A net of the file with some of its inputs and outputs; nil where it has no tensors.
  private mutating func mlp(
    _ prefix: String, _ name: String, inputs: [Int], of inputCount: Int, outputs: [Output], count: Int
  ) throws(FileError) -> (spec: MLPSpec, parameters: [(name: String, shape: [Int], values: [Scalar])])? {
    let layers = try linears(prefix)
    guard let final = layers.last else { return nil }
    guard dict.modules?.contains("\(prefix)\(final + 1)") != true else {
      throw dict.source.malformed(
        "net \(prefix)", "one with an output function",
        "an MLP without output_fn, the only ones that can be imported")
    }
    let slope = layers.count > 1 ? number(.leaky) : 0
    var hidden: [Int] = []
    var parameters: [(name: String, shape: [Int], values: [Scalar])] = []
    for (k, layer) in layers.enumerated() {
      let isLast = k == layers.count - 1
      let into = k == 0 ? inputCount : hidden[k - 1]
      let out = isLast ? count : try shape("\(prefix)\(layer).weight", axes: 2)[0]
      let weight = try take("\(prefix)\(layer).weight", [out, into])
      let bias = try take("\(prefix)\(layer).bias", [out])
      let sources = k == 0 ? inputs : Array(0..<into)
      let targets = isLast ? outputs : Self.outputs(out)
      var values = sources.flatMap { source in
        targets.map { Scalar(Double(weight[$0.source * into + source]) * $0.factor) }
      }
      var biases = targets.map { Scalar(Double(bias[$0.source]) * $0.factor) }
      let inputs = values.count / targets.count
      if k > 0 { values = Self.spread(values, inputs: inputs, outputs: targets.count, slope: slope) }
      if !isLast {
        values = Self.doubled(values, outputs: targets.count, slope: slope)
        biases = Self.doubled(biases, outputs: targets.count, slope: slope)
        hidden.append(out)
      }
      parameters.append(("\(name).\(k).weight", [values.count / biases.count, biases.count], values))
      parameters.append(("\(name).\(k).bias", [biases.count], biases))
    }
    if slope != 0 { hidden = hidden.map { 2 * $0 } }
    return (MLPSpec(hidden: hidden, activation: .relu), parameters)
  }
}

extension ImportChoices.ScaleMap {
  /// x → z subtracts the shift, and with `exp` divides by e^scale.
  fileprivate var layout: HeadLayout {
    HeadLayout(order: .shiftScalePairs, shiftFactor: -1, scaleFactor: self == .exp ? -1 : 1)
  }

  fileprivate var transform: CouplingTransform {
    switch self {
    case .sigmoid: .sigmoid
    case .exp: .unboundedExponential
    case .inverse: .inverseSigmoid
    }
  }
}
