/// A stretch of memory that somebody else owns (a workspace, a flow's parameters): the form in which layers
/// hand arrays to kernels. Valid only as long as its owner says.
public struct Memory<Element: KernelScalar>: @unchecked Sendable {
  @usableFromInline let base: UnsafeMutablePointer<Element>
  public let count: Int

  @inlinable init(base: UnsafeMutablePointer<Element>, count: Int) {
    self.base = base
    self.count = count
  }

  /// The memory of a buffer.
  public init(_ buffer: UnsafeMutableBufferPointer<Element>) {
    // Of nothing, any place will do.
    base = buffer.baseAddress ?? UnsafeMutablePointer(bitPattern: 64)!
    count = buffer.count
  }

  @inlinable public subscript(index: Int) -> Element {
    get {
      precondition(index >= 0 && index < count)
      return base[index]
    }
    nonmutating set {
      precondition(index >= 0 && index < count)
      base[index] = newValue
    }
  }

  /// The part `range` of it.
  @inlinable public subscript(range: Range<Int>) -> Memory {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "\(range) of \(count) elements")
    return Memory(base: base + range.lowerBound, count: range.count)
  }

  /// The part from `start` on; empty where there is none, as for a batch without images.
  @inlinable public func from(_ start: Int) -> Memory { self[min(start, count)..<count] }

  @_specialize(where Element == Float)
  @_specialize(where Element == Double)
  public func fill(_ value: Element) { base.update(repeating: value, count: count) }

  public func copy(from other: Memory) {
    precondition(other.count == count)
    base.update(from: other.base, count: count)
  }

  /// `self = factor·other`
  @_specialize(where Element == Float)
  @_specialize(where Element == Double)
  public func copy(from other: Memory, times factor: Element) {
    precondition(other.count == count)
    for i in 0..<count { base[i] = factor * other.base[i] }
  }

  public func copy(from elements: [Element]) {
    precondition(elements.count == count)
    elements.withUnsafeBufferPointer {
      if count > 0 { base.update(from: $0.baseAddress!, count: count) }
    }
  }

  public func copy(from elements: UnsafeBufferPointer<Element>) {
    precondition(elements.count == count)
    if count > 0 { base.update(from: elements.baseAddress!, count: count) }
  }

  public func copy(from tensor: Tensor<Element>) {
    precondition(tensor.count == count)
    tensor.withUnsafeBufferPointer {
      if count > 0 { base.update(from: $0.baseAddress!, count: count) }
    }
  }

  /// Copies the rows of a tensor in `range` of its first axis.
  public func copy(from tensor: Tensor<Element>, rows range: Range<Int>) {
    let size = tensor.rowLength
    precondition(count == range.count * size && range.upperBound <= tensor.shape[0])
    tensor.withUnsafeBufferPointer {
      if count > 0 { base.update(from: $0.baseAddress! + range.lowerBound * size, count: count) }
    }
  }

  public var elements: [Element] { Array(UnsafeBufferPointer(start: base, count: count)) }

  /// The elements as a tensor of the given shape.
  public func tensor(shape: [Int]) throws(TensorError) -> Tensor<Element> {
    var result = try Tensor<Element>(shape: shape)
    precondition(result.count == count)
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
  /// Bytes.
  public let count: Int

  private init(base: UnsafeMutablePointer<UInt8>, count: Int) {
    self.base = base
    self.count = count
  }

  /// A mask in the whole of some memory.
  public init<Element>(_ memory: Memory<Element>) {
    base = UnsafeMutableRawPointer(memory.base).assumingMemoryBound(to: UInt8.self)
    count = memory.count * MemoryLayout<Element>.stride
  }

  /// The bytes `range` of it.
  public subscript(range: Range<Int>) -> Mask {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "\(range) of \(count) bytes")
    return Mask(base: base + range.lowerBound, count: range.count)
  }

  public var elements: [UInt8] { Array(UnsafeBufferPointer(start: base, count: count)) }

  public func copy(from bytes: [UInt8]) {
    precondition(bytes.count == count)
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
