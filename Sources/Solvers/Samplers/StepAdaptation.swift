import AIPOPlatform

/// Dual averaging: finds the step at which moves are accepted as often as is asked for (M. D. Hoffman, A. Gelman, *The No-U-Turn
/// Sampler*, JMLR 15, 2014, section 3.2).
struct StepAdaptation: Sendable {
  private let target: Double
  private let greatest: Double
  /// Where the logarithm of the step is drawn to.
  private var center: Double
  private var mean = 0.0
  private var rounds = 0.0
  private var logStep: Double
  private var averaged: Double

  init(step: Double, target: Double, greatest: Double = .infinity) {
    (self.target, self.greatest) = (target, greatest)
    center = log(10 * step)
    logStep = log(step)
    averaged = logStep
  }

  /// The step of the next move, while it is sought.
  var step: Double { min(exp(logStep), greatest) }

  /// The step that was found.
  var found: Double { min(exp(rounds == 0 ? logStep : averaged), greatest) }

  /// Takes the mean acceptance probability of a round.
  mutating func add(_ acceptance: Double) {
    rounds += 1
    let share = 1 / (rounds + 10)
    mean += share * (target - acceptance - mean)
    logStep = center - rounds.squareRoot() / 0.05 * mean
    let weight = pow(rounds, -0.75)
    averaged += weight * (logStep - averaged)
  }

  /// Begins anew from the step that was found.
  mutating func restart() { self = StepAdaptation(step: found, target: target, greatest: greatest) }
}
