import CAIPOOpenBLAS

/// The square matrix product of the BLAS, `C = A B` of the given order: what a processor can do, measured, against
/// which the kernels' speed is told.
public final class ProductPeak<T: KernelScalar> {
  public let order: Int
  private let a: Storage<T>
  private let b: Storage<T>
  private let c: Storage<T>

  public init(order: Int = 1024) throws(TensorError) {
    self.order = order
    a = try Storage(count: order * order)
    b = try Storage(count: order * order)
    c = try Storage(count: order * order)
    a.memory.fill(0.5)
    b.memory.fill(0.25)
  }

  /// Floating-point operations of one product: 2n³.
  public var operations: Double { 2 * Double(order) * Double(order) * Double(order) }

  /// Seconds that one product takes with OpenBLAS on so many threads of its own.
  public func seconds(threads: Int) -> Double {
    BLASThreads.alone(threads: threads) {
      let n = Int32(order)
      let clock = ContinuousClock()
      let start = clock.now
      if T.self == Float.self {
        cblas_sgemm(
          CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1,
          a.memory.base as? UnsafeMutablePointer<Float>, n,
          b.memory.base as? UnsafeMutablePointer<Float>, n, 0, c.memory.base as? UnsafeMutablePointer<Float>,
          n)
      } else {
        cblas_dgemm(
          CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1,
          a.memory.base as? UnsafeMutablePointer<Double>, n,
          b.memory.base as? UnsafeMutablePointer<Double>, n, 0,
          c.memory.base as? UnsafeMutablePointer<Double>, n)
      }
      return (clock.now - start) / .seconds(1)
    }
  }
}
