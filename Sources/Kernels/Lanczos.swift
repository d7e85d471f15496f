/// The upper end of the spectrum of a symmetric H that is known by its products (C. Lanczos, 1950).
public enum Lanczos {
  /// The greatest eigenvalue of a positive semidefinite H of order d, from a fixed random start.
  ///
  /// The tridiagonal matrix of the first products is diagonalised every few steps, until its greatest eigenvalue no longer
  /// grows by more than `tolerance` times itself. Directions aren't made orthogonal again: what rounding brings back are
  /// copies of eigenvalues that were found.
  public static func greatestEigenvalue(
    order d: Int, tolerance: Double = 1e-12, steps: Int = 300, _ scratch: Scratch,
    product: (_ p: Vector, _ y: Vector) throws -> Void
  ) throws -> Double {
    let pool = scratch.pool
    return try scratch.scope {
      var (current, last) = (try scratch.take(d), try scratch.take(d))
      let image = try scratch.take(d)
      var random = Philox(seed: 0, purpose: .curvature)
      current.setNormals(&random)
      let length = current.norm(pool)
      guard length > 0 else { return 0 }
      current.scale(by: 1 / length, pool)
      last.set(0, pool)
      var (diagonal, beside): ([Double], [Double]) = ([], [])
      var (found, settled) = (0.0, 0)
      for step in 1...max(steps, 1) {
        try product(current, image)
        if let before = beside.last { image.add(last, times: -before, pool) }
        let value = current.dot(image, pool)
        image.add(current, times: -value, pool)
        diagonal.append(value)
        let rest = image.norm(pool)
        let isLast = step == steps || !(rest > 1e-14 * diagonal.reduce(0) { max($0, $1.magnitude) })
        if isLast || step % 5 == 0 {
          let matrix = try Matrix(rows: step, columns: step) { i, j in
            i == j ? diagonal[i] : (i - j).magnitude == 1 ? beside[min(i, j)] : 0
          }
          let greatest = max(try matrix.symmetricEigen().values.last ?? 0, 0)
          settled = greatest - found <= tolerance * greatest ? settled + 1 : 0
          found = greatest
          if isLast || settled == 2 { return found }
        }
        beside.append(rest)
        (current, last) = (last, current)
        current.set(1 / rest, image, plus: 0, pool)
      }
      return found
    }
  }

  /// `x ←` a unit vector near the eigenvector of a symmetric H's greatest eigenvalue, the signed one, from x: the best of the
  /// space of `steps` products, and again from there `restarts` times.
  public static func leadingEigenvector(
    into x: Vector, steps: Int, restarts: Int, _ scratch: Scratch,
    product: (_ p: Vector, _ y: Vector) throws -> Void
  ) throws {
    let pool = scratch.pool
    try scratch.scope {
      let (directions, image) = (try scratch.take(steps * x.count), try scratch.take(x.count))
      func direction(_ k: Int) -> Vector { directions[k * x.count..<(k + 1) * x.count] }
      for _ in 0...restarts {
        let length = x.norm(pool)
        guard length > 0 else { return }
        direction(0).set(1 / length, x, plus: 0, pool)
        var (diagonal, beside): ([Double], [Double]) = ([], [])
        while true {
          let step = diagonal.count
          try product(direction(step), image)
          if let before = beside.last { image.add(direction(step - 1), times: -before, pool) }
          diagonal.append(direction(step).dot(image, pool))
          image.add(direction(step), times: -diagonal[step], pool)
          let rest = image.norm(pool)
          guard step + 1 < steps, rest > 1e-14 * diagonal.reduce(0, { max($0, $1.magnitude) }) else { break }
          beside.append(rest)
          direction(step + 1).set(1 / rest, image, plus: 0, pool)
        }
        let taken = diagonal.count
        let vectors = try Matrix(rows: taken, columns: taken) { i, j in
          i == j ? diagonal[i] : (i - j).magnitude == 1 ? beside[min(i, j)] : 0
        }.symmetricEigen().vectors
        x.set(0, pool)
        for k in 0..<taken { x.add(direction(k), times: vectors[k, taken - 1], pool) }
      }
      x.scale(by: 1 / x.norm(pool), pool)
    }
  }
}
