import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

/// The curvature found by probes against the matrices that it estimates.
@Suite struct CurvatureProbeTests {
  private let shape = ImageShape.vector(12)
  private let probes = CurvatureProbes(count: 400, after: [0], seed: 3)

  private func data(_ a: any LinearMap, sigma: Double, h: Requantization? = nil) throws -> DataTerm {
    DataTerm(
      map: a, noise: try GaussianNoise(sigma: sigma),
      observation: try Tensor(try a.apply(randomVector(12, seed: 1))), encoding: h)
  }

  /// A mean of n squares of normal numbers has a relative deviation of √(2/n).
  private func isNear(_ found: [Double], _ expected: [Double]) -> Bool {
    zip(found, expected).allSatisfy { ($0 / $1 - 1).magnitude < 5 * (2.0 / 400).squareRoot() }
  }

  /// Of a Gaussian: the diagonal of C⁻¹.
  @Test func pixelsSeeTheCurvatureOfTheFlow() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0, seed: 5)
    let precision = try prior.covariance().inverted().inverse
    let objective = PixelObjective(
      data: try data(IdentityMap(shape), sigma: 0.1), prior: prior, gaussian: nil)
    for (point, key) in [(randomVector(12, seed: 7), 40), (randomVector(12, seed: 8), 41)]
      as [([Double], UInt64)]
    {
      let found = try #require(try objective.curvature(point, key: key, probes))
      #expect(isNear(found, (0..<12).map { precision[$0, $0] }))
    }
    // Nothing of a point that isn't finite.
    #expect(try objective.curvature([Double](repeating: .nan, count: 12), key: 40, probes) == nil)
  }

  /// In the latents of x = μ + Lε: the diagonal of LᵀAᵀAL/σ².
  @Test func latentsSeeTheCurvatureOfTheData() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0, seed: 6)
    let factor = try Matrix(rows: 12, columns: 12, rowMajor: prior.factor)
    for a in try [IdentityMap(shape), DenseMap.gaussian(measurements: 5, input: shape, seed: 2)]
      as [any LinearMap]
    {
      let objective = LatentObjective(data: try data(a, sigma: 0.2), prior: prior, gaussian: nil)
      let product = try (try a.matrix()).times(factor)
      let gram = try product.transposedTimes(product)
      let found = try #require(try objective.curvature(randomVector(12, seed: 9), key: 1, probes))
      #expect(isNear(found, (0..<12).map { gram[$0, $0] / 0.04 }))
    }
  }

  /// Where values are dequantised the data see h(x): the diagonal of (A diag(h′) L)ᵀ(A diag(h′) L)/σ².
  @Test func latentsSeeTheCurvatureBehindH() throws {
    let prior = WarpedGaussian.random(imageShape: shape, warp: 0, seed: 6)
    let h = try #require(Requantization(means: [0.03, 0.4, 0.7, 0.97], slopes: [0.2, 1, 0.5, 0.3]))
    let a = try DenseMap.gaussian(measurements: 5, input: shape, seed: 2)
    let objective = LatentObjective(data: try data(a, sigma: 0.2, h: h), prior: prior, gaussian: nil)
    let point = randomVector(12, seed: 9)
    let slopes = try prior.decode(point).map(h.slope)
    #expect(slopes.contains { $0 != 1 })
    let scaled = try Matrix(rows: 5, columns: 12) { a.matrix[$0, $1] * slopes[$1] }
    let product = try scaled.times(try Matrix(rows: 12, columns: 12, rowMajor: prior.factor))
    let gram = try product.transposedTimes(product)
    let found = try #require(try objective.curvature(point, key: 1, probes))
    #expect(isNear(found, (0..<12).map { gram[$0, $0] / 0.04 }))
  }

  private func smoothed(_ values: [Double], _ shape: ImageShape) throws -> [Double] {
    try written(values.count) { result, scratch in
      result.copy(from: values)
      try CurvatureProbes.smooth(result, shape, scratch)
    }
  }

  /// Neighbours are mixed within a channel and a row or column, and a constant stays what it is.
  @Test func smoothingKeepsChannelsApart() throws {
    let shape = ImageShape(height: 3, width: 4, channels: 2)
    var values = [Double](repeating: 0, count: 24)
    values[(1 * 4 + 2) * 2 + 1] = 16
    let found = try smoothed(values, shape)
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
    #expect(try smoothed([Double](repeating: 3, count: 24), shape).allSatisfy { ($0 - 3).magnitude < 1e-12 })
  }
}
