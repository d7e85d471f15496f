import AIPOKernels
import Yams

extension TrainingConfig {
  /// Reads a run's YAML (or JSON, which is YAML too); keys that are left out keep their defaults.
  ///
  /// Throws `ConfigError`, naming line and key, for text that isn't YAML, an unknown or repeated key, a
  /// value of the wrong type or out of its range.
  public init(yaml: String, path: String) throws(ConfigError) {
    self.init()
    let document = try ConfigDocument(yaml: yaml, path: path)
    var keys: [String: ConfigKey] = [:]
    for key in ConfigKey.all { keys[key.path] = key }
    let sections = Set(
      keys.keys.compactMap { $0.split(separator: ".").count > 1 ? $0.split(separator: ".").first : nil })
    for (name, node) in try document.members(of: document.root, section: "") {
      if name == "flow" {
        flow = try document.decode(FlowSpec.self, from: node.value, key: name)
      } else if sections.contains(name[...]) {
        for (inner, node) in try document.members(of: node.value, section: name) {
          try set("\(name).\(inner)", to: node, keys, document)
        }
      } else {
        try set(name, to: node, keys, document)
      }
    }
  }

  private mutating func set(
    _ path: String, to node: (key: Node, value: Node), _ keys: [String: ConfigKey], _ document: ConfigDocument
  ) throws(ConfigError) {
    guard let key = keys[path] else {
      throw document.unknownKey(path, at: node.key, known: Array(keys.keys) + ["flow"])
    }
    guard case .scalar(let scalar) = node.value else {
      throw document.error(path, at: node.value, found: node.value.kind, expected: "one value")
    }
    let isPlain = scalar.style == .plain || scalar.style == .any
    if !isPlain, !key.quotable {
      throw document.error(
        path, at: node.value, found: "the text \"\(scalar.string)\"",
        expected: key.expectation(of: scalar.string, in: self) ?? "it without quotes")
    }
    if isPlain, scalar.string.isEmpty || scalar.string == "~" || scalar.string == "null" {
      throw document.error(path, at: node.key, found: "no value", expected: "one (or no such key)")
    }
    if let expected = key.write(&self, scalar.string) {
      throw document.error(path, at: node.value, found: scalar.string, expected: expected)
    }
  }

  /// Sets one key from a flag's text, as a YAML would. Throws `ConfigError` naming `flag`.
  public mutating func set(_ path: String, to text: String, flag: String) throws(ConfigError) {
    guard let key = ConfigKey.all.first(where: { $0.path == path }) else {
      preconditionFailure("no key \(path)")
    }
    if let expected = key.write(&self, text) {
      throw ConfigError(path: flag, line: nil, key: path, found: text, expected: expected)
    }
  }

  /// The settings as a YAML that reads back as the same run: every key in a fixed order. `data` is left out
  /// unless asked for, since its paths mean nothing elsewhere.
  public func yaml(explained: Bool = false, data: Bool = false) -> String {
    var result = ""
    if let flow {
      let encoder = YAMLEncoder()
      encoder.options.sortKeys = true
      guard let text = try? encoder.encode(["flow": flow]) else {
        preconditionFailure("a flow's spec can't be written as YAML")
      }
      result = text
    }
    var section: Substring?
    for key in ConfigKey.all where data || !key.path.hasPrefix("data.") {
      let parts = key.path.split(separator: ".")
      let name = parts.last!
      let own = parts.count > 1 ? parts[0] : nil
      if own != section, let own { result += "\(own):\n" }
      section = own
      let line = "\(own == nil ? "" : "  ")\(name): \(key.read(self))"
      let padding = String(repeating: " ", count: max(1, 36 - line.count))
      result += explained ? "\(line)\(padding)# \(key.explanation)\n" : "\(line)\n"
    }
    return result
  }

  /// Every key with its value that a resumed run must have in common with its start.
  var decisiveEntries: [(key: String, value: String)] {
    ConfigKey.all.filter(\.decidesResult).map { ($0.path, $0.read(self)) }
  }
}

extension ConfigKey {
  /// What a text should have been, or nil if it is fine.
  fileprivate func expectation(of text: String, in config: TrainingConfig) -> String? {
    var copy = config
    return write(&copy, text)
  }
}

/// A parsed YAML file, and errors that say where in it.
struct ConfigDocument {
  let path: String
  let root: Node

  /// The largest file that is read, in bytes.
  static var sizeLimit: Int { 1 << 20 }

