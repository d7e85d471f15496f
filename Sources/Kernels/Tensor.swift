import AIPOPlatform

/// What can go wrong with the memory or the shape of an array.
public enum TensorError: Error, Equatable, CustomStringConvertible {
  case outOfMemory(bytes: Int)
  case shapeMismatch(what: String, found: [Int], expected: [Int])

  public var description: String {
    switch self {
    case .outOfMemory(let bytes): "not enough memory for an array of \(bytes) bytes"
    case .shapeMismatch(let what, let found, let expected):
      "\(what) has shape \(found), expected \(expected)"
    }
  }
}

/// Memory of a tensor, 64-byte aligned, owned by this object alone.
final class TensorStorage<Element: KernelScalar>: @unchecked Sendable {
  let base: UnsafeMutablePointer<Element>
  let count: Int
  /// Bytes that the system gave; 0 for memory from malloc.
  private let mapped: Int

  /// Zero-filled. A large array comes from the system and goes back to it at once; its pages take memory from when they
  /// are written.
  init(count: Int) throws(TensorError) {
    let bytes = try Self.bytes(count)
    if bytes >= Self.large {
      guard MemoryLimit.take(bytes) else { throw .outOfMemory(bytes: bytes) }
    }
    guard let raw = Self.allocate(bytes) else {
      if bytes >= Self.large { MemoryLimit.give(bytes) }
      throw .outOfMemory(bytes: bytes)
    }
    base = raw.bindMemory(to: Element.self, capacity: max(count, 1))
    self.count = count
    mapped = bytes >= Self.large ? bytes : 0
  }

  private static func bytes(_ count: Int) throws(TensorError) -> Int {
    let (bytes, overflow) = max(count, 1).multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    guard !overflow, bytes <= Int.max - 64 else { throw .outOfMemory(bytes: Int.max) }
    return bytes
  }

  private static func allocate(_ bytes: Int) -> UnsafeMutableRawPointer? {
    var raw: UnsafeMutableRawPointer?
    if bytes >= large {
      raw = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      return raw == MAP_FAILED ? nil : raw
    }
    guard posix_memalign(&raw, 64, (bytes + 63) / 64 * 64) == 0, let raw else { return nil }
    memset(raw, 0, bytes)
    return raw
  }

  private static var large: Int { MemoryLimit.small }

  deinit {
    if mapped > 0 {
      munmap(base, mapped)
      MemoryLimit.give(mapped)
    } else {
      free(base)
    }
  }
}

/// A dense row-major array with value semantics; images are NHWC, batch first.
public struct Tensor<Element: KernelScalar>: Sendable {
  public private(set) var shape: [Int]
  private var storage: TensorStorage<Element>

  /// A zero-filled array of the given shape.
  public init(shape: [Int]) throws(TensorError) {
    var count = 1
    for extent in shape {
      precondition(extent >= 0, "negative extent in \(shape)")
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      guard !overflow else { throw .outOfMemory(bytes: Int.max) }
      count = product
    }
    self.shape = shape
    storage = try TensorStorage(count: count)
  }

  /// The given elements in row-major order; their number must be the product of the shape.
  public init(shape: [Int], elements: some Collection<Element>) throws(TensorError) {
    try self.init(shape: shape)
    guard elements.count == count else {
      throw .shapeMismatch(what: "element list", found: [elements.count], expected: shape)
    }
    var next = storage.base
    for element in elements {
      next.pointee = element
      next += 1
    }
  }

  public var count: Int { storage.count }

  /// Elements behind one index of the first axis.
  public var rowLength: Int { shape.isEmpty || shape[0] == 0 ? 0 : count / shape[0] }

  /// The elements in row-major order.
  public var elements: [Element] { Array(UnsafeBufferPointer(start: storage.base, count: count)) }

  public subscript(flat index: Int) -> Element {
    get {
      precondition(index >= 0 && index < count)
      return storage.base[index]
    }
    set {
      precondition(index >= 0 && index < count)
      makeUnique()
      storage.base[index] = newValue
    }
  }

