import AIPOFlows
import AIPOKernels
import AIPOPriors

/// Noise whose density is a prior trained on noise alone: `−log p_Δ(y − f(x))`. The measurements are as many as the
/// prior's images have values, in the same order.
///
/// Source: J. Whang, Q. Lei, A. Dimakis, *Solving Inverse Problems with a Flow-based Noise Model*, ICML 2021.
public struct FlowNoise: NoiseModel {
  /// p_Δ
  public let prior: any LatentPrior
  private let gaussian: GaussianNoise

  /// - Parameters:
  ///   - prior: the density of the noise.
  ///   - gaussian: of the mean and covariance of the noise.
  public init(_ prior: any LatentPrior, gaussian: GaussianNoise) {
    self.prior = prior
    self.gaussian = gaussian
  }

  /// The flow of a model file in a precision, with the mean and covariance of what it was trained on. Throws where the
  /// model holds none, and what making the flow throws.
  public init<Scalar: KernelScalar>(
    _ model: FlowModel, precision: Scalar.Type, threads: Int = ThreadPool.availableCores
  ) throws {
    guard let statistics = model.statistics else {
      throw ProblemError.unsupportedNoise(
        "the noise model holds no mean and covariance of its training data, which closed-form starts need")
    }
    let gaussian: GaussianNoise
    switch statistics.covariance {
    case .full:
      gaussian = try GaussianNoise(covariance: statistics.matrix()!, mean: statistics.mean.map { Double($0) })
    case .stationary(let lags):
      // Too large for a dense matrix: the variances alone.
      let channels = (0..<model.imageShape.count).map { $0 % lags.channels }
      gaussian = try GaussianNoise(
        sigmas: channels.map { lags.variances[$0].squareRoot() },
        mean: channels.map { Double(statistics.mean[$0]) })
    }
    self.init(FlowPrior(try model.makeFlow(Scalar.self, threads: threads)), gaussian: gaussian)
  }

  public func negativeLogLikelihood(_ y: Vector, prediction: Vector, gradient: Vector, _ scratch: Scratch)
    throws
    -> Double
  {
    try scratch.scope {
      let noise = try scratch.take(y.count)
      noise.setDifference(y, prediction, scratch.pool)
      let value = try prior.evaluate(noise, gradient: gradient, scratch)
      gradient.scale(by: -1, scratch.pool)
      return value
    }
  }

  /// A draw of a prior with a Gaussian base.
  public func sample(prediction: Vector, into y: Vector, random: inout Philox, _ scratch: Scratch) throws {
    try scratch.scope {
      let latents = try scratch.take(y.count)
      let noise = try scratch.take(y.count)
      latents.setNormals(&random)
      _ = try prior.decode(latents, into: noise, scratch)
      if let bad = (0..<noise.count).first(where: { !noise[$0].isFinite }) {
        throw ProblemError.nonFinite(
          what: "draw of the noise model for image", image: 0, position: bad, value: noise[bad])
      }
      y.setEach(scratch.pool, prediction, noise) { $0 + $1 }
    }
  }

  public func matched(_ y: Vector) -> GaussianNoise { gaussian }

  public func restricted(to positions: [Int]) throws(ProblemError) -> any NoiseModel {
    guard positions == Array(0..<prior.count) else {
      throw .unsupportedNoise(
        "a flow as the noise model gives no density for \(positions.count) of its \(prior.count) values")
    }
    return self
  }

  public func check(_ y: Vector) throws(ProblemError) {
    guard y.count == prior.count else {
      throw .shapeMismatch(what: "the noise model's image", found: [prior.count], expected: [y.count])
    }
  }
}
