/// Keys of any name, so that one can see those that shouldn't be there.
struct AnyKey: CodingKey {
  var stringValue: String
  var intValue: Int? { nil }
  init(_ string: String) { stringValue = string }
  init?(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { nil }
}

/// A keyed container whose keys are all known, or an error that names the one which isn't.
struct KnownKeys {
  let container: KeyedDecodingContainer<AnyKey>

  init(_ decoder: any Decoder, _ known: [String]) throws {
    container = try decoder.container(keyedBy: AnyKey.self)
    try requireKnown(known)
  }

  /// With keys that depend on what another key says.
  init(_ decoder: any Decoder, _ known: (Self) -> [String]) throws {
    container = try decoder.container(keyedBy: AnyKey.self)
    try requireKnown(known(self))
  }

  private func requireKnown(_ known: [String]) throws {
    for key in container.allKeys where !known.contains(key.stringValue) {
      throw Self.unknown("key", key.stringValue, of: known, container.codingPath + [key])
    }
  }

  func get<Value: Decodable>(_ key: String, _ type: Value.Type = Value.self) throws -> Value {
    try container.decode(Value.self, forKey: AnyKey(key))
  }

  func get<Value: Decodable>(_ key: String, default value: Value) throws -> Value {
    try container.decodeIfPresent(Value.self, forKey: AnyKey(key)) ?? value
  }

  /// An integer between two.
  func bounded(_ key: String, _ range: ClosedRange<Int>, default value: Int? = nil) throws -> Int {
    let found = try value.map { try get(key, default: $0) } ?? get(key)
    guard range.contains(found) else {
      throw error("\(key) is \(found), expected \(range.lowerBound) to \(range.upperBound)", at: key)
    }
    return found
  }

  func error(_ text: String, at key: String? = nil) -> DecodingError {
    .dataCorrupted(
      .init(
        codingPath: container.codingPath + (key.map { [AnyKey($0)] } ?? []), debugDescription: text))
  }

  func has(_ key: String) -> Bool { container.contains(AnyKey(key)) }

  /// What a name stands for, or an error that lists the names.
  func choice<Value>(
    _ name: String, of names: [String], _ key: String, _ value: (String) -> Value?
  ) throws -> Value {
    if let value = value(name) { return value }
    throw Self.unknown(key, name, of: names, container.codingPath + [AnyKey(key)])
  }

  static func unknown(_ what: String, _ name: String, of names: [String], _ path: [any CodingKey])
    -> DecodingError
  {
    .dataCorrupted(
      .init(
        codingPath: path,
        debugDescription: "unknown \(what) \(name), expected one of \(names.joined(separator: ", "))"))
  }
}