  /// The same elements under another shape with the same count.
  public func reshaped(_ shape: [Int]) -> Tensor {
    precondition(shape.reduce(1, *) == count, "cannot reshape \(self.shape) to \(shape)")
    var result = self
    result.shape = shape
    return result
  }

  /// The images at `indices` along the first axis, in that order.
  public func rows(_ indices: some Collection<Int>) throws(TensorError) -> Tensor {
    var result = try Tensor(shape: [indices.count] + shape.dropFirst())
    let size = rowLength
    result.withUnsafeMutableBufferPointer { out in
      for (k, i) in indices.enumerated() where size > 0 {
        precondition(i >= 0 && i < shape[0])
        (out.baseAddress! + k * size).update(from: storage.base + i * size, count: size)
      }
    }
    return result
  }

  /// The rows along the first axis that hold finite numbers alone.
  public var finiteRows: [Int] {
    let size = rowLength
    return withUnsafeBufferPointer { values in
      (0..<(shape.first ?? 0)).filter { i in values[i * size..<(i + 1) * size].allSatisfy(\.isFinite) }
    }
  }

  /// Sets all elements of rows along the first axis.
  public mutating func fill(rows: some Sequence<Int>, with value: Element) {
    let size = rowLength
    withUnsafeMutableBufferPointer { values in
      for i in rows { values[i * size..<(i + 1) * size].update(repeating: value) }
    }
  }

  /// Converts every element to another precision.
  public func converted<Other: KernelScalar>(to: Other.Type) throws(TensorError) -> Tensor<Other> {
    var result = try Tensor<Other>(shape: shape)
    result.withUnsafeMutableBufferPointer { out in
      for i in 0..<count { out[i] = Other(storage.base[i]) }
    }
    return result
  }

  public func withUnsafeBufferPointer<R, E: Error>(
    _ body: (UnsafeBufferPointer<Element>) throws(E) -> R
  ) throws(E) -> R {
    try body(UnsafeBufferPointer(start: storage.base, count: count))
  }

  public mutating func withUnsafeMutableBufferPointer<R, E: Error>(
    _ body: (UnsafeMutableBufferPointer<Element>) throws(E) -> R
  ) throws(E) -> R {
    makeUnique()
    return try body(UnsafeMutableBufferPointer(start: storage.base, count: count))
  }

  /// The elements' memory, to be written.
  public mutating func withMemory<R, E: Error>(_ body: (Memory<Element>) throws(E) -> R) throws(E) -> R {
    makeUnique()
    return try body(Memory(base: storage.base, count: count))
  }

  private mutating func makeUnique() {
    guard !isKnownUniquelyReferenced(&storage) else { return }
    guard let copy = try? TensorStorage<Element>(count: count) else {
      fatalError("out of memory copying an array of shape \(shape)")
    }
    copy.base.update(from: storage.base, count: count)
    storage = copy
  }
}

extension Tensor: Equatable {
  /// Same shape and the same bits, so that a NaN equals itself.
  public static func == (a: Tensor, b: Tensor) -> Bool {
    a.shape == b.shape
      && memcmp(a.storage.base, b.storage.base, a.count * MemoryLayout<Element>.stride) == 0
  }
}

extension Tensor: Codable {
  private enum CodingKeys: String, CodingKey { case shape, values }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let shape = try container.decode([Int].self, forKey: .shape)
    let values = try container.decode([Element].self, forKey: .values)
    guard shape.allSatisfy({ $0 >= 0 }), Self.product(shape) == values.count else {
      throw DecodingError.dataCorruptedError(
        forKey: .shape, in: container, debugDescription: "\(values.count) values of shape \(shape)")
    }
    try self.init(shape: shape, elements: values)
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(shape, forKey: .shape)
    try container.encode(elements, forKey: .values)
  }

  /// Nil where it overflows.
  private static func product(_ shape: [Int]) -> Int? {
    shape.reduce(1) { product, side in
      product.flatMap {
        let (result, overflow) = $0.multipliedReportingOverflow(by: side)
        return overflow ? nil : result
      }
    }
  }
}
