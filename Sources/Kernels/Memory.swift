/// A stretch of memory that somebody else owns (a workspace, a flow's parameters): the form in which layers
/// hand arrays to kernels. Valid only as long as its owner says.
public struct Memory<Element: KernelScalar>: @unchecked Sendable {
  let base: UnsafeMutablePointer<Element>
  public let count: Int

  init(base: UnsafeMutablePointer<Element>, count: Int) {
    self.base = base
    self.count = count
  }

  public subscript(index: Int) -> Element {
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
  public subscript(range: Range<Int>) -> Memory {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "\(range) of \(count) elements")
    return Memory(base: base + range.lowerBound, count: range.count)
  }

  /// The part from `start` on; empty where there is none, as for a batch without images.
  public func from(_ start: Int) -> Memory { self[min(start, count)..<count] }

  public func fill(_ value: Element) { base.update(repeating: value, count: count) }

  public func copy(from other: Memory) {
    precondition(other.count == count)
    base.update(from: other.base, count: count)
  }

  public func copy(from elements: [Element]) {
    precondition(elements.count == count)
    elements.withUnsafeBufferPointer {
      if count > 0 { base.update(from: $0.baseAddress!, count: count) }
    }
  }

  public func copy(from tensor: Tensor<Element>) {
    precondition(tensor.count == count)
    tensor.withUnsafeBufferPointer {
      if count > 0 { base.update(from: $0.baseAddress!, count: count) }
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

/// Memory that lives as long as this object.
public final class Storage<Element: KernelScalar>: Sendable {
  private let storage: TensorStorage<Element>

  /// Zero-filled.
  public init(count: Int) throws(TensorError) { storage = try TensorStorage(count: count) }

  public var memory: Memory<Element> { Memory(base: storage.base, count: storage.count) }
}
