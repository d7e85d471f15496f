/// The ends of the spectrum of a symmetric H that is known by its products (C. Lanczos, 1950).
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
}
