import AIPOFlowTesting
import AIPOFlows
import AIPOInverseProblems
import AIPOKernels
import Testing

/// A random symmetric positive definite covariance.
func randomCovariance(_ d: Int, seed: UInt64) throws -> Matrix {
  let b = try Matrix(rows: d, columns: d, rowMajor: randomVector(d * d, seed: seed))
  var c = try b.timesTransposed(b)
  c.scale(by: 0.05 / Double(d))
  c.addToDiagonal(0.01)
  return c
}

@Suite struct GaussianTests {
  let shape = ImageShape(height: 3, width: 4, channels: 1)

  func densities() throws -> [GaussianDensity] {
    let mean = randomVector(12, seed: 21)
    let factor = try Matrix(rows: 12, columns: 3, rowMajor: randomVector(36, seed: 22).map { 0.2 * $0 })
    return [
      try GaussianDensity(
        imageShape: shape, mean: mean, covariance: .dense(try randomCovariance(12, seed: 4))),
      try GaussianDensity(
        imageShape: shape, mean: mean,
        covariance: .lowRank(factor: factor, diagonal: (0..<12).map { 0.01 + 0.002 * Double($0) })),
    ]
  }

  func covarianceMatrix(_ density: GaussianDensity) throws -> Matrix {
    switch density.covariance {
    case .dense(let matrix): return matrix
    case .lowRank(let factor, let diagonal):
      var c = try factor.timesTransposed(factor)
      for i in diagonal.indices { c[i, i] += diagonal[i] }
      return c
    }
  }

  @Test func densityAgainstLU() throws {
    for density in try densities() {
      let lu = try LU(try covarianceMatrix(density))
      let x = randomVector(12, seed: 30)
      let offset = adding(x, density.mean, scaledBy: -1)
      let expected =
        0.5 * (dot(offset, lu.solve(offset)) + lu.logAbsDeterminant + 12 * 1.8378770664093453)
      let (value, gradient) = density.negativeLogProb(x)
      #expect((value - expected).magnitude < 1e-10 * expected.magnitude)
      #expect(norm(adding(gradient, lu.solve(offset), scaledBy: -1)) < 1e-9 * norm(gradient))
      let prior = GaussianPrior<Double>(density)
      let batch = try Tensor<Double>(shape: [2, 3, 4, 1], elements: x + density.mean)
      let (logProb, slopes) = try prior.evaluateWithGradient(batch)
      #expect(logProb[0] == -value && logProb[1] == -density.negativeLogPeak)
      #expect(slopes.elements[0] == -gradient[0] && slopes.elements[12...].allSatisfy { $0 == 0 })
    }
  }

  /// μ + C Aᵀ(A C Aᵀ + λσ²I)⁻¹(y − Aμ) by an LU of the normal equations, for every operator.
  @Test func conditionalMeanAgainstTheNormalEquations() throws {
    for density in try densities() {
      let precision = try LU(try covarianceMatrix(density)).inverse()
      for (name, a) in try allOperators() {
        for s in [0.01, 0.3] {
          let y = randomVector(a.outputCount, seed: 31)
          let noise = try GaussianNoise(sigma: (s / 2).squareRoot())
          let x = try GaussianConditional(density, linearOperator: a, noise: noise, lambda: 2).mean(y)
          let matrix = try a.matrix()
          var h = try matrix.transposedTimes(matrix)
          h.scale(by: 1 / s)
          h.add(precision, scaledBy: 1)
          let right = adding(
            precision.times(density.mean), matrix.transposedTimes(y), scaledBy: 1 / s)
          let expected = try LU(h).solve(right)
          #expect(norm(adding(x, expected, scaledBy: -1)) < 1e-9 * norm(expected), "\(name)")
        }
      }
    }
  }

  @Test func curvatureWithTheGaussianInvertsItsMatrix() throws {
    for density in try densities() {
      let precision = try LU(try covarianceMatrix(density)).inverse()
      for (i, value) in density.precisionDiagonal.enumerated() {
        #expect((value - precision[i, i]).magnitude < 1e-9 * precision[i, i])
      }
      for (name, a) in try allOperators() {
        let solver = try density.curvatureSolver(for: a, dataWeight: 100, lambda: 0.7)
        let v = randomVector(12, seed: 40)
        let x = solver.solve(v)
        var prior = precision.times(x)
        if case .lowRank = density.covariance, case .selection = a.form {
        } else if case .lowRank = density.covariance {
          // C⁻¹ by its diagonal alone.
          prior = x.indices.map { precision[$0, $0] * x[$0] }
        }
        let image = adding(a.adjoint(a.apply(x)).map { 100 * $0 }, prior, scaledBy: 0.7)
        #expect(norm(adding(image, v, scaledBy: -1)) < 1e-8 * norm(v), "\(name)")
      }
    }
  }

  /// The statistics of images are the density's mean and covariance.
  @Test func statisticsBecomeADensity() throws {
    let mean = randomVector(12, seed: 21).map { Float($0) }
    let c = try randomCovariance(12, seed: 4)
    let triangle = (0..<12).flatMap { i in (0...i).map { Float(c[i, $0]) } }
    let statistics = ImageStatistics(mean: mean, covariance: .full(lowerTriangle: triangle))
    let density = try GaussianDensity(imageShape: shape, statistics: statistics)
    #expect(density.mean == mean.map { Double($0) })
    let found = try covarianceMatrix(density)
    let expected = try #require(try statistics.matrix())
    for i in 0..<12 {
      for j in 0..<12 { #expect((found[i, j] - expected[i, j]).magnitude < 1e-12) }
    }
    #expect(throws: ProblemError.self) {
      try GaussianDensity(
        imageShape: ImageShape(height: 3, width: 3, channels: 1),
        statistics: ImageStatistics(mean: mean, covariance: .full(lowerTriangle: triangle)))
    }
  }

  @Test func indefiniteCovarianceIsAnError() throws {
    var c = try randomCovariance(12, seed: 4)
    c[3, 3] = -1
    #expect(throws: ProblemError.self) {
      try GaussianDensity(imageShape: shape, mean: randomVector(12, seed: 1), covariance: .dense(c))
    }
  }
}
