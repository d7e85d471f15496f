import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import Testing

@testable import AIPOInverseProblems

/// The curvature found by probes against the matrices that it estimates.
@Suite struct CurvatureProbeTests {
  private let shape = ImageShape(height: 1, width: 1, channels: 12)
  private let probes = CurvatureProbes(count: 400, after: [0], seed: 3)

  private func problem(_ a: any LinearOperator, sigma: Double) throws -> InverseProblem {
    try InverseProblem(
      operators: [a], noise: try GaussianNoise(sigma: sigma),
      observations: [a.apply(randomVector(12, seed: 1)), a.apply(randomVector(12, seed: 2))],
      imageShape: shape)
  }

  /// A mean of n squares of normal numbers has a relative deviation of √(2/n).
  private func isNear(_ found: [Double], _ expected: [Double]) -> Bool {
    zip(found, expected).allSatisfy { ($0 / $1 - 1).magnitude < 5 * (2.0 / 400).squareRoot() }
  }

  /// Of a Gaussian: the diagonal of C⁻¹.
  @Test func pixelsSeeTheCurvatureOfTheFlow() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0, seed: 5)
    let factor = try Matrix(rows: 12, columns: 12, rowMajor: prior.factor)
    let precision = try LU(try factor.timesTransposed(factor)).inverse()
    let objective = try PixelObjective(
      problem: try problem(IdentityOperator(count: 12), sigma: 0.1), prior: prior, gaussian: nil)
    let points = [randomVector(12, seed: 7), randomVector(12, seed: 8)]
    let found = try objective.probeCurvature(points, images: [0, 1], keys: [40, 41], probes: probes)
    for diagonal in found {
      #expect(isNear(try #require(diagonal), (0..<12).map { precision[$0, $0] }))
    }
    // By image alone, and nothing of a point that isn't finite.
    let alone = try objective.probeCurvature(
      [[Double](repeating: .nan, count: 12), points[1]], images: [0, 1], keys: [40, 41], probes: probes)
    #expect(alone[0] == nil && alone[1] == found[1])
  }

  /// In the latents of x = μ + Lε: the diagonal of LᵀAᵀAL/σ².
  @Test func latentsSeeTheCurvatureOfTheData() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0, seed: 6)
    let factor = try Matrix(rows: 12, columns: 12, rowMajor: prior.factor)
    let operators: [any LinearOperator] = [
      IdentityOperator(count: 12), try DenseOperator.gaussian(measurements: 5, inputCount: 12, seed: 2),
    ]
    for a in operators {
      let objective = try LatentObjective(problem: try problem(a, sigma: 0.2), prior: prior, gaussian: nil)
      let product = try (try a.matrix()).times(factor)
      let gram = try product.transposedTimes(product)
      let found = try objective.probeCurvature(
        [randomVector(12, seed: 9)], images: [0], keys: [1], probes: probes)
      #expect(isNear(try #require(found[0]), (0..<12).map { gram[$0, $0] / 0.04 }))
    }
  }

  /// Where values are dequantised the data see h(x): the diagonal of (A diag(h′) L)ᵀ(A diag(h′) L)/σ².
  @Test func latentsSeeTheCurvatureBehindH() throws {
    let prior = WarpedGaussian<Double>.random(imageShape: shape, warp: 0, seed: 6)
    let h = try #require(Requantization(means: [0.03, 0.4, 0.7, 0.97], slopes: [0.2, 1, 0.5, 0.3]))
    let a = try DenseOperator.gaussian(measurements: 5, inputCount: 12, seed: 2)
    var problem = try problem(a, sigma: 0.2)
    problem.requantization = h
    let objective = try LatentObjective(problem: problem, prior: prior, gaussian: nil)
    let point = randomVector(12, seed: 9)
    let x = try #require(try objective.values([point])[0])
    let slopes = x.map(h.slope)
    #expect(slopes.contains { $0 != 1 })
    let scaled = try Matrix(rows: 5, columns: 12) { a.matrix[$0, $1] * slopes[$1] }
    let product = try scaled.times(try Matrix(rows: 12, columns: 12, rowMajor: prior.factor))
    let gram = try product.transposedTimes(product)
    let found = try objective.probeCurvature([point], images: [0], keys: [1], probes: probes)
    #expect(isNear(try #require(found[0]), (0..<12).map { gram[$0, $0] / 0.04 }))
  }

  /// Neighbours are mixed within a channel and a row or column, and a constant stays what it is.
  @Test func smoothingKeepsChannelsApart() {
    let shape = ImageShape(height: 3, width: 4, channels: 2)
    var values = [Double](repeating: 0, count: 24)
    values[(1 * 4 + 2) * 2 + 1] = 16
    let found = smoothed(values, shape)
    for row in 0..<3 {
      for column in 0..<4 {
        // 16 · (1, 2, 1)/4 across · (1, 2, 1)/4 down.
        let across: Double = column == 0 ? 0 : column == 2 ? 2 : 1
        let down = row == 1 ? 2.0 : 1.0
        let place = 2 * (4 * row + column)
        #expect(found[place + 1] == across * down)
        #expect(found[place] == 0)
      }
    }
    #expect(smoothed([Double](repeating: 3, count: 24), shape).allSatisfy { ($0 - 3).magnitude < 1e-12 })
  }
}
