import AIPOInverseProblems

/// What became of a trial point.
public enum CorrectorOutcome: Sendable {
  /// This is the new current point: the trial, or an earlier one that was better.
  case accepted(point: [Double], sample: ObjectiveSample)
  /// The search goes on from the old one.
  case searching
  /// Nothing more can be done; the current point stays.
  case stuck(CorrectorStop)
}

/// Why a corrector can't lower the objective any more.
public enum CorrectorStop: Sendable, Equatable {
  /// The decrease still to be had is below what the objective's arithmetic can show.
  case resolution
  /// No acceptable step was found although the gradient promises one.
  case lineSearch
}

/// Minimises the objective of one image at fixed weights, one trial point at a time. The caller evaluates
/// the points, so that the trials of many images share one batched call of the prior.
///
///     corrector.begin(x, sample, weights, curvature, resolution)
///     while let trial = corrector.propose() { outcome = corrector.receive(trial, evaluate(trial)) }
public protocol Corrector: Sendable {
  /// Starts at an evaluated point. Called again when the weights change; what was learned may be kept.
  mutating func begin(
    _ point: [Double], _ sample: ObjectiveSample, weights: ObjectiveWeights,
    curvature: (any CurvatureSolver)?, resolution: Double)

  /// The next point to evaluate, or nil and the reason where there is none.
  mutating func propose() -> Result<[Double], CorrectorFailure>

  /// The evaluation of the last proposal (after rounding); nil where it wasn't finite.
  mutating func receive(_ point: [Double], _ sample: ObjectiveSample?) -> CorrectorOutcome
}

/// A `CorrectorStop` thrown or returned as an error.
public struct CorrectorFailure: Error, Sendable, Equatable {
  public let reason: CorrectorStop
  public init(_ reason: CorrectorStop) { self.reason = reason }
}
