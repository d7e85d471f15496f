/// Reads a pickle without executing anything: a stack machine that knows the names which a dictionary of tensors is made
/// of. What other classes and functions would make is an opaque value, which has a name and nothing else: their
/// arguments and states are dropped. Opcodes that torch doesn't write are refused.
///
/// Nothing is allocated on a length's word: lengths are compared with the bytes that follow. Every value that is made
/// costs at least one byte of input, and containers live in an arena, so that neither references to themselves nor
/// deep nesting cost more than their bytes.
///
/// Source: Python, *pickletools*, protocols 0 to 5; torch.serialization for the persistent identifiers.
struct Unpickler {
  private let bytes: ArraySlice<UInt8>
  private(set) var position: Int
  private var stack: [PickleValue] = []
  /// Heights of the stack at its marks.
  private var marks: [Int] = []
  private var memo: [Int: PickleValue] = [:]
  private(set) var arena: [PickleContainer] = []
  /// The attribute `_metadata` of dictionaries, by their places: in a state dict the names of all modules.
  private(set) var metadata: [Int: PickleValue] = [:]
  /// Names of the classes and functions whose values are opaque, each once.
  private(set) var opaqueNames: [String] = []
  private static let mostOpaqueNames = 100
  /// Pairs that calls have made members of.
  private var pairCount = 0

