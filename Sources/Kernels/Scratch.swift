/// What one computation works with: memory for its temporaries, taken in order and given back in the opposite order, and
/// the threads it may use. The memory grows in the first round and is used again from then on.
///
/// A scratch serves one thread at a time; images that are solved side by side have one each.
public final class Scratch: @unchecked Sendable {
  public let pool: ThreadPool
  private let workspace = Workspace<Double>()

  public init(pool: ThreadPool = ThreadPool(threads: 1)) { self.pool = pool }

  /// A vector of undefined content, until the scope that it is taken in ends.
  public func take(_ count: Int) throws(TensorError) -> Vector { try workspace.take(count) }

  /// Runs `body` and gives back all that it took.
  public func scope<R>(_ body: () throws -> R) rethrows -> R { try workspace.scope(body) }
}
