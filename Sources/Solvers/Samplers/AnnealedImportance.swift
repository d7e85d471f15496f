import AIPOKernels
import AIPOPlatform

/// Annealed importance sampling: one particle that goes along a ladder of β from a draw of the prior to the posterior, moved at
/// each (R. M. Neal, Statistics and Computing 11, 2001). Its weight is an estimate of p(y) without bias, so that log of it is on
/// average at most log p(y). Of simulated data, whose true image is a draw of the posterior, the same way back gives an
/// estimate of 1/p(y), and so an upper end (R. Grosse, S. Ancha, D. Roy, *Measuring the reliability of MCMC inference with
/// bidirectional Monte Carlo*, 2016).
public struct AnnealedImportance {
  public let density: SampledDensity
  public let sampler: any Sampler
  /// From 0 to 1.
  public let ladder: [Double]
  public let tuning: SamplerTuning
  public let sweeps: Int

  public init(
    _ density: SampledDensity, _ sampler: any Sampler, ladder: [Double], tuning: SamplerTuning,
    sweeps: Int = 1
  ) {
    precondition(ladder.first == 0 && ladder.last == 1, "a ladder goes from 0 to 1")
    (self.density, self.sampler, self.ladder, self.tuning, self.sweeps) = (
      density, sampler, ladder, tuning, sweeps
    )
  }

  /// log of the weight from a draw of the prior that `start` writes: on average at most log p(y).
  public func lowerBound(_ key: DrawKey, _ scratch: Scratch, start: (Vector) throws -> Void) throws -> Double?
  {
    try weight(key, scratch, ladder: ladder, start: start)
  }

  /// −log of the weight back from a draw of the posterior that `start` writes: on average at least log p(y).
  public func upperBound(_ key: DrawKey, _ scratch: Scratch, start: (Vector) throws -> Void) throws -> Double?
  {
    try weight(key, scratch, ladder: ladder.reversed(), start: start).map { -$0 }
  }

  private func weight(
    _ key: DrawKey, _ scratch: Scratch, ladder: [Double], start: (Vector) throws -> Void
  ) throws -> Double? {
    var first = density
    first.beta = ladder[0]
    guard let chain = try MarkovChain(first, scratch, at: start) else { return nil }
    var sum = 0.0
    var draw = 0
    // Up: weight, then move under the new density. Down, the same in the opposite order.
    let isUp = ladder[0] < ladder[ladder.count - 1]
    for (from, to) in zip(ladder, ladder.dropFirst()) {
      if !isUp { try move(chain, key, &draw) }
      sum -= (to - from) * chain.sample.recon
      chain.density.beta = to
      if isUp { try move(chain, key, &draw) }
    }
    return sum
  }

  private func move(_ chain: MarkovChain, _ key: DrawKey, _ draw: inout Int) throws {
    for _ in 0..<sweeps {
      _ = try sampler.move(chain, tuning, key.at(draw: draw))
      draw += 1
    }
  }
}
