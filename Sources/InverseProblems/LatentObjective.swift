import AIPOFlows
import AIPOKernels

/// What weighs latents.
public enum LatentRegularizer: Sendable {
  /// −log p(G(ε)), the image's density.
  case density
  /// −log p_base(ε) alone, without the log-determinant: another objective, with other minimisers.
  case base
}

/// The same objective over latents ε, x = G(ε), with the log-determinant in full:
///
///     −log p(G(ε)) = −log p_base(ε) + log|det ∂x/∂ε|
///
/// so that its minimisers are those over pixels; only the conditioning differs.
public final class LatentObjective<Scalar: KernelScalar>: Objective {
  public let problem: InverseProblem
  public let prior: any LatentPrior<Scalar>
  public let gaussian: GaussianDensity?
  public let regularizer: LatentRegularizer

  public var dimension: Int { problem.imageShape.count }
  public var latentCoordinates: Bool { true }
  private var isFull: Bool { regularizer == .density }
  public var resolution: Double { Double(Scalar.ulpOfOne) }

  /// Throws where the prior's images have another shape than the problem's.
  public init(
    problem: InverseProblem, prior: any LatentPrior<Scalar>, gaussian: GaussianDensity?,
    regularizer: LatentRegularizer = .density
  ) throws(ProblemError) {
    try checkShapes(problem, prior: prior.imageShape, gaussian: gaussian)
    self.problem = problem
    self.prior = prior
    self.gaussian = gaussian
    self.regularizer = regularizer
  }

  public func representable(_ point: [Double]) -> [Double] { point.map { Double(Scalar($0)) } }

  public func evaluate(_ points: [[Double]], images: [Int], weights: [ObjectiveWeights]) throws
    -> [ObjectiveSample?]
  {
    var results = [ObjectiveSample?](repeating: nil, count: points.count)
    let finite = points.indices.filter { allFinite(points[$0]) }
    guard !finite.isEmpty else { return results }
    let latents: Tensor<Scalar> = try pack(
      finite.map { points[$0] }, shape: [finite.count, dimension])
    let (baseLogProb, baseGradient) = try prior.baseLogProbWithGradient(latents)
    let baseRows = unpack(baseGradient)
    var decoded = try DecodeGradient<Scalar>()
    try prior.decodeWithGradient(latents, &decoded) { decoded, part in
      for row in part {
        let i = finite[row]
        let x = unpack(try decoded.images.rows([row]))[0]
        var cotangent = [Double](repeating: 0, count: dimension)
        // An image that overflowed is done with; nothing goes back from it.
        if allFinite(x), decoded.logDet[row].isFinite {
          let pixels = problem.pixels(x)
          let (recon, reconGradient) = try problem.recon(pixels: pixels, image: images[i])
          cotangent = reconGradient
          var normal: Double?
          if let gaussian, weights[i].gaussian != 0 {
            let (value, gradient) = gaussian.negativeLogProb(pixels)
            normal = value
            cotangent = adding(cotangent, gradient, scaledBy: weights[i].gaussian)
          }
          cotangent = problem.pullback(cotangent, at: x)
          results[i] = ObjectiveSample(
            recon: recon, flow: (isFull ? decoded.logDet[row] : 0) - baseLogProb[row], gaussian: normal,
            gradient: .combined([], weights[i]), pixels: pixels)
        }
        decoded.logDetCotangent[row] = results[i] == nil || !isFull ? 0 : weights[i].flow
        decoded.imageCotangent.withUnsafeMutableBufferPointer { values in
          for (k, value) in cotangent.enumerated() { values[row * dimension + k] = Scalar(value) }
        }
      }
    }
    let gradient = unpack(decoded.gradient)
    for (row, i) in finite.enumerated() {
      guard var sample = results[i] else { continue }
      let total = adding(gradient[row], baseRows[row], scaledBy: -weights[i].flow)
      guard sample.serves(weights[i]), sample.value(weights[i]).isFinite, sample.recon.isFinite,
        allFinite(total)
      else {
        results[i] = nil
        continue
      }
      sample.gradient = .combined(total, weights[i])
      results[i] = sample
    }
    return results
  }

  /// `½‖ε‖²` gives λ; the data's part is as probed.
  public func curvature(at point: [Double], image: Int, weights: ObjectiveWeights, probed: [Double]?)
    -> (any CurvatureSolver)?
  {
    probed.map { DiagonalCurvature(diagonal: $0.map { weights.lambda + $0 }) }
  }

  /// The diagonal of `JᵀJ / σ²`, J = J_f(h(x)) diag(h′(x)) J_G: the Gauss–Newton part of the data term's curvature over
  /// latents.
  public func probeCurvature(
    _ points: [[Double]], images: [Int], keys: [UInt64], probes: CurvatureProbes
  ) throws -> [[Double]?] {
    let x = try values(points)
    let shape = problem.imageShape
    return try probes.meanSquares(
      points: x.map { $0 ?? [.nan] }, keys: keys,
      widths: images.map { problem.forwardOperator($0).outputCount }
    ) { places, directions in
      let cotangents = try zip(places, directions).map { i, v in
        let noise = problem.noise(images[i]).curvature(problem.observations[images[i]])
        let scaled = v.map { $0 / noise.whiteVariance.squareRoot() }
        let slope =
          try problem.linearOperator(images[i]).map { try noise.whiten($0).adjoint(scaled) }
          ?? problem.forwardOperator(images[i]).vjp(at: problem.pixels(x[i]!), scaled)
        return problem.pullback(slope, at: x[i]!)
      }
      let dimensions = [places.count, shape.height, shape.width, shape.channels]
      return unpack(
        try prior.decodeGradient(
          at: try pack(places.map { x[$0]! }, shape: dimensions),
          imageCotangent: try pack(cotangents, shape: dimensions),
          logDetCotangent: [Double](repeating: 0, count: places.count)))
    }
  }

  public func values(_ points: [[Double]]) throws -> [[Double]?] {
    let finite = points.indices.filter { allFinite(points[$0]) }
    var results = [[Double]?](repeating: nil, count: points.count)
    guard !finite.isEmpty else { return results }
    let latents: Tensor<Scalar> = try pack(finite.map { points[$0] }, shape: [finite.count, dimension])
    let decoded = unpack(try prior.decode(latents).images)
    for (k, i) in finite.enumerated() where allFinite(decoded[k]) { results[i] = decoded[k] }
    return results
  }

  /// `ε = G⁻¹(x)`, nil where it isn't finite.
  public func latents(_ pixels: [[Double]]) throws -> [[Double]?] {
    let shape = problem.imageShape
    guard !pixels.isEmpty else { return [] }
    let x: Tensor<Scalar> = try pack(
      pixels, shape: [pixels.count, shape.height, shape.width, shape.channels])
    return unpack(try prior.encode(x).latents).map { allFinite($0) ? $0 : nil }
  }
}
