import AIPOFlows
import AIPOKernels
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Where on a path the objective is taken: `L = L_recon + λ((1 − t) R_gauss + t R_flow)`.
public struct ObjectiveWeights: Sendable, Hashable {
  public var lambda: Double
  public var t: Double

  public init(lambda: Double, t: Double = 1) {
    self.lambda = lambda
    self.t = t
  }

  /// Weight of `R_flow`.
  public var flow: Double { lambda * t }
  /// Weight of `R_gauss`.
  public var gaussian: Double { lambda * (1 - t) }

  /// `R = (1 − t) R_gauss + t R_flow`; nil where a term that counts isn't known.
  public func regularizer(flow: Double?, gaussian: Double?) -> Double? {
    var sum = 0.0
    for (share, term) in [(t, flow), (1 - t, gaussian)] where share != 0 {
      guard let term else { return nil }
      sum += share * term
    }
    return sum
  }
}

/// The terms of the objective at one point, in nats, and their gradients. Terms that had no weight when the
/// point was evaluated are nil.
public struct ObjectiveSample: Sendable {
  public var recon: Double
  public var flow: Double?
  public var gaussian: Double?
  public var gradient: Gradient
  /// The image where it is something else than the point.
  public var pixels: [Double]?

  public enum Gradient: Sendable {
    /// A gradient a term: the sample serves every weight whose terms are there.
    case split(recon: [Double], flow: [Double]?, gaussian: [Double]?)
    /// One gradient, at these weights alone (in z-space, where each term would cost a pass).
    case combined([Double], ObjectiveWeights)
  }

  public init(
    recon: Double, flow: Double?, gaussian: Double?, gradient: Gradient, pixels: [Double]? = nil
  ) {
    self.pixels = pixels
    self.recon = recon
    self.flow = flow
    self.gaussian = gaussian
    self.gradient = gradient
  }

  /// Whether value and gradient at these weights are known without another evaluation.
  public func serves(_ weights: ObjectiveWeights) -> Bool {
    guard weights.flow == 0 || flow != nil, weights.gaussian == 0 || gaussian != nil else { return false }
    if case .combined(_, let own) = gradient { return own == weights }
    return true
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

  /// ∇L at the weights, which the sample must serve.
  public func gradient(_ weights: ObjectiveWeights) -> [Double] {
    switch gradient {
    case .combined(let gradient, _): return gradient
    case .split(let recon, let flow, let gaussian):
      var sum = recon
      if weights.flow != 0 { sum = adding(sum, flow!, scaledBy: weights.flow) }
      if weights.gaussian != 0 { sum = adding(sum, gaussian!, scaledBy: weights.gaussian) }
      return sum
    }
  }
}

/// An objective over a batch of images, each with its own weights, in the coordinates that a solver moves
/// in. Every image's result depends on that image alone, to the bit.
public protocol Objective: Sendable {
  /// Coordinates of an image.
  var dimension: Int { get }
  /// Whether points are latents: every evaluation then passes through the flow, whatever its weight.
  var latentCoordinates: Bool { get }
  /// Relative resolution of the value: about the unit roundoff of the prior's arithmetic.
  var resolution: Double { get }

  /// The nearest point that can be evaluated exactly: coordinates rounded to the prior's scalar type.
  func representable(_ point: [Double]) -> [Double]

  /// Values and gradients for `images[k]` at `points[k]` by one call of the prior; nil where anything is
  /// not finite. The flow is left out for images whose weight of it is 0.
  func evaluate(_ points: [[Double]], images: [Int], weights: [ObjectiveWeights]) throws
    -> [ObjectiveSample?]

  /// The initial inverse Hessian for an image at a point, or nil where none is known. `probed` is what
  /// `probeCurvature` has found, nil before it was asked.
  func curvature(at point: [Double], image: Int, weights: ObjectiveWeights, probed: [Double]?) throws
    -> (any CurvatureSolver)?

  /// Estimates at points, by random probes, the diagonal of that part of the curvature that no formula gives:
  /// positive values, or nil where it can't be told. Keys are the images' indices in their source. A probe
  /// costs as much as an evaluation.
  func probeCurvature(_ points: [[Double]], images: [Int], keys: [UInt64], probes: CurvatureProbes) throws
    -> [[Double]?]

  /// The values x of points in pixel space, nil where one isn't finite.
  func values(_ points: [[Double]]) throws -> [[Double]?]
}

func allFinite(_ values: [Double]) -> Bool { values.allSatisfy { $0.isFinite } }

/// Packs rows into a tensor of the prior's scalars.
func pack<S: KernelScalar>(_ rows: [[Double]], shape: [Int], as type: S.Type = S.self) throws(TensorError)
  -> Tensor<S>
{
  var tensor = try Tensor<S>(shape: shape)
  tensor.withUnsafeMutableBufferPointer { out in
    var next = 0
    for row in rows {
      for value in row {
        out[next] = S(value)
        next += 1
      }
    }
  }
  return tensor
}

/// The rows of a tensor as doubles.
func unpack<S: KernelScalar>(_ tensor: Tensor<S>) -> [[Double]] {
  let n = tensor.shape.first ?? 0
  let size = tensor.rowLength
  return tensor.withUnsafeBufferPointer { values in
    (0..<n).map { i in (0..<size).map { Double(values[i * size + $0]) } }
  }
}

/// The objective over pixels x.
public final class PixelObjective<Scalar: KernelScalar>: Objective {
  public let problem: InverseProblem
  public let prior: any ImagePrior<Scalar>
  public let gaussian: GaussianDensity?
  /// Taken for the second derivative of R_flow before it is probed, per squared pixel of [0, 1].
  public let isotropicCurvature: Double
  private let cache = CurvatureCache()

