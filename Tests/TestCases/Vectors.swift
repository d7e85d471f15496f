import AIPOKernels
import AIPOPriors
import AIPOProblems

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

// Arrays where the library takes vectors, so that tests read as formulas.

extension [Double] {
  /// Runs `body` with these values as a vector.
  public func asVector<R>(_ body: (Vector) throws -> R) rethrows -> R {
    try withUnsafeBufferPointer { try body(Vector(reading: $0)) }
  }
}

/// The values that `write` fills a vector of NaNs with.
public func written(_ count: Int, threads: Int = 1, _ write: (Vector, Scratch) throws -> Void) throws
  -> [Double]
{
  var result = [Double](repeating: .nan, count: count)
  let scratch = Scratch(pool: ThreadPool(threads: threads))
  try result.withUnsafeMutableBufferPointer { try write(Vector($0), scratch) }
  return result
}

extension Map {
  public func apply(_ x: [Double]) throws -> [Double] {
    try x.asVector { x in try written(output.count) { try apply(x, into: $0, $1) } }
  }

  public func pullback(_ u: [Double], at x: [Double]) throws -> [Double] {
    try u.asVector { u in
      try x.asVector { x in try written(input.count) { try pullback(u, at: x, into: $0, $1) } }
    }
  }
}

extension LinearMap {
  public func adjoint(_ u: [Double]) throws -> [Double] {
    try u.asVector { u in try written(input.count) { try adjoint(u, into: $0, $1) } }
  }

  public func leastSquares(_ y: [Double], noise: GaussianNoise) throws -> [Double] {
    try y.asVector { y in try written(input.count) { try leastSquares(y, noise: noise, into: $0, $1) } }
  }

  /// A, by its products with unit vectors.
  public func matrix() throws -> Matrix {
    var result = try Matrix(rows: output.count, columns: input.count)
    for j in 0..<input.count {
      var unit = [Double](repeating: 0, count: input.count)
      unit[j] = 1
      for (i, value) in try apply(unit).enumerated() { result[i, j] = value }
    }
    return result
  }
}

extension NormalForm {
  /// Whether metrics factor it rather than to go by products.
  public var isFactored: Bool {
    switch self {
    case .pixelwise, .dense: true
    case .stationary, .unknown: false
    }
  }

  public var isStationary: Bool { if case .stationary = self { true } else { false } }
}

extension GaussianCovariance {
  /// C of a dense one.
  public var matrix: Matrix {
    guard case .dense(let c, _, _) = self else { fatalError("not dense") }
    return c
  }
}

extension Energy {
  public func evaluate(_ x: [Double]) throws -> (value: Double, gradient: [Double]) {
    var value = 0.0
    let gradient = try x.asVector { x in
      try written(count) { value = try evaluate(x, gradient: $0, $1) }
    }
    return (value, gradient)
  }
}

extension NoiseModel {
  public func negativeLogLikelihood(_ y: [Double], prediction: [Double], threads: Int = 1) throws
    -> (value: Double, gradient: [Double])
  {
    var value = 0.0
    let gradient = try y.asVector { y in
      try prediction.asVector { f in
        try written(y.count, threads: threads) {
          value = try negativeLogLikelihood(y, prediction: f, gradient: $0, $1)
        }
      }
    }
    return (value, gradient)
  }

  public func sample(prediction: [Double], random: inout Philox) throws -> [Double] {
    try prediction.asVector { f in
      try written(f.count) { try sample(prediction: f, into: $0, random: &random, $1) }
    }
  }

  public func misfit(_ y: [Double], prediction: [Double]) throws -> Double {
    try y.asVector { y in try prediction.asVector { try misfit(y, prediction: $0, Scratch()) } }
  }

  public func matched(_ y: [Double]) throws -> GaussianNoise { try y.asVector { try matched($0) } }
  public func curvature(_ y: [Double]) throws -> GaussianNoise { try y.asVector { try curvature($0) } }
}

extension Metric {
  public func solve(_ v: [Double]) throws -> [Double] {
    try v.asVector { v in try written(v.count) { try solve(v, into: $0, $1) } }
  }
}

extension Matrix {
  public func transposedTimes(_ x: [Double]) throws -> [Double] {
    try x.asVector { x in try written(columns) { y, _ in multiplyTransposed(x, into: y) } }
  }

  /// `A⁻¹` and `log|det A|`, by LU.
  public func inverted() throws -> (inverse: Matrix, logAbsDet: Double) {
    let rowMajor = (0..<rows).flatMap { i in (0..<columns).map { self[i, $0] } }
    let (inverse, logAbsDet) = try invertMatrix(rowMajor, size: rows)
    return (try Matrix(rows: rows, columns: columns, rowMajor: inverse), logAbsDet)
  }
}

public func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0.0) { $0 + $1.0 * $1.1 } }
public func norm(_ a: [Double]) -> Double { dot(a, a).squareRoot() }

/// `a + scale·b`
public func adding(_ a: [Double], _ b: [Double], scaledBy scale: Double = 1) -> [Double] {
  precondition(a.count == b.count)
  return zip(a, b).map { $0 + scale * $1 }
}

public func distance(_ a: [Double], _ b: [Double]) -> Double { norm(adding(a, b, scaledBy: -1)) }

public func randomVector(_ n: Int, seed: UInt64) -> [Double] {
  var random = Philox(seed: seed, purpose: .test)
  return (0..<n).map { _ in random.normal() }
}

/// A random symmetric positive definite covariance.
public func randomCovariance(_ d: Int, seed: UInt64) throws -> Matrix {
  let b = try Matrix(rows: d, columns: d, rowMajor: randomVector(d * d, seed: seed))
  var c = try b.timesTransposed(b)
  c.scale(by: 0.05 / Double(d))
  c.addToDiagonal(0.01)
  return c
}

/// The order at which `φ(x + hv) − φ(x) − h⟨g, v⟩` vanishes with h: 2 for a right gradient; infinite where the remainder
/// is rounding. The better of two, as a jump of the second derivative may lie on the way of one.
public func taylorOrder(
  at x: [Double], along v: [Double], step: Double, value: Double, gradient: [Double],
  _ moved: ([Double]) throws -> Double
) throws -> Double {
  let slope = dot(gradient, v)
  let remainders = try [1, 1.0 / 4, 1.0 / 16].map { factor in
    let h = factor * step
    return (try moved(adding(x, v, scaledBy: h)) - value - h * slope).magnitude
  }
  guard remainders[0] > 1e-12 * max(1, value.magnitude) else { return .infinity }
  return max(log2(remainders[0] / remainders[1]), log2(remainders[1] / remainders[2])) / 2
}