  init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    position = bytes.startIndex
  }

  subscript(container place: Int) -> PickleContainer { arena[place] }

  /// Reads one pickle, up to its STOP; `position` is behind it then.
  mutating func load() throws(PickleFault) -> PickleValue {
    stack = []
    marks = []
    memo = [:]
    while true {
      let at = position
      let code = try byte()
      if code == UInt8(ascii: ".") {
        guard stack.count == 1, marks.isEmpty else {
          throw PickleFault(what: "pickle", found: "ending with \(stack.count) values", expected: "one value")
        }
        return stack.removeLast()
      }
      try perform(code, at: at)
    }
  }

  private mutating func perform(_ code: UInt8, at: Int) throws(PickleFault) {
    switch code {
    case 0x80:  // PROTO
      let version = try byte()
      guard version <= 5 else { throw fault("protocol", "\(version)", "0 to 5", at) }
    case 0x95:  // FRAME
      _ = try length(8)
    case UInt8(ascii: "("): marks.append(stack.count)
    case UInt8(ascii: "N"): stack.append(.none)
    case 0x88: stack.append(.bool(true))
    case 0x89: stack.append(.bool(false))
    case UInt8(ascii: "K"): stack.append(.int(try number(1)))
    case UInt8(ascii: "M"): stack.append(.int(try number(2)))
    case UInt8(ascii: "J"): stack.append(.int(Int(Int32(truncatingIfNeeded: try number(4)))))
    case 0x8A: stack.append(try long(1))
    case 0x8B: stack.append(try long(4))
    case UInt8(ascii: "G"): stack.append(.float(try double()))
    case UInt8(ascii: "X"): stack.append(.string(try text(4, at)))
    case 0x8C: stack.append(.string(try text(1, at)))
    case 0x8D: stack.append(.string(try text(8, at)))
    case UInt8(ascii: "U"): stack.append(.string(try text(1, at)))
    case UInt8(ascii: "T"): stack.append(.string(try text(4, at)))
    case UInt8(ascii: "C"): stack.append(try skippedBytes(1))
    case UInt8(ascii: "B"): stack.append(try skippedBytes(4))
    case 0x8E, 0x96: stack.append(try skippedBytes(8))  // BINBYTES8, BYTEARRAY8
    case UInt8(ascii: "}"): push(.dictionary([]))
    case UInt8(ascii: "]"): push(.list([]))
    case UInt8(ascii: ")"): push(.tuple([]))
    case UInt8(ascii: "t"): push(.tuple(try sinceMark(at)))
    case UInt8(ascii: "l"): push(.list(try sinceMark(at)))
    case UInt8(ascii: "d"):
      let items = try sinceMark(at)
      push(.dictionary([]))
      try set(items, at)
    case 0x85, 0x86, 0x87:  // TUPLE1 to TUPLE3
      let count = Int(code) - 0x84
      guard stack.count - (marks.last ?? 0) >= count else { throw short(at) }
      let items = Array(stack.suffix(count))
      stack.removeLast(count)
      push(.tuple(items))
    case UInt8(ascii: "a"):
      let item = try pop(at)
      try append([item], at)
    case UInt8(ascii: "e"):
      let items = try sinceMark(at)
      try append(items, at)
    case UInt8(ascii: "s"):
      let value = try pop(at)
      let key = try pop(at)
      try set([key, value], at)
    case UInt8(ascii: "u"):
      let items = try sinceMark(at)
      try set(items, at)
    case 0x8F: stack.append(.opaque("set"))  // EMPTY_SET
    case 0x90:  // ADDITEMS
      _ = try sinceMark(at)
      guard case .opaque? = stack.last else {
        throw fault("target of ADDITEMS", stack.last?.kind ?? "nothing", "a set", at)
      }
    case 0x91:  // FROZENSET
      _ = try sinceMark(at)
      stack.append(.opaque("frozenset"))
    case UInt8(ascii: "0"): _ = try pop(at)
    case UInt8(ascii: "1"): _ = try sinceMark(at)
    case UInt8(ascii: "q"): try remember(try number(1), at)
    case UInt8(ascii: "r"): try remember(try number(4), at)
    case 0x94: try remember(memo.count, at)
    case UInt8(ascii: "h"): try recall(try number(1), at)
    case UInt8(ascii: "j"): try recall(try number(4), at)
    case UInt8(ascii: "c"):
      let module = try line(at)
      try global(module, try line(at), at)
    case 0x93:  // STACK_GLOBAL
      guard case .string(let name) = try pop(at), case .string(let module) = try pop(at) else {
        throw fault("name of a global", "no string", "a string", at)
      }
      try global(module, name, at)
    case UInt8(ascii: "R"):
      let arguments = try pop(at)
      let function = try pop(at)
      try reduce(function, arguments, at)
    case 0x81:  // NEWOBJ
      let arguments = try pop(at)
      try reduce(try pop(at), arguments, at)
    case 0x92:  // NEWOBJ_EX: arguments by name as well, which no class has that we know
      _ = try pop(at)
      let arguments = try pop(at)
      try reduce(try pop(at), arguments, at)
    case UInt8(ascii: "b"): try build(at)
    case UInt8(ascii: "Q"):
      let identifier = try pop(at)
      stack.append(try storage(identifier, at))
    default:
      let name = Self.otherOpcodes[code] ?? "0x\(String(code, radix: 16))"
      throw fault(
        "opcode", name,
        "those that torch writes, as nothing is executed; save the state dict anew: \(StateDict.howToSave)",
        at)
    }
  }

  /// Opcodes that are refused, for the message.
  private static let otherOpcodes: [UInt8: String] = [
    0x69: "INST", 0x6F: "OBJ", 0x50: "PERSID", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER", 0x32: "DUP", 0x49: "INT", 0x4C: "LONG", 0x46: "FLOAT", 0x53: "STRING",
    0x56: "UNICODE", 0x70: "PUT", 0x67: "GET",
  ]

  // MARK: Input

  private func fault(_ what: String, _ found: String, _ expected: String, _ at: Int) -> PickleFault {
    PickleFault(
      what: "\(what) at byte \(at - bytes.startIndex) of the pickle", found: found, expected: expected)
  }

  private func short(_ at: Int) -> PickleFault {
    fault("stack", "too short for the opcode", "a pickle as torch writes it", at)
  }

  private mutating func byte() throws(PickleFault) -> UInt8 {
    guard position < bytes.endIndex else {
      throw PickleFault(
        what: "pickle", found: "cut off after \(bytes.count) bytes",
        expected: "a whole file; copy or download it again")
    }
    defer { position += 1 }
    return bytes[position]
  }

  private mutating func take(_ count: Int) throws(PickleFault) -> ArraySlice<UInt8> {
    guard count <= bytes.endIndex - position else {
      throw fault(
        "length", "\(count) bytes", "at most the \(bytes.endIndex - position) that follow", position)
    }
    defer { position += count }
    return bytes[position..<position + count]
  }

  /// A little-endian number of at most seven bytes.
  private mutating func number(_ size: Int) throws(PickleFault) -> Int {
    var value = 0
    for (k, byte) in try take(size).enumerated() { value |= Int(byte) << (8 * k) }
    return value
  }

  private mutating func length(_ size: Int) throws(PickleFault) -> Int {
    guard size == 8 else { return try number(size) }
    let at = position
    let (low, high) = (try number(4), try number(4))
    guard high < 1 << 31 else { throw fault("length", "2^63 bytes or more", "fewer", at) }
    return low | high << 32
  }

  private mutating func text(_ size: Int, _ at: Int) throws(PickleFault) -> String {
    guard let text = String(validating: try take(try length(size)), as: UTF8.self) else {
      throw fault("string", "no UTF-8 text", "text", at)
    }
    return text
  }

  private mutating func skippedBytes(_ size: Int) throws(PickleFault) -> PickleValue {
    _ = try take(try length(size))
    return .bytes
  }

  private mutating func line(_ at: Int) throws(PickleFault) -> String {
    guard let end = bytes[position...].prefix(200).firstIndex(of: 0x0A),
      let text = String(validating: bytes[position..<end], as: UTF8.self)
    else { throw fault("name of a global", "no line of text", "a name of at most 200 bytes", at) }
    position = end + 1
    return text
  }

  private mutating func long(_ size: Int) throws(PickleFault) -> PickleValue {
    let digits = try take(try length(size))
    if digits.elementsEqual(TorchLegacy.magicNumber) { return .string(TorchLegacy.magic) }
    guard digits.count <= 8 else { return .opaque("an integer of \(digits.count) bytes") }
    var value: UInt64 = 0
    for (k, byte) in digits.enumerated() { value |= UInt64(byte) << UInt64(8 * k) }
    if digits.count < 8, let last = digits.last, last >= 0x80 { value |= ~0 << UInt64(8 * digits.count) }
    return .int(Int(Int64(bitPattern: value)))
  }

  private mutating func double() throws(PickleFault) -> Double {
    var pattern: UInt64 = 0
    for byte in try take(8) { pattern = pattern << 8 | UInt64(byte) }
    return Double(bitPattern: pattern)
  }

  // MARK: Stack and memo

  private mutating func push(_ container: PickleContainer) {
    stack.append(.container(arena.count))
    arena.append(container)
  }

  private mutating func pop(_ at: Int) throws(PickleFault) -> PickleValue {
    guard stack.count > (marks.last ?? 0) else { throw short(at) }
    return stack.removeLast()
  }

  private mutating func sinceMark(_ at: Int) throws(PickleFault) -> [PickleValue] {
    guard let mark = marks.popLast() else { throw short(at) }
    let items = Array(stack[mark...])
    stack.removeLast(items.count)
    return items
  }

  private mutating func remember(_ key: Int, _ at: Int) throws(PickleFault) {
    guard let value = stack.last else { throw short(at) }
    memo[key] = value
  }

  private mutating func recall(_ key: Int, _ at: Int) throws(PickleFault) {
    guard let value = memo[key] else {
      throw fault("memo", "without entry \(key)", "one that was put there before", at)
    }
    stack.append(value)
  }

  // MARK: Containers

  private mutating func append(_ items: [PickleValue], _ at: Int) throws(PickleFault) {
    if case .opaque? = stack.last { return }
    guard case .container(let place)? = stack.last, case .list(var list) = arena[place] else {
      throw fault("target of an append", stack.last?.kind ?? "nothing", "a list", at)
    }
    try refuse(items, inside: place, at)
    arena[place] = .list([])
    list += items
    arena[place] = .list(list)
  }

  private mutating func set(_ items: [PickleValue], _ at: Int) throws(PickleFault) {
    if case .opaque? = stack.last { return }
    guard case .container(let place)? = stack.last, case .dictionary(var members) = arena[place] else {
      throw fault("target of an item", stack.last?.kind ?? "nothing", "a dictionary", at)
    }
    guard items.count % 2 == 0 else { throw short(at) }
    try refuse(items, inside: place, at)
    arena[place] = .dictionary([])
    for k in stride(from: 0, to: items.count, by: 2) {
      members.append((try key(items[k], at), items[k + 1]))
    }
    arena[place] = .dictionary(members)
  }

  /// A state dict's keys are strings; others are only told apart from these.
  private func key(_ value: PickleValue, _ at: Int) throws(PickleFault) -> String {
    switch value {
    case .string(let text): return text
    case .int(let value): return String(value)
    case .container(let place):
      guard case .tuple = arena[place] else {
        throw fault("key of a dictionary", "a list or a dictionary", "a value that can be one", at)
      }
      return "(a tuple)"
    default: return "(\(value.kind))"
    }
  }

  private func refuse(_ items: [PickleValue], inside place: Int, _ at: Int) throws(PickleFault) {
    for case .container(place) in items {
      throw fault("container", "inside itself", "values without cycles", at)
    }
  }

  private func items(_ value: PickleValue) -> [PickleValue]? {
    guard case .container(let place) = value else { return nil }
    switch arena[place] {
    case .tuple(let items), .list(let items): return items
    case .dictionary: return nil
    }
  }

  // MARK: Names

  private mutating func global(_ module: String, _ name: String, _ at: Int) throws(PickleFault) {
    let full = "\(module).\(name)"
    if let global = PickleGlobal(rawValue: full) {
      stack.append(.global(global))
      return
    }
    if opaqueNames.count < Self.mostOpaqueNames, !opaqueNames.contains(full) { opaqueNames.append(full) }
    stack.append(.opaque(full))
  }

  private mutating func reduce(
    _ function: PickleValue, _ arguments: PickleValue, _ at: Int
  ) throws(PickleFault) {
    if case .opaque = function {
      stack.append(function)
      return
    }
    guard case .global(let global) = function, let values = items(arguments) else {
      throw fault("call", "of \(function.kind)", "of one of the known names", at)
    }
    switch global {
    case .orderedDictionary:
      push(.dictionary([]))
      guard let first = values.first else { return }
      guard values.count == 1, let pairs = items(first) else {
        throw fault("arguments of OrderedDict", "\(values.count) values", "none or one list of pairs", at)
      }
      // The memo could name one long list again and again, in a few bytes each.
      pairCount += pairs.count
      guard pairCount <= bytes.count else {
        throw fault("pairs for OrderedDict", "\(pairCount)", "at most \(bytes.count), one a byte", at)
      }
      for pair in pairs {
        guard let pair = items(pair), pair.count == 2 else {
          throw fault("argument of OrderedDict", "no pair", "a list of pairs", at)
        }
        try set(pair, at)
      }
    case .rebuildTensor:
      if case .opaque? = values.first {
        stack.append(values[0])
      } else {
        stack.append(.tensor(try tensor(values, at)))
      }
    case .rebuildParameter, .rebuildParameterWithState:
      switch values.first {
      case .tensor?, .opaque?: stack.append(values[0])
      case let other: throw fault("argument of \(global.rawValue)", other?.kind ?? "nothing", "a tensor", at)
      }
    default: throw fault("call", "of \(global.rawValue)", "of a name that makes a tensor or a dictionary", at)
    }
  }

  /// BUILD gives attributes: of a dictionary `_metadata` is kept, everything else is dropped.
  private mutating func build(_ at: Int) throws(PickleFault) {
    let state = try pop(at)
    if case .opaque? = stack.last { return }
    guard case .container(let target)? = stack.last, case .dictionary = arena[target] else {
      throw fault("target of BUILD", stack.last?.kind ?? "nothing", "an OrderedDict", at)
    }
    guard case .container(let place) = state, case .dictionary(let members) = arena[place] else { return }
    metadata[target] = members.last { $0.key == "_metadata" }?.value
  }

  // MARK: Tensors

  private static let mostAxes = 16

  /// From `('storage', type, key, location, elements)`, of old files with a sixth member None.
  private func storage(_ identifier: PickleValue, _ at: Int) throws(PickleFault) -> PickleValue {
    if let parts = items(identifier), parts.count > 1, case .opaque = parts[1] { return parts[1] }
    guard let parts = items(identifier), parts.count == 5 || parts.count == 6,
      case .string("storage") = parts[0], case .global(let type) = parts[1], let element = type.element,
      case .string(let key) = parts[2], case .string = parts[3], case .int(let count) = parts[4]
    else {
      throw fault("persistent identifier", "no storage", "('storage', type, key, location, elements)", at)
    }
    if parts.count == 6 {
      guard case .none = parts[5] else {
        throw fault("storage \(key)", "a view of another", "a storage of its own", at)
      }
    }
    guard count >= 0, count <= Int.max / 16 else {
      throw fault("elements of storage \(key)", "\(count)", "0 to 2^59", at)
    }
    return .storage(TorchStorageReference(key: key, element: element, count: count))
  }

  /// From `(storage, offset, shape, strides, …)`; throws unless every element lies inside the storage.
  private func tensor(_ values: [PickleValue], _ at: Int) throws(PickleFault) -> TorchTensor {
    func integers(_ value: PickleValue) -> [Int]? {
      guard let items = items(value), items.count <= Self.mostAxes else { return nil }
      let result = items.compactMap { if case .int(let k) = $0 { k } else { nil } }
      return result.count == items.count ? result : nil
    }
    guard values.count >= 4, case .storage(let storage) = values[0], case .int(let offset) = values[1],
      let shape = integers(values[2]), let strides = integers(values[3])
    else {
      throw fault(
        "arguments of _rebuild_tensor_v2", "\(values.count) values",
        "storage, offset, shape and strides of at most \(Self.mostAxes) axes", at)
    }
    guard shape.count == strides.count else {
      throw fault(
        "shape of a tensor", "\(shape.count) extents, \(strides.count) strides", "as many of both", at)
    }
    var count = 1
    var last = offset
    var overflows = offset < 0
    for (extent, stride) in zip(shape, strides) {
      guard extent >= 0, stride >= 0 else {
        throw fault("extent or stride of a tensor", "\(extent) with stride \(stride)", "none below zero", at)
      }
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      let (step, overflowing) = max(extent - 1, 0).multipliedReportingOverflow(by: stride)
      let (sum, carry) = last.addingReportingOverflow(step)
      overflows = overflows || overflow || overflowing || carry
      (count, last) = (product, sum)
    }
    guard !overflows, count <= storage.count, count == 0 || last < storage.count else {
      throw fault(
        "tensor of shape \(shape.prefix(8))", "reaching element \(overflows ? "2^63 or more" : "\(last)")",
        "elements inside its storage of \(storage.count)", at)
    }
    return TorchTensor(storage: storage, offset: offset, shape: shape, strides: strides)
  }
}
