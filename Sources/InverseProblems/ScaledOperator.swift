import AIPOKernels

/// `A diag(s)`: a linear operator on values that are scaled first.
struct ScaledOperator: LinearOperator {
  let base: any LinearOperator
  let scale: [Double]

  var inputCount: Int { base.inputCount }
  var outputCount: Int { base.outputCount }
  var isInjective: Bool { base.isInjective && scale.allSatisfy { $0 != 0 } }

  func apply(_ x: [Double]) -> [Double] { base.apply(scaled(x)) }
  func adjoint(_ u: [Double]) -> [Double] { scaled(base.adjoint(u)) }

  private func scaled(_ x: [Double]) -> [Double] { x.indices.map { scale[$0] * x[$0] } }

  func curvatureSolver(dataWeight: Double, damping: [Double]) throws(ProblemError) -> any CurvatureSolver {
    switch base.form {
    case .selection(let positions, let factors):
      var diagonal = damping
      for (i, factor) in zip(positions, factors) {
        diagonal[i] += dataWeight * factor * factor * scale[i] * scale[i]
      }
      return DiagonalCurvature(diagonal: diagonal)
    case .dense(var matrix):
      let rows = matrix.rows
      matrix.withMutableColumns { a in
        for k in a.indices { a[k] *= scale[k / rows] }
      }
      return try DenseOperator(matrix).curvatureSolver(dataWeight: dataWeight, damping: damping)
    case .general:
      return IterativeCurvature(linearOperator: self, dataWeight: dataWeight, damping: damping)
    }
  }
}
