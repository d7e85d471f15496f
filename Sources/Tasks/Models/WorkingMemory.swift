import AIPOKernels
import AIPOPlatform

/// The address space that OpenBLAS takes at its first products; without it, OpenBLAS asks again for ever instead of
/// failing.
public enum WorkingMemory {
  /// Bytes of address space that OpenBLAS takes a thread, rounded up.
  private static let blasBuffer = 129 << 20

  /// Throws where a limit (as by `ulimit -v`) keeps the buffers of this many threads from being had, and has arrays
  /// leave room for them.
  public static func require(threads: Int) throws(TaskError) {
    let bytes = min(threads, ThreadPool.availableCores) * blasBuffer
    let buffer = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0)
    guard let buffer, buffer != MAP_FAILED else {
      throw TaskError(
        .failure,
        "not enough memory: OpenBLAS needs \(bytes >> 20) MiB of address space for \(threads) threads; raise "
          + "the limit (ulimit -v) or take fewer --threads")
    }
    munmap(buffer, bytes)
    MemoryLimit.headroom = MemoryLimit.leastHeadroom + bytes
  }
}

/// An amount of memory in words: `512M`, `4G`, `1.5G`, or bytes.
public struct MemorySize: Hashable, Sendable {
  public let bytes: Int

  /// Nil where the text is none.
  public init?(_ text: String) {
    let units: [Character: Double] = ["K": 0x1p10, "M": 0x1p20, "G": 0x1p30, "T": 0x1p40]
    let unit = text.last.flatMap { units[Character($0.uppercased())] }
    guard let value = Double(unit == nil ? text : String(text.dropLast())), value > 0 else {
      return nil
    }
    let bytes = value * (unit ?? 1)
    guard bytes >= 1, bytes < 0x1p62 else { return nil }
    self.bytes = Int(bytes)
  }
}
