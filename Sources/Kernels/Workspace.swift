/// Scratch memory that is taken in order and given back in the opposite order. It grows in the first pass and
/// is reused from then on.
public final class Workspace<Element: KernelScalar>: @unchecked Sendable {
  private var chunks: [Storage<Element>] = []
  private var chunk = 0
  private var used = 0
  /// Elements before the current chunk that are taken, and the most that were taken at once.
  private var usedBefore = 0
  private var most = 0

  public init() {}

  /// Elements of all chunks, which stay allocated.
  public var capacity: Int {
    var count = 0
    for chunk in chunks { count += chunk.memory.count }
    return count
  }

  /// `count` elements of undefined content, 64-byte aligned.
  public func take(_ count: Int) throws(TensorError) -> Memory<Element> {
    let rounded = (count + 15) / 16 * 16
    while chunk < chunks.count {
      let memory = chunks[chunk].memory
      if used + rounded <= memory.count {
        defer { note(rounded) }
        return memory[used..<used + count]
      }
      chunk += 1
      usedBefore += used
      used = 0
    }
    // Growing chunks, since small ones don't go back to the system when `settle` joins them.
    chunks.append(try Storage(count: max(rounded, min(capacity, 1 << 16))))
    note(rounded)
    return chunks[chunk].memory[0..<count]
  }

  /// Makes one chunk of at least so many elements, if nothing is taken and the first is smaller.
  public func reserve(_ count: Int) throws(TensorError) {
    guard chunk == 0, used == 0, chunks.isEmpty || chunks[0].memory.count < count else { return }
    chunks = []
    chunks = [try Storage(count: count)]
  }

  private func note(_ count: Int) {
    used += count
    most = max(most, usedBefore + used)
  }

  /// Runs `body` and gives back all that it took.
  public func scope<R>(_ body: () throws -> R) rethrows -> R {
    let (oldChunk, oldUsed, oldBefore) = (chunk, used, usedBefore)
    defer { (chunk, used, usedBefore) = (oldChunk, oldUsed, oldBefore) }
    return try body()
  }

  /// Gives back all that was taken.
  public func reset() { (chunk, used, usedBefore) = (0, 0, 0) }

  /// Gives back all that was taken, and makes one chunk of many, so that the same needs fit without gaps.
  public func settle() {
    reset()
    guard chunks.count > 1 else { return }
    chunks = []
    if let whole = try? Storage<Element>(count: most) { chunks = [whole] }
  }
}
