import AIPOKernels

/// Hierarchical Data Format 5: groups and the datasets in them, of numbers, contiguous, compact or in chunks, with the
/// filters deflate, shuffle, Fletcher-32 and LZF. MATLAB's files of version 7.3 are such files.
///
/// Read here and not by libhdf5, whose answers to damaged files are memory faults and plug-ins found on the disk: what is
/// needed of the format is small. Nothing outside the file is read: links to other files and datasets in other files are
/// passed over or refused. What only the newest format has (groups of many links, chunks that are found by extensible
/// arrays or second B-trees) is refused with a way out.
///
/// Source: The HDF Group, *HDF5 File Format Specification Version 3.0*.
struct HDF5 {
  static let signature: [UInt8] = [0x89] + Array("HDF\r\n\u{1A}\n".utf8)

  let source: ByteSource
  /// Of addresses.
  let base: Int
  let offsetSize: Int
  let lengthSize: Int
  private let root: UInt64
  /// Whether MATLAB wrote it, whose arrays have their first axis innermost.
  let isMATLAB: Bool

  static let remedy = "save it anew from Python, h5py.File('new.h5', 'w', libver='earliest'), or by h5repack"

  init(_ source: ByteSource) throws(FileError) {
    self.source = source
    isMATLAB = try source.bytes(0..<min(10, source.count)) == Array("MATLAB 7.3".utf8)
    // At the beginning, or behind a user's block, which a MATLAB file has for its text.
    var place = 0
    while true {
      guard place + 96 <= source.count else {
        throw source.malformed("HDF5", "without a whole superblock", "an HDF5 file")
      }
      if try source.bytes(place..<(place + 8)) == Self.signature { break }
      place = place == 0 ? 512 : 2 * place
    }
    base = place
    var fields = FieldReader(
      try source.bytes((place + 8)..<min(place + 120, source.count)), "HDF5 superblock", path: source.path)
    let version = try fields.number(1)
    guard version <= 3 else { throw source.malformed("HDF5 superblock", "version \(version)", "0 to 3") }
    if version < 2 { try fields.skip(4) }
    offsetSize = try fields.number(1)
    lengthSize = try fields.number(1)
    guard [2, 4, 8].contains(offsetSize), [2, 4, 8].contains(lengthSize) else {
      throw source.malformed("HDF5 superblock", "of numbers of \(offsetSize) bytes", "2, 4 or 8")
    }
    if version < 2 {
      try fields.skip(version == 0 ? 9 : 13)
      // Base, free space, end of file, driver; of the root's entry its name.
      try fields.skip(5 * offsetSize)
    } else {
      // Flags, base, extension, end of file.
      try fields.skip(1 + 3 * offsetSize)
    }
    root = try fields.word(offsetSize)
  }

  /// The bytes at an address.
  func fields(at address: UInt64, count: Int, _ what: String) throws(FileError) -> FieldReader {
    FieldReader(try bytes(at: address, count: count, what), "HDF5 \(what)", path: source.path)
  }

  func bytes(at address: UInt64, count: Int, _ what: String) throws(FileError) -> [UInt8] {
    guard let start = place(address), count >= 0, count <= source.count - start else {
      throw source.malformed("HDF5 \(what)", "beyond the file", "a whole HDF5 file (truncated or damaged?)")
    }
    return try source.bytes(start..<(start + count))
  }

  /// Where an address is in the file; nil where it isn't.
  func place(_ address: UInt64) -> Int? {
    guard let address = Int(exactly: address) else { return nil }
    let (place, overflow) = address.addingReportingOverflow(base)
    return overflow || place > source.count ? nil : place
  }

  func isUndefined(_ address: UInt64) -> Bool { address == UInt64.max >> UInt64(64 - 8 * offsetSize) }

  // MARK: Objects

  /// A part of what an object's header says of it.
  struct Message {
    var type: Int
    var flags: Int
    var bytes: [UInt8]
  }

  private static let mostMessages = 1 << 16
  private static let mostEntries = 1 << 24

  func messages(of object: UInt64) throws(FileError) -> [Message] {
    let head = try bytes(at: object, count: min(4, remaining(object)), "object")
    return head == Array("OHDR".utf8) ? try newMessages(object) : try oldMessages(object)
  }

  private func remaining(_ address: UInt64) -> Int { place(address).map { source.count - $0 } ?? 0 }

  private func oldMessages(_ object: UInt64) throws(FileError) -> [Message] {
    var head = try fields(at: object, count: 16, "object header")
    guard try head.number(1) == 1 else {
      throw source.malformed("HDF5 object header", "of unknown version", "1 or 2 (damaged?)")
    }
    try head.skip(1)
    let count = try head.number(2)
    try head.skip(4)
    let size = try head.number(4)
    var blocks = [(address: object &+ 16, count: size)]
    var messages = [Message]()
    while !blocks.isEmpty, messages.count < count {
      let block = blocks.removeFirst()
      var fields = try fields(at: block.address, count: block.count, "object header")
      while fields.left >= 8, messages.count < count {
        let type = try fields.number(2)
        let size = try fields.number(2)
        let flags = try fields.number(1)
        try fields.skip(3)
        try add(
          Message(type: type, flags: flags, bytes: Array(try fields.bytes(size))), to: &messages, &blocks)
      }
    }
    return messages
  }

