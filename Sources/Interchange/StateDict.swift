import AIPOFlows
import AIPOImaging
import AIPOKernels

/// Named tensors of a checkpoint: where they lie is known and checked, and each is read when it is taken, so that a file
/// is never in memory twice.
final class StateDict {
  private enum Place {
    case torch(TorchTensor, StoredBytes)
    case safetensors(Safetensors.Entry)
  }

  let source: ByteSource
  private var places: [String: Place] = [:]
  /// Names of values in the state dict that some other program's class would have to make, and the class.
  private var opaque: [String: String] = [:]
  /// All names, sorted.
  private(set) var names: [String] = []
  /// Names of all modules, those without tensors too, where the file has them: torch writes them as `_metadata`.
  private(set) var modules: Set<String>?
  private var taken: Set<String> = []
  /// `F64` where a tensor is of that type.
  private(set) var isDouble = false
  /// What was found where, for the user.
  private(set) var notes: [String] = []

  /// The largest file that is read, and the most bytes that all tensors together may have.
  static let sizeLimit = 4 << 30

  /// What to do in the program that wrote a file which can't be read here.
  static let howToSave = "torch.save(model.state_dict(), \"weights.pt\")"

  /// Tells a file's kind by its content. `key` names the model in it, where there are several.
  init(_ source: ByteSource, key: String? = nil) throws(FileError) {
    self.source = source
    let beginning = try source.bytes(0..<min(16, source.count))
    if ZipArchive.isZip(beginning) {
      try addTorch(.zip(source), key: key)
    } else if TorchLegacy.isLegacy(beginning) {
      try addTorch(TorchLegacy.read(source), key: key)
    } else if beginning.count > 8, beginning[8] == UInt8(ascii: "{") {
      try addSafetensors(key: key)
    } else {
      throw source.malformed(
        "file", beginning.isEmpty ? "empty" : "of unknown format",
        "safetensors or a checkpoint of torch (.pt, .pth, .ckpt); write one by \(Self.howToSave)")
    }
    names = places.keys.sorted()
  }

  /// The tensors of a file of torch.save as they are: all that its dictionary has, or the only one, without a name.
  init(arraysOf object: TorchObject) throws(FileError) {
    source = object.source
    if case .tensor = object.root {
      try place([("", object.root)], object)
    } else {
      try place(object.members(object.root) ?? [], object)
    }
    names = places.keys.sorted()
  }

  private func addSafetensors(key: String?) throws(FileError) {
    let index = try Safetensors.Index(source)
    let found = [SavedModels.Dictionary(path: "", names: index.entries.map(\.name))]
    let model = try SavedModels(found, in: source).choose(key: key, &notes)
    for entry in index.entries {
      guard let name = model.names[entry.name] else { continue }
      isDouble = isDouble || entry.isDouble
      places[name] = .safetensors(entry)
    }
  }

  private func addTorch(_ object: TorchObject, key: String?) throws(FileError) {
    let found = object.stateDicts()
    guard !found.isEmpty else { throw object.withoutStateDict() }
    let saved = found.map { SavedModels.Dictionary(path: $0.path, names: object.tensorNames($0.members)) }
    let model = try SavedModels(saved, in: source).choose(key: key, &notes)
    let chosen = found[model.dictionary]
    modules = object.modules(of: chosen.place).map { Set($0.compactMap { model.inner($0) }) }
    if !object.unpickler.opaqueNames.isEmpty {
      notes.append("skipped unexecuted: \(object.unpickler.opaqueNames.prefix(8).joined(separator: ", "))")
    }
    var members: [(key: String, value: PickleValue)] = []
    for (key, value) in chosen.members {
      if case .opaque(let type) = value, let name = model.inner(key) { opaque[name] = type }
      if let name = model.names[key] { members.append((name, value)) }
    }
    try place(members, object)
  }

