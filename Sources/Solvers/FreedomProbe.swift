import AIPOKernels
import AIPOProblems

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
struct FreedomProbe {
  private let data: DataTerm
  private let linearMap: any LinearMap
  /// g.
  private let draw: Tensor<Double>
  /// Moving the score by g subtracts `tiltᵀh(x)` from the data term.
  private let tilt: Tensor<Double>
  /// The data term with moved measurements in place of the tilt.
  private let moved: DataTerm?

  /// `noise` has the curvature of the data term's.
  init(
    _ data: DataTerm, linearMap: any LinearMap, noise: GaussianNoise, seed: UInt64, source: UInt64,
    _ scratch: Scratch
  ) throws {
    self.data = data
    self.linearMap = linearMap
    var random = Philox(seed: seed, index: source, purpose: .probe)
    var signs = try Tensor<Double>(count: linearMap.output.count)
    signs.withMemory { $0.setSigns(&random) }
    var draw = signs
    draw.withMemory { noise.drawScore($0, scratch.pool) }
    self.draw = draw
    var tilt = try Tensor<Double>(count: data.count)
    try tilt.withMemory { try linearMap.adjoint(draw.view, into: $0, scratch) }
    self.tilt = tilt
    guard data.noise.hasBoundedScore else {
      moved = nil
      return
    }
    signs.withMemory {
      noise.colour($0, scratch.pool)
      $0.add(data.observation.view, scratch.pool)
    }
    moved = DataTerm(map: data.map, noise: data.noise, observation: signs, encoding: data.encoding)
  }

  /// Makes of a sample that of the objective with the moved score.
  func tilt(_ sample: ObjectiveSample, _ scratch: Scratch) throws {
    guard sample.combinedAt == nil else { return }
    if let moved {
      sample.recon = try moved.evaluate(sample.point, gradient: sample.reconGradient, scratch)
      return
    }
    sample.recon -= tilt.view.dot(sample.pixels, scratch.pool)
    try scratch.scope {
      let slope = try scratch.take(tilt.count)
      slope.set(tilt.view, scratch.pool)
      data.encoding?.pullBack(slope, at: sample.point, scratch.pool)
      sample.reconGradient.add(slope, times: -1, scratch.pool)
    }
  }

  /// The estimate from the images of the solutions without and with the moved score, between 0 and m.
  func degreesOfFreedom(_ pixels: Vector, moved: Vector, _ scratch: Scratch) throws -> Double {
    try scratch.scope {
      let change = try scratch.take(pixels.count)
      let seen = try scratch.take(draw.count)
      change.setDifference(moved, pixels, scratch.pool)
      try linearMap.apply(change, into: seen, scratch)
      return min(max(draw.view.dot(seen, scratch.pool), 0), Double(draw.count))
    }
  }
}