  private func newMessages(_ object: UInt64) throws(FileError) -> [Message] {
    var head = try fields(at: object, count: min(64, remaining(object)), "object header")
    try head.skip(5)
    let flags = try head.number(1)
    if flags & 0x20 != 0 { try head.skip(16) }
    if flags & 0x10 != 0 { try head.skip(4) }
    let size = try head.number(1 << (flags & 3))
    var blocks = [(address: object &+ UInt64(head.place), count: size)]
    var messages = [Message]()
    var isFirst = true
    while !blocks.isEmpty {
      let block = blocks.removeFirst()
      var fields = try fields(at: block.address, count: block.count, "object header")
      if !isFirst { try fields.skip(4) }
      // The size of the first block is without its checksum.
      let end = isFirst ? 0 : 4
      isFirst = false
      let head = flags & 4 == 0 ? 4 : 6
      while fields.left >= head + end {
        let type = try fields.number(1)
        let size = try fields.number(2)
        let messageFlags = try fields.number(1)
        try fields.skip(head - 4)
        try add(
          Message(type: type, flags: messageFlags, bytes: Array(try fields.bytes(size))), to: &messages,
          &blocks)
      }
    }
    return messages
  }

  private func add(
    _ message: Message, to messages: inout [Message], _ blocks: inout [(address: UInt64, count: Int)]
  ) throws(FileError) {
    messages.append(message)
    guard messages.count + blocks.count < Self.mostMessages else {
      throw source.malformed("HDF5 object header", "of more than \(Self.mostMessages) messages", "fewer")
    }
    // A header goes on elsewhere.
    if message.type == 0x10 {
      var fields = FieldReader(message.bytes, "HDF5 object header", path: source.path)
      blocks.append((try fields.word(offsetSize), try fields.number(lengthSize)))
    }
  }

  // MARK: Groups

  /// What is in a group, hard links alone: nothing leads out of the file. Empty where the object is no group.
  func links(_ messages: [Message]) throws(FileError) -> [(name: String, object: UInt64)] {
    var links = [(name: String, object: UInt64)]()
    for message in messages {
      var fields = FieldReader(message.bytes, "HDF5 link", path: source.path)
      switch message.type {
      case 0x11:
        let tree = try fields.word(offsetSize)
        let heap = try names(at: try fields.word(offsetSize))
        var nodes = [UInt64]()
        try walk(tree, kind: 0, keySize: lengthSize) { _, child in nodes.append(child) }
        for node in nodes where links.count <= Self.mostMessages {
          links += try symbols(at: node, names: heap)
        }
      case 0x06:
        if let link = try link(&fields) { links.append(link) }
      case 0x02:
        try fields.skip(1)
        if try fields.number(1) & 1 != 0 { try fields.skip(8) }
        guard isUndefined(try fields.word(offsetSize)) else {
          throw source.malformed("HDF5 group", "of many links in the newest format", "fewer; \(Self.remedy)")
        }
      default: break
      }
      guard links.count <= Self.mostMessages else {
        throw source.malformed("HDF5 group", "of more than \(Self.mostMessages) links", "fewer")
      }
    }
    return links
  }

  /// The text that names are in.
  private func names(at address: UInt64) throws(FileError) -> [UInt8] {
    var fields = try fields(at: address, count: 8 + 2 * lengthSize + offsetSize, "heap of names")
    guard try fields.bytes(4).elementsEqual("HEAP".utf8) else {
      throw source.malformed("HDF5 heap of names", "something else", "HEAP (damaged?)")
    }
    try fields.skip(4)
    let size = try fields.number(lengthSize)
    try fields.skip(lengthSize)
    return try bytes(at: try fields.word(offsetSize), count: size, "heap of names")
  }

  private func symbols(at address: UInt64, names: [UInt8]) throws(FileError) -> [(
    name: String, object: UInt64
  )] {
    var head = try fields(at: address, count: 8, "symbols")
    guard try head.bytes(4).elementsEqual("SNOD".utf8) else {
      throw source.malformed("HDF5 symbols", "something else", "SNOD (damaged?)")
    }
    try head.skip(2)
    let count = try head.number(2)
    let size = 2 * offsetSize + 24
    var fields = try fields(at: address &+ 8, count: count * size, "symbols")
    var result = [(name: String, object: UInt64)]()
    for _ in 0..<count {
      let start = try fields.number(offsetSize)
      let object = try fields.word(offsetSize)
      let kind = try fields.number(4)
      try fields.skip(20)
      // 2: a symbolic link.
      guard kind != 2 else { continue }
      guard start < names.count else {
        throw source.malformed("HDF5 name", "beyond the heap", "one in it (damaged?)")
      }
      result.append((String(decoding: names[start...].prefix { $0 != 0 }, as: UTF8.self), object))
    }
    return result
  }

