import AIPOFlows
import AIPOKernels

/// A density over images of one shape, as the energy `R(x) = −log p(x)`.
public protocol Prior: Energy {
  var imageShape: ImageShape { get }

  /// h: the image that a point stands for is h(x), see `Requantization`. Nil for the identity. What is measured is an
  /// image, so h belongs to the data term.
  var encoding: Requantization? { get }

  /// Whether exp(−R) is a density, of integral 1. Where it isn't, its integral isn't known.
  var isNormalized: Bool { get }

  /// Unit roundoff of the arithmetic that R is computed in, relative to R.
  var resolution: Double { get }

  /// Whether R has second derivatives everywhere in its support: with ReLU it has none at its kinks.
  var isSmooth: Bool { get }

  /// The rows of a larger image that `imageShape` is a strip of, where the prior can be asked strip by strip: solvers then sum as
  /// `Strips` does, also where there is one strip. Nil of a prior that needs the whole image.
  var strips: Strips? { get }

  /// Moves x to the nearest point at which R can be had exactly: its values as the prior's arithmetic holds them.
  func round(_ x: Vector, _ scratch: Scratch)

  /// Length of the vectors that the curvature is probed with; nil where it can't be.
  var probeLength: Int? { get }

  /// `g ← Mᵀv` of an M whose MᵀM is the Gauss–Newton part of ∇²R at x. As dear as a gradient.
  func probe(_ v: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws

  /// The noise levels s at which the density of images with noise, `p_s = p ∗ N(0, s²I)`, is known; nil where p alone is.
  var noiseLevels: Condition? { get }

  /// Whether an image's mirror image, left and right, is as probable in truth. A flow that was trained on both gives the two
  /// different means all the same, so a path sees them in turn.
  var seesMirrorImages: Bool { get }

  /// The prior `R_s = −log p_s`, of one that has noise levels. Where a prior sees an image in pieces, each turn cuts it in
  /// another way, and the next turns in a fixed order: averages over turns have no seams.
  func smoothed(by s: Double, turn: Int) throws -> any Prior

  /// `z ← D_s(v)`, the mean of the images that may lie behind `v = x + s·n` (Tweedie's formula): `v − s²∇R_s(v)`, but where
  /// an image's border is seen more than once, the mean of what is seen. Gives R_s(v). Of a prior with noise levels.
  func denoise(_ v: Vector, noise s: Double, turn: Int, into z: Vector, _ scratch: Scratch) throws -> Double
}

extension LatentPrior {
  public var hasUniformBase: Bool { false }
}

extension Prior {
  public var count: Int { imageShape.count }
  public var encoding: Requantization? { nil }
  public var resolution: Double { .ulpOfOne }
  public var isSmooth: Bool { true }
  public var isNormalized: Bool { true }
  public var strips: Strips? { nil }
  public func round(_ x: Vector, _ scratch: Scratch) {}
  public var probeLength: Int? { nil }
  public func probe(_ v: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    preconditionFailure("this prior's curvature can't be probed")
  }
  public var noiseLevels: Condition? { nil }
  public var seesMirrorImages: Bool { false }
  public func smoothed(by s: Double, turn: Int) throws -> any Prior {
    preconditionFailure("this prior knows images without noise alone")
  }
  public func denoise(_ v: Vector, noise s: Double, turn: Int, into z: Vector, _ scratch: Scratch) throws
    -> Double
  {
    let value = try smoothed(by: s, turn: turn).evaluate(v, gradient: z, scratch)
    z.set(1, v, plus: -s * s, scratch.pool)
    return value
  }
}

/// A density made by an invertible map `x = G(ε)` of a base density, so that one can work in ε as well.
public protocol LatentPrior: DrawablePrior {
  /// Whether the base density is uniform on [0, 1]; it is N(0, I) else.
  var hasUniformBase: Bool { get }

  /// `latents ← ε = G⁻¹(x)`; gives `log|det ∂ε/∂x|`.
  func encode(_ x: Vector, into latents: Vector, _ scratch: Scratch) throws -> Double

  /// `x ← G(ε)`; gives `log|det ∂x/∂ε|`.
  func decode(_ latents: Vector, into x: Vector, _ scratch: Scratch) throws -> Double

  /// `x ← G(ε)`, and the gradient of a scalar φ of x and `l = log|det ∂x/∂ε|` by what `decode` computed on its way:
  /// `cotangents` is called with x and l, writes ∂φ/∂x and gives ∂φ/∂l, and `gradient ← ∂φ/∂ε`. `cotangents` must not
  /// call this prior.
  func decode(
    _ latents: Vector, into x: Vector, gradient: Vector, _ scratch: Scratch,
    cotangents: (_ logDet: Double, _ xbar: Vector) throws -> Double) throws

  /// `g ← J_Gᵀ x̄` at the x of a point, J_G = ∂x/∂ε.
  func decodePullback(_ xbar: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws

  /// `−log p(ε)` of the base density, and its gradient.
  func baseEnergy(_ latents: Vector, gradient: Vector, _ scratch: Scratch) throws -> Double
}
