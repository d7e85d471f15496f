import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems
import Testing

@testable import AIPOSolvers

@Suite struct ModeTests {
  private let shape = ImageShape(height: 4, width: 5, channels: 1)

  /// Draws of chains, each image from a chain and a draw.
  private func draws(
    chains: Int, count: Int, _ image: (_ chain: Int, _ draw: Int, inout Philox) -> [Double]
  ) throws -> PosteriorDraws {
    let functionals = try ImageFunctionals(shape)
    let empty = try PosteriorDraws(functionals, shape, chains: chains)
    let d = shape.count
    let kept = (0..<chains).flatMap { chain in
      (0..<count).flatMap { draw -> [Double] in
        var random = Philox(seed: 3, index: UInt64(chain * count + draw), purpose: .test)
        return image(chain, draw, &random)
      }
    }
    var draws = empty
    func zeros(_ columns: Int) throws -> Tensor<Double> { try Tensor(shape: [chains, columns]) }
    let isTaken = try draws.restore(
      count: count, spacing: 1, mean: zeros(d), squares: zeros(d), sums: zeros(7),
      kept: Tensor(shape: [chains, count, d], elements: kept),
      values: Tensor(shape: [chains, count, functionals.count]), exceeding: nil)
    #expect(isTaken)
    return draws
  }

  private func noise(_ random: inout Philox, _ scale: Double) -> [Double] {
    (0..<shape.count).map { _ in 0.5 + scale * random.normal() }
  }

  /// Humps that are long, narrow, flat or heavy-tailed are one mode.
  @Test func aSingleHumpIsOneMode() throws {
    let forms: [(inout Philox) -> Double] = [
      { 3 * $0.normal() }, { 0.1 * $0.normal() }, { 8 * $0.uniform() }, { -3 * log(1 - $0.uniform()) },
    ]
    for (k, form) in forms.enumerated() {
      for count in [20, 50, 120] {
        let found = try draws(chains: 3, count: count) { _, _, random in
          var x = noise(&random, 0.3)
          let along = form(&random)
          for i in 0..<5 { x[i] += along }
          return x
        }.modes()
        #expect(found.count == 1, "form \(k), \(count) draws")
        #expect(found[0].weight == 1 && found[0].draws == 3 * count && found[0].chains == 3)
      }
    }
  }

  /// Two ways and a rare third, in parts of the image, with their weights, means and nearest draws.
  @Test func modesAreFoundWithTheirWeights() throws {
    func way(_ k: Int) -> [Double] {
      (0..<shape.count).map { i in 0.5 + (k == 1 && i < 6 ? 0.4 : 0) + (k == 2 && i > 15 ? -0.6 : 0) }
    }
    let found = try draws(chains: 4, count: 100) { chain, draw, random in
      let k = draw % 20 == 0 ? 2 : draw % 20 < 8 ? 1 : 0
      return zip(way(k), noise(&random, 0.05)).map { $0 + $1 - 0.5 }
    }.modes()
    #expect(found.map(\.draws) == [240, 140, 20])
    for (mode, (weight, k)) in zip(found, [(0.6, 0), (0.35, 1), (0.05, 2)]) {
      #expect(abs(mode.weight! - weight) < 1e-12 && mode.weightError! < 1e-12 && mode.chains == 4)
      for i in 0..<shape.count {
        #expect(abs(mode.mean[flat: i] - way(k)[i]) < 0.06)
        #expect(abs(Double(mode.draw[flat: i]) - way(k)[i]) < 0.25)
      }
    }
  }

  /// Runs of particles count by their evidence; chains that never part from a mode tell no weights.
  @Test func weightsAreThoseOfTheRuns() throws {
    let apart = try draws(chains: 2, count: 40) { chain, draw, random in
      noise(&random, 0.03).map { $0 + (chain == 0 ? 0 : 1) }
    }
    let found = try apart.modes(logWeights: [-100, -100 + log(3)])
    #expect(found.count == 2 && abs(found[0].weight! - 0.75) < 1e-12 && abs(found[1].weight! - 0.25) < 1e-12)
    #expect(found[0].mean[flat: 0] > 1.2 && found[1].mean[flat: 0] < 0.8 && found[0].chains == 1)
    // Half a weight each in turn: √(2 (¾·¼)² + …).
    #expect(found[0].weightError! > 0.2)
    #expect(try apart.modes(areWeighed: false).allSatisfy { $0.weight == nil && $0.weightError == nil })
  }

  @Test func fewDrawsAreOneMode() throws {
    for count in [1, 2] {
      #expect(try draws(chains: 1, count: count) { _, draw, r in noise(&r, 0.1) }.modes().count == 1)
    }
  }
}
