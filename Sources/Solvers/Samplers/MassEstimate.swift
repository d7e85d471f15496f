import AIPOKernels

/// The mean curvature of −log π by its gradients: under π,
///
///     E[g gᵀ] = E[∇²(−log π)]
///
/// (Fisher's identity), so that gradients that were computed anyway give a mass in which a mean curvature is 1, whatever map
/// and noise are behind it: of the whole matrix where there are few values, else of its diagonal.
final class MassEstimate {
  /// Values up to which the whole matrix is estimated: its products are then quicker than a flow's.
  static let denseLimit = 1024

  private let dimension: Int
  private var count = 0.0
  private var sum: Tensor<Double>
  private var squares: Tensor<Double>
  private var products: Matrix?
  /// Gradients that aren't in `products` yet.
  private var waiting: Matrix?
  private var waitingCount = 0

  /// - Parameter isDense: whether the whole matrix is estimated where there are few values.
  init(dimension d: Int, isDense: Bool = true) throws {
    dimension = d
    sum = try Tensor(count: d)
    squares = try Tensor(count: d)
    if isDense, d <= Self.denseLimit {
      products = try Matrix(rows: d, columns: d)
      waiting = try Matrix(rows: d, columns: 64)
    }
  }

  func add(_ g: Vector) {
    guard g.isFinite() else { return }
    count += 1
    sum.withMemory { $0.add(g) }
    squares.withMemory { $0.setEach(nil, $0, g) { $0 + $1 * $1 } }
    guard waiting != nil else { return }
    waiting!.withMutableColumns { columns in
      for i in 0..<dimension { columns[waitingCount * dimension + i] = g[i] }
    }
    waitingCount += 1
    if waitingCount == waiting!.columns { flush() }
  }

  private func flush() {
    guard waitingCount > 0, var columns = waiting else { return }
    columns.withMutableColumns { values in
      for k in waitingCount * dimension..<values.count { values[k] = 0 }
    }
    if let product = try? columns.timesTransposed(columns) { products!.add(product, scaledBy: 1) }
    waitingCount = 0
  }

  /// The mass by the gradients of several chains, taken in order; nil where they say too little.
  ///
  /// The whole matrix is mixed with its diagonal by the share `d/(d + n/4)`, n gradients: neighbours on a path are alike.
  /// Where there is a guess, its diagonal is that in coordinates in which the guess is 1.
  ///
  /// - Parameter next: a guess for another density, for which the mass is wanted: it differs from its guess as what was found
  ///   from the other.
  static func mass(_ parts: [MassEstimate], near guess: Matrix? = nil, next: Matrix? = nil) throws -> Mass? {
    guard let first = parts.first else { return nil }
    let d = first.dimension
    let n = parts.reduce(0) { $0 + $1.count }
    guard n >= 10 else { return nil }
    let mean = (0..<d).map { i in parts.reduce(0) { $0 + $1.sum[flat: i] } / n }
    var variances = (0..<d).map { i in
      parts.reduce(0) { $0 + $1.squares[flat: i] } / n - mean[i] * mean[i]
    }
    let middle = variances.reduce(0, +) / Double(d)
    guard middle.isFinite, middle > 0 else { return nil }
    for i in 0..<d { variances[i] = max(variances[i], 1e-6 * middle) }
    guard first.products != nil else { return Mass(diagonal: try Tensor(variances)) }
    for part in parts { part.flush() }
    var matrix = try Matrix(rows: d, columns: d)
    for part in parts { matrix.add(part.products!, scaledBy: 1 / n) }
    matrix.withMutableColumns { m in
      for j in 0..<d {
        for i in 0..<d { m[i + j * d] -= mean[i] * mean[j] }
        m[j + j * d] = variances[j]
      }
    }
    let factor = try guess.map { guess throws(LinearAlgebraError) in try Cholesky(guess) }
    if let factor { matrix = factor.whiten(try factor.whiten(matrix).transposed()) }
    let share = Double(d) / (Double(d) + n / 4)
    for j in 0..<d {
      let own = matrix[j, j]
      matrix.withMutableColumns { m in
        for i in 0..<d { m[i + j * d] *= 1 - share }
      }
      matrix[j, j] = own
    }
    let last = try next.map { next throws(LinearAlgebraError) in try Cholesky(next) } ?? factor
    if let factor = last { matrix = factor.multiplyFactor(try factor.multiplyFactor(matrix).transposed()) }
    return try Mass(matrix)
  }
}
