import AIPOFlows
import AIPOKernels

/// Noise whose density is a flow, trained on noise alone: `−log p_Δ(y − f(x))`. The measurements are as many as
/// the flow's images have values, in the same order.
///
/// Source: J. Whang, Q. Lei, A. Dimakis, *Solving Inverse Problems with a Flow-based Noise Model*, ICML 2021.
public struct FlowNoise<Scalar: KernelScalar>: NoiseModel {
  public let flow: any LatentPrior<Scalar>
  private let gaussian: GaussianNoise

  /// - Parameter gaussian: of the mean and covariance of the noise.
  public init(flow: any LatentPrior<Scalar>, gaussian: GaussianNoise) {
    self.flow = flow
    self.gaussian = gaussian
  }

  /// The flow of a model file, with the mean and covariance of what it was trained on. Throws where the model
  /// holds none, and what making the flow throws.
  public init(_ model: FlowModel, threads: Int = ThreadPool.availableCores) throws {
    guard let density = try GaussianDensity.ofTrainingImages(model) else {
      throw ProblemError.unsupportedNoise(
        "the noise model holds no mean and covariance of its training data, which closed-form starts need")
    }
    let gaussian: GaussianNoise
    switch density.covariance {
    case .dense(let matrix): gaussian = try GaussianNoise(covariance: matrix, mean: density.mean)
    case .lowRank(let factor, let diagonal):
      // Too large for a dense matrix: the variances alone.
      let sigmas = diagonal.indices.map { i in
        (0..<factor.columns).reduce(diagonal[i]) { $0 + factor[i, $1] * factor[i, $1] }.squareRoot()
      }
      gaussian = try GaussianNoise(sigmas: sigmas, mean: density.mean)
    }
    self.init(flow: try model.makeFlow(Scalar.self, threads: threads), gaussian: gaussian)
  }

  public func negativeLogLikelihood(_ y: [Double], prediction: [Double]) throws(ProblemError)
    -> (value: Double, gradient: [Double])
  {
    precondition(y.count == prediction.count)
    let noise = adding(y, prediction, scaledBy: -1)
    let (logProb, gradient) = try own { try flow.evaluateWithGradient(try tensor(noise)) }
    return (-logProb[0], gradient.elements.map { Double($0) })
  }

  /// A draw of a flow with a Gaussian base.
  public func sample(prediction: [Double], random: inout Philox) throws(ProblemError) -> [Double] {
    let latents = prediction.map { _ in random.normal() }
    let noise = try own {
      try flow.decode(try pack([latents], shape: [1, latents.count])).images.elements.map { Double($0) }
    }
    if let bad = noise.firstIndex(where: { !$0.isFinite }) {
      throw .nonFinite(what: "draw of the noise model for image", image: 0, position: bad, value: noise[bad])
    }
    return adding(prediction, noise, scaledBy: 1)
  }

  public func matched(_ y: [Double]) -> GaussianNoise { gaussian }

  public func misfit(_ y: [Double], prediction: [Double]) -> Double {
    gaussian.misfit(y, prediction: prediction)
  }

  public func restricted(to positions: [Int]) throws(ProblemError) -> any NoiseModel {
    guard positions == Array(0..<flow.imageShape.count) else {
      throw .unsupportedNoise(
        "a flow as the noise model gives no density for \(positions.count) of its \(flow.imageShape.count) values"
      )
    }
    return self
  }

  public func check(_ y: [Double]) throws(ProblemError) {
    guard y.count == flow.imageShape.count else {
      throw .shapeMismatch(
        what: "the noise model's image", found: [flow.imageShape.count], expected: [y.count])
    }
  }

  private func tensor(_ values: [Double]) throws -> Tensor<Scalar> {
    let shape = flow.imageShape
    return try pack([values], shape: [1, shape.height, shape.width, shape.channels])
  }

  /// What a flow throws is short memory.
  private func own<R>(_ body: () throws -> R) throws(ProblemError) -> R {
    do {
      return try body()
    } catch let error as TensorError {
      throw .memory(error)
    } catch {
      throw .unsupportedNoise("the noise model failed: \(error)")
    }
  }
}