  /// Finds the tensors' bytes in the file.
  private func place(_ members: [(key: String, value: PickleValue)], _ object: TorchObject) throws(FileError)
  {
    var references: [String: TorchStorageReference] = [:]
    var tensors: [(String, TorchTensor)] = []
    var names: Set<String> = []
    var total = 0
    for (name, value) in members {
      guard names.insert(name).inserted else {
        throw source.malformed("state dict", "the key \"\(name)\" twice", "unique keys")
      }
      guard case .tensor(let tensor) = value else { continue }
      if let other = references.updateValue(tensor.storage, forKey: tensor.storage.key) {
        guard other.element == tensor.storage.element, other.count == tensor.storage.count else {
          throw source.malformed(
            "storage \(tensor.storage.key)", "of two types or sizes", "the same for all its tensors")
        }
      }
      // Views of one storage can claim more than the file holds; a little sharing is all that occurs.
      total += tensor.count * tensor.storage.element.size
      try requireLikely(total, "tensors")
      tensors.append((name, tensor))
      isDouble = isDouble || tensor.storage.element == .float64
    }
    // A legacy stream may hold storages of other dictionaries in the file as well.
    for (key, reference) in object.allStorages() where references[key] == nil { references[key] = reference }
    let located = try object.locate(references)
    // So can storages that are deflated; torch stores them as they are.
    try requireLikely(references.values.reduce(0) { $0 + $1.count * $1.element.size }, "storages")
    for (name, tensor) in tensors {
      places[name] = .torch(tensor, located[tensor.storage.key]!)
    }
  }

  private func requireLikely(_ bytes: Int, _ what: String) throws(FileError) {
    guard bytes <= 4 * source.count else {
      throw source.malformed(what, "\(bytes) bytes or more", "at most four times the file's \(source.count)")
    }
  }

  // MARK: Taking tensors

  func has(_ name: String) -> Bool { places[name] != nil }

  func shape(_ name: String) -> [Int]? {
    switch places[name] {
    case nil: nil
    case .torch(let tensor, _)?: tensor.shape
    case .safetensors(let entry)?: entry.shape
    }
  }

  /// Why a tensor can't be taken that must be there.
  func missing(_ name: String, _ expected: String) -> FileError {
    guard let type = opaque[name] else { return source.malformed("tensor \(name)", "missing", expected) }
    return source.malformed(
      "tensor \(name)", "a value of \(type), which isn't read", "a plain tensor; save it by \(Self.howToSave)"
    )
  }

  /// Reads a tensor as finite numbers. Throws `malformed` where it is missing, of another shape, or holds NaN or infinity.
  func take<Scalar: KernelScalar>(_ name: String, _ shape: [Int], as: Scalar.Type) throws(FileError)
    -> [Scalar]
  {
    guard let found = self.shape(name) else {
      throw missing(name, "shape \(shape)")
    }
    guard found == shape else {
      throw source.malformed("shape of tensor \(name)", "\(found.prefix(8))", "\(shape)")
    }
    let values = try read(name)
    guard values.isFinite else { throw source.malformed("tensor \(name)", "not finite", "finite numbers") }
    taken.insert(name)
    return values.scalars(as: Scalar.self)
  }

  /// Reads a tensor that is there, whatever its numbers are.
  func read(_ name: String) throws(FileError) -> NamedTensor.Values {
    switch places[name]! {
    case .torch(let tensor, let bytes): try tensor.values(in: bytes, of: source)
    case .safetensors(let entry): try entry.values(from: source)
    }
  }

  /// Counts a tensor as used that isn't needed: a flag or a mask.
  func ignore(_ name: String) { taken.insert(name) }

  /// Throws for a tensor that nobody has taken: the file holds something that the dialect doesn't know.
  func requireAllTaken(_ dialect: String) throws(FileError) {
    guard let extra = names.first(where: { !taken.contains($0) }) else { return }
    throw source.malformed(
      "tensor \(extra)", "shape \(shape(extra)?.description ?? "[]")",
      "no tensor of that name in the dialect \(dialect)")
  }
}

extension TorchObject {
  /// All storages that any tensor in the file refers to.
  func allStorages() -> [String: TorchStorageReference] {
    var result: [String: TorchStorageReference] = [:]
    func add(_ value: PickleValue) {
      if case .tensor(let tensor) = value { result[tensor.storage.key] = tensor.storage }
    }
    add(root)
    for container in unpickler.arena {
      switch container {
      case .list(let items), .tuple(let items): for item in items { add(item) }
      case .dictionary(let members): for member in members { add(member.value) }
      }
    }
    return result
  }
}
