import AIPOKernels

/// An exact density over images, with its gradient.
///
/// Batches are `[n, h, w, c]`. Every image's value depends on that image alone, to the bit.
/// A point outside the density's support, or one where it overflows, gives a non-finite value for
/// that image (−∞ or NaN) and disturbs no other image: a solver treats it as infeasible.
public protocol ImagePrior<Scalar>: Sendable {
  associatedtype Scalar: KernelScalar
  var imageShape: ImageShape { get }

  /// `log p(x)` in nats, one a image. Throws only when memory or shape is wrong.
  func evaluate(_ x: Tensor<Scalar>) throws -> [Double]

  /// `log p(x)` and `∇ₓ log p(x)`.
  func evaluateWithGradient(_ x: Tensor<Scalar>) throws -> (logProb: [Double], gradient: Tensor<Scalar>)
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

  /// `log p(ε)` of the base density and its gradient (one value a row).
  func baseLogProbWithGradient(_ latents: Tensor<Scalar>) throws -> (
    logProb: [Double], gradient: Tensor<Scalar>
  )
}
