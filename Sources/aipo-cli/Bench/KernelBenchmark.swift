import AIPO

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Speeds of kernels under the variant that is active at the start, and their differences from the reference.
final class KernelBenchmark<Scalar: KernelScalar> {
  struct Line {
    var kernel: String
    var shape: String
    /// GFLOP/s of a convolution, else GB/s.
    var speed: Double
    /// What a convolution does for each byte that it must read or write; nil for the others.
    var intensity: Double?
    /// GB/s of a copy of as many bytes.
    var copySpeed: Double
    var residual: Double
    var tolerance: Double
    var passes: Bool { residual <= tolerance }
  }

  private(set) var lines: [Line] = []
  private(set) var peakGflops = 0.0
  /// GB/s of a copy that fits in no cache.
  let memorySpeed: Double
  /// GB/s of a copy within a core's cache.
  let cacheSpeed: Double
  private let variant = KernelVariant.current
  private let repeats: Int
  private let product: ProductPeak<Scalar>

  init(repeats: Int) throws {
    self.repeats = repeats
    product = try ProductPeak()
    _ = product.seconds(threads: 1)
    memorySpeed = try Self.copySpeed(bytes: 0x1p29, repeats: min(repeats, 5))
    cacheSpeed = try Self.copySpeed(bytes: 0x1p18, repeats: 100)
  }

  func share(_ line: Line) -> Double { line.speed / (line.intensity == nil ? line.copySpeed : peakGflops) }

  func measure(_ item: KernelCase<Scalar>) throws {
    peakGflops = max(peakGflops, product.operations / product.seconds(threads: 1) * 1e-9)
    let (seconds, values) = try run(item, repeats: repeats)
    let copySpeed = try Self.copySpeed(bytes: item.bytes, repeats: repeats)
    choose("reference")
    let reference = try run(item, repeats: 0).values
    choose(variant)
    let isConvolution = item.operations > 0
    lines.append(
      Line(
        kernel: item.kernel, shape: item.shape,
        speed: (isConvolution ? item.operations : item.bytes) / seconds * 1e-9,
        intensity: isConvolution ? item.operations / item.bytes : nil, copySpeed: copySpeed,
        residual: KernelArrays<Scalar>.residual(values, reference), tolerance: item.tolerance))
  }

  private func choose(_ name: String) {
    let found = KernelVariant.choose(name)
    precondition(found, "every machine has the reference, and the variant was active before")
  }

  /// The median time, and the result of one run.
  private func run(_ item: KernelCase<Scalar>, repeats: Int) throws -> (seconds: Double, values: [[Double]]) {
    let arrays = KernelArrays<Scalar>()
    let kernel = try item.prepare(arrays)
    kernel()
    let values = arrays.values
    return (Self.median(repeats, reset: arrays.reset, kernel), values)
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

/// A number as `1.2e-07`.
func scientific(_ value: Double) -> String {
  guard value.isFinite else { return "–" }
  guard value != 0 else { return "0" }
  let exponent = Int(floor(log10(abs(value))))
  return fixed(value / pow(10, Double(exponent)), 1) + "e\(exponent)"
}
