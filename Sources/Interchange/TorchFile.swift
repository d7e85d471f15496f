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
      throw source.malformed("torch file", "a TorchScript program", "a state dict written by torch.save")
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

  /// Paths to all dictionaries that hold tensors alone, numbers and None among them allowed; at most four levels down,
  /// each once, by its shortest path.
  func stateDicts() -> [(path: String, members: [(key: String, value: PickleValue)])] {
    var result: [(path: String, members: [(key: String, value: PickleValue)])] = []
    var seen: Set<Int> = []
    if case .container(let place) = root { seen.insert(place) }
    var level: [(path: String, value: PickleValue)] = [("", root)]
    for _ in 0...4 {
      var next: [(path: String, value: PickleValue)] = []
      for (path, value) in level {
        guard let members = members(value) else { continue }
        let tensors = members.count { if case .tensor = $0.value { true } else { false } }
        let inner = members.filter { self.members($0.value) != nil }
        if tensors > 0, inner.isEmpty {
          result.append((path, members))
        } else {
          for (key, value) in inner.prefix(1000) {
            guard case .container(let place) = value, seen.insert(place).inserted else { continue }
            next.append((path.isEmpty ? key : "\(path).\(key)", value))
          }
        }
        if result.count == 100 { return result }
      }
      level = next
    }
    return result
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
            "storage \(key) at byte \(position)", "cut off", "\(bytes) bytes (truncated file?)")
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
