/// Keys of any name, so that one can see those that shouldn't be there.
private struct AnyKey: CodingKey {
  var stringValue: String
  var intValue: Int? { nil }
  init(_ string: String) { stringValue = string }
  init?(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { nil }
}

/// A keyed container whose keys are all known, or an error that names the one which isn't.
private struct KnownKeys {
  let container: KeyedDecodingContainer<AnyKey>

  init(_ decoder: any Decoder, _ known: [String]) throws {
    container = try decoder.container(keyedBy: AnyKey.self)
    for key in container.allKeys where !known.contains(key.stringValue) {
      throw DecodingError.dataCorrupted(
        .init(
          codingPath: container.codingPath + [key],
          debugDescription: "unknown key \(key.stringValue), expected one of \(known.joined(separator: ", "))"
        ))
    }
  }

  func get<Value: Decodable>(_ key: String, _ type: Value.Type = Value.self) throws -> Value {
    try container.decode(Value.self, forKey: AnyKey(key))
  }

  func get<Value: Decodable>(_ key: String, default value: Value) throws -> Value {
    try container.decodeIfPresent(Value.self, forKey: AnyKey(key)) ?? value
  }

  func has(_ key: String) -> Bool { container.contains(AnyKey(key)) }
}

extension NetSpec {
  public init(from decoder: any Decoder) throws {
    let keys = try KnownKeys(decoder, ["kind", "hidden", "blocks", "activation", "padding", "lastPadding"])
    let kind: Kind = try keys.get("kind", default: .glow)
    self.init(
      kind: kind, hidden: kind == .linear ? try keys.get("hidden", default: 1) : try keys.get("hidden"),
      blocks: try keys.get("blocks", default: 2), activation: try keys.get("activation", default: .relu),
      padding: try keys.get("padding", default: 0),
      lastPadding: keys.has("lastPadding") ? try keys.get("lastPadding") : nil)
  }
}

extension CouplingSpec {
  public init(from decoder: any Decoder) throws {
    let keys = try KnownKeys(decoder, ["mask", "transform", "order", "scaleBias", "net"])
    self.init(
      mask: try keys.get("mask", default: .firstHalf),
      transform: try keys.get("transform", default: .sigmoid),
      order: try keys.get("order", default: .shiftFirst), scaleBias: try keys.get("scaleBias", default: 0),
      net: try keys.get("net"))
  }
}

extension MLPSpec {
  public init(from decoder: any Decoder) throws {
    let keys = try KnownKeys(decoder, ["hidden", "activation"])
    self.init(hidden: try keys.get("hidden"), activation: try keys.get("activation", default: .relu))
  }
}

extension MaskedAffineSpec.Mask: Codable {
  private static let names: [String: Self] = [
    "first-half": .firstHalf, "second-half": .secondHalf, "even": .even, "odd": .odd,
  ]

  /// A name, or the bits as a list of 0 and 1.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let bits = try? container.decode([Int].self) {
      guard bits.allSatisfy({ $0 == 0 || $0 == 1 }) else {
        throw DecodingError.dataCorruptedError(in: container, debugDescription: "a mask is a list of 0 and 1")
      }
      self = .channels(bits.map { $0 == 1 })
    } else {
      let name = try container.decode(String.self)
      guard let mask = Self.names[name] else {
        throw DecodingError.dataCorruptedError(
          in: container,
          debugDescription:
            "unknown mask \(name), expected first-half, second-half, even, odd or a list of 0 and 1")
      }
      self = mask
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    if case .channels(let bits) = self {
      try container.encode(bits.map { $0 ? 1 : 0 })
    } else {
      try container.encode(Self.names.first { $0.value == self }?.key)
    }
  }
}

