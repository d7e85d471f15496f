/// A safeguarded line search along a descent direction for one image, fed trial by trial.
///
/// Accepts a step α with `φ(α) ≤ φ(0) + c₁αφ'(0)` and `φ'(α) ≥ c₂φ'(0)` (weak Wolfe, c₁ = 1e-4, c₂ = 0.9).
/// Where values differ by less than `slack`, what the arithmetic can show, the slopes decide (approximate
/// Wolfe; Hager and Zhang, SIAM J. Optim. 16, 2005). A point that isn't finite is a wall: the step is cut
/// to a fifth. It fails after `trials` points, or when the interval closes.
public struct LineSearch: Sendable {
  public enum Verdict: Sendable, Equatable {
    case accept
    case retry(Double)
    /// No such step: the caller may take the best of its trials.
    case fail
  }

  private struct Trial: Sendable {
    var step: Double
    var value: Double
    var slope: Double
  }

  private let start: Trial
  private let slack: Double
  private var low: Trial
  private var high: Trial?
  private var wall: Double?
  private var count = 0
  private var expansions = 0
  private let trials: Int

  public init(value: Double, slope: Double, slack: Double, trials: Int = 20) {
    start = Trial(step: 0, value: value, slope: slope)
    low = start
    self.slack = slack
    self.trials = trials
  }

  /// The value and slope at `step`; nil value where the point wasn't finite.
  public mutating func receive(step: Double, value: Double?, slope: Double) -> Verdict {
    count += 1
    guard let value, slope.isFinite else {
      wall = step
      return next(low.step + 0.2 * (step - low.step))
    }
    let trial = Trial(step: step, value: value, slope: slope)
    let isSteepEnough = slope >= 0.9 * start.slope
    let sufficient = value <= start.value + 1e-4 * step * start.slope
    let flat = value <= start.value + slack && slope <= -0.8 * start.slope
    if !sufficient && !(flat && isSteepEnough) {
      high = trial
      return next(interpolated(low, trial))
    }
    if isSteepEnough { return .accept }
    low = trial
    if let high { return next(interpolated(trial, high)) }
    expansions += 1
    if expansions > 4 { return .accept }
    if let wall { return next(0.5 * (step + wall)) }
    return next(2.5 * step)
  }

  private func next(_ step: Double) -> Verdict {
    let limit = high?.step ?? wall ?? .infinity
    let isOver = count >= trials || !(step > low.step) || !(step < limit) || step < 1e-16
    return isOver ? .fail : .retry(step)
  }

  /// The minimiser of the cubic through two trials (More and Thuente's formula), kept a tenth of the
  /// interval away from its ends.
  private func interpolated(_ a: Trial, _ b: Trial) -> Double {
    let width = b.step - a.step
    if (a.value - b.value).magnitude <= slack, b.slope > a.slope {
      // Values that can't be told apart: the zero of the slope by the secant.
      let step = a.step - a.slope * width / (b.slope - a.slope)
      return min(max(step, a.step + 0.1 * width), b.step - 0.1 * width)
    }
    let d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    let square = d1 * d1 - a.slope * b.slope
    var step = a.step + 0.5 * width
    if square >= 0 {
      let d2 = square.squareRoot()
      let denominator = b.slope - a.slope + 2 * d2
      let candidate = b.step - width * (b.slope + d2 - d1) / denominator
      if candidate.isFinite { step = candidate }
    }
    return min(max(step, a.step + 0.1 * width), b.step - 0.1 * width)
  }
}
