/// Scratch memory that is taken in order and given back in the opposite order. It grows in the first pass and
/// is reused from then on.
public final class Workspace<Element: KernelScalar>: @unchecked Sendable {
  private var chunks: [Storage<Element>] = []
  private var chunk = 0
  private var used = 0

  public init() {}

  /// Elements of all chunks: the most that was ever needed, and what stays allocated.
  public var capacity: Int { chunks.reduce(0) { $0 + $1.memory.count } }

  /// `count` elements of undefined content, 64-byte aligned.
  public func take(_ count: Int) throws(TensorError) -> Memory<Element> {
    let rounded = (count + 15) / 16 * 16
    while chunk < chunks.count {
      let memory = chunks[chunk].memory
      if used + rounded <= memory.count {
        defer { used += rounded }
        return memory[used..<used + count]
      }
      chunk += 1
      used = 0
    }
    chunks.append(try Storage(count: rounded))
    used = rounded
    return chunks[chunk].memory[0..<count]
  }

  /// Runs `body` and gives back all that it took.
  public func scope<R>(_ body: () throws -> R) rethrows -> R {
    let (oldChunk, oldUsed) = (chunk, used)
    defer { (chunk, used) = (oldChunk, oldUsed) }
    return try body()
  }
}
