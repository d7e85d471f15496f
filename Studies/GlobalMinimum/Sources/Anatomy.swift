import AIPO

/// Why a path ended where it did, told from the landscape all along it.
///
/// The theorem asks that the minimiser of every objective on the path be unique, so that the one which is followed stays
/// the global one. On a grid of the plane that can be seen: whether the path's first point is the lowest of the first
/// objective, and whether the lowest point moves without a jump from the first objective to the last.
enum Anatomy: String, CaseIterable, Codable {
  /// The lowest point moves continuously and the path begins at it: the theorem's case.
  case continuous = "no jump"
  /// The path doesn't begin at the lowest point of its first objective.
  case start = "other start"
  /// On the way another point becomes the lowest: what is followed is a minimum, but no longer the global one.
  case jump

  /// A move of this length between neighbours on the path counts as a jump if it stays when the step is made 64 times
  /// shorter; about three points of the grid.
  private static let jumpLength = 0.04
  /// How far the path's first point, which needn't be solved to the end, may lie from the lowest.
  private static let startLength = 0.1

  static func of(
    _ path: any SolutionPath, begin: [Double], recon: [Float], _ landscape: Landscape, steps: Int = 64
  ) -> Anatomy {
    func lowest(_ s: Double) -> [Double] {
      landscape.point(landscape.lowest(landscape.objective(recon, path.weights(at: s))))
    }
    func jumps(_ a: Double, _ x: [Double], _ b: Double, _ y: [Double], _ halvings: Int) -> Bool {
      guard distance(x, y) > jumpLength else { return false }
      guard halvings > 0 else { return true }
      let middle = (a + b) / 2
      let z = lowest(middle)
      return jumps(a, x, middle, z, halvings - 1) || jumps(middle, z, b, y, halvings - 1)
    }
    var last = lowest(0)
    if distance(last, begin) > startLength { return .start }
    for k in 1...steps {
      let next = lowest(Double(k) / Double(steps))
      if jumps(Double(k - 1) / Double(steps), last, Double(k) / Double(steps), next, 6) { return .jump }
      last = next
    }
    return .continuous
  }

  static func distance(_ a: [Double], _ b: [Double]) -> Double {
    zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
  }
}

extension Anatomy {
  /// Of every problem of a cell in the plane, for one method that follows a path.
  static func of(_ cell: Cell, _ outcome: Cell.Outcome, method: Int, _ landscape: Landscape, pool: ThreadPool)
    throws
    -> [Anatomy]
  {
    let found = outcome.found[method]!
    let path = Method.all[method].solutionPath
    let cases = Gathered(count: found.count, empty: Anatomy.start)
    try pool.run(found.count) { image, _ in
      // The first place of the path that was solved, at s = 0.
      let states = found[image].states
      guard let first = states.first(where: { $0.s == 0 && $0.event != .start }) ?? states.first else {
        return
      }
      let recon = landscape.recon(
        outcome.measurements[image], outcome.problem.observations[image].elements, sigma: cell.kind.sigma)
      cases[image] = Anatomy.of(path, begin: first.pixels, recon: recon, landscape)
    }
    return found.indices.map { cases[$0] }
  }
}
