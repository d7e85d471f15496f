import AIPOKernels
import Yams

/// A parsed YAML file, and errors that say where in it.
package struct ConfigDocument {
  package let path: String
  package let root: Node

  /// The largest file that is read, in bytes.
  package static var sizeLimit: Int { 1 << 20 }

  /// A file's text. Throws `missing`, or `malformed` where the file is longer than `sizeLimit`.
  package static func text(path: String) throws(FileError) -> String {
    String(decoding: try InputFile.bytes(path: path, limit: sizeLimit), as: UTF8.self)
  }

  /// A byte order mark at the beginning, as editors on Windows write, is passed over.
  package init(yaml: String, path: String) throws(ConfigError) {
    self.path = path
    let yaml = yaml.unicodeScalars.first == "\u{FEFF}" ? String(yaml.unicodeScalars.dropFirst()) : yaml
    guard Self.aliasCount(yaml) <= Self.mostAliases else {
      throw ConfigError(
        path: path, line: nil, key: "", found: "more than \(Self.mostAliases) aliases",
        expected: "fewer, or the values written out")
    }
    do {
      guard let root = try Yams.compose(yaml: yaml) else {
        throw ConfigError(path: path, line: 1, key: "", found: "an empty file", expected: "keys and values")
      }
      self.root = root
    } catch let error as ConfigError {
      throw error
    } catch let error as YamlError {
      let (line, found, expected) = Self.explain(error)
      throw ConfigError(
        path: path, line: line, key: "", found: found,
        expected: "well-formed YAML" + (expected.isEmpty ? "" : ", here " + expected))
    } catch {
      throw ConfigError(path: path, line: nil, key: "", found: "\(error)", expected: "well-formed YAML")
    }
  }

  /// Aliases of aliases would let a short file stand for one of any length; of sixteen, no more than 3⁵ copies.
  private static var mostAliases: Int { 16 }

  /// Asterisks that may begin an alias.
  private static func aliasCount(_ yaml: String) -> Int {
    var count = 0
    var before: UInt8 = 0x20
    for byte in yaml.utf8 {
      if before == UInt8(ascii: "*"), byte > 0x20 { count += 1 }
      before = byte
    }
    return count
  }

  private static func explain(_ error: YamlError) -> (line: Int?, found: String, expected: String) {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      guard let known = problems.first(where: { problem.contains($0.problem) }) else {
        return (mark.line, "what is none (\(problem))", "")
      }
      return (mark.line, known.found, known.expected)
    case .reader(let problem, let offset, _, let yaml):
      let line = offset.map { yaml.prefix($0).reduce(1) { $1.isNewline ? $0 + 1 : $0 } }
      return (line, "what is no text (\(problem))", "a file in UTF-8")
    case .duplicatedKeysInMapping(let keys, let context):
      return (context.mark.line, "the key \(keys.sorted().joined(separator: ", ")) twice", "every key once")
    default: return (nil, "what is none (\(error))", "")
    }
  }

  /// What the parser says, and what a writer of YAML has most likely done.
  private static let problems: [(problem: String, found: String, expected: String)] = [
    (
      "mapping values are not allowed", "a second \": \"",
      "one key and its value, and text with \": \" in quotes"
    ),
    ("cannot start any token", "a character that begins no value (a tab?)", "spaces, or the value in quotes"),
    ("did not find expected ',' or ']'", "a list that isn't closed", "',' or ']'"),
    ("did not find expected ',' or '}'", "keys and values in braces that aren't closed", "',' or '}'"),
    (
      "did not find expected key", "a line that isn't as deep as the keys above it",
      "a key as deep as its neighbours"
    ),
    (
      "did not find expected '-' indicator", "a line that belongs to no item of the list above",
      "'- ' as before it"
    ),
    ("could not find expected ':'", "a line without \": \"", "KEY: VALUE"),
    ("unexpected end of stream", "a quote that isn't closed", "a quote at the text's end"),
  ]

  /// The members of a mapping, by name, in the file's order.
  package func members(of node: Node, section: String) throws(ConfigError) -> [(
    String, (key: Node, value: Node)
  )] {
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

  package func error(_ key: String, at node: Node, found: String, expected: String) -> ConfigError {
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
      // "unknown key x, expected one of …"
      let parts = expected.firstRange(of: ", expected ").map {
        (found: String(expected[..<$0.lowerBound]), expected: String(expected[$0.upperBound...]))
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
      guard let parts else {
        throw self.error(path, at: place, found: place.kind, expected: Self.choice(expected) ?? expected)
      }
      let isKey = parts.found.hasPrefix("unknown key ")
      let name = parts.found.split(separator: " ").last.map(String.init) ?? ""
      let known = parts.expected.dropFirst("one of ".count).split(separator: ", ").map(String.init)
      throw self.error(
        path, at: place, found: isKey ? "an unknown key" : "the " + parts.found,
        expected: parts.expected + Self.suggestion(NearestName.of(name, in: known)))
    }
  }

  /// What a choice is one of, where the decoder says only that it can't be made of a text.
  private static func choice(_ text: String) -> String? {
    guard text.hasPrefix("Cannot initialize ") else { return nil }
    let choices: [String: [String]] = [
      "MatrixForm": MatrixForm.allCases.map(\.rawValue), "Kind": NetSpec.Kind.allCases.map(\.rawValue),
      "Activation": NetSpec.Activation.allCases.map(\.rawValue),
      "Order": AffineTransform.Order.allCases.map(\.rawValue), "Base": FlowSpec.Base.allCases.map(\.rawValue),
      "SqueezeForm": SqueezeForm.allCases.map(\.rawValue),
    ]
    let words = text.split(separator: " ")
    guard words.count > 2, let names = choices[String(words[2])] else { return nil }
    return "one of " + names.joined(separator: ", ")
  }

  private static func suggestion(_ name: String?) -> String { name.map { "; did you mean \($0)?" } ?? "" }

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

  package func unknownKey(_ key: String, at node: Node, known: [String]) -> ConfigError {
    let section = key.split(separator: ".").dropLast().joined(separator: ".")
    let prefix = section.isEmpty ? "" : section + "."
    var names = Set<String>()
    for path in known where path.hasPrefix(prefix) {
      names.insert(String(path.dropFirst(prefix.count).prefix { $0 != "." }))
    }
    let name = String(key.dropFirst(prefix.count))
    // A key of that name in another section is a better guess than one that is spelt alike.
    let elsewhere = known.first { $0.hasSuffix("." + name) }
    return error(
      key, at: node, found: "an unknown key",
      expected: "one of " + names.sorted().joined(separator: ", ")
        + Self.suggestion(elsewhere ?? NearestName.of(name, in: names).map { prefix + $0 }))
  }
}

extension Node {
  /// What an error calls it.
  package var kind: String {
    switch self {
    case .scalar(let scalar): scalar.string.isEmpty ? "nothing" : "\"\(scalar.string.prefix(60))\""
    case .mapping: "keys and values"
    case .sequence: "a list"
    case .alias: "an alias"
    }
  }
}
