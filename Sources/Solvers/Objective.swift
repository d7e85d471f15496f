import AIPOKernels
import AIPOPriors
import AIPOProblems

/// The objective `L = L_recon + λ((1 − t) R_gauss + t R_flow)` of one image, in the coordinates that a solver moves in.
public protocol Objective: Sendable {
  /// Coordinates of a point.
  var dimension: Int { get }
  /// Whether points are latents: every evaluation then passes through the flow, whatever its weight.
  var latentCoordinates: Bool { get }
  /// Relative resolution of the value: about the unit roundoff of the prior's arithmetic.
  var resolution: Double { get }

  /// Whether the metric differs from point to point by more than a minimizer learns by itself.
  var metricVaries: Bool { get }

  /// Moves a point to the nearest that can be evaluated exactly: coordinates rounded to the prior's precision.
  func round(_ point: Vector, _ scratch: Scratch)

  /// Fills in value and gradient at `sample.point`, and `sample.pixels`; false where anything isn't finite. The flow is
  /// left out where its weight is 0.
  func evaluate(_ sample: ObjectiveSample, weights: ObjectiveWeights, _ scratch: Scratch) throws -> Bool

  /// The curvature that a minimizer may suppose at an evaluated point, or nil where none is known. `probed` is what
  /// `probeCurvature` has found, nil before it was asked.
  func metric(
    at sample: ObjectiveSample, weights: ObjectiveWeights, probed: Tensor<Double>?, _ scratch: Scratch
  ) throws
    -> Metric?

  /// Estimates at a point, by random probes, the diagonal of that part of the curvature that no formula gives: positive
  /// values, or nil where it can't be told. `key` is the image's index in its source. A probe costs as much as an
  /// evaluation.
  func probeCurvature(_ point: Vector, key: UInt64, probes: CurvatureProbes, _ scratch: Scratch) throws
    -> Tensor<Double>?
}

extension Objective {
  public var metricVaries: Bool { false }
}

/// An evaluated point: the terms of the objective there, in nats, and their gradients. Terms that had no weight when the
/// point was evaluated are nil. Its memory is used again once nobody refers to it.
public final class ObjectiveSample: @unchecked Sendable {
  public let point: Vector
  /// The image that the point stands for.
  public let pixels: Vector
  public var recon = 0.0
  public var flow: Double?
  public var gaussian: Double?
  /// The weights that `reconGradient` is the whole gradient at, where terms have none of their own (in z-space, where
  /// each would cost a pass).
  public var combinedAt: ObjectiveWeights?
  public let reconGradient: Vector
  public let flowGradient: Vector
  public let gaussianGradient: Vector
  private let storage: Storage<Double>

  public init(dimension d: Int) throws(TensorError) {
    // Parts begin at multiples of 64 bytes.
    let stride = (d + 7) / 8 * 8
    storage = try Storage(count: 5 * stride)
    let memory = storage.memory
    func part(_ k: Int) -> Vector { memory[k * stride..<k * stride + d] }
    (point, pixels) = (part(0), part(1))
    (reconGradient, flowGradient, gaussianGradient) = (part(2), part(3), part(4))
  }

  /// Whether value and gradient at these weights are known without another evaluation.
  public func serves(_ weights: ObjectiveWeights) -> Bool {
    guard weights.flow == 0 || flow != nil, weights.gaussian == 0 || gaussian != nil else { return false }
    return combinedAt == nil || combinedAt == weights
  }

  /// L at the weights, which the sample must serve.
  public func value(_ weights: ObjectiveWeights) -> Double {
    var sum = recon
    if weights.flow != 0 { sum += weights.flow * flow! }
    if weights.gaussian != 0 { sum += weights.gaussian * gaussian! }
    return sum
  }

  /// What rounding can do to L at the weights: four roundoffs of the sum of its terms' magnitudes.
  public func rounding(_ weights: ObjectiveWeights, resolution: Double) -> Double {
    var sum = recon.magnitude
    if weights.flow != 0 { sum += (weights.flow * flow!).magnitude }
    if weights.gaussian != 0 { sum += (weights.gaussian * gaussian!).magnitude }
    return 4 * resolution * max(1, sum)
  }

  /// `g ← ∇L` at the weights, which the sample must serve.
  public func gradient(_ weights: ObjectiveWeights, into g: Vector, _ pool: ThreadPool) {
    g.set(reconGradient, pool)
    guard combinedAt == nil else { return }
    if weights.flow != 0 { g.add(flowGradient, times: weights.flow, pool) }
    if weights.gaussian != 0 { g.add(gaussianGradient, times: weights.gaussian, pool) }
  }

  /// Becomes the same as another.
  func copy(_ other: ObjectiveSample, _ pool: ThreadPool) {
    (recon, flow, gaussian, combinedAt) = (other.recon, other.flow, other.gaussian, other.combinedAt)
    point.set(other.point, pool)
    pixels.set(other.pixels, pool)
    reconGradient.set(other.reconGradient, pool)
    if flow != nil { flowGradient.set(other.flowGradient, pool) }
    if gaussian != nil { gaussianGradient.set(other.gaussianGradient, pool) }
  }

  /// `‖∇L‖`
  func gradientNorm(_ weights: ObjectiveWeights, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let g = try scratch.take(point.count)
      gradient(weights, into: g, scratch.pool)
      return g.norm(scratch.pool)
    }
  }
}

/// Samples whose memory is used again.
final class SampleStore {
  private let dimension: Int
  private var samples: [ObjectiveSample] = []

  init(dimension: Int) { self.dimension = dimension }

  /// One that nobody refers to.
  func next() throws(TensorError) -> ObjectiveSample {
    for k in samples.indices where isKnownUniquelyReferenced(&samples[k]) { return samples[k] }
    samples.append(try ObjectiveSample(dimension: dimension))
    return samples[samples.count - 1]
  }
}
