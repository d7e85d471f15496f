import AIPOFlows
import AIPOKernels

/// The same objective over latents ε, x = G(ε), with the log-determinant in full:
///
///     −log p(G(ε)) = −log p_base(ε) + log|det ∂x/∂ε|
///
/// so that its minimisers are those over pixels; only the conditioning differs.
public final class LatentObjective<Scalar: KernelScalar>: Objective {
  public let problem: InverseProblem
  public let prior: any LatentPrior<Scalar>
  public let gaussian: GaussianDensity?

  public var dimension: Int { problem.imageShape.count }
  public var latentCoordinates: Bool { true }
  public var resolution: Double { Double(Scalar.ulpOfOne) }

  /// Throws where the prior's images have another shape than the problem's.
  public init(problem: InverseProblem, prior: any LatentPrior<Scalar>, gaussian: GaussianDensity?)
    throws(ProblemError)
  {
    try checkShapes(problem, prior: prior.imageShape, gaussian: gaussian)
    self.problem = problem
    self.prior = prior
    self.gaussian = gaussian
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
    let (decoded, decodedLogDet) = try prior.decode(latents)
    let pixels = unpack(decoded)
    // Images that overflowed go no further: a row of NaN must not reach the backward pass.
    let kept = finite.indices.filter { allFinite(pixels[$0]) && decodedLogDet[$0].isFinite }
    guard !kept.isEmpty else { return results }
    let (baseLogProb, baseGradient) = try prior.baseLogProbWithGradient(try latents.rows(kept))
    let baseRows = unpack(baseGradient)

    var cotangents: [[Double]] = []
    for row in kept {
      let i = finite[row]
      let x = pixels[row]
      let (recon, reconGradient) = try problem.recon(x, image: images[i])
      var cotangent = reconGradient
      var normal: Double?
      if let gaussian, weights[i].gaussian != 0 {
        let (value, gradient) = gaussian.negativeLogProb(x)
        normal = value
        cotangent = adding(cotangent, gradient, scaledBy: weights[i].gaussian)
      }
      let base = baseLogProb[cotangents.count]
      results[i] = ObjectiveSample(
        recon: recon, flow: decodedLogDet[row] - base, gaussian: normal,
        gradient: .combined([], weights[i]), pixels: x)
      cotangents.append(cotangent)
    }
    let shape = problem.imageShape
    let gradient = unpack(
      try prior.decodeGradient(
        at: try decoded.rows(kept),
        imageCotangent: try pack(
          cotangents, shape: [kept.count, shape.height, shape.width, shape.channels]),
        logDetCotangent: kept.map { weights[finite[$0]].flow }))
    for (k, row) in kept.enumerated() {
      let i = finite[row]
      let total = adding(gradient[k], baseRows[k], scaledBy: -weights[i].flow)
      guard var sample = results[i], sample.serves(weights[i]), sample.value(weights[i]).isFinite,
        sample.recon.isFinite, allFinite(total)
      else {
        results[i] = nil
        continue
      }
      sample.gradient = .combined(total, weights[i])
      results[i] = sample
    }
    return results
  }

  public func curvature(image: Int, weights: ObjectiveWeights) -> (any CurvatureSolver)? { nil }

  public func pixels(_ points: [[Double]]) throws -> [[Double]?] {
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
