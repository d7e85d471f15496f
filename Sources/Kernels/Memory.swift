/// A stretch of memory that somebody else owns (a workspace, a flow's parameters): the form in which layers
/// hand arrays to kernels. Valid only as long as its owner says.
public struct Memory<Element: KernelScalar>: @unchecked Sendable {
  /// Where element 0 is, or would be.
  @usableFromInline let base: UnsafeMutablePointer<Element>
  /// The number of the first element: 0, but for a part of a larger array that keeps its numbers there (`numbered`).
  public let first: Int
  /// The number behind that of the last element; without `numbered` it's how many there are.
  public let count: Int

  @inlinable init(base: UnsafeMutablePointer<Element>, first: Int = 0, count: Int) {
    self.base = base
    self.first = first
    self.count = count
  }

  /// The same elements, counted from `first` on: some rows of a batch for kernels that count all its rows.
  public func numbered(from first: Int) -> Memory {
    precondition(self.first == 0 && first >= 0)
    return Memory(base: base - first, first: first, count: first + count)
  }

  /// The memory of a buffer.
  public init(_ buffer: UnsafeMutableBufferPointer<Element>) {
    // Of nothing, any place will do.
    base = buffer.baseAddress ?? UnsafeMutablePointer(bitPattern: 64)!
    first = 0
    count = buffer.count
  }

  /// A buffer that is only read.
  public init(reading buffer: UnsafeBufferPointer<Element>) {
    self.init(UnsafeMutableBufferPointer(mutating: buffer))
  }

  /// The elements from number `start` on, each numbered `start` less: some channels of pixels.
  public func shifted(by start: Int) -> Memory {
    Memory(base: base + start, first: first, count: max(first, count - start))
  }

  @inlinable public subscript(index: Int) -> Element {
    get {
      precondition(index >= first && index < count)
      return base[index]
    }
    nonmutating set {
      precondition(index >= first && index < count)
      base[index] = newValue
    }
  }

  /// The part `range` of it, counted from 0.
  @inlinable public subscript(range: Range<Int>) -> Memory {
    precondition(
      range.lowerBound >= first && range.upperBound <= count, "\(range) of elements \(first)..<\(count)")
    return Memory(base: base + range.lowerBound, count: range.count)
  }

  /// The part from `start` on, counted from 0; empty where there is none, as for a batch without images.
  @inlinable public func from(_ start: Int) -> Memory { self[min(start, count)..<count] }

  @_specialize(where Element == Float)
  @_specialize(where Element == Double)
  public func fill(_ value: Element) {
    precondition(first == 0)
    base.update(repeating: value, count: count)
  }

  public func copy(from other: Memory) {
    precondition(other.count == count && first == 0 && other.first == 0)
    base.update(from: other.base, count: count)
  }

  /// `self = factor·other`
  @_specialize(where Element == Float)
  @_specialize(where Element == Double)
  public func copy(from other: Memory, times factor: Element) {
    precondition(other.count == count && first == 0 && other.first == 0)
    for i in 0..<count { base[i] = factor * other.base[i] }
  }

  public func copy(from elements: [Element]) {
    precondition(elements.count == count && first == 0)
    elements.withUnsafeBufferPointer {
      if count > 0 { base.update(from: $0.baseAddress!, count: count) }
    }
  }

  public func copy(from elements: UnsafeBufferPointer<Element>) {
    precondition(elements.count == count && first == 0)
    if count > 0 { base.update(from: elements.baseAddress!, count: count) }
  }

  public func copy(from tensor: Tensor<Element>) {
    precondition(tensor.count == count && first == 0)
    tensor.withUnsafeBufferPointer {
      if count > 0 { base.update(from: $0.baseAddress!, count: count) }
    }
  }

  /// Copies the rows of a tensor in `range` of its first axis.
  public func copy(from tensor: Tensor<Element>, rows range: Range<Int>) {
    let size = tensor.rowLength
    precondition(count == range.count * size && range.upperBound <= tensor.shape[0] && first == 0)
    tensor.withUnsafeBufferPointer {
      if count > 0 { base.update(from: $0.baseAddress! + range.lowerBound * size, count: count) }
    }
  }

  public var elements: [Element] { Array(UnsafeBufferPointer(start: base + first, count: count - first)) }

  /// Runs `body` with the elements as a buffer.
  public func withUnsafeMutableBufferPointer<R, E: Error>(
    _ body: (UnsafeMutableBufferPointer<Element>) throws(E) -> R
  ) throws(E) -> R {
    try body(UnsafeMutableBufferPointer(start: base + first, count: count - first))
  }

  /// The bytes of the elements.
  var bytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(start: base + first, count: count - first))
  }

  /// The elements as a tensor of the given shape.
  public func tensor(shape: [Int]) throws(TensorError) -> Tensor<Element> {
    var result = try Tensor<Element>(shape: shape)
    precondition(result.count == count && first == 0)
    result.withUnsafeMutableBufferPointer {
      if count > 0 { $0.baseAddress!.update(from: base, count: count) }
    }
    return result
  }
}

/// One bit a value, for the derivatives of ReLUs: the bit of channel c of a pixel is bit c % 8 of the pixel's byte c / 8.
/// In memory that somebody else owns, like `Memory`.
public struct Mask: @unchecked Sendable {
  let base: UnsafeMutablePointer<UInt8>
  /// The number of the first byte, and the number behind the last one's; as those of `Memory`.
  public let first: Int
  public let count: Int

  private init(base: UnsafeMutablePointer<UInt8>, first: Int = 0, count: Int) {
    self.base = base
    self.first = first
    self.count = count
  }

  /// The same bytes, counted from `first` on.
  public func numbered(from first: Int) -> Mask {
    precondition(self.first == 0 && first >= 0)
    return Mask(base: base - first, first: first, count: first + count)
  }

  /// A mask in the whole of some memory.
  public init<Element>(_ memory: Memory<Element>) {
    precondition(memory.first == 0)
    base = UnsafeMutableRawPointer(memory.base).assumingMemoryBound(to: UInt8.self)
    first = 0
    count = memory.count * MemoryLayout<Element>.stride
  }

  /// The bytes `range` of it.
  public subscript(range: Range<Int>) -> Mask {
    precondition(
      range.lowerBound >= first && range.upperBound <= count, "\(range) of bytes \(first)..<\(count)")
    return Mask(base: base + range.lowerBound, count: range.count)
  }

  public var elements: [UInt8] { Array(UnsafeBufferPointer(start: base + first, count: count - first)) }

  public func copy(from bytes: [UInt8]) {
    precondition(bytes.count == count && first == 0)
    for i in 0..<count { base[i] = bytes[i] }
  }

  /// Bytes of a pixel.
  public static func bytes(channels: Int) -> Int { (channels + 7) / 8 }
}

/// Memory that lives as long as this object.
public final class Storage<Element: KernelScalar>: Sendable {
  private let storage: TensorStorage<Element>

  /// Zero-filled.
  public init(count: Int) throws(TensorError) { storage = try TensorStorage(count: count) }

  public var memory: Memory<Element> { Memory(base: storage.base, count: storage.count) }
}
