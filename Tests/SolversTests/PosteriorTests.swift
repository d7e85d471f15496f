import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases
import Testing

@testable import AIPOSolvers

@Suite struct PosteriorTests {
  private func sampler(
    draws: Int, thin: Int = 1, sampler: SamplerChoice = .hmc, threshold: Double? = nil
  ) throws -> PosteriorSampler {
    let one = try GaussianCase.all()[1]
    var options = PosteriorOptions()
    (options.draws, options.warmUp, options.chains, options.thin) = (draws, 60, 3, thin)
    (options.sampler, options.threshold) = (sampler, threshold)
    return try PosteriorSampler(
      data: one.data, prior: one.prior, options: options, source: 4, pool: ThreadPool(threads: 1))
  }

  /// Stopped at any draw and resumed from what was kept, the draws are the same bits.
  @Test func resumesToTheBit() throws {
    let sampler = try sampler(draws: 40, threshold: 0.5)
    let whole = try sampler.run()
    for stop in [0, 7, 39] {
      var evaluations = 0
      var state: PosteriorState?
      do {
        _ = try sampler.run(isCancelled: { evaluations >= 60 + stop }, onProgress: { evaluations = $0.draws })
        Issue.record("it wasn't stopped")
      } catch let cancelled as SamplingCancelled { state = cancelled.state }
      let kept = try #require(state)
      #expect(kept.count == stop)
      let read = try #require(try PosteriorState(try kept.arrays(), empty: try sampler.noDraws()))
      let resumed = try sampler.run(from: read)
      #expect(try resumed.draws.array().elements == whole.draws.array().elements, "stopped at \(stop)")
      #expect(resumed.draws.sums == whole.draws.sums)
      #expect(
        resumed.draws.kept.map { $0.map(\.functionals) } == whole.draws.kept.map { $0.map(\.functionals) })
      #expect(resumed.draws.exceeding!.elements == whole.draws.exceeding!.elements)
      #expect(resumed.evaluations == whole.evaluations)
    }
  }

  @Test func damagedStatesAreRefused() throws {
    let sampler = try sampler(draws: 10)
    var state: PosteriorState?
    var draws = 0
    do {
      _ = try sampler.run(isCancelled: { draws >= 65 }, onProgress: { draws = $0.draws })
    } catch let cancelled as SamplingCancelled { state = cancelled.state }
    let arrays = try #require(state).arrays()
    let empty = try sampler.noDraws()
    #expect(try PosteriorState(arrays, empty: empty) != nil)
    for k in arrays.indices {
      var without = arrays
      without.remove(at: k)
      #expect(try PosteriorState(without, empty: empty) == nil, "\(arrays[k].name)")
      var wrong = arrays
      wrong[k].array = try Tensor([-1, 0, .nan])
      #expect(try PosteriorState(wrong, empty: empty) == nil, "\(arrays[k].name)")
    }
  }

  /// Sums are those of all draws, whichever are kept; quantiles those of the kept ones.
  @Test func summaryIsThatOfTheDraws() throws {
    let outcome = try sampler(draws: 50, threshold: 0.5).run()
    let draws = outcome.draws
    #expect(draws.keptCount == 50 && draws.spacing == 1)
    let summary = try PosteriorSummary(draws)
    for i in 0..<12 {
      let all = draws.draws(value: i).all
      #expect(abs(summary.mean[flat: i] - ChainDraws.mean(all)) < 1e-6)
      #expect(abs(summary.sd[flat: i] - ChainDraws.variance(all).squareRoot()) < 1e-6)
      #expect(abs(summary.exceedance![flat: i] - Double(all.count { $0 > 0.5 }) / 150) < 1e-12)
    }
    let thinned = try PosteriorSummary(try sampler(draws: 50, thin: 7).run().draws)
    #expect(thinned.mean.elements == summary.mean.elements && thinned.spacing == 7)
  }

  /// However many draws there are, no more than a bounded number is kept, evenly spaced.
  @Test func memoryDoesNotGrowWithTheDraws() throws {
    let outcome = try sampler(draws: 9000, sampler: .mala).run()
    let draws = outcome.draws
    #expect(draws.count == 9000 && draws.spacing == 4 && draws.keptCount == 2250)
    #expect(try PosteriorSummary(draws).draws == 9000)
  }

  @Test func particlesGiveEvidence() throws {
    let one = try GaussianCase.all()[1]
    let outcome = try sampler(draws: 80, sampler: .smc).run()
    let evidence = try #require(outcome.evidence)
    #expect(abs(evidence.logEvidence - one.logEvidence) < 4 * evidence.error + 0.1)
    #expect(outcome.draws.count == 80 && outcome.draws.chains == 3)
  }

  @Test func namesTheDensity() throws {
    let one = try GaussianCase.all()[0]
    #expect(one.density(.z).words == "the posterior, p(y | x) p(x) / p(y)")
    let patches = try PatchPrior<Double>(
      try smoothFlow(ImageShape(height: 4, width: 4, channels: 1)), imageShape: one.data.map.input, stride: 2)
    #expect(
      SampledDensity(pixels: one.data, prior: patches).words == "in proportion to p(y | x) p(x)")
    #expect(
      SampledDensity(pixels: one.data, prior: one.prior, lambda: 0.5).words
        == "in proportion to p(y | x) p(x)^0.5")
  }
}
