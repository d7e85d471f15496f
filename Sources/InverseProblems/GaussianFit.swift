import AIPOKernels

/// Mean and covariance of training images, batch by batch: `C + ridge·I`, ridge 1e-4 on [0, 1] pixels (with
/// their dequantisation noise). The sums are taken about the first image, in double.
///
/// Images of more than `denseLimit` values get a low-rank covariance from the first `rank` images, with a
/// diagonal that restores every pixel's variance over all of them.
public struct GaussianFit {
  public let imageShape: ImageShape
  public let ridge: Double
  public let denseLimit: Int
  public let rank: Int
  public private(set) var count = 0

  private var shift: [Double]
  private var sum: [Double]
  private var squares: [Double]
  private var products: Matrix?
  private var kept: [[Double]] = []

  public init(imageShape: ImageShape, ridge: Double = 1e-4, denseLimit: Int = 3072, rank: Int = 256)
    throws(ProblemError)
  {
    guard ridge.isFinite, ridge > 0 else {
      throw .invalidWeight(what: "ridge of the covariance", value: ridge)
    }
    self.imageShape = imageShape
    self.ridge = ridge
    self.denseLimit = denseLimit
    self.rank = rank
    let d = imageShape.count
    shift = [Double](repeating: 0, count: d)
    sum = shift
    squares = shift
    if d <= denseLimit {
      products = try algebra { () throws(LinearAlgebraError) in try Matrix(rows: d, columns: d) }
    }
  }

  /// Adds a batch `[n, h, w, c]` of finite values.
  public mutating func add<S: KernelScalar>(_ batch: Tensor<S>) throws(ProblemError) {
    let d = imageShape.count
    guard batch.count == 0 || batch.rowCount == d else {
      throw .shapeMismatch(
        what: "training batch", found: batch.shape,
        expected: [batch.shape.first ?? 0, imageShape.height, imageShape.width, imageShape.channels])
    }
    let n = batch.count / d
    guard n > 0 else { return }
    let values = batch.elements
    if let bad = values.firstIndex(where: { !$0.isFinite }) {
      throw .nonFinite(
        what: "training image", image: count + bad / d, position: bad % d, value: Double(values[bad]))
    }
    if count == 0 { shift = values[..<d].map { Double($0) } }
    let offsets = try algebra { () throws(LinearAlgebraError) in
      try Matrix(rows: d, columns: n) { Double(values[$1 * d + $0]) - shift[$0] }
    }
    for j in 0..<n {
      for i in 0..<d {
        let value = offsets[i, j]
        sum[i] += value
        squares[i] += value * value
      }
      if products == nil, kept.count < rank { kept.append((0..<d).map { offsets[$0, j] }) }
    }
    if products != nil {
      let gram = try algebra { () throws(LinearAlgebraError) in try offsets.timesTransposed(offsets) }
      products?.add(gram, scaledBy: 1)
    }
    count += n
  }

  /// The fitted density; at least two images must have been added.
  public func density() throws(ProblemError) -> GaussianDensity {
    guard count >= 2 else { throw .tooFewImages(found: count, expected: 2) }
    let d = imageShape.count
    let n = Double(count)
    let center = sum.map { $0 / n }
    let mean = (0..<d).map { shift[$0] + center[$0] }
    if let products {
      let covariance = try algebra { () throws(LinearAlgebraError) in
        var matrix = try Matrix(rows: d, columns: d) {
          (products[$0, $1] - n * center[$0] * center[$1]) / (n - 1)
        }
        matrix.addToDiagonal(ridge)
        return matrix
      }
      return try GaussianDensity(imageShape: imageShape, mean: mean, covariance: .dense(covariance))
    }
    let factor = try algebra { () throws(LinearAlgebraError) in
      try Matrix(rows: d, columns: kept.count) {
        (kept[$1][$0] - center[$0]) / Double(max(kept.count - 1, 1)).squareRoot()
      }
    }
    let diagonal = (0..<d).map { i in
      let variance = (squares[i] - n * center[i] * center[i]) / (n - 1)
      let explained = (0..<kept.count).reduce(0.0) { $0 + factor[i, $1] * factor[i, $1] }
      return max(variance - explained, 0) + ridge
    }
    return try GaussianDensity(
      imageShape: imageShape, mean: mean, covariance: .lowRank(factor: factor, diagonal: diagonal))
  }
}
