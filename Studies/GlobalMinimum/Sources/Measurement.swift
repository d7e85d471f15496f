import AIPO

/// What is measured of a point: the kind of f that a row of the study has.
enum MeasurementKind: String, CaseIterable {
  /// `f(x) = Ax`, A square with entries N(0, 1/d): full rank, badly conditioned now and then.
  case linear
  /// `f(x) = aᵀx`: a whole (d − 1)-plane of points explains the data.
  case rankOne = "rank-1"
  /// `f(x) = (A(x − ½))²` value by value: every sign is lost.
  case intensity

  var sigma: Double {
    switch self {
    case .linear: 0.15
    case .rankOne: 0.05
    case .intensity: 0.05
    }
  }

  /// Problem i: f, a true point of the family and its noisy measurement; keyed by (seed, i).
  func problem(_ family: PointFamily, dimension d: Int, seed: UInt64, index: Int) throws -> (
    measurement: Measurement, observation: [Double]
  ) {
    var random = Philox(seed: seed, index: UInt64(index), purpose: .operatorEntries)
    let m = self == .rankOne ? 1 : d
    let rows = (0..<m).map { _ in (0..<d).map { _ in random.normal() / Double(d).squareRoot() } }
    let measurement = try Measurement(rows: rows, isSquared: self == .intensity)
    let truth = family.point(dimension: d, seed: seed &+ 2, index: index)
    var noise = Philox(seed: seed, index: UInt64(index), purpose: .noise)
    return (measurement, measurement.apply(truth).map { $0 + sigma * noise.normal() })
  }
}

/// `f(x) = Ax`, or `(A(x − ½))²` value by value.
struct Measurement: Map {
  let rows: [[Double]]
  let isSquared: Bool
  /// A itself, as the solver wants a linear f.
  let dense: DenseMap
  var input: ImageShape { dense.input }
  var output: ImageShape { dense.output }

  init(rows: [[Double]], isSquared: Bool) throws {
    self.rows = rows
    self.isSquared = isSquared
    dense = try DenseMap(
      try Matrix(rows: rows.count, columns: rows[0].count, rowMajor: Array(rows.joined())),
      input: .vector(rows[0].count))
  }

  /// What the solver is given.
  var map: any Map { isSquared ? self : dense }

  /// f(x)
  func apply(_ x: [Double]) -> [Double] {
    let products = dense.matrix.times(isSquared ? x.map { $0 - 0.5 } : x)
    return isSquared ? products.map { $0 * $0 } : products
  }

  /// `A(x − ½)`
  private func products(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let centred = try scratch.take(x.count)
      centred.setEach(nil, x) { $0 - 0.5 }
      dense.apply(centred, into: y, scratch)
    }
  }

  func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    guard isSquared else { return dense.apply(x, into: y, scratch) }
    try products(x, into: y, scratch)
    y.setEach { $0 * $0 }
  }

  func pullback(_ u: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    guard isSquared else { return dense.adjoint(u, into: g, scratch) }
    try scratch.scope {
      let slopes = try scratch.take(u.count)
      try products(x, into: slopes, scratch)
      slopes.setEach(nil, slopes, u) { 2 * $0 * $1 }
      dense.adjoint(slopes, into: g, scratch)
    }
  }
}
