/// A setting of what can be asked for: how it is spelled, explained, read and written.
public struct SettingKey<Root>: Sendable {
  /// As the flag and the YAML spell it.
  public let name: String
  public let help: String
  /// What stands for the value in help; empty for a flag that has none.
  public let valueName: String
  /// The words that it may be; empty where there are others.
  public let words: [String]
  /// Whether it decides results, not what they are of.
  public var isSetting = true
  let read: @Sendable (Root) -> JSONValue?
  /// Gives what was expected where the text is no such value.
  let write: @Sendable (inout Root, String) -> String?

  /// As JSON spells it.
  public var jsonName: String {
    let words = name.split(separator: "-")
    return words.dropFirst().reduce(String(words[0])) { $0 + $1.prefix(1).uppercased() + $1.dropFirst() }
  }
}

/// What is set by keys. Its table is what flags, the options of a study and JSON have in common.
public protocol KeyedSettings: SendableMetatype {
  /// With everything as by default.
  init()
  static var keys: [SettingKey<Self>] { get }
}

extension KeyedSettings {
  public static func key(named name: String) -> SettingKey<Self>? { keys.first { $0.name == name } }

  /// Sets a key from its text. Throws a usage error that names it.
  public mutating func set(_ name: String, to text: String) throws(TaskError) {
    guard let key = Self.key(named: name) else {
      throw TaskError(.usage, key: name, "there is no setting '\(name)'")
    }
    if let expected = key.write(&self, text) {
      throw TaskError(
        .usage, key: name, "--\(name) is '\(text)', expected \(expected)", found: "\"\(text)\"",
        expected: expected)
    }
  }

  // MARK: Making keys

  package typealias Field<Value> = WritableKeyPath<Self, Value> & Sendable

  package static func key<Value>(
    _ name: String, _ help: String, _ valueName: String, _ field: Field<Value>, _ form: SettingForm<Value>
  ) -> SettingKey<Self> {
    SettingKey(
      name: name, help: help, valueName: valueName, words: form.words,
      read: { form.store($0[keyPath: field]) },
      write: { root, text in form.take(text) { root[keyPath: field] = $0 } })
  }

  package static func key<Value>(
    _ name: String, _ help: String, _ valueName: String, _ field: Field<Value?>, _ form: SettingForm<Value>
  ) -> SettingKey<Self> {
    SettingKey(
      name: name, help: help, valueName: valueName, words: form.words,
      read: { $0[keyPath: field].map(form.store) },
      write: { root, text in form.take(text) { root[keyPath: field] = $0 } })
  }
}

extension SettingKey where Root: KeyedSettings {
  /// The value that there is by default, as text; nil where there is none.
  public var usual: String? { read(Root())?.text }
}