  init(yaml: String, path: String) throws(ConfigError) {
    self.path = path
    do {
      guard let root = try Yams.compose(yaml: yaml) else {
        throw ConfigError(path: path, line: 1, key: "", found: "an empty file", expected: "keys and values")
      }
      self.root = root
    } catch let error as ConfigError {
      throw error
    } catch let error as YamlError {
      let (line, problem) = Self.explain(error)
      throw ConfigError(path: path, line: line, key: "", found: problem, expected: "well-formed YAML")
    } catch {
      throw ConfigError(path: path, line: nil, key: "", found: "\(error)", expected: "well-formed YAML")
    }
  }

  private static func explain(_ error: YamlError) -> (line: Int?, problem: String) {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      return (mark.line, problem)
    case .reader(let problem, let offset, _, let yaml):
      let line = offset.map { yaml.prefix($0).reduce(1) { $1.isNewline ? $0 + 1 : $0 } }
      return (line, problem)
    case .duplicatedKeysInMapping(let keys, let context):
      return (context.mark.line, "the key \(keys.sorted().joined(separator: ", ")) twice")
    default: return (nil, "\(error)")
    }
  }

  /// The members of a mapping, by name, in the file's order.
  func members(of node: Node, section: String) throws(ConfigError) -> [(String, (key: Node, value: Node))] {
    guard case .mapping(let mapping) = node else {
      throw error(section, at: node, found: node.kind, expected: "keys and values")
    }
    var result: [(String, (key: Node, value: Node))] = []
    for (key, value) in mapping {
      guard case .scalar(let scalar) = key else {
        throw error(section, at: key, found: "\(key.kind) as a key", expected: "a name")
      }
      result.append((scalar.string, (key, value)))
    }
    return result
  }

  func error(_ key: String, at node: Node, found: String, expected: String) -> ConfigError {
    ConfigError(path: path, line: node.mark?.line, key: key, found: found, expected: expected)
  }

  /// Decodes a part of the file; what is wrong in it is named by its key and line.
  func decode<Value: Decodable>(_: Value.Type, from node: Node, key: String) throws(ConfigError) -> Value {
    do { return try YAMLDecoder().decode(Value.self, from: node) } catch {
      let (context, expected): (DecodingError.Context?, String)
      switch error {
      case DecodingError.keyNotFound(let missing, let found):
        (context, expected) = (found, "the key \(missing.stringValue)")
      case DecodingError.typeMismatch(let type, let found), DecodingError.valueNotFound(let type, let found):
        (context, expected) = (found, Self.name(of: type))
      case DecodingError.dataCorrupted(let found): (context, expected) = (found, found.debugDescription)
      default: (context, expected) = (nil, "\(error)")
      }
      var place = node
      var path = key
      for step in context?.codingPath ?? [] {
        path += "." + (step.intValue.map(String.init) ?? step.stringValue)
        if let index = step.intValue, let items = place.sequence, items.indices.contains(index) {
          place = items[index]
        } else if let pair = place.mapping?.first(where: { $0.key.string == step.stringValue }) {
          place = pair.value.mark == nil ? pair.key : pair.value
        }
      }
      throw self.error(path, at: place, found: place.kind, expected: expected)
    }
  }

  private static func name(of type: any Any.Type) -> String {
    switch type {
    case is Int.Type: "an integer"
    case is Double.Type: "a number"
    case is String.Type, is Node.Scalar.Type: "one value"
    case is Node.Mapping.Type, is [String: Any].Type: "keys and values"
    case is Node.Sequence.Type, is [Any].Type: "a list"
    default: "a \(type)"
    }
  }

  func unknownKey(_ key: String, at node: Node, known: [String]) -> ConfigError {
    let section = key.split(separator: ".").dropLast().joined(separator: ".")
    let prefix = section.isEmpty ? "" : section + "."
    var names = Set<String>()
    for path in known where path.hasPrefix(prefix) {
      names.insert(String(path.dropFirst(prefix.count).prefix { $0 != "." }))
    }
    return error(
      key, at: node, found: "an unknown key", expected: "one of " + names.sorted().joined(separator: ", "))
  }
}

extension Node {
  /// What an error calls it.
  var kind: String {
    switch self {
    case .scalar(let scalar): scalar.string.isEmpty ? "nothing" : "\"\(scalar.string.prefix(60))\""
    case .mapping: "keys and values"
    case .sequence: "a list"
    case .alias: "an alias"
    }
  }
}
