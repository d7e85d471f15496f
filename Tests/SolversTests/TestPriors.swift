import AIPOFlowTesting
import AIPOFlows
import AIPOKernels
import AIPOPriors
import AIPOProblems
import AIPOTestCases

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A density given by a function of one image.
struct FunctionPrior: Prior {
  let imageShape: ImageShape
  var resolution = Double.ulpOfOne
  /// log p(x) and its gradient.
  let density: @Sendable ([Double]) -> (Double, [Double])

  func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) -> Double {
    let (value, slope) = density(x.elements)
    gradient?.copy(from: slope.map { -$0 })
    return -value
  }
}

/// Two Gaussian modes at ±2, deviation .5, weight `right` on +2, without their 1/(s√2π).
func twoModes(right: Double) -> FunctionPrior {
  FunctionPrior(imageShape: .vector(1)) { x in
    let logs = [(2.0, right), (-2.0, 1 - right)].map { mode, weight in
      log(weight) - (x[0] - mode) * (x[0] - mode) / 0.5
    }
    let top = max(logs[0], logs[1])
    let sum = exp(logs[0] - top) + exp(logs[1] - top)
    let share = exp(logs[0] - top) / sum
    let slope = -(share * (x[0] - 2) + (1 - share) * (x[0] + 2)) / 0.25
    return (top + log(sum), [slope])
  }
}

/// A prior that differs from another in what isn't here.
protocol WrappedPrior: LatentPrior {
  var base: WarpedGaussian { get }
}

extension WrappedPrior {
  var imageShape: ImageShape { base.imageShape }

  func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double {
    try base.evaluate(x, gradient: gradient, scratch)
  }
  func encode(_ x: Vector, into latents: Vector, _ scratch: Scratch) throws -> Double {
    try base.encode(x, into: latents, scratch)
  }
  func decode(_ latents: Vector, into x: Vector, _ scratch: Scratch) throws -> Double {
    try base.decode(latents, into: x, scratch)
  }
  func decode(
    _ latents: Vector, into x: Vector, gradient: Vector, _ scratch: Scratch,
    cotangents: (_ logDet: Double, _ xbar: Vector) throws -> Double
  ) throws {
    try base.decode(latents, into: x, gradient: gradient, scratch, cotangents: cotangents)
  }
  func decodePullback(_ xbar: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    try base.decodePullback(xbar, at: x, into: g, scratch)
  }
  func baseEnergy(_ latents: Vector, gradient: Vector, _ scratch: Scratch) throws -> Double {
    try base.baseEnergy(latents, gradient: gradient, scratch)
  }
}

/// Another prior, of values that stand for images by h.
struct EncodedPrior: WrappedPrior {
  let base: WarpedGaussian
  let encoding: Requantization?
}

extension WarpedGaussian {
  /// L Lᵀ, the covariance where nothing is warped.
  func covariance() throws -> Matrix {
    let l = try Matrix(rows: count, columns: count, rowMajor: factor)
    return try l.timesTransposed(l)
  }

  /// N(μ, L Lᵀ)
  func unwarped() throws -> GaussianPrior {
    try GaussianPrior(imageShape: imageShape, mean: mean, covariance: try covariance())
  }
}
