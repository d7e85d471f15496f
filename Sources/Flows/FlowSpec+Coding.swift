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
    let keys = try KnownKeys(decoder) {
      ["mask"] + CouplingTransform.keys(try? $0.get("transform")) + ["net"]
    }
    self.init(
      mask: try keys.get("mask", default: .firstHalf),
      transform: try CouplingTransform(keys, default: "sigmoid"), net: try keys.get("net"))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: AnyKey.self)
    try container.encode(mask, forKey: AnyKey("mask"))
    try transform.encode(into: &container)
    try container.encode(net, forKey: AnyKey("net"))
  }
}

extension MLPSpec {
  public init(from decoder: any Decoder) throws {
    let keys = try KnownKeys(decoder, ["hidden", "activation"])
    self.init(hidden: try keys.get("hidden"), activation: try keys.get("activation", default: .relu))
  }
}

extension CouplingMask: Codable {
  /// A name, or the conditioning channels as a list of 0 and 1.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let bits = try? container.decode([Int].self) {
      guard bits.allSatisfy({ $0 == 0 || $0 == 1 }) else {
        throw DecodingError.dataCorruptedError(in: container, debugDescription: "a mask is a list of 0 and 1")
      }
      self = .channels(bits.map { $0 == 1 })
    } else {
      let name = try container.decode(String.self)
      guard let found = Self.named.first(where: { $0.name == name }) else {
        throw KnownKeys.unknown(
          "mask", name, of: Self.named.map(\.name) + ["a list of 0 and 1"], container.codingPath)
      }
      self = found.mask
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    if case .channels(let bits) = self {
      try container.encode(bits.map { $0 ? 1 : 0 })
    } else {
      try container.encode(name)
    }
  }
}

extension MaskedAffineSpec {
  public init(from decoder: any Decoder) throws {
    let keys = try KnownKeys(decoder) {
      ["mask"] + CouplingTransform.keys(try? $0.get("transform")) + ["net", "shift", "scale"]
    }
    let separate = keys.has("shift") || keys.has("scale")
    guard keys.has("net") != separate else {
      throw keys.error("a masked-affine layer has either net, or shift and scale of which one may be absent")
    }
    let none: MLPSpec? = nil
    self.init(
      mask: try keys.get("mask"), transform: try CouplingTransform(keys, default: "exponential"),
      nets: separate
        ? .separate(
          shift: try keys.get("shift", default: none), scale: try keys.get("scale", default: none))
        : .joint(try keys.get("net")))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: AnyKey.self)
    try container.encode(mask, forKey: AnyKey("mask"))
    try container.encode(transform.name, forKey: AnyKey("transform"))
    if !transform.isPlain { try transform.scalar.encode(into: &container) }
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

  /// A name alone for a layer without settings, else a mapping from the name to the settings.
  public init(from decoder: any Decoder) throws {
    let all = LayerRegistry.names + ["repeat"]
    if let name = try? decoder.singleValueContainer().decode(String.self) {
      guard let kind = LayerRegistry.kind(named: name) else {
        throw KnownKeys.unknown("layer", name, of: all, decoder.codingPath)
      }
      guard let plain = kind.plain else {
        throw DecodingError.dataCorrupted(
          .init(
            codingPath: decoder.codingPath,
            debugDescription: "\(name) is written with its options, as {\(name): {}} where it has none"))
      }
      self.init(plain)
      return
    }
    let keys = try KnownKeys(decoder, all)
    guard keys.container.allKeys.count == 1, let key = keys.container.allKeys.first else {
      let found = keys.container.allKeys.map(\.stringValue).sorted().joined(separator: ", ")
      throw keys.error("a layer is one name with its options, found \(found.isEmpty ? "none" : found)")
    }
    if let kind = LayerRegistry.kind(named: key.stringValue) {
      self.init(try keys.container.decode(kind, forKey: key))
    } else {
      let inner = try keys.get("repeat", Repeat.self)
      self = .repeated(inner.times, inner.layers)
    }
  }

  public func encode(to encoder: any Encoder) throws {
    func keyed(_ name: String, _ value: some Encodable) throws {
      var container = encoder.container(keyedBy: AnyKey.self)
      try container.encode(value, forKey: AnyKey(name))
    }
    switch self {
    case .layer(let layer):
      func encode<Kind: LayerKind>(_ kind: Kind) throws {
        guard Kind.plain == kind else { return try keyed(Kind.name, kind) }
        var container = encoder.singleValueContainer()
        try container.encode(Kind.name)
      }
      try encode(layer.kind)
    case .repeated(let times, let layers): try keyed("repeat", Repeat(times: times, layers: layers))
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
  static let families = ["glow", "realnvp", "vector", "dense"]

  /// A flow of the family that the key is named after.
  private struct Family: Decodable {
    var spec: FlowSpec

    init(from decoder: any Decoder) throws {
      let family = decoder.codingPath.last?.stringValue
      let width = 1...FlowSpec.widthLimit
      let own =
        switch family {
        case "glow": ["levels", "steps", "hidden", "matrix"]
        case "realnvp": ["levels", "couplings", "hidden", "blocks"]
        default: ["couplings", "hidden"]
        }
      let keys = try KnownKeys(decoder) {
        own + ["activation"]
          + (family == "realnvp" ? [] : CouplingTransform.keys(try? $0.get("transform")))
      }
      switch family {
      case "glow":
        spec = .glow(
          levels: try keys.bounded("levels", 1...16), steps: try keys.bounded("steps", 1...1024),
          hidden: try keys.bounded("hidden", width), matrix: try keys.get("matrix", default: .plu),
          transform: try CouplingTransform(keys, default: "sigmoid"),
          activation: try keys.get("activation", default: .relu))
      case "realnvp":
        spec = .realNVP(
          levels: try keys.bounded("levels", 1...16),
          couplings: try keys.bounded("couplings", 1...256, default: 3),
          hidden: try keys.bounded("hidden", width), blocks: try keys.bounded("blocks", 0...64, default: 2),
          activation: try keys.get("activation", default: .relu))
      default:
        let make = family == "vector" ? FlowSpec.vector : FlowSpec.dense
        spec = make(
          try keys.bounded("couplings", 1...256), try keys.get("hidden"), .gaussian,
          try CouplingTransform(keys, default: "exponential"),
          try keys.get("activation", default: .silu))
      }
    }
  }

  public init(from decoder: any Decoder) throws {
    let kinds = ["layers"] + Self.families
    let keys = try KnownKeys(decoder, ["base", "condition", "whitening"] + kinds)
    let given = kinds.filter { keys.has($0) }
    guard given.count == 1, let kind = given.first else {
      throw keys.error(
        "a flow has exactly one of layers, glow, realnvp, vector and dense, found \(given.count)")
    }
    let condition: Condition? = keys.has("condition") ? try keys.get("condition") : nil
    guard !keys.has("whitening") || condition != nil && kind != "layers" else {
      throw keys.error("whitening goes with a condition and a family; among layers it is the first of them")
    }
    if kind == "layers" {
      self.init(layers: try keys.get("layers"))
      self.condition = condition
    } else {
      self = try keys.get(kind, Family.self).spec
      if let condition {
        self = conditioned(
          condition, whitening: try keys.get("whitening", default: kind == "dense" ? .dense : .channel))
      }
    }
    base = try keys.get("base", default: .gaussian)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: AnyKey.self)
    try container.encode(base, forKey: AnyKey("base"))
    try container.encodeIfPresent(condition, forKey: AnyKey("condition"))
    try container.encode(layers, forKey: AnyKey("layers"))
  }
}
