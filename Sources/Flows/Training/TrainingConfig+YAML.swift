import AIPOKernels
import Yams

extension TrainingConfig {
  /// Reads a run's YAML from a file. Throws `ConfigError`, and `FileError` where it can't be read.
  public init(path: String) throws {
    try self.init(yaml: try ConfigDocument.text(path: path), path: path)
  }

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
      } else if name == "statistics" {
        // In recipes of version 0.1: the rank of a covariance that has none any more.
      } else if sections.contains(name[...]) {
        guard case .mapping = node.value else {
          let inner = ConfigKey.all.filter { $0.path.hasPrefix(name + ".") }.map {
            $0.path.dropFirst(name.count + 1)
          }
          throw document.error(
            name, at: node.value, found: node.value.kind,
            expected: "keys and values: \(inner.joined(separator: ", "))")
        }
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

  /// Takes whatever says where images are and how they are read from `other`, where it is left open here.
  public mutating func completeData(from other: TrainingConfig) {
    let texts: [WritableKeyPath<DataSource, String>] = [
      \.images, \.test, \.range, \.layout, \.resize, \.crop,
    ]
    for text in texts where data[keyPath: text].isEmpty { data[keyPath: text] = other.data[keyPath: text] }
    if data.channels == .stored { data.channels = other.data.channels }
    if data.stream == .auto { data.stream = other.data.stream }
  }

  /// Throws `resumed` where a run with these settings can't go on with what `other`'s has done.
  public func requireSameRun(as other: TrainingConfig) throws(TrainingError) {
    for (own, begun) in zip(decisiveEntries, other.decisiveEntries) where own.value != begun.value {
      throw .resumed(what: own.key, found: own.value, expected: begun.value)
    }
    if let flow, let begun = other.flow, flow != begun {
      throw .resumed(what: "flow", found: FlowModel.json(flow), expected: FlowModel.json(begun))
    }
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
