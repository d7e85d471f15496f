import AIPOKernels
import AIPOPlatform
import AIPOTasks

/// Speeds of kernels under the variant that is active at the start, and their differences from the reference.
package final class KernelBenchmark<Scalar: KernelScalar> {
  package struct Line {
    package var kernel: String
    package var shape: String
    /// GFLOP/s of a convolution, else GB/s.
    package var speed: Double
    /// What a convolution does for each byte that it must read or write; nil for the others.
    package var intensity: Double?
    /// GB/s of a copy of as many bytes.
    var copySpeed: Double
    package var residual: Double
    package var tolerance: Double
    package var passes: Bool { residual <= tolerance }
  }

  package private(set) var lines: [Line] = []
  package private(set) var peakGflops = 0.0
  /// GB/s of a copy that fits in no cache.
  package let memorySpeed: Double
  /// GB/s of a copy within a core's cache.
  package let cacheSpeed: Double
  private let variant = KernelVariant.current
  let repeats: Int
  private let product: ProductPeak<Scalar>

  package init(repeats: Int) throws {
    self.repeats = repeats
    product = try ProductPeak()
    _ = product.seconds(threads: 1)
    memorySpeed = try Self.copySpeed(bytes: 0x1p29, repeats: min(repeats, 5))
    cacheSpeed = try Self.copySpeed(bytes: 0x1p18, repeats: 100)
  }

  package func share(_ line: Line) -> Double {
    line.speed / (line.intensity == nil ? line.copySpeed : peakGflops)
  }

  /// Measures kernels one after the other, until cancelled.
  package func measure(_ cases: [KernelCase<Scalar>], observer: WorkObserver) throws {
    for item in cases where !observer.isCancelled() {
      try measure(item)
      observer.onProgress(Double(lines.count))
    }
  }

  private func measure(_ item: KernelCase<Scalar>) throws {
    peakGflops = max(peakGflops, product.operations / product.seconds(threads: 1) * 1e-9)
    let (seconds, numbers) = try run(item, repeats: repeats)
    let copySpeed = try Self.copySpeed(bytes: item.bytes, repeats: repeats)
    choose("reference")
    let reference = try run(item, repeats: 0).numbers
    choose(variant)
    let isConvolution = item.operations > 0
    lines.append(
      Line(
        kernel: item.kernel, shape: item.shape,
        speed: (isConvolution ? item.operations : item.bytes) / seconds * 1e-9,
        intensity: isConvolution ? item.operations / item.bytes : nil, copySpeed: copySpeed,
        residual: KernelArrays<Scalar>.residual(numbers, reference), tolerance: item.tolerance))
  }

  private func choose(_ name: String) {
    let found = KernelVariant.choose(name)
    precondition(found, "every machine has the reference, and the variant was active before")
  }

  /// The median time, and the result of one run.
  private func run(_ item: KernelCase<Scalar>, repeats: Int) throws -> (
    seconds: Double, numbers: [KernelArrays<Scalar>.Numbers]
  ) {
    let arrays = KernelArrays<Scalar>()
    let kernel = try item.prepare(arrays)
    kernel()
    let numbers = arrays.numbers
    return (Self.median(repeats, reset: arrays.reset, kernel), numbers)
  }

  /// GB/s of a copy that reads and writes so many bytes altogether.
  private static func copySpeed(bytes: Double, repeats: Int) throws -> Double {
    let count = max(1, Int(bytes) / (2 * MemoryLayout<Scalar>.stride))
    let (from, to) = (try Storage<Scalar>(count: count), try Storage<Scalar>(count: count))
    return bytes / median(repeats, reset: {}, { to.memory.copy(from: from.memory) }) * 1e-9
  }

  private static func median(_ repeats: Int, reset: () -> Void, _ body: () -> Void) -> Double {
    let clock = ContinuousClock()
    let seconds = (0..<repeats).map { _ -> Double in
      reset()
      let start = clock.now
      body()
      return (clock.now - start) / .seconds(1)
    }
    return seconds.isEmpty ? .nan : seconds.sorted()[seconds.count / 2]
  }
}
