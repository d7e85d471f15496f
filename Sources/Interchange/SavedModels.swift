import AIPOKernels

/// The models in a file: one for every dictionary of tensors and every prefix of names in it behind which a dialect's names
/// begin, as wrappers put them there: `model.`, `net.`, `ema_model.`.
struct SavedModels {
  /// A dictionary of tensors in a file.
  struct Dictionary {
    /// Keys that lead to it, joined by points.
    var path: String
    var names: [String]
  }

  /// One of the models.
  struct Model {
    /// Which of the dictionaries.
    var dictionary: Int
    /// What names in it begin with, with a point at its end, or nothing.
    var prefix: String
    /// What the user may call it.
    var label: String
    /// The same, for one without prefix in the outermost dictionary as well.
    var name: String { label.isEmpty ? "." : label }
    /// From the file's names to the dialect's.
    var names: [String: String]

    /// A name of the file, as it is in the dialect; nil for one of something else.
    func inner(_ name: String) -> String? {
      let plain = SavedModels.unwrapped(name)
      return plain.hasPrefix(prefix) ? String(plain.dropFirst(prefix.count)) : nil
    }

    /// Whether its weights are a running average.
    var isAveraged: Bool {
      let words = label.lowercased().split { ".-_".contains($0) }
      return words.contains { ["ema", "swa", "avg", "average", "averaged", "shadow"].contains($0) }
    }
  }

  private let source: ByteSource
  private let dictionaries: [Dictionary]
  private var models: [Model] = []

  init(_ dictionaries: [Dictionary], in source: ByteSource) throws(FileError) {
    self.source = source
    self.dictionaries = dictionaries
    for (k, dictionary) in dictionaries.enumerated() {
      let prefixes = Set(dictionary.names.compactMap { Self.prefix(of: Self.unwrapped($0)) })
      // Names of no dialect are kept as they are: what is missing is then said.
      for prefix in prefixes.isEmpty ? [""] : prefixes.sorted() {
        let others = prefixes.filter { $0.count > prefix.count && $0.hasPrefix(prefix) }
        let label = [dictionary.path, String(prefix.dropLast())].filter { !$0.isEmpty }.joined(separator: ".")
        var model = Model(dictionary: k, prefix: prefix, label: label, names: [:])
        var seen: Set<String> = []
        for name in dictionary.names {
          guard let inner = model.inner(name), inner != Self.averagedCount,
            !others.contains(where: { Self.unwrapped(name).hasPrefix($0) })
          else { continue }
          guard seen.insert(inner).inserted else {
            throw source.malformed("state dict", "with the key \"\(inner)\" twice", "unique keys")
          }
          model.names[name] = inner
        }
        models.append(model)
      }
    }
    // What holds no dialect's names counts only where there is nothing else.
    let known = models.filter { $0.names.values.contains { Self.prefix(of: $0) != nil } }
    if !known.isEmpty { models = known }
  }

  /// Components of names that wrappers put anywhere: DataParallel and averaged models, torch.compile, FSDP, checkpointing.
  private static let wrappers: Set<Substring> = [
    "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module",
  ]

  /// A tensor that `torch.optim.swa_utils.AveragedModel` has beside the model.
  private static let averagedCount = "n_averaged"

  /// A name without the components that wrappers put into it.
  static func unwrapped(_ name: String) -> String {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.contains(where: { wrappers.contains($0) }) else { return name }
    return parts.filter { !wrappers.contains($0) }.joined(separator: ".")
  }

  /// What stands before a dialect's names in an unwrapped one; nil for none.
  static func prefix(of name: String) -> String? {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    for (k, part) in parts.enumerated().dropLast() where Dialect.roots.contains(part) {
      return k == 0 ? "" : parts[..<k].joined(separator: ".") + "."
    }
    return nil
  }

  /// The model that `key` names, or the only one, or the only one that is no average; says what was taken, and what else
  /// there is.
  func choose(key: String?, _ notes: inout [String]) throws(FileError) -> Model {
    let model = try pick(key)
    let dictionary = dictionaries[model.dictionary]
    if !dictionary.path.isEmpty { notes.append("the state dict at \"\(dictionary.path)\"") }
    if let name = dictionary.names.first(where: { model.names[$0].map { $0.count } ?? .max < $0.count }) {
      notes.append("names without the prefix \"\(name.dropLast(model.names[name]!.count))\"")
    }
    let others = models.filter { $0.label != model.label }
    if !others.isEmpty {
      let list = others.prefix(8).map { "\($0.name)\($0.isAveraged ? " (averaged weights)" : "")" }
      notes.append(
        "\(model.name) taken; the file also has \(list.joined(separator: ", ")): "
          + "--option state-dict=\(others[0].name)")
    }
    let rest = dictionary.names.filter { name in
      model.names[name] == nil
        && !others.contains { $0.dictionary == model.dictionary && $0.names[name] != nil }
    }
    if !rest.isEmpty {
      notes.append(
        "\(rest.count) tensor\(rest.count == 1 ? "" : "s") beside the model left out: "
          + rest.prefix(4).joined(separator: ", "))
    }
    return model
  }

  private func pick(_ key: String?) throws(FileError) -> Model {
    func called(_ models: [Model]) -> String {
      models.prefix(8).map { "\"\($0.name)\"" }.joined(separator: ", ")
    }
    if let key {
      let matches = models.filter { $0.name == key }
      let inside = models.filter { dictionaries[$0.dictionary].path == key || $0.prefix == key + "." }
      guard let match = matches.first ?? (inside.count == 1 ? inside[0] : nil) else {
        throw source.malformed("state dict \"\(key)\"", "not there", "one of \(called(models))")
      }
      return match
    }
    if models.count == 1 { return models[0] }
    let raw = models.filter { !$0.isAveraged }
    guard raw.count == 1 else {
      throw source.malformed(
        "file", "with \(models.count) state dicts (\(called(models)))",
        "one; name yours by --option state-dict=KEY")
    }
    return raw[0]
  }
}
