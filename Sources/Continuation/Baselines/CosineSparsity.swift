import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The sum of the magnitudes of an image's orthonormal two-dimensional cosine transform (DCT-II), channel by
/// channel: the lasso's penalty in that basis.
struct CosineSparsity: Penalty {
  let shape: ImageShape
  /// The transforms along columns and rows, n × n row-major: row k holds the k-th cosine.
  private let vertical: [Double]
  private let horizontal: [Double]

  init(shape: ImageShape) {
    self.shape = shape
    vertical = Self.matrix(shape.height)
    horizontal = Self.matrix(shape.width)
  }

  /// `√(2/n) cos(π(j + ½)k/n)`, and `√(1/n)` for k = 0.
  private static func matrix(_ n: Int) -> [Double] {
    (0..<(n * n)).map { place in
      let (k, j) = (place / n, place % n)
      return k == 0
        ? (1 / Double(n)).squareRoot()
        : (2 / Double(n)).squareRoot() * cos(Double.pi * (Double(j) + 0.5) * Double(k) / Double(n))
    }
  }

  /// The coefficients of an image, in its order.
  func transform(_ x: [Double]) -> [Double] {
    along(rows: along(columns: x, transposed: false), transposed: false)
  }

  /// The image of coefficients.
  func inverse(_ coefficients: [Double]) -> [Double] {
    along(rows: along(columns: coefficients, transposed: true), transposed: true)
  }

  private func along(columns x: [Double], transposed: Bool) -> [Double] {
    let n = shape.height
    let row = shape.width * shape.channels
    var result = [Double](repeating: 0, count: x.count)
    for k in 0..<n {
      for j in 0..<n {
        let weight = vertical[transposed ? j * n + k : k * n + j]
        for i in 0..<row { result[k * row + i] += weight * x[j * row + i] }
      }
    }
    return result
  }

  private func along(rows x: [Double], transposed: Bool) -> [Double] {
    let n = shape.width
    let c = shape.channels
    var result = [Double](repeating: 0, count: x.count)
    for start in stride(from: 0, to: x.count, by: n * c) {
      for k in 0..<n {
        for j in 0..<n {
          let weight = horizontal[transposed ? j * n + k : k * n + j]
          for i in 0..<c { result[start + k * c + i] += weight * x[start + j * c + i] }
        }
      }
    }
    return result
  }

  func value(_ x: [Double]) -> Double { transform(x).reduce(0) { $0 + $1.magnitude } }

  /// Soft thresholding of the coefficients.
  func proximal(_ v: [Double], weight: Double) -> [Double] {
    inverse(transform(v).map { $0 > weight ? $0 - weight : $0 < -weight ? $0 + weight : 0 })
  }
}
