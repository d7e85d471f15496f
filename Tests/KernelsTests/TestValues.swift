@testable import AIPOKernels

/// Keeps the tests' arrays: a kernel has an array's memory when nobody holds the array any more.
final class ArrayKeeper: @unchecked Sendable {
  static let shared = ArrayKeeper()
  private let lock = Lock()
  private var arrays: [AnyObject] = []

  func keep(_ array: AnyObject) { lock.withLock { arrays.append(array) } }

  /// Gives all back; only where no other test runs.
  func releaseAll() { lock.withLock { arrays = [] } }
}

/// Memory with given content.
final class TestArray<T: KernelScalar> {
  private let storage: Storage<T>
  var memory: Memory<T> { storage.memory }

  init(_ values: [Double]) throws {
    storage = try Storage(count: values.count)
    storage.memory.copy(from: values.map { T($0) })
    ArrayKeeper.shared.keep(self)
  }

  var doubles: [Double] { memory.elements.map { Double($0) } }
  func doubles(at index: Int) -> Double { Double(memory[index]) }
}

/// Normal numbers that a `Float` holds exactly, so that both precisions get the same.
func normals(_ count: Int, seed: UInt64, scale: Double = 1) -> [Double] {
  var random = Philox(seed: seed, purpose: .test)
  return (0..<count).map { _ in Double(Float(scale * random.normal())) }
}

/// Half a unit in the last place of 1.
func roundoff<T: KernelScalar>(_: T.Type) -> Double { Double(T.ulpOfOne) / 2 }

func largestDifference(_ a: [Double], _ b: [Double]) -> Double {
  precondition(a.count == b.count)
  return zip(a, b).reduce(0) { max($0, ($1.0 - $1.1).magnitude.isNaN ? .infinity : ($1.0 - $1.1).magnitude) }
}
