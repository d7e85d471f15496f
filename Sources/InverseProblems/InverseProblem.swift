import AIPOFlows
import AIPOKernels

/// Measurements y of f(h(x)) for a batch of images: operators, noise models and observations. x is what a prior is a
/// density of, h(x) the image: h is the identity but where x is dequantised, see `Requantization`.
public struct InverseProblem: Sendable {
  public let imageShape: ImageShape
  /// The measurements, one row of m an image.
  public let observations: [[Double]]
  private let operators: [any ForwardOperator]
  private let noises: [any NoiseModel]
  /// h; nil where it is the identity.
  public var requantization: Requantization?

  /// - Parameters:
  ///   - operators: one for all images, or one an image.
  ///   - noises: one for all images, or one an image.
  ///   - observations: m finite numbers an image.
  ///   - requantization: h; nil for the identity.
  public init(
    operators: [any ForwardOperator], noises: [any NoiseModel], observations: [[Double]],
    imageShape: ImageShape, requantization: Requantization? = nil
  ) throws(ProblemError) {
    for (what, count) in [("operator list", operators.count), ("noise list", noises.count)]
    where count != 1 && count != observations.count {
      throw .shapeMismatch(what: what, found: [count], expected: [observations.count])
    }
    for f in operators where f.inputCount != imageShape.count {
      throw .shapeMismatch(
        what: "operator", found: [f.outputCount, f.inputCount],
        expected: [f.outputCount, imageShape.count])
    }
    for (i, y) in observations.enumerated() {
      let m = operators[operators.count == 1 ? 0 : i].outputCount
      guard y.count == m else {
        throw .shapeMismatch(what: "observation \(i)", found: [y.count], expected: [m])
      }
      if let bad = y.firstIndex(where: { !$0.isFinite }) {
        throw .nonFinite(what: "observation", image: i, position: bad, value: y[bad])
      }
      try noises[noises.count == 1 ? 0 : i].check(y)
    }
    self.operators = operators
    self.noises = noises
    self.observations = observations
    self.imageShape = imageShape
    self.requantization = requantization
  }

  /// With one noise model for all images.
  public init(
    operators: [any ForwardOperator], noise: any NoiseModel, observations: [[Double]],
    imageShape: ImageShape
  ) throws(ProblemError) {
    try self.init(
      operators: operators, noises: [noise], observations: observations, imageShape: imageShape)
  }

  /// From a tensor: `[n, m]` or `[m]` measurements, or whole images `[n, h, w, c]`. Of whole images a mask
  /// takes its observed values, so hidden ones may be anything, NaN included.
  public init<S: KernelScalar>(
    operators: [any ForwardOperator], noise: any NoiseModel, observation: Tensor<S>,
    imageShape: ImageShape
  ) throws(ProblemError) {
    let d = imageShape.count
    let image = [imageShape.height, imageShape.width, imageShape.channels]
    let m = operators.first?.outputCount ?? d
    let isWhole = observation.shape.count == 4
    if isWhole, Array(observation.shape.dropFirst()) != image {
      throw .shapeMismatch(
        what: "observation", found: observation.shape, expected: [observation.shape[0]] + image)
    }
    let n = observation.shape.count == 1 ? 1 : observation.shape.first ?? 0
    let width = n == 0 ? m : observation.count / n
    let values = observation.elements
    var rows: [[Double]] = []
    for i in 0..<n {
      let row = values[(i * width)..<((i + 1) * width)].map { Double($0) }
      let f = operators[operators.count == 1 ? 0 : min(i, operators.count - 1)]
      if let mask = f as? MaskOperator, row.count == d, isWhole || mask.outputCount != d {
        rows.append(mask.apply(row))
      } else if isWhole || observation.shape.count <= 2 {
        rows.append(row)
      } else {
        throw .shapeMismatch(what: "observation", found: observation.shape, expected: [n, f.outputCount])
      }
    }
    try self.init(operators: operators, noise: noise, observations: rows, imageShape: imageShape)
  }

  /// The same problem with other noise models, or other observations.
  public func replacing(noises: [any NoiseModel]? = nil, observations: [[Double]]? = nil)
    throws(ProblemError) -> InverseProblem
  {
    try InverseProblem(
      operators: operators, noises: noises ?? self.noises, observations: observations ?? self.observations,
      imageShape: imageShape, requantization: requantization)
  }

  /// Images in the problem.
  public var count: Int { observations.count }

  /// Whether what is factored for one image's operator and noise serves all.
  public var isShared: Bool { operators.count == 1 && noises.count == 1 && !noises[0].dependsOnSignal }

  /// The noise model of an image.
  public func noise(_ image: Int) -> any NoiseModel { noises[noises.count == 1 ? 0 : image] }

  /// The operator of an image.
  public func forwardOperator(_ image: Int) -> any ForwardOperator {
    operators[operators.count == 1 ? 0 : image]
  }

  /// The operator of an image where it is linear.
  public func linearOperator(_ image: Int) -> (any LinearOperator)? {
    forwardOperator(image) as? any LinearOperator
  }

  /// The image h(x).
  public func pixels(_ x: [Double]) -> [Double] { requantization?.pixels(x) ?? x }

  /// The x of an image, `h⁻¹(v)`.
  public func values(_ pixels: [Double]) -> [Double] { requantization?.values(pixels) ?? pixels }

  /// `h′(x) g`, the gradient in x of what has the gradient g in h(x).
  public func pullback(_ gradient: [Double], at x: [Double]) -> [Double] {
    guard let requantization else { return gradient }
    return x.indices.map { gradient[$0] * requantization.slope(x[$0]) }
  }

  /// How far an image v is from its observation in units of what the noise leads to expect, `NoiseModel.misfit`.
  public func misfit(_ pixels: [Double], image: Int) -> Double {
    noise(image).misfit(observations[image], prediction: forwardOperator(image).apply(pixels))
  }

  /// `L_recon(x) = −log p(y | f(h(x)))` of an image in nats, and its gradient.
  public func recon(_ x: [Double], image: Int) throws(ProblemError) -> (value: Double, gradient: [Double]) {
    let (value, gradient) = try recon(pixels: pixels(x), image: image)
    return (value, pullback(gradient, at: x))
  }

  /// `−log p(y | f(v))` of an image v in nats, and its gradient.
  public func recon(pixels: [Double], image: Int) throws(ProblemError) -> (
    value: Double, gradient: [Double]
  ) {
    let f = forwardOperator(image)
    let (value, gradient) = try noise(image).negativeLogLikelihood(
      observations[image], prediction: f.apply(pixels))
    return (value, f.vjp(at: pixels, gradient))
  }
}
