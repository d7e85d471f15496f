import AIPOInverseProblems
import AIPOKernels

/// Estimates the effective degrees of freedom of a fit, `tr ∂f(x*)/∂y`, by one random probe b of signs: the
/// measurements are moved by `h·b`, the solution follows for a few evaluations, and
/// `df ≈ bᵀ(f(x*(y + hb)) − f(x*(y))) / h`.
///
/// h is σ. A derivative in the small says little here: a flow's landscape is rough far below the noise,
/// and its Hessian at x* sees the roughness, not the slope that the noise sees.
/// Source: S. Ramani, T. Blu, M. Unser, *Monte-Carlo SURE*, IEEE Trans. Image Processing 17 (2008).
struct FreedomProbe: Sendable {
  private let linearOperator: any LinearOperator
  private let signs: [Double]
  private let shift: Double
  /// Moving y by hb subtracts `tiltᵀx` from the data term, up to a constant.
  private let tilt: [Double]

  /// Where the probe began, to go back to.
  let point: [Double]
  let sample: ObjectiveSample
  /// Evaluations after which it ends.
  let limit: Int

  init(
    linearOperator: any LinearOperator, dataWeight: Double, point: [Double], sample: ObjectiveSample,
    limit: Int,
    seed: UInt64, source: UInt64
  ) {
    self.linearOperator = linearOperator
    self.point = point
    self.sample = sample
    self.limit = limit
    var random = Philox(seed: seed, index: source, purpose: .probe)
    signs = (0..<linearOperator.outputCount).map { _ in random.next() & 1 == 0 ? 1.0 : -1.0 }
    let shift = 1 / dataWeight.squareRoot()
    self.shift = shift
    tilt = linearOperator.adjoint(signs).map { dataWeight * shift * $0 }
  }

  /// The sample of the objective with the moved measurements.
  func tilted(_ sample: ObjectiveSample, at point: [Double]) -> ObjectiveSample {
    guard case .split(let recon, let flow, let gaussian) = sample.gradient else { return sample }
    var result = sample
    result.recon -= dot(tilt, point)
    result.gradient = .split(recon: adding(recon, tilt, scaledBy: -1), flow: flow, gaussian: gaussian)
    return result
  }

  /// The estimate from the solution with the moved measurements, between 0 and m.
  func degreesOfFreedom(at moved: [Double]) -> Double {
    let change = linearOperator.apply(adding(moved, point, scaledBy: -1))
    return min(max(dot(signs, change) / shift, 0), Double(signs.count))
  }
}
