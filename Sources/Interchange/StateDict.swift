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
  /// All names, sorted.
  private(set) var names: [String] = []
  private var taken: Set<String> = []
  /// `F64` where a tensor is of that type.
  private(set) var isDouble = false
  /// What was found where, for the user.
  private(set) var notes: [String] = []

  /// The largest file that is read, and the most bytes that all tensors together may have.
  static let sizeLimit = 4 << 30

  /// Tells a file's kind by its content. `key` is the path of the state dict in it, where there are several.
  init(_ source: ByteSource, key: String? = nil) throws(FileError) {
    self.source = source
    let beginning = try source.bytes(0..<min(16, source.count))
    if ZipArchive.isZip(beginning) {
      try addTorch(.zip(source), key: key)
    } else if TorchLegacy.isLegacy(beginning) {
      try addTorch(TorchLegacy.read(source), key: key)
    } else if beginning.count > 8, beginning[8] == UInt8(ascii: "{") {
      try addSafetensors()
    } else {
      throw source.malformed(
        "file", beginning.isEmpty ? "empty" : "of unknown format",
        "safetensors, or a checkpoint of torch.save")
    }
    stripPrefix("module.")
    names = places.keys.sorted()
  }

  private func addSafetensors() throws(FileError) {
    let index = try Safetensors.Index(source)
    for entry in index.entries {
      isDouble = isDouble || entry.isDouble
      places[entry.name] = .safetensors(entry)
    }
  }

  private func addTorch(_ object: TorchObject, key: String?) throws(FileError) {
    let members = try Self.choose(object, key: key, &notes)
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

  private static func choose(
    _ object: TorchObject, key: String?, _ notes: inout [String]
  ) throws(FileError) -> [(key: String, value: PickleValue)] {
    let found = object.stateDicts()
    if let key {
      guard let match = found.first(where: { $0.path == key }) else {
        throw object.source.malformed(
          "state dict \"\(key)\"", "not there",
          "one of \(found.map { "\"\($0.path)\"" }.joined(separator: ", "))")
      }
      return match.members
    }
    guard let first = found.first else {
      throw object.source.malformed("torch file", "without a dictionary of tensors", "a state dict")
    }
    guard found.count == 1 else {
      throw object.source.malformed(
        "torch file",
        "with \(found.count) state dicts (\(found.prefix(8).map(\.path).joined(separator: ", ")))",
        "one, or --option state-dict=KEY")
    }
    if !first.path.isEmpty { notes.append("the state dict is \"\(first.path)\" in the file") }
    return first.members
  }

  private func stripPrefix(_ prefix: String) {
    guard !places.isEmpty, places.keys.allSatisfy({ $0.hasPrefix(prefix) }) else { return }
    places = Dictionary(
      uniqueKeysWithValues: places.map { (String($0.key.dropFirst(prefix.count)), $0.value) })
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

  /// Reads a tensor as finite numbers. Throws `malformed` where it is missing, of another shape, or holds NaN or infinity.
  func take<Scalar: KernelScalar>(_ name: String, _ shape: [Int], as: Scalar.Type) throws(FileError)
    -> [Scalar]
  {
    guard let found = self.shape(name) else {
      throw source.malformed("tensor \(name)", "missing", "shape \(shape)")
    }
    guard found == shape else {
      throw source.malformed("shape of tensor \(name)", "\(found.prefix(8))", "\(shape)")
    }
    let values = try read(name)
    guard values.isFinite else { throw source.malformed("tensor \(name)", "not finite", "finite numbers") }
    taken.insert(name)
    return values.scalars(as: Scalar.self)
  }

  private func read(_ name: String) throws(FileError) -> NamedTensor.Values {
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
