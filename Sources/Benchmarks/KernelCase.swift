import AIPOKernels

/// A kernel on arrays of one shape, to be measured and compared between variants.
package struct KernelCase<Scalar: KernelScalar> {
  package var kernel: String
  var shape: String
  /// Multiplications and additions of a convolution; 0 for a kernel that does little but move memory.
  var operations = 0.0
  /// Bytes of the arrays that are read and written, each once.
  var bytes: Double
  /// Terms of the longest sum in a result, which set how far two orders of summation may differ.
  var terms = 1
  /// Makes what the kernel needs for the active variant, with all that is compared among `arrays`.
  var prepare: (_ arrays: KernelArrays<Scalar>) throws -> () -> Void

  /// All that are measured.
  package static var all: [KernelCase] { convolutions + elementwise }

  /// The largest residual that rounding explains.
  var tolerance: Double { 8 * Double(Scalar.ulpOfOne) * Double(terms).squareRoot() }
}

/// The arrays of a case: filled with the same numbers each time, and compared after a run.
final class KernelArrays<Scalar: KernelScalar> {
  private var arrays: [(storage: Storage<Scalar>, start: [Scalar])] = []
  private var doubles: [Storage<Double>] = []
  private var scratch: [Storage<Scalar>] = []

  /// Normal numbers.
  func random(_ count: Int, scale: Double = 1) throws -> Memory<Scalar> {
    var random = Philox(seed: 0, index: UInt64(arrays.count), purpose: .test)
    return try add((0..<count).map { _ in Scalar(scale * random.normal()) })
  }

  /// Numbers between 0 and 1.
  func uniform(_ count: Int) throws -> Memory<Scalar> {
    var random = Philox(seed: 0, index: UInt64(arrays.count), purpose: .test)
    return try add((0..<count).map { _ in Scalar(0.01 + 0.98 * random.uniform()) })
  }

  func zeros(_ count: Int) throws -> Memory<Scalar> { try add(Array(repeating: 0, count: count)) }

  func doubleZeros(_ count: Int) throws -> Memory<Double> {
    let storage = try Storage<Double>(count: count)
    doubles.append(storage)
    return storage.memory
  }

  /// Memory of at least so many bytes for the bits of ReLUs, some of them set. Not compared: near zero a sum may round
  /// to either side.
  func bits(_ bytes: Int) throws -> Memory<Scalar> {
    let memory = try scratch((bytes + MemoryLayout<Scalar>.stride - 1) / MemoryLayout<Scalar>.stride)
    memory.fill(1.1)
    return memory
  }

  /// Memory whose content doesn't matter.
  func scratch(_ count: Int) throws -> Memory<Scalar> {
    let storage = try Storage<Scalar>(count: count)
    scratch.append(storage)
    return storage.memory
  }

  private func add(_ start: [Scalar]) throws -> Memory<Scalar> {
    let storage = try Storage<Scalar>(count: start.count)
    storage.memory.copy(from: start)
    arrays.append((storage, start))
    return storage.memory
  }

  /// Puts back what the arrays held before the first run.
  func reset() {
    for (storage, start) in arrays { storage.memory.copy(from: start) }
    for storage in doubles { storage.memory.fill(0) }
  }

  /// What one array holds.
  struct Numbers { let values: [Double] }

  var numbers: [Numbers] {
    arrays.map { Numbers(values: $0.storage.memory.elements.map { Double($0) }) }
      + doubles.map { Numbers(values: $0.memory.elements) }
  }

  /// The largest difference between two runs, over the largest number of the same array.
  static func residual(_ numbers: [Numbers], _ reference: [Numbers]) -> Double {
    var result = 0.0
    for (a, b) in zip(numbers, reference) {
      var (difference, size) = (0.0, 0.0)
      for (x, y) in zip(a.values, b.values) {
        // A NaN would be lost in a maximum.
        guard x.isFinite, y.isFinite else { return .infinity }
        difference = max(difference, abs(x - y))
        size = max(size, abs(y))
      }
      if difference > 0 { result = max(result, difference / size) }
    }
    return result
  }
}
