import AIPO

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Whether the process may have the memory that OpenBLAS takes at its first products: without it, OpenBLAS asks
/// again for ever instead of failing.
enum WorkingMemory {
  /// Bytes of address space that OpenBLAS takes a thread, rounded up.
  private static let blasBuffer = 129 << 20

  /// Throws where a limit (as by `ulimit -v`) keeps the buffers of this many threads from being had.
  static func require(threads: Int) throws(CommandFailure) {
    let bytes = min(threads, ThreadPool.availableCores) * blasBuffer
    let buffer = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0)
    guard let buffer, buffer != MAP_FAILED else {
      throw CommandFailure(
        .failure,
        "not enough memory: OpenBLAS needs \(bytes >> 20) MiB of address space for \(threads) threads; raise "
          + "the limit (ulimit -v) or take fewer --threads")
    }
    munmap(buffer, bytes)
  }
}