  public var dimension: Int { problem.imageShape.count }
  public var latentCoordinates: Bool { false }
  public var resolution: Double { Double(Scalar.ulpOfOne) }

  /// Throws where the prior's images have another shape than the problem's.
  public init(
    problem: InverseProblem, prior: any ImagePrior<Scalar>, gaussian: GaussianDensity?,
    isotropicCurvature: Double = 1e4
  ) throws(ProblemError) {
    try checkShapes(problem, prior: prior.imageShape, gaussian: gaussian)
    self.problem = problem
    self.prior = prior
    self.gaussian = gaussian
    self.isotropicCurvature = isotropicCurvature
  }

  public func representable(_ point: [Double]) -> [Double] { point.map { Double(Scalar($0)) } }

  public func evaluate(_ points: [[Double]], images: [Int], weights: [ObjectiveWeights]) throws
    -> [ObjectiveSample?]
  {
    let shape = problem.imageShape
    let flowRows = points.indices.filter { weights[$0].flow != 0 && allFinite(points[$0]) }
    var flows: [Int: (Double, [Double])] = [:]
    if !flowRows.isEmpty {
      let x: Tensor<Scalar> = try pack(
        flowRows.map { points[$0] }, shape: [flowRows.count, shape.height, shape.width, shape.channels])
      let (logProb, gradient) = try prior.evaluateWithGradient(x)
      let rows = unpack(gradient)
      for (k, i) in flowRows.enumerated() { flows[i] = (-logProb[k], rows[k].map { -$0 }) }
    }
    return try points.indices.map { i in
      guard allFinite(points[i]) else { return nil }
      let pixels = problem.pixels(points[i])
      let (recon, pixelGradient) = try problem.recon(pixels: pixels, image: images[i])
      let reconGradient = problem.pullback(pixelGradient, at: points[i])
      let flow = flows[i]
      var normal: (value: Double, gradient: [Double])?
      if let gaussian, weights[i].t < 1 {
        // It is a density of pixels, so that its solution is a closed form.
        let (value, gradient) = gaussian.negativeLogProb(pixels)
        normal = (value, problem.pullback(gradient, at: points[i]))
      }
      let sample = ObjectiveSample(
        recon: recon, flow: flow?.0, gaussian: normal?.value,
        gradient: .split(recon: reconGradient, flow: flow?.1, gaussian: normal?.gradient),
        pixels: pixels)
      guard sample.serves(weights[i]), sample.value(weights[i]).isFinite, allFinite(reconGradient),
        allFinite(flow?.1 ?? []), allFinite(normal?.gradient ?? [])
      else { return nil }
      return sample
    }
  }

  /// The data term's curvature exactly; the flow's as probed, or isotropic before. At t = 0 the Gaussian's
  /// is exact, too; in between, its diagonal is mixed with the flow's.
  public func curvature(at point: [Double], image: Int, weights: ObjectiveWeights, probed: [Double]?) throws
    -> (any CurvatureSolver)?
  {
    guard let linear = problem.linearOperator(image), weights.lambda > 0 else { return nil }
    let noise = problem.noise(image).curvature(problem.observations[image])
    let white = try noise.whiten(linear)
    let weight = 1 / noise.whiteVariance
    if weights.t == 0, let gaussian {
      let key = CurvatureCache.Key(image: problem.isShared ? -1 : image, lambda: weights.lambda)
      return try cache.solver(key) {
        try gaussian.curvatureSolver(for: white, dataWeight: weight, lambda: weights.lambda)
      }
    }
    var damping = probed ?? [Double](repeating: isotropicCurvature, count: dimension)
    let slopes = problem.requantization.map { point.map($0.slope) }
    if let gaussian, weights.t < 1 {
      for (i, value) in gaussian.precisionDiagonal.enumerated() {
        let slope = slopes?[i] ?? 1
        damping[i] = weights.t * damping[i] + (1 - weights.t) * value * slope * slope
      }
    }
    damping = damping.map { weights.lambda * $0 }
    guard let slopes else { return try white.curvatureSolver(dataWeight: weight, damping: damping) }
    return try ScaledOperator(base: white, scale: slopes)
      .curvatureSolver(dataWeight: weight, damping: damping)
  }

  /// The diagonal of JᵀJ, J = ∂ε/∂x: the Gauss–Newton part of ∇²R_flow.
  public func probeCurvature(
    _ points: [[Double]], images: [Int], keys: [UInt64], probes: CurvatureProbes
  ) throws -> [[Double]?] {
    guard let prior = prior as? any LatentPrior<Scalar> else { return points.map { _ in nil } }
    let shape = problem.imageShape
    let squares = try probes.meanSquares(points: points, keys: keys, widths: points.map { _ in dimension }) {
      places, directions in
      let count = places.count
      return unpack(
        try prior.encodeGradient(
          at: try pack(places.map { points[$0] }, shape: [count, shape.height, shape.width, shape.channels]),
          latentCotangent: try pack(directions, shape: [count, dimension]),
          logDetCotangent: [Double](repeating: 0, count: count)))
    }
    return squares.map { $0.flatMap { CurvatureProbes.usable(smoothed($0, shape)) } }
  }

  public func values(_ points: [[Double]]) -> [[Double]?] { points.map { allFinite($0) ? $0 : nil } }

  /// Forgets the factorisations of images that are done.
  public func releaseCurvature() { cache.clear() }
}

func checkShapes(_ problem: InverseProblem, prior: ImageShape, gaussian: GaussianDensity?)
  throws(ProblemError)
{
  for other in [prior, gaussian?.imageShape ?? prior] where other != problem.imageShape {
    let found = problem.imageShape
    throw .shapeMismatch(
      what: "image of the problem", found: [found.height, found.width, found.channels],
      expected: [other.height, other.width, other.channels])
  }
}
