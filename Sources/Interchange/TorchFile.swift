import AIPOImaging
import AIPOKernels

/// What a torch file holds, unpickled but not yet read: tensors are references to storages in the file.
struct TorchObject {
  enum Storages {
    /// A zip with entries `prefix/data/key`.
    case zip(ZipArchive, prefix: String)
    /// In the order of the keys from a place on, each with its count before it.
    case legacy(keys: [String], start: Int)
  }

  var root: PickleValue
  var unpickler: Unpickler
  var source: ByteSource
  var storages: Storages

  /// The largest pickle in a zip, which holds names and shapes alone.
  private static let pickleLimit = 64 << 20

  static func zip(_ source: ByteSource) throws(FileError) -> TorchObject {
    let archive = try ZipArchive(source)
    let pickles = archive.entries.filter { $0.name == "data.pkl" || $0.name.hasSuffix("/data.pkl") }
    guard pickles.count == 1 else {
      throw source.malformed(
        "zip file", "with \(pickles.count) entries data.pkl", "one, as torch.save writes it")
    }
    let prefix = String(pickles[0].name.dropLast("data.pkl".count))
    if archive[prefix + "constants.pkl"] != nil {
      throw source.malformed(
        "torch file", "a TorchScript program", "a state dict: load it and \(StateDict.howToSave)")
    }
    if let order = archive[prefix + "byteorder"] {
      let text = String(decoding: try archive.bytes(order, limit: 64), as: UTF8.self)
      guard text == "little" else { throw source.malformed("byte order", "\"\(text)\"", "little") }
    }
    let bytes = try archive.bytes(pickles[0], limit: pickleLimit)
    var unpickler = Unpickler(bytes[...])
    do throws(PickleFault) {
      let root = try unpickler.load()
      return TorchObject(
        root: root, unpickler: unpickler, source: source, storages: .zip(archive, prefix: prefix))
    } catch { throw source.malformed(error.what, error.found, error.expected) }
  }

  // MARK: Dictionaries of tensors

  /// The members of a value that is a dictionary.
  func members(_ value: PickleValue) -> [(key: String, value: PickleValue)]? {
    guard case .container(let place) = value, case .dictionary(let members) = unpickler[container: place]
    else {
      return nil
    }
    return members
  }

  /// A dictionary that holds tensors: where it is, as keys joined by points, and as a place in the arena.
  typealias Found = (path: String, place: Int, members: [(key: String, value: PickleValue)])

  func tensorNames(_ members: [(key: String, value: PickleValue)]) -> [String] {
    members.compactMap { if case .tensor = $0.value { $0.key } else { nil } }
  }

  /// All dictionaries that may be a state dict: with tensors, and with no other dictionary inside unless the tensors have
  /// names that a dialect knows. At most four levels down, each once, by its shortest path; not in optimisers' states.
  func stateDicts() -> [Found] {
    var result: [Found] = []
    visit { path, place, members in
      guard !Self.isOptimizer(members) else { return false }
      let names = tensorNames(members)
      guard !names.isEmpty,
        !members.contains(where: { self.members($0.value) != nil })
          || names.contains(where: { SavedModels.prefix(of: $0) != nil })
      else { return true }
      result.append((path, place, members))
      return false
    }
    return result
  }

  /// Calls `body` for dictionaries, the outer ones first; it says whether to look inside.
  private func visit(
    _ body: (_ path: String, _ place: Int, _ members: [(key: String, value: PickleValue)]) -> Bool
  ) {
    guard case .container(let root) = root else { return }
    var seen: Set<Int> = [root]
    var level: [(path: String, place: Int)] = [("", root)]
    var count = 0
    for _ in 0...4 {
      var next: [(path: String, place: Int)] = []
      for (path, place) in level {
        guard let members = members(.container(place)), count < 1000 else { continue }
        count += 1
        guard body(path, place, members) else { continue }
        for (key, value) in members.prefix(1000) {
          guard case .container(let place) = value, self.members(value) != nil, seen.insert(place).inserted
          else { continue }
          next.append((path.isEmpty ? key : "\(path).\(key)", place))
        }
      }
      level = next
    }
  }

