import AIPOKernels
import AIPOPriors
import AIPOProblems

/// Why work on an image ends in its midst.
enum Interruption: Error {
  /// The evaluations meant for a solve are used up.
  case budget
  case cancelled
}

/// Evaluates the objective of one image for whoever works on it, counts, and throws where the work is to end.
public final class Evaluator {
  public private(set) var objective: any Objective
  /// What the objective and its users work with.
  public let scratch: Scratch
  /// Evaluations of the flow so far: one a value and gradient, and one a probe.
  public private(set) var evaluations = 0
  private let samples: SampleStore
  private let isCancelled: () -> Bool

  /// `isCancelled`: asked before every evaluation.
  public init(_ objective: any Objective, _ scratch: Scratch, isCancelled: @escaping () -> Bool = { false }) {
    self.objective = objective
    self.scratch = scratch
    self.isCancelled = isCancelled
    samples = SampleStore(dimension: objective.dimension)
  }

  /// Evaluates another objective from here on, of as many coordinates.
  func change(to objective: any Objective) {
    precondition(objective.dimension == self.objective.dimension)
    self.objective = objective
  }

  public var dimension: Int { objective.dimension }
  public var pool: ThreadPool { scratch.pool }

  /// Value and gradient at the point that `set` writes, rounded; nil where they aren't finite.
  public func evaluate(_ weights: ObjectiveWeights, at set: (_ point: Vector) throws -> Void) throws
    -> ObjectiveSample?
  {
    if isCancelled() { throw Interruption.cancelled }
    let sample = try samples.next()
    try set(sample.point)
    objective.round(sample.point, scratch)
    if weights.flow != 0 || objective.latentCoordinates { evaluations += 1 }
    return try objective.evaluate(sample, weights: weights, scratch) ? sample : nil
  }

  /// A copy of a sample, to be changed.
  func copy(_ sample: ObjectiveSample) throws -> ObjectiveSample {
    let copy = try samples.next()
    copy.copy(sample, pool)
    return copy
  }

  /// `z ← D_s(v)`, and R_s(v): `Prior.denoise`, as dear as an evaluation. Odd turns see the mirror image where that is as
  /// probable.
  func denoise(_ v: Vector, _ prior: any Prior, noise s: Double, turn: Int, into z: Vector) throws -> Double {
    if isCancelled() { throw Interruption.cancelled }
    evaluations += 1
    guard prior.seesMirrorImages, turn % 2 == 1 else {
      return try prior.denoise(v, noise: s, turn: turn, into: z, scratch)
    }
    return try scratch.scope {
      let (mirrored, clean) = (try scratch.take(v.count), try scratch.take(v.count))
      mirrored.setMirrored(v, prior.imageShape)
      let value = try prior.denoise(mirrored, noise: s, turn: turn, into: clean, scratch)
      z.setMirrored(clean, prior.imageShape)
      return value
    }
  }

  /// The curvature at a point by probes, as `Objective.probeCurvature`.
  func probe(_ point: Vector, key: UInt64, _ probes: CurvatureProbes) throws -> Tensor<Double>? {
    if isCancelled() { throw Interruption.cancelled }
    guard let found = try objective.probeCurvature(point, key: key, probes: probes, scratch) else {
      return nil
    }
    evaluations += probes.count
    return found
  }
}

extension Memory where Element == Double {
  /// Becomes the mirror image, left and right, of another.
  fileprivate func setMirrored(_ x: Vector, _ shape: ImageShape) {
    let (width, channels) = (shape.width, shape.channels)
    for start in stride(from: 0, to: count, by: width * channels) {
      for column in 0..<width {
        for c in 0..<channels {
          self[start + (width - 1 - column) * channels + c] = x[start + column * channels + c]
        }
      }
    }
  }
}
