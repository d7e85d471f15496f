import AIPOInverseProblems
import AIPOKernels
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The noise's deviation by the evidence of a Gaussian prior.
@Suite struct EvidenceTests {
  let shape = ImageShape(height: 4, width: 6, channels: 1)

  private func random(_ count: Int, seed: UInt64) -> [Double] {
    var random = Philox(seed: seed, purpose: .test)
    return (0..<count).map { _ in random.normal() }
  }

  /// The same Gaussian by its whole covariance and by factors.
  private func densities() throws -> [GaussianDensity] {
    let factor = try Matrix(rows: 24, columns: 5, rowMajor: random(120, seed: 1).map { 0.3 * $0 })
    let diagonal = random(24, seed: 2).map { 0.0004 * (1 + $0 * $0) }
    var dense = try factor.timesTransposed(factor)
    for i in 0..<24 { dense[i, i] += diagonal[i] }
    let mean = random(24, seed: 3)
    return try [.dense(dense), .lowRank(factor: factor, diagonal: diagonal)].map {
      try GaussianDensity(imageShape: shape, mean: mean, covariance: $0)
    }
  }

  @Test func findsTheNoiseOfImagesOfItsOwn() throws {
    let densities = try densities()
    let operators: [any LinearOperator] = [
      IdentityOperator(count: 24), MaskOperator(mask: (0..<24).map { $0 % 3 != 0 }),
      try DenseOperator.gaussian(measurements: 40, inputCount: 24, seed: 4),
    ]
    for a in operators {
      for sigma in [0.1, 0.4] {
        let found = try (0..<60).map { k -> Double in
          let noise = random(a.outputCount, seed: 100 + UInt64(k)).map { sigma * $0 }
          let y = adding(a.apply(densities[0].sample(seed: 5, index: k)), noise, scaledBy: 1)
          let estimates = try densities.map { try $0.evidenceSigma(y, linearOperator: a) }
          #expect((estimates[0] - estimates[1]).magnitude < 1e-6 * estimates[0])
          return estimates[0]
        }
        let mean = found.reduce(0, +) / 60
        #expect((mean / sigma - 1).magnitude < 0.06, "\(a.outputCount) \(sigma) \(mean)")
      }
    }
  }

  /// Where the measurements are the mean's own, no noise is the most probable; it stays above the floor.
  @Test func staysInItsRange() throws {
    let density = try densities()[0]
    let exact = try density.evidenceSigma(density.mean, linearOperator: IdentityOperator(count: 24))
    #expect(exact >= NoiseEstimate.floor * 0.999 && exact < 1.1 * NoiseEstimate.floor)
    let nothing = MaskOperator(mask: [Bool](repeating: false, count: 24))
    #expect(try density.evidenceSigma([], linearOperator: nothing) >= NoiseEstimate.floor * 0.999)
  }
}
