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
    let keys = try KnownKeys(decoder, ["kind", "hidden", "blocks", "activation", "padding"])
    self.init(
      kind: try keys.get("kind", default: .glow), hidden: try keys.get("hidden"),
      blocks: try keys.get("blocks", default: 2), activation: try keys.get("activation", default: .relu),
      padding: try keys.get("padding", default: 0))
  }
}

extension CouplingSpec {
  public init(from decoder: any Decoder) throws {
    let keys = try KnownKeys(decoder, ["mask", "transform", "net"])
    self.init(
      mask: try keys.get("mask", default: .firstHalf),
      transform: try keys.get("transform", default: .sigmoid),
      net: try keys.get("net"))
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

  private struct Matrix: Codable {
    var form: MatrixForm

    init(form: MatrixForm) { self.form = form }

    init(from decoder: any Decoder) throws {
      form = try KnownKeys(decoder, ["form"]).get("form", default: .plu)
    }
  }

  private static let names = ["actnorm", "conv1x1", "coupling", "squeeze", "split", "logistic", "repeat"]

  /// A name alone for a layer without options, else a mapping from the name to the options.
  public init(from decoder: any Decoder) throws {
    if let name = try? decoder.singleValueContainer().decode(String.self) {
      switch name {
      case "actnorm": self = .actnorm
      case "conv1x1": self = .conv1x1(.plu)
      case "squeeze": self = .squeeze
      case "split": self = .split
      case "logistic": self = .logistic
      default:
        throw DecodingError.dataCorrupted(
          .init(
            codingPath: decoder.codingPath,
            debugDescription: "unknown layer \(name), expected one of \(Self.names.joined(separator: ", "))"))
      }
      return
    }
    let keys = try KnownKeys(decoder, ["conv1x1", "coupling", "repeat"])
    guard keys.container.allKeys.count == 1, let key = keys.container.allKeys.first else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "a layer is one name with its options"))
    }
    switch key.stringValue {
    case "conv1x1": self = .conv1x1(try keys.get("conv1x1", Matrix.self).form)
    case "coupling": self = .coupling(try keys.get("coupling"))
    default:
      let inner = try keys.get("repeat", Repeat.self)
      self = .repeated(inner.times, inner.layers)
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
    case .squeeze: try plain("squeeze")
    case .split: try plain("split")
    case .logistic: try plain("logistic")
    case .conv1x1(.plu): try plain("conv1x1")
    case .conv1x1(let form): try keyed("conv1x1", Matrix(form: form))
    case .coupling(let coupling): try keyed("coupling", coupling)
    case .repeated(let times, let layers): try keyed("repeat", Repeat(times: times, layers: layers))
    }
  }
}

extension FlowSpec: Codable {
  private struct Glow: Decodable {
    var spec: FlowSpec

    init(from decoder: any Decoder) throws {
      let keys = try KnownKeys(decoder, ["levels", "steps", "hidden", "matrix", "transform", "activation"])
      spec = .glow(
        levels: try Self.bounded(keys, "levels", 1...16), steps: try Self.bounded(keys, "steps", 1...1024),
        hidden: try Self.bounded(keys, "hidden", 1...FlowSpec.widthLimit),
        matrix: try keys.get("matrix", default: .plu),
        transform: try keys.get("transform", default: .sigmoid),
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

  public init(from decoder: any Decoder) throws {
    let keys = try KnownKeys(decoder, ["base", "layers", "glow", "realnvp"])
    let base: Base = try keys.get("base", default: .gaussian)
    let given = ["layers", "glow", "realnvp"].filter { keys.has($0) }
    guard given.count == 1 else {
      throw DecodingError.dataCorrupted(
        .init(
          codingPath: decoder.codingPath,
          debugDescription: "a flow has exactly one of layers, glow and realnvp, found \(given.count)"))
    }
    switch given[0] {
    case "layers": self.init(base: base, layers: try keys.get("layers"))
    case "glow":
      self = try keys.get("glow", Glow.self).spec
      self.base = base
    default:
      self = try keys.get("realnvp", RealNVP.self).spec
      self.base = base
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: AnyKey.self)
    try container.encode(base, forKey: AnyKey("base"))
    try container.encode(layers, forKey: AnyKey("layers"))
  }
}
