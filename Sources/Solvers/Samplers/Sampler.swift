import AIPOKernels
import AIPOPlatform

/// A move of a Markov chain that leaves a density as it is: what was a draw of it before is one behind.
public protocol Sampler: Sendable {
  /// As the command spells it.
  var name: String { get }

  /// The mean acceptance probability that its step is adapted to.
  var targetAcceptance: Double { get }

  /// Evaluations that a draw takes, about, with such a tuning.
  func evaluations(_ tuning: SamplerTuning) -> Double

  /// Moves the chain by one draw.
  func move(_ chain: MarkovChain, _ tuning: SamplerTuning, _ key: DrawKey) throws -> Move
}

/// What a sampler's moves depend on; found in the warm-up.
public struct SamplerTuning: Sendable {
  public var mass: Mass
  /// In units in which the mass is 1.
  public var step: Double
  /// The mean length of a path, in the same units.
  public var length: Double

  public init(mass: Mass = .identity, step: Double, length: Double = .pi / 2) {
    (self.mass, self.step, self.length) = (mass, step, length)
  }
}

/// What became of one move.
public struct Move: Sendable {
  /// The probability with which it was accepted.
  public var acceptance: Double
  /// −log of the density of position and momentum where it ended; of the position alone where there is no momentum.
  public var energy: Double
  /// Whether the path left the region in which its energy can be trusted: it gained more than `divergence`, or wasn't
  /// finite.
  public var isDivergent: Bool

  /// Nats from which on a gain of energy is no rounding of a path's.
  public static let divergence = 1000.0
  /// Nats of a path's gain up to which the mass is learned from it: the test would take it now and then.
  static let learnable = 3.0

  public init(acceptance: Double, energy: Double, isDivergent: Bool = false) {
    (self.acceptance, self.energy, self.isDivergent) = (acceptance, energy, isDivergent)
  }
}

/// One chain: its position, and what it is evaluated by.
public final class MarkovChain {
  public internal(set) var density: SampledDensity
  let evaluator: Evaluator
  /// The position, evaluated.
  public internal(set) var sample: ObjectiveSample
  /// Told of every gradient of a path that isn't at its start, in the warm-up.
  var onGradient: ((Vector) -> Void)?

  /// A chain at the point that `set` writes; nil where the density isn't finite there.
  public init?(
    _ density: SampledDensity, _ scratch: Scratch, isCancelled: @escaping () -> Bool = { false },
    at set: (Vector) throws -> Void
  ) throws {
    let evaluator = Evaluator(density.objective, scratch, isCancelled: isCancelled)
    guard let sample = try evaluator.evaluate(density.weights, at: set) else { return nil }
    self.density = density
    self.evaluator = evaluator
    self.sample = sample
  }

  public var scratch: Scratch { evaluator.scratch }
  public var pool: ThreadPool { evaluator.pool }
  public var evaluations: Int { evaluator.evaluations }
  public var energy: Double { density.energy(sample) }

  /// The density at another point; nil where it isn't finite.
  func evaluate(_ set: (Vector) throws -> Void) throws -> ObjectiveSample? {
    guard let next = try evaluator.evaluate(density.weights, at: set), density.energy(next).isFinite else {
      return nil
    }
    return next
  }

  /// Goes over to another density of the same coordinates, where it is; false where that isn't finite there, and then the
  /// sample stays the old density's.
  func change(to density: SampledDensity) throws -> Bool {
    self.density = density
    evaluator.change(to: density.objective)
    let from = sample
    guard let next = try evaluate({ $0.set(from.point, pool) }) else { return false }
    sample = next
    return true
  }

  /// Takes the proposal with the probability `min(1, exp(log ratio))`, which it gives.
  func decide(_ proposal: ObjectiveSample, logRatio: Double, _ key: DrawKey) -> Double {
    var random = key.random(.acceptance)
    let uniform = 1 - random.uniform()
    guard !logRatio.isNaN else { return 0 }
    if log(uniform) < logRatio { sample = proposal }
    return logRatio >= 0 ? 1 : exp(logRatio)
  }
}
