import AIPOInverseProblems
import AIPOKernels

/// Estimates the effective degrees of freedom of a fit, `E[sᵀ(f(x*) − f(x_T))]` with s the score of the noise and
/// `f(x)` for `f(h(x))`, by one random probe: the score is moved by a draw g of its own covariance, made of random
/// signs, the solution follows for a few evaluations, and `df ≈ gᵀ(f(x*(s + g)) − f(x*(s)))`. For white Gaussian noise
/// that moves the measurements by `σb`, and df estimates `tr ∂f(x*)/∂y`.
///
/// Where the score is bounded, as under Laplace's or Student's law, a score moved so far would lie beyond what any
/// measurement can do. There the measurements themselves are moved by `σb`, σ of the same curvature, and the score
/// follows as it does; by partial integration `E[sᵀf(x*)]` is tr ∂f(x*)/∂y under any smooth density of y − f.
///
/// The move is as large as the noise. A derivative in the small says little here: a flow's landscape is rough far
/// below the noise, and its Hessian at x* sees the roughness, not the slope that the noise sees.
/// Source: S. Ramani, T. Blu, M. Unser, *Monte-Carlo SURE*, IEEE Trans. Image Processing 17 (2008).
struct FreedomProbe: Sendable {
  private let problem: InverseProblem
  private let linearOperator: any LinearOperator
  /// g.
  private let draw: [Double]
  /// Moving the score by g subtracts `tiltᵀh(x)` from the data term.
  private let tilt: [Double]
  /// The problem with moved measurements in place of the tilt.
  private let moved: InverseProblem?

  /// Where the probe began, to go back to.
  let point: [Double]
  let sample: ObjectiveSample
  /// Evaluations after which it ends.
  let limit: Int

  /// `noise` has the curvature of the problem's.
  init(
    problem: InverseProblem, image: Int, linearOperator: any LinearOperator, noise: GaussianNoise,
    point: [Double], sample: ObjectiveSample, limit: Int, seed: UInt64, source: UInt64
  ) throws(ProblemError) {
    self.problem = problem
    self.linearOperator = linearOperator
    self.point = point
    self.sample = sample
    self.limit = limit
    var random = Philox(seed: seed, index: source, purpose: .probe)
    let signs = (0..<linearOperator.outputCount).map { _ in random.next() & 1 == 0 ? 1.0 : -1.0 }
    draw = noise.scoreDraw(signs)
    tilt = linearOperator.adjoint(draw)
    let law = problem.noise(image)
    moved =
      law.hasBoundedScore
      ? try InverseProblem(
        operators: [linearOperator], noises: [law],
        observations: [adding(problem.observations[image], noise.coloured(signs), scaledBy: 1)],
        imageShape: problem.imageShape, requantization: problem.requantization) : nil
  }

  /// The sample of the objective with the moved score.
  func tilted(_ sample: ObjectiveSample, at point: [Double]) throws(ProblemError) -> ObjectiveSample {
    guard case .split(let recon, let flow, let gaussian) = sample.gradient else { return sample }
    var result = sample
    if let moved {
      let (value, slope) = try moved.recon(point, image: 0)
      result.recon = value
      result.gradient = .split(recon: slope, flow: flow, gaussian: gaussian)
      return result
    }
    result.recon -= dot(tilt, sample.pixels ?? point)
    result.gradient = .split(
      recon: adding(recon, problem.pullback(tilt, at: point), scaledBy: -1), flow: flow, gaussian: gaussian)
    return result
  }

  /// The estimate from the solution with the moved score, between 0 and m.
  func degreesOfFreedom(at moved: [Double]) -> Double {
    let change = linearOperator.apply(adding(problem.pixels(moved), problem.pixels(point), scaledBy: -1))
    return min(max(dot(draw, change), 0), Double(draw.count))
  }
}