extension MaskedAffineSpec {
  public init(from decoder: any Decoder) throws {
    let keys = try KnownKeys(decoder, ["mask", "transform", "net", "shift", "scale"])
    let separate = keys.has("shift") || keys.has("scale")
    guard keys.has("net") != separate else {
      throw DecodingError.dataCorrupted(
        .init(
          codingPath: decoder.codingPath,
          debugDescription:
            "a masked-affine layer has either net, or shift and scale of which one may be absent"))
    }
    let none: MLPSpec? = nil
    self.init(
      mask: try keys.get("mask"), transform: try keys.get("transform", default: .exponential),
      nets: separate
        ? .separate(
          shift: try keys.get("shift", default: none), scale: try keys.get("scale", default: none))
        : .joint(try keys.get("net")))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: AnyKey.self)
    try container.encode(mask, forKey: AnyKey("mask"))
    try container.encode(transform, forKey: AnyKey("transform"))
    switch nets {
    case .joint(let net): try container.encode(net, forKey: AnyKey("net"))
    case .separate(let shift, let scale):
      try container.encodeIfPresent(shift, forKey: AnyKey("shift"))
      try container.encodeIfPresent(scale, forKey: AnyKey("scale"))
    }
  }
}

extension ChannelOrder {
  /// `swap`, `reverse`, or the order as a list.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let order = try? container.decode([Int].self) {
      self = .given(order)
    } else {
      switch try container.decode(String.self) {
      case "swap": self = .swap
      case "reverse": self = .reverse
      case let name:
        throw DecodingError.dataCorruptedError(
          in: container, debugDescription: "unknown permutation \(name), expected swap, reverse or a list")
      }
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .swap: try container.encode("swap")
    case .reverse: try container.encode("reverse")
    case .given(let order): try container.encode(order)
    }
  }
}

extension Conv1x1Kind {
  init(from decoder: any Decoder) throws {
    form = try KnownKeys(decoder, ["form"]).get("form", default: .plu)
  }
}

extension LogitKind {
  init(from decoder: any Decoder) throws {
    margin = try KnownKeys(decoder, ["margin"]).get("margin", default: 0.05)
  }
}

extension WhiteningKind {
  init(from decoder: any Decoder) throws {
    form = try KnownKeys(decoder, ["form"]).get("form", default: .channel)
  }
}

extension SqueezeKind {
  init(from decoder: any Decoder) throws {
    form = try KnownKeys(decoder, ["form"]).get("form", default: .interleaved)
  }
}

extension LayerSpec: Codable {
  private struct Repeat: Codable {
    var times: Int
    var layers: [LayerSpec]

    init(times: Int, layers: [LayerSpec]) {
      self.times = times
      self.layers = layers
    }

    init(from decoder: any Decoder) throws {
      let keys = try KnownKeys(decoder, ["times", "layers"])
      times = try keys.get("times")
      layers = try keys.get("layers")
    }
  }

  /// The library's layers.
  static let names = [
    "actnorm", "conv1x1", "coupling", "masked-affine", "permutation", "squeeze", "split", "flatten",
    "logistic", "logit", "whitening", "repeat",
  ]

