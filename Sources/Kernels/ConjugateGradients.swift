/// `H x = b` for a symmetric positive semidefinite H that is known by its products, b in its range (M. Hestenes,
/// E. Stiefel, *Methods of conjugate gradients for solving linear systems*, 1952).
public enum ConjugateGradients {
  /// Starts from the x that is given, and stops when the residual's norm, `√(rᵀM⁻¹r)` where it is preconditioned, is
  /// below `tolerance` times that of b, when `isDone` says so, after `iterations`, or when rounding lets it fall no
  /// further.
  ///
  /// - `x`: the first guess, and then the solution.
  /// - `precondition`: `z ← M⁻¹r` with M near H, symmetric positive definite.
  /// - `isDone`: asked after each step with the residual.
  /// - `product`: `y ← H p`.
  /// - Returns: the number of steps.
  @discardableResult
  public static func solve(
    _ b: Vector, into x: Vector, tolerance: Double, iterations: Int, _ scratch: Scratch,
    precondition: ((_ r: Vector, _ z: Vector) throws -> Void)? = nil,
    isDone: ((_ residual: Vector) throws -> Bool)? = nil,
    product: (_ p: Vector, _ y: Vector) throws -> Void
  ) throws -> Int {
    let pool = scratch.pool
    return try scratch.scope {
      let residual = try scratch.take(b.count)
      let direction = try scratch.take(b.count)
      let image = try scratch.take(b.count)
      let preconditioned = try precondition == nil ? residual : scratch.take(b.count)
      func square(_ r: Vector, _ z: Vector) throws -> Double {
        try precondition?(r, z)
        return r.dot(z, pool)
      }
      residual.set(b, pool)
      let goal = try square(residual, preconditioned) * tolerance * tolerance
      if x.total(pool, { $0 == 0 ? 0 : 1 }) > 0 {
        try product(x, image)
        residual.add(image, times: -1, pool)
      }
      var current = try square(residual, preconditioned)
      direction.set(preconditioned, pool)
      for step in 0..<iterations {
        guard current > goal, current.isFinite else { return step }
        try product(direction, image)
        let curvature = direction.dot(image, pool)
        guard curvature > 0 else { return step }
        let length = current / curvature
        x.add(direction, times: length, pool)
        residual.add(image, times: -length, pool)
        if try isDone?(residual) == true { return step + 1 }
        let next = try square(residual, preconditioned)
        direction.set(1, preconditioned, plus: next / current, pool)
        current = next
      }
      return iterations
    }
  }
}
