extension JSONValue {
  /// A value as its own coding writes it: keys in that order, null for nil and for numbers that aren't finite.
  public init(encoding value: some Encodable) {
    let encoder = Encoding()
    do { try value.encode(to: encoder) } catch {
      preconditionFailure("a value of the library can't be encoded: \(error)")
    }
    self = encoder.node.value
  }
}

/// A value that is being encoded.
private final class Node {
  var leaf = JSONValue.null
  var items: [Node]?
  var members: [(String, Node)]?

  var value: JSONValue {
    if let members { return .object(members.map { ($0, $1.value) }) }
    return items.map { .array($0.map(\.value)) } ?? leaf
  }
}

private struct Encoding: Encoder {
  let node: Node
  var codingPath: [any CodingKey] = []
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  init(_ node: Node = Node()) { self.node = node }

  func container<Key>(keyedBy _: Key.Type) -> KeyedEncodingContainer<Key> {
    if node.members == nil { node.members = [] }
    return KeyedEncodingContainer(Members(node: node))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    if node.items == nil { node.items = [] }
    return Items(node: node)
  }

  func singleValueContainer() -> any SingleValueEncodingContainer { Leaf(node: node) }

  /// A value that JSON has a form for, or else its own coding.
  static func encode(_ value: some Encodable, to node: Node) throws {
    switch value {
    case let value as Bool: node.leaf = .bool(value)
    case let value as Double: node.leaf = .number(value)
    case let value as Float: node.leaf = .number(Double(value))
    case let value as String: node.leaf = .string(value)
    case let value as any BinaryInteger:
      node.leaf = Int(exactly: value).map { .int($0) } ?? .unsigned(UInt64(clamping: value))
    default: try value.encode(to: Encoding(node))
    }
  }
}

private struct Members<Key: CodingKey>: KeyedEncodingContainerProtocol {
  let node: Node
  var codingPath: [any CodingKey] { [] }

  private func child(_ key: any CodingKey) -> Node {
    let child = Node()
    node.members?.append((key.stringValue, child))
    return child
  }

  func encodeNil(forKey key: Key) { _ = child(key) }
  func encode(_ value: some Encodable, forKey key: Key) throws { try Encoding.encode(value, to: child(key)) }

  func encodeIfPresent<T: Encodable>(_ value: T?, forKey key: Key) throws {
    if let value { try encode(value, forKey: key) } else { encodeNil(forKey: key) }
  }
  // A synthesised coding calls these, which would leave nil out.
  func encodeIfPresent(_ value: Bool?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: String?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: Double?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: Int?, forKey key: Key) throws { try optional(value, key) }

  private func optional<T: Encodable>(_ value: T?, _ key: Key) throws {
    if let value { try encode(value, forKey: key) } else { encodeNil(forKey: key) }
  }

  func nestedContainer<Inner>(keyedBy type: Inner.Type, forKey key: Key) -> KeyedEncodingContainer<Inner> {
    Encoding(child(key)).container(keyedBy: type)
  }
  func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
    Encoding(child(key)).unkeyedContainer()
  }
  func superEncoder() -> any Encoder { Encoding(node) }
  func superEncoder(forKey key: Key) -> any Encoder { Encoding(child(key)) }
}

private struct Items: UnkeyedEncodingContainer {
  let node: Node
  var codingPath: [any CodingKey] { [] }
  var count: Int { node.items?.count ?? 0 }

  private func child() -> Node {
    let child = Node()
    node.items?.append(child)
    return child
  }

  func encodeNil() { _ = child() }
  func encode(_ value: some Encodable) throws { try Encoding.encode(value, to: child()) }
  func nestedContainer<Key>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    Encoding(child()).container(keyedBy: type)
  }
  func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { Encoding(child()).unkeyedContainer() }
  func superEncoder() -> any Encoder { Encoding(child()) }
}

private struct Leaf: SingleValueEncodingContainer {
  let node: Node
  var codingPath: [any CodingKey] { [] }

  func encodeNil() { node.leaf = .null }
  func encode(_ value: some Encodable) throws { try Encoding.encode(value, to: node) }
}
