import AIPOKernels

/// An exact density over images, with its gradient.
///
/// Batches are `[n, h, w, c]`. Every image's value depends on that image alone, to the bit.
/// A point outside the density's support, or one where it overflows, gives a non-finite value for
/// that image (−∞ or NaN) and disturbs no other image: a solver treats it as infeasible.
public protocol ImagePrior<Scalar>: Sendable {
  associatedtype Scalar: KernelScalar
  var imageShape: ImageShape { get }

  /// Whether the density has second derivatives everywhere in its support: with ReLU it has none at its kinks.
  var isSmooth: Bool { get }

  /// `log p(x)` in nats, one a image. Throws only when memory or shape is wrong.
  func evaluate(_ x: Tensor<Scalar>) throws -> [Double]

  /// `log p(x)` and `∇ₓ log p(x)`.
  func evaluateWithGradient(_ x: Tensor<Scalar>) throws -> (logProb: [Double], gradient: Tensor<Scalar>)

  /// The same into given memory, which is used again where it has the right size.
  func evaluateWithGradient(
    _ x: Tensor<Scalar>, logProb: inout [Double], gradient: inout Tensor<Scalar>) throws
}

extension ImagePrior {
  public var isSmooth: Bool { true }

  public func evaluateWithGradient(
    _ x: Tensor<Scalar>, logProb: inout [Double], gradient: inout Tensor<Scalar>
  ) throws { (logProb, gradient) = try evaluateWithGradient(x) }
}

/// A density made by an invertible map `x = G(z)` of a base density, so that one can work in z as well.
public protocol LatentPrior<Scalar>: ImagePrior {
  /// `ε = G⁻¹(x)` as `[n, d]`, and `log|det ∂ε/∂x|`.
  func encode(_ x: Tensor<Scalar>) throws -> (latents: Tensor<Scalar>, logDet: [Double])

  /// `x = G(ε)` as `[n, h, w, c]`, and `log|det ∂x/∂ε|`.
  func decode(_ latents: Tensor<Scalar>) throws -> (images: Tensor<Scalar>, logDet: [Double])

  /// Given `x = G(ε)`, `∂φ/∂x` and `∂φ/∂ log|det ∂x/∂ε|` of some scalar φ (one a image), gives
  /// `∂φ/∂ε = J_Gᵀ x̄ + ℓ̄ ∇_ε log|det J_G|`; ε is recomputed from x on the way.
  func decodeGradient(at images: Tensor<Scalar>, imageCotangent: Tensor<Scalar>, logDetCotangent: [Double])
    throws -> Tensor<Scalar>

  /// `decode`, and the gradient of φ by what `decode` computed on its way: `cotangents` is called with the images of a
  /// part of the batch, sets `∂φ/∂x` and `∂φ/∂ log|det ∂x/∂ε|` of theirs, and the gradient of these images follows. A
  /// part is all of the batch unless memory is short. `cotangents` must not call this prior.
  func decodeWithGradient(
    _ latents: Tensor<Scalar>, _ result: inout DecodeGradient<Scalar>,
    cotangents: (_ result: inout DecodeGradient<Scalar>, _ part: Range<Int>) throws -> Void) throws

  /// Given x, `∂φ/∂ε` at `ε = G⁻¹(x)` and `∂φ/∂ log|det ∂ε/∂x|` of some scalar φ (one a image), gives
  /// `∂φ/∂x = Jᵀ ε̄ + ℓ̄ ∇ₓ log|det J|`, J = ∂ε/∂x.
  func encodeGradient(at images: Tensor<Scalar>, latentCotangent: Tensor<Scalar>, logDetCotangent: [Double])
    throws -> Tensor<Scalar>

  /// `log p(ε)` of the base density and its gradient (one value a row).
  func baseLogProbWithGradient(_ latents: Tensor<Scalar>) throws -> (
    logProb: [Double], gradient: Tensor<Scalar>
  )
}

extension LatentPrior {
  public func decodeWithGradient(
    _ latents: Tensor<Scalar>, _ result: inout DecodeGradient<Scalar>,
    cotangents: (_ result: inout DecodeGradient<Scalar>, _ part: Range<Int>) throws -> Void
  ) throws {
    try result.resize(count: latents.shape[0], imageShape)
    (result.images, result.logDet) = try decode(latents)
    try cotangents(&result, 0..<latents.shape[0])
    result.gradient = try decodeGradient(
      at: result.images, imageCotangent: result.imageCotangent, logDetCotangent: result.logDetCotangent)
  }
}

/// What `LatentPrior.decodeWithGradient` gives and asks for; made once and used again, it spares allocations.
public struct DecodeGradient<Scalar: KernelScalar>: Sendable {
  /// `x = G(ε)`, `[n, h, w, c]`.
  public var images: Tensor<Scalar>
  /// `log|det ∂x/∂ε|`, one an image.
  public var logDet: [Double] = []
  /// `∂φ/∂x`
  public var imageCotangent: Tensor<Scalar>
  /// `∂φ/∂ log|det ∂x/∂ε|`
  public var logDetCotangent: [Double] = []
  /// `∂φ/∂ε`, `[n, d]`.
  public var gradient: Tensor<Scalar>

  public init() throws(TensorError) {
    images = try Tensor(shape: [0])
    imageCotangent = try Tensor(shape: [0])
    gradient = try Tensor(shape: [0])
  }

  /// Makes room for so many images.
  mutating func resize(count: Int, _ shape: ImageShape) throws(TensorError) {
    guard logDet.count != count || images.count != count * shape.count else { return }
    images = try Tensor(shape: [count, shape.height, shape.width, shape.channels])
    imageCotangent = try Tensor(shape: images.shape)
    gradient = try Tensor(shape: [count, shape.count])
    logDet = [Double](repeating: 0, count: count)
    logDetCotangent = logDet
  }
}