  /// A name alone for a layer without options, else a mapping from the name to the options.
  public init(from decoder: any Decoder) throws {
    if let name = try? decoder.singleValueContainer().decode(String.self) {
      switch name {
      case "actnorm": self = .actnorm
      case "conv1x1": self = .conv1x1(.plu)
      case "squeeze": self = .squeeze(.interleaved)
      case "split": self = .split
      case "flatten": self = .flatten
      case "logistic": self = .logistic
      case "whitening": self = .whitening(.channel)
      case "logit": self = .logit(margin: 0.05)
      default:
        let isKnown = LayerRegistry.kind(named: name) != nil
        let all = (Self.names + LayerRegistry.names).joined(separator: ", ")
        throw DecodingError.dataCorrupted(
          .init(
            codingPath: decoder.codingPath,
            debugDescription: isKnown
              ? "\(name) is written with its options, as {\(name): {}} where it has none"
              : "unknown layer \(name), expected one of \(all)"))
      }
      return
    }
    let keys = try KnownKeys(
      decoder,
      ["conv1x1", "coupling", "masked-affine", "permutation", "squeeze", "logit", "whitening", "repeat"]
        + LayerRegistry.names)
    guard keys.container.allKeys.count == 1, let key = keys.container.allKeys.first else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "a layer is one name with its options"))
    }
    switch key.stringValue {
    case "conv1x1": self = .conv1x1(try keys.get("conv1x1", Conv1x1Kind.self).form)
    case "coupling": self = .coupling(try keys.get("coupling"))
    case "masked-affine": self = .maskedAffine(try keys.get("masked-affine"))
    case "permutation": self = .permutation(try keys.get("permutation"))
    case "logit": self = .logit(margin: try keys.get("logit", LogitKind.self).margin)
    case "whitening": self = .whitening(try keys.get("whitening", WhiteningKind.self).form)
    case "squeeze": self = .squeeze(try keys.get("squeeze", SqueezeKind.self).form)
    case "repeat":
      let inner = try keys.get("repeat", Repeat.self)
      self = .repeated(inner.times, inner.layers)
    case let name:
      guard let kind = LayerRegistry.kind(named: name) else {
        preconditionFailure("\(name) was registered a moment ago")
      }
      self = .own(OwnLayerKind(try keys.container.decode(kind, forKey: key)))
    }
  }

  public func encode(to encoder: any Encoder) throws {
    func plain(_ name: String) throws {
      var container = encoder.singleValueContainer()
      try container.encode(name)
    }
    func keyed(_ name: String, _ value: some Encodable) throws {
      var container = encoder.container(keyedBy: AnyKey.self)
      try container.encode(value, forKey: AnyKey(name))
    }
    switch self {
    case .actnorm: try plain("actnorm")
    case .squeeze(.interleaved): try plain("squeeze")
    case .squeeze(let form): try keyed("squeeze", SqueezeKind(form: form))
    case .split: try plain("split")
    case .flatten: try plain("flatten")
    case .logistic: try plain("logistic")
    case .whitening(.channel): try plain("whitening")
    case .whitening(let form): try keyed("whitening", WhiteningKind(form: form))
    case .logit(let margin): try keyed("logit", LogitKind(margin: margin))
    case .conv1x1(.plu): try plain("conv1x1")
    case .conv1x1(let form): try keyed("conv1x1", Conv1x1Kind(form: form))
    case .coupling(let coupling): try keyed("coupling", coupling)
    case .maskedAffine(let masked): try keyed("masked-affine", masked)
    case .permutation(let order): try keyed("permutation", order)
    case .repeated(let times, let layers): try keyed("repeat", Repeat(times: times, layers: layers))
    case .own(let own): try keyed(type(of: own.kind).name, own.kind)
    }
  }
}

extension Condition: Codable {
  private struct Range: Codable {
    var least: Double
    var greatest: Double

    init(_ condition: Condition) { (least, greatest) = (condition.least, condition.greatest) }

    init(from decoder: any Decoder) throws {
      let keys = try KnownKeys(decoder, ["least", "greatest"])
      least = try keys.get("least", default: Condition().least)
      greatest = try keys.get("greatest", default: Condition().greatest)
    }
  }

  /// `noise`, or the name with the levels.
  public init(from decoder: any Decoder) throws {
    if let name = try? decoder.singleValueContainer().decode(String.self) {
      guard name == "noise" else {
        throw DecodingError.dataCorrupted(
          .init(codingPath: decoder.codingPath, debugDescription: "unknown condition \(name), expected noise")
        )
      }
      self.init()
    } else {
      let range = try KnownKeys(decoder, ["noise"]).get("noise", Range.self)
      self.init(least: range.least, greatest: range.greatest)
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: AnyKey.self)
    try container.encode(Range(self), forKey: AnyKey("noise"))
  }
}

extension FlowSpec: Codable {
  private struct Glow: Decodable {
    var spec: FlowSpec

    init(from decoder: any Decoder) throws {
      let keys = try KnownKeys(
        decoder, ["levels", "steps", "hidden", "matrix", "transform", "scaleBias", "activation"])
      spec = .glow(
        levels: try Self.bounded(keys, "levels", 1...16), steps: try Self.bounded(keys, "steps", 1...1024),
        hidden: try Self.bounded(keys, "hidden", 1...FlowSpec.widthLimit),
        matrix: try keys.get("matrix", default: .plu),
        transform: try keys.get("transform", default: .sigmoid),
        scaleBias: try keys.get("scaleBias", default: 0),
        activation: try keys.get("activation", default: .relu))
    }