  private func link(_ fields: inout FieldReader) throws(FileError) -> (name: String, object: UInt64)? {
    try fields.skip(1)
    let flags = try fields.number(1)
    let kind = flags & 8 == 0 ? 0 : try fields.number(1)
    if flags & 4 != 0 { try fields.skip(8) }
    if flags & 0x10 != 0 { try fields.skip(1) }
    let name = String(decoding: try fields.bytes(try fields.number(1 << (flags & 3))), as: UTF8.self)
    return kind == 0 ? (name, try fields.word(offsetSize)) : nil
  }

  // MARK: Trees

  /// Calls `body` with every key and child of a B-tree's leaves, each node visited once.
  func walk(
    _ address: UInt64, kind: Int, keySize: Int,
    _ body: (_ key: ArraySlice<UInt8>, _ child: UInt64) throws(FileError) -> Void
  ) throws(FileError) {
    var seen = Set<UInt64>()
    var visited = 0
    var nodes = [(address: address, level: Int?.none)]
    while let node = nodes.popLast() {
      guard seen.insert(node.address).inserted else { continue }
      let headSize = 8 + 2 * offsetSize
      var head = try fields(at: node.address, count: headSize, "tree")
      guard try head.bytes(4).elementsEqual("TREE".utf8), try head.number(1) == kind else {
        throw source.malformed("HDF5 tree", "something else", "TREE of kind \(kind) (damaged?)")
      }
      let level = try head.number(1)
      guard node.level == nil || level == node.level else {
        throw source.malformed("HDF5 tree", "of mixed levels", "one level below the other (damaged?)")
      }
      let count = try head.number(2)
      visited += count
      guard visited <= Self.mostEntries else {
        throw source.malformed("HDF5 tree", "of more than \(Self.mostEntries) entries", "fewer")
      }
      var fields = try fields(
        at: node.address &+ UInt64(headSize), count: count * (keySize + offsetSize), "tree")
      for _ in 0..<count {
        let key = try fields.bytes(keySize)
        let child = try fields.word(offsetSize)
        if level == 0 { try body(key, child) } else { nodes.append((child, level - 1)) }
      }
    }
  }

  // MARK: Datasets

  /// All datasets of numbers, by their paths in order; `member` names one of them, whatever it holds.
  func dataset(_ member: String?) throws(FileError) -> HDF5Dataset {
    if let member {
      let wanted = member.split(separator: "/")
      var object = root
      for (k, name) in wanted.enumerated() {
        let links = try links(try messages(of: object))
        guard let link = links.first(where: { $0.name == name }) else {
          let place = "/" + wanted[..<k].joined(separator: "/")
          let names = links.prefix(8).map(\.name).sorted().joined(separator: ", ")
          throw source.malformed(
            "HDF5 path", "/\(wanted.joined(separator: "/"))",
            links.isEmpty
              ? "a group at \(place)" : "one of \(names)\(links.count > 8 ? ", …" : "") in \(place)")
        }
        object = link.object
      }
      let messages = try messages(of: object)
      guard messages.contains(where: { $0.type == 8 }) else {
        let names = try links(messages).prefix(8).map(\.name).sorted().joined(separator: ", ")
        throw source.malformed(
          "HDF5 object /\(wanted.joined(separator: "/"))", "a group of \(names)", "a dataset in it")
      }
      return try HDF5Dataset(messages, of: self, name: "/" + wanted.joined(separator: "/"))
    }
    let all = try datasets()
    guard all.count == 1 else {
      let list = all.prefix(6).map { "\($0.name) \($0.shape)" }.joined(separator: ", ")
      throw source.malformed(
        "number of datasets of numbers",
        "\(all.count)\(all.isEmpty ? "" : " (\(list)\(all.count > 6 ? ", …" : ""))")",
        all.first.map { "1, or a name behind the file's: \(ImageFile.lastComponent(source.path)):\($0.name)" }
          ?? "1")
    }
    return all[0]
  }

  func datasets() throws(FileError) -> [HDF5Dataset] {
    var seen = Set<UInt64>()
    var objects = [(name: "", object: root)]
    var found = [HDF5Dataset]()
    while let next = objects.popLast() {
      guard seen.insert(next.object).inserted else { continue }
      guard seen.count <= Self.mostMessages else {
        throw source.malformed(
          "HDF5 file", "of more than \(Self.mostMessages) objects", "fewer, or a path behind its name")
      }
      let messages = try messages(of: next.object)
      if messages.contains(where: { $0.type == 8 }) {
        // What holds no numbers isn't looked for.
        if let dataset = try? HDF5Dataset(messages, of: self, name: next.name) { found.append(dataset) }
      } else {
        // MATLAB's own begin with a hash.
        for link in try links(messages) where !(isMATLAB && link.name.hasPrefix("#")) {
          objects.append(("\(next.name)/\(link.name)", link.object))
        }
      }
    }
    return found.sorted { $0.name < $1.name }
  }
}