  /// `{"state": …, "param_groups": …}`, or what such a state has for a parameter.
  private static func isOptimizer(_ members: [(key: String, value: PickleValue)]) -> Bool {
    func has(_ key: String) -> Bool { members.contains { $0.key == key } }
    return has("state") && has("param_groups") || has("exp_avg") || has("momentum_buffer")
      || has("square_avg")
  }

  /// Why a file has no state dict, with the way out.
  func withoutStateDict() -> FileError {
    var optimizer: String?
    visit { path, _, members in
      if optimizer == nil, Self.isOptimizer(members) { optimizer = path }
      return true
    }
    let remedy = "a model's state dict: \(StateDict.howToSave)"
    if let optimizer {
      let place = optimizer.isEmpty ? "" : " (\"\(optimizer)\")"
      return source.malformed("torch file", "an optimiser's state, not a model's\(place)", remedy)
    }
    if case .tensor(let tensor) = root {
      return source.malformed("torch file", "one tensor of shape \(tensor.shape.prefix(8))", remedy)
    }
    let names = unpickler.opaqueNames.prefix(4)
    guard names.isEmpty else {
      return source.malformed(
        "torch file",
        "without a dictionary of tensors; values of \(names.joined(separator: ", ")) are not made",
        "\(remedy) in the program that wrote it")
    }
    return source.malformed("torch file", "without a dictionary of tensors", remedy)
  }

  /// Names of all modules of the state dict at a place, where they were saved with it.
  func modules(of place: Int) -> [String]? {
    unpickler.metadata[place].flatMap { members($0) }?.map(\.key)
  }

  // MARK: Storages

  /// Where each storage's bytes lie, by key: checked against the file, and against what the tensors say of it.
  func locate(_ references: [String: TorchStorageReference]) throws(FileError) -> [String: StoredBytes] {
    switch storages {
    case .zip(let archive, let prefix):
      var result: [String: StoredBytes] = [:]
      for (key, reference) in references {
        guard let entry = archive[prefix + "data/" + key] else {
          throw source.malformed("zip entry data/\(key)", "missing", "the storage of a tensor")
        }
        try check(entry.size, reference)
        result[key] = .entry(archive, entry)
      }
      return result
    case .legacy(let keys, let start):
      var result: [String: StoredBytes] = [:]
      var position = start
      for key in keys {
        guard let reference = references[key] else {
          throw source.malformed("storage \(key)", "used by no tensor", "one whose size is known")
        }
        let head = try source.bytes(position..<position + 8)
        var count: UInt64 = 0
        for k in 0..<8 { count |= UInt64(head[k]) << UInt64(8 * k) }
        guard count == UInt64(reference.count) else {
          throw source.malformed(
            "count of storage \(key) at byte \(position)", "\(count)", "\(reference.count) as its tensors say"
          )
        }
        let bytes = reference.count * reference.element.size
        guard bytes <= source.count - position - 8 else {
          throw source.malformed(
            "storage \(key) at byte \(position)", "cut off",
            "\(bytes) bytes; the file is cut off, so copy or download it again")
        }
        guard result.updateValue(.range(position + 8..<position + 8 + bytes), forKey: key) == nil else {
          throw source.malformed("storage \(key)", "there twice", "one of each key")
        }
        position += 8 + bytes
      }
      if let missing = references.keys.filter({ result[$0] == nil }).min() {
        throw source.malformed("storage \(missing)", "missing", "the storage of a tensor")
      }
      return result
    }
  }

  private func check(_ size: Int, _ reference: TorchStorageReference) throws(FileError) {
    guard size == reference.count * reference.element.size else {
      throw source.malformed(
        "zip entry data/\(reference.key)", "\(size) bytes",
        "\(reference.count) elements of \(reference.element.size) bytes")
    }
  }
}

/// A storage's place in a file.
enum StoredBytes {
  case range(Range<Int>)
  case entry(ZipArchive, ZipArchive.Entry)
}