    static func bounded(
      _ keys: KnownKeys, _ key: String, _ range: ClosedRange<Int>, default value: Int? = nil
    )
      throws -> Int
    {
      let found = try value.map { try keys.get(key, default: $0) } ?? keys.get(key)
      guard range.contains(found) else {
        throw DecodingError.dataCorrupted(
          .init(
            codingPath: keys.container.codingPath + [AnyKey(key)],
            debugDescription: "\(key) is \(found), expected \(range.lowerBound) to \(range.upperBound)"))
      }
      return found
    }
  }

  private struct RealNVP: Decodable {
    var spec: FlowSpec

    init(from decoder: any Decoder) throws {
      let keys = try KnownKeys(decoder, ["levels", "couplings", "hidden", "blocks", "activation"])
      spec = .realNVP(
        levels: try Glow.bounded(keys, "levels", 1...16),
        couplings: try Glow.bounded(keys, "couplings", 1...256, default: 3),
        hidden: try Glow.bounded(keys, "hidden", 1...FlowSpec.widthLimit),
        blocks: try Glow.bounded(keys, "blocks", 0...64, default: 2),
        activation: try keys.get("activation", default: .relu))
    }
  }

  /// What `vector` and `dense` are made of.
  private struct MaskedCouplings: Decodable {
    var couplings: Int
    var hidden: [Int]
    var transform: CouplingSpec.Transform
    var activation: NetSpec.Activation

    init(from decoder: any Decoder) throws {
      let keys = try KnownKeys(decoder, ["couplings", "hidden", "transform", "activation"])
      couplings = try Glow.bounded(keys, "couplings", 1...256)
      hidden = try keys.get("hidden")
      transform = try keys.get("transform", default: .exponential)
      activation = try keys.get("activation", default: .silu)
    }
  }

  public init(from decoder: any Decoder) throws {
    let keys = try KnownKeys(
      decoder, ["base", "condition", "whitening", "layers", "glow", "realnvp", "vector", "dense"])
    let base: Base = try keys.get("base", default: .gaussian)
    let condition: Condition? = keys.has("condition") ? try keys.get("condition") : nil
    let given = ["layers", "glow", "realnvp", "vector", "dense"].filter { keys.has($0) }
    guard given.count == 1 else {
      throw DecodingError.dataCorrupted(
        .init(
          codingPath: decoder.codingPath,
          debugDescription:
            "a flow has exactly one of layers, glow, realnvp, vector and dense, found \(given.count)"
        ))
    }
    guard !keys.has("whitening") || condition != nil && given != ["layers"] else {
      throw DecodingError.dataCorrupted(
        .init(
          codingPath: decoder.codingPath,
          debugDescription:
            "whitening goes with a condition and a family; among layers it is the first of them"))
    }
    switch given[0] {
    case "layers": self.init(base: base, condition: condition, layers: try keys.get("layers"))
    case "glow":
      self = try keys.get("glow", Glow.self).spec
      self.base = base
    case "vector":
      let of = try keys.get("vector", MaskedCouplings.self)
      self = .vector(
        couplings: of.couplings, hidden: of.hidden, transform: of.transform, activation: of.activation)
      self.base = base
    case "dense":
      let of = try keys.get("dense", MaskedCouplings.self)
      self = .dense(
        couplings: of.couplings, hidden: of.hidden, transform: of.transform, activation: of.activation)
      self.base = base
    default:
      self = try keys.get("realnvp", RealNVP.self).spec
      self.base = base
    }
    if let condition, given != ["layers"] {
      self = conditioned(
        condition, whitening: try keys.get("whitening", default: given == ["dense"] ? .dense : .channel))
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: AnyKey.self)
    try container.encode(base, forKey: AnyKey("base"))
    try container.encodeIfPresent(condition, forKey: AnyKey("condition"))
    try container.encode(layers, forKey: AnyKey("layers"))
  }
}
