import AIPOImaging
import AIPOKernels

/// What torch wrote before its 1.6: pickles in a row (a magic number, a version, the system, the object, the keys of the
/// storages), then every storage as a count and its elements.
enum TorchLegacy {
  /// `0x1950a86a20f9469cfc6c`, little-endian.
  static let magicNumber: [UInt8] = [0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19]
  /// What the unpickler gives for it.
  static let magic = "torch's magic number"

  /// The most bytes of pickle that are looked at: the tensors' own lie behind.
  private static let pickleLimit = 64 << 20

  static func isLegacy(_ beginning: [UInt8]) -> Bool {
    beginning.starts(with: [0x80, 0x02, 0x8A, 0x0A] + magicNumber)
  }

  static func read(_ source: ByteSource) throws(FileError) -> TorchObject {
    let bytes = try source.bytes(0..<min(source.count, pickleLimit))
    var unpickler = Unpickler(bytes[...])
    func fault(_ fault: PickleFault) -> FileError {
      source.malformed(fault.what, fault.found, fault.expected)
    }
    do throws(PickleFault) {
      guard case .string(magic) = try unpickler.load(), case .int(1001) = try unpickler.load() else {
        throw PickleFault(what: "torch file", found: "of another version", expected: "protocol 1001")
      }
      try requireLittleEndian(try unpickler.load(), unpickler)
      let root = try unpickler.load()
      guard case .container(let place) = try unpickler.load(),
        case .list(let items) = unpickler[container: place]
      else {
        throw PickleFault(what: "keys of the storages", found: "no list", expected: "a list of strings")
      }
      var keys: [String] = []
      for item in items {
        guard case .string(let key) = item else {
          throw PickleFault(what: "key of a storage", found: item.kind, expected: "a string")
        }
        keys.append(key)
      }
      return TorchObject(
        root: root, unpickler: unpickler, source: source,
        storages: .legacy(keys: keys, start: unpickler.position))
    } catch { throw fault(error) }
  }

  private static func requireLittleEndian(
    _ system: PickleValue, _ unpickler: Unpickler
  ) throws(PickleFault) {
    guard case .container(let place) = system, case .dictionary(let members) = unpickler[container: place],
      case .bool(true)? = members.first(where: { $0.key == "little_endian" })?.value
    else {
      throw PickleFault(
        what: "byte order of the torch file", found: "not little-endian", expected: "little-endian")
    }
  }
}
