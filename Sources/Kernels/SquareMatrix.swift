import CAIPOOpenBLAS

/// A small square matrix of doubles, row-major, in memory of its own.
public final class SquareMatrix: Sendable {
  public let size: Int
  private let storage: Storage<Double>
  public let elements: Memory<Double>

  /// Zeros.
  public init(size: Int) throws(TensorError) {
    self.size = size
    storage = try Storage(count: size * size)
    elements = storage.memory
  }

  @inlinable public subscript(row: Int, column: Int) -> Double {
    get { elements[row * size + column] }
    set { elements[row * size + column] = newValue }
  }

  /// A factor of a product.
  public enum Factor {
    case plain(SquareMatrix)
    case transposed(SquareMatrix)

    fileprivate var matrix: SquareMatrix {
      switch self {
      case .plain(let matrix), .transposed(let matrix): matrix
      }
    }

    fileprivate var operation: CBLAS_TRANSPOSE {
      switch self {
      case .plain: CblasNoTrans
      case .transposed: CblasTrans
      }
    }
  }

  /// Becomes the product of two others.
  public func set(to a: Factor, times b: Factor) {
    precondition(a.matrix !== self && b.matrix !== self && a.matrix.size == size && b.matrix.size == size)
    let n = Int32(size)
    BLASThreads.single {
      cblas_dgemm(
        CblasRowMajor, a.operation, b.operation, n, n, n, 1, a.matrix.elements.base, n,
        b.matrix.elements.base,
        n, 0, elements.base, n)
    }
  }
}
