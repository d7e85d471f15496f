import Testing

@testable import AIPOKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

@Suite struct StationaryTests {
  /// Biased covariances of a random window of h × w, with noise.
  static func lags(_ h: Int, _ w: Int, _ c: Int) -> LagCovariance {
    var random = Philox(seed: UInt64(h + 10 * w + 100 * c), purpose: .test)
    let u = (0..<h * w * c).map { _ in random.normal() }
    var values: [Float] = []
    for y in 1 - h..<h {
      for x in 1 - w..<w {
        for (a, b) in LagCovariance.pairs(c) {
          var sum = y == 0 && x == 0 && a == b ? 0.05 : 0
          for i in max(0, -y)..<min(h, h - y) {
            for j in max(0, -x)..<min(w, w - x) {
              sum += u[(i * w + j) * c + a] * u[((i + y) * w + j + x) * c + b] / Double(h * w)
            }
          }
          values.append(Float(sum))
        }
      }
    }
    return LagCovariance(channels: c, lagY: h - 1, lagX: w - 1, values: values)
  }

  /// C element by element, from its definition on the torus.
  static func dense(_ lags: LagCovariance, _ shape: ImageShape) throws -> Matrix {
    let (h, w, c) = (shape.height, shape.width, shape.channels)
    var matrix = try Matrix(rows: shape.count, columns: shape.count)
    for y in -lags.lagY...lags.lagY {
      for x in -lags.lagX...lags.lagX {
        for (k, (a, b)) in lags.pairs.enumerated() {
          let place = (y + lags.lagY) * (2 * lags.lagX + 1) + x + lags.lagX
          let value = Double(lags.values[place * lags.pairs.count + k])
          for i in 0..<h {
            for j in 0..<w {
              let p = (i * w + j) * c + a
              let q = (((i + y) % h + h) % h * w + ((j + x) % w + w) % w) * c + b
              matrix[p, q] += value
              if a != b { matrix[q, p] += value }
            }
          }
        }
      }
    }
    return matrix
  }

  private func solution(_ factor: Cholesky, _ b: [Double]) -> [Double] {
    var x = b
    x.withUnsafeMutableBufferPointer { factor.solve(Vector($0)) }
    return x
  }

  /// Even, odd and prime sizes, larger and smaller than the lags reach, one row, one pixel.
  static let cases = [
    (lags(3, 4, 1), ImageShape(height: 8, width: 12, channels: 1)),
    (lags(5, 5, 1), ImageShape(height: 7, width: 3, channels: 1)),
    (lags(4, 3, 3), ImageShape(height: 5, width: 9, channels: 3)),
    (lags(3, 3, 3), ImageShape(height: 4, width: 4, channels: 3)),
    (lags(2, 6, 2), ImageShape(height: 1, width: 11, channels: 2)),
    (lags(4, 4, 3), ImageShape(height: 1, width: 1, channels: 3)),
  ]

  @Test(arguments: cases) func isTheDenseOne(_ lags: LagCovariance, _ shape: ImageShape) throws {
    let matrix = try Self.dense(lags, shape)
    let factor = try Cholesky(matrix)
    let scratch = Scratch(pool: ThreadPool(threads: 2))
    let covariance = try StationaryCovariance(shape, lags: lags, scratch)
    let d = shape.count
    var random = Philox(seed: 1, purpose: .test)
    let v = (0..<d).map { _ in random.normal() }
    let x = try scratch.take(d)
    let y = try scratch.take(d)
    x.copy(from: v)
    func difference(_ found: Vector, _ expected: [Double]) -> Double {
      let scale = expected.reduce(0) { max($0, abs($1)) }
      return largestDifference(found.elements, expected) / scale
    }

    try covariance.apply({ $0 }, x, into: y, scratch)
    #expect(difference(y, matrix.times(v)) < 1e-12)
    try covariance.apply({ 1 / $0 }, x, into: y, scratch)
    #expect(difference(y, solution(factor, v)) < 1e-9)
    #expect(abs(covariance.logDeterminant - factor.logDeterminant) < 1e-9 * Double(d))
    let inverse = try factor.inverse()
    let trace = (0..<d).reduce(0.0) { $0 + inverse[$1, $1] }
    #expect(abs(covariance.trace { 1 / $0 } - trace) < 1e-9 * trace)

    // Denoising: (I + s C⁻¹)⁻¹ v solves (C + s I) u = C v.
    let s = 0.2
    try covariance.apply({ $0 / ($0 + s) }, x, into: y, scratch)
    var sum = matrix
    sum.addToDiagonal(s)
    #expect(difference(y, solution(try Cholesky(sum), matrix.times(v))) < 1e-11)

    // The root, in place, is symmetric and its square is C.
    try covariance.apply({ $0.squareRoot() }, x, into: y, scratch)
    try covariance.apply({ $0.squareRoot() }, y, into: y, scratch)
    #expect(difference(y, matrix.times(v)) < 1e-11)
  }

  @Test func hasTheSameBitsOnAnyNumberOfThreads() throws {
    let shape = ImageShape(height: 61, width: 50, channels: 3)
    let results = try [1, 2, 5].map { threads in
      let scratch = Scratch(pool: ThreadPool(threads: threads))
      let covariance = try StationaryCovariance(shape, lags: Self.lags(6, 5, 3), scratch)
      let x = try scratch.take(shape.count)
      for i in 0..<x.count { x[i] = Double(i % 17) }
      try covariance.apply({ 1 / (1 + $0) }, x, into: x, scratch)
      return x.elements + [covariance.logDeterminant]
    }
    #expect(results[0] == results[1] && results[0] == results[2])
  }

  @Test func noVarianceIsRefused() throws {
    let lags = LagCovariance(channels: 1, lagY: 0, lagX: 0, values: [0])
    #expect(throws: LinearAlgebraError.self) {
      try StationaryCovariance(ImageShape(height: 2, width: 2, channels: 1), lags: lags, Scratch())
    }
  }
}
