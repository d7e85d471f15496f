import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

@Suite struct CalibrationTests {
  private let shape = ImageShape(height: 3, width: 4, channels: 1)
  private let count = 400

  private func figures(
    warp: Double = 0, _ map: (any LinearMap)? = nil, space: SolutionSpace = .x, count: Int? = nil,
    _ draw: (Calibration) throws -> Calibration.Draw
  ) throws -> [CalibrationFigure] {
    let prior = WarpedGaussian.random(imageShape: shape, warp: warp, seed: 40)
    let calibration = try Calibration(
      prior: prior, map: map ?? IdentityMap(shape), noise: GaussianNoise(sigma: 0.1), space: space, draws: 15,
      seed: 2)
    let draw = try draw(calibration)
    let scratch = Scratch()
    let ranks = try (0..<(count ?? self.count)).map {
      try calibration.ranks(problem: $0, scratch, draw: draw)
    }
    return CalibrationFigure.all(ranks, names: calibration.names, draws: 15)
  }

  /// Those outside of the 95 % band by more than chance among so many.
  private func faults(_ figures: [CalibrationFigure]) -> [String] {
    figures.filter { $0.probability < 0.002 }.map(\.name)
  }

  @Test func rightSamplersPass() throws {
    let wide = try DenseMap.gaussian(measurements: 5, input: shape, seed: 3)
    for (sampler, spaces) in allSamplers {
      for space in spaces {
        let step = sampler.name == "pcn" ? 0.3 : 0.5
        let found = try figures(warp: 0.6, sampler.name == "pcn" ? wide : nil, space: space) { calibration in
          let problem = try calibration.make(9000, Scratch())
          let mass = try problem.density.startingMass(at: problem.truth, seed: 1, key: 0, Scratch())
          return Calibration.fromTruth(
            sampler, SamplerTuning(mass: mass ?? .identity, step: step, length: 1.5), draws: 15, spacing: 2)
        }
        #expect(faults(found).isEmpty, "\(sampler.name) over \(space): \(faults(found))")
        let outside = found.filter { !$0.isInside }
        #expect(
          found.count >= 20 && outside.count <= 4, "\(sampler.name) over \(space): \(outside.map(\.name))")
      }
    }
  }

  /// The whole of it: chains from draws of the prior with a warm-up each.
  @Test func chainsWithTheirWarmUpPass() throws {
    let found = try figures(warp: 0.6, space: .z, count: 100) { calibration in
      Calibration.byChains(
        HamiltonianSampler.hamiltonian, chains: 4, warmUp: 100, draws: 60, of: calibration.prior, kept: 15)
    }
    #expect(faults(found).isEmpty, "\(faults(found))")
  }

  @Test func unadjustedLangevinFails() throws {
    let found = try figures { calibration in
      let problem = try calibration.make(9000, Scratch())
      let mass = try problem.density.startingMass(at: problem.truth, seed: 1, key: 0, Scratch())
      return Calibration.fromTruth(
        UnadjustedLangevin(), SamplerTuning(mass: mass ?? .identity, step: 0.9), draws: 15, spacing: 4)
    }
    #expect(
      faults(found).contains { $0.hasPrefix("density") } && faults(found).count >= 2, "\(faults(found))")
  }

  @Test func aSamplerThatGivesThePriorFails() throws {
    let found = try figures { calibration in
      { problem, scratch in
        try (0..<15).map { k in
          var random = Philox(seed: 77, index: UInt64(problem.index * 100 + k), purpose: .test)
          var point = try Tensor<Double>(count: 12)
          try point.withMemory { try calibration.prior.draw(into: $0, &random, scratch) }
          return point
        }
      }
    }
    // Without a look at the data the mean ranks are right all the same: it takes functionals of image and data.
    #expect(faults(found).contains { $0.hasPrefix("density") } && faults(found).contains("misfit in nats"))
  }

  @Test func exactDrawsPassAndDistortedOnesFail() throws {
    func found(variance: Double, shift: Double) throws -> [CalibrationFigure] {
      try figures { calibration in
        let prior = calibration.prior as! WarpedGaussian
        let factor = try Matrix(rows: 12, columns: 12, rowMajor: prior.factor)
        // (C⁻¹ + I/σ²)⁻¹
        let precision = try Cholesky(try factor.timesTransposed(factor)).inverse()
        var sharper = precision
        sharper.addToDiagonal(100)
        let covariance = try Cholesky(sharper).inverse()
        let root = try Cholesky(covariance)
        return { problem, _ in
          let y = (problem.density.objective as! PixelObjective).data.observation.elements
          let right = adding(precision.times(prior.mean), y, scaledBy: 100)
          let mean = covariance.times(right)
          return try (0..<15).map { k in
            var random = Philox(seed: 78, index: UInt64(problem.index * 100 + k), purpose: .test)
            var draw = (0..<12).map { _ in random.normal() }
            draw.withUnsafeMutableBufferPointer { root.multiplyFactor(Vector($0)) }
            return try Tensor(
              (0..<12).map {
                mean[$0] + variance.squareRoot() * draw[$0] + shift * covariance[$0, $0].squareRoot()
              })
          }
        }
      }
    }
    let right = try found(variance: 1, shift: 0)
    #expect(
      faults(right).isEmpty && right.count { !$0.isInside } <= 4,
      "\(right.filter { !$0.isInside }.map(\.name))")
    #expect(right.allSatisfy { abs($0.coverage - 0.9) < 0.06 })
    let narrow = try found(variance: 0.8, shift: 0)
    #expect(faults(narrow).contains { $0.hasPrefix("density") }, "\(faults(narrow))")
    let shifted = try found(variance: 1, shift: 0.25)
    #expect(faults(shifted).contains("mean"), "\(faults(shifted))")
  }

  /// The band holds 95 % of uniform samples, and a sample of one rank alone leaves it.
  @Test func bandOfUniformRanks() {
    let uniformity = RankUniformity(count: 100, draws: 19, seed: 1)
    let inside = (0..<400).count { k in
      var random = Philox(seed: 55, index: UInt64(k), purpose: .test)
      return uniformity.probability((0..<100).map { _ in Int(20 * random.uniform()) }) >= 0.05
    }
    #expect(inside >= 365 && inside < 398, "\(inside)")
    #expect(uniformity.probability([Int](repeating: 10, count: 100)) < 0.001)
    for (k, band) in uniformity.band.enumerated() {
      let z = Double(k + 1) / 20
      #expect(band.low < z && z < band.high)
    }
  }

  @Test func conformalFactorOfNormalScoresIsTheirQuantile() {
    var random = Philox(seed: 1, purpose: .test)
    let scores = (0..<20_000).map { _ in abs(1.5 * random.normal()) }
    #expect(abs(ConformalCorrection(scores: scores, level: 0.9).factor - 1.5 * 1.6449) < 0.03)
    #expect(ConformalCorrection(scores: [1, 2], level: 0.9).factor == .infinity)
  }
}
