import AIPOKernels
import AIPOPriors

/// The known map `f` from an image to its noiseless measurements, with its derivative.
///
/// Images are flat in the order height, width, channel; measurements are a vector, `ImageShape.vector(m)`, unless they are
/// an image themselves. All is in double precision, whatever a prior computes in, and nothing is kept between calls, so
/// that several threads may call a map at once.
public protocol Map: Sendable {
  /// The images that it takes, d values.
  var input: ImageShape { get }
  /// Its measurements, m values.
  var output: ImageShape { get }

  /// `y ← f(x)`. y isn't x.
  func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws

  /// `g ← J_f(x)ᵀ u`. g isn't u.
  func pullback(_ u: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws

  /// `J_f(x)` as a map of its own: minimizers suppose `JᵀΣ⁻¹J` for the curvature (Gauss and Newton). Nil where f has it by
  /// `pullback` alone, which is enough to descend.
  func derivative(at x: Vector, _ scratch: Scratch) throws -> (any LinearMap)?

  /// The image that a direct formula makes of y, written into x: filtered back projection, k-space filled up with zeros, the
  /// spectral estimate of intensities. False, and x is undefined, where there is none.
  func estimate(_ y: Vector, into x: Vector, _ scratch: Scratch) throws -> Bool
}

extension Map {
  public func derivative(at x: Vector, _ scratch: Scratch) throws -> (any LinearMap)? { nil }

  public func estimate(_ y: Vector, into x: Vector, _ scratch: Scratch) throws -> Bool { false }
}

/// A linear map `A`. A user's own needs `input`, `output`, `apply` and `adjoint`.
public protocol LinearMap: Map {
  /// `x ← Aᵀu`. x isn't u.
  func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws

  /// `y ← AᵀA x`, by its two products unless there is a shorter way. y isn't x.
  func applyNormal(_ x: Vector, into y: Vector, _ scratch: Scratch) throws

  /// What is known of AᵀA.
  var normal: NormalForm { get }

  /// What acts on every frequency by itself and is near AᵀA: preconditioners take it. By default AᵀA itself where it is
  /// such.
  var nearNormal: Spectrum? { get }
}

/// What is known of `AᵀA`, which solvers, starts and rules ask alike.
public enum NormalForm: Sendable {
  /// Every measurement sees one value of the image at most: AᵀA is this diagonal, of d values, 0 where nothing is seen.
  case pixelwise(Tensor<Double>)
  /// A is this matrix, m × d, small enough to be factored.
  case dense(Matrix)
  /// AᵀA acts on every frequency of the image's torus by itself.
  case stationary(Spectrum)
  /// Nothing: A is used by its products alone.
  case unknown
}

extension LinearMap {
  public func derivative(at x: Vector, _ scratch: Scratch) throws -> (any LinearMap)? { self }

  public var normal: NormalForm { .unknown }

  public var nearNormal: Spectrum? {
    if case .stationary(let spectrum) = normal { spectrum } else { nil }
  }

  public func pullback(_ u: Vector, at x: Vector, into g: Vector, _ scratch: Scratch) throws {
    try adjoint(u, into: g, scratch)
  }

  public func applyNormal(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let image = try scratch.take(output.count)
      try apply(x, into: image, scratch)
      try adjoint(image, into: y, scratch)
    }
  }
}

/// What the measurements see of an image, which decides how it is solved.
public enum Coverage: Sendable {
  /// Every value by itself, so that the data alone are a picture.
  case whole
  /// Some values by themselves and nothing of the others.
  case pixels
  /// Fewer sums than values, or sums that can't be told apart under noise.
  case sums
  /// Not linear.
  case nonlinear

  /// A counts as `whole` where its rank is full and the singular values are within this ratio.
  static let leastRatio = 1e-3

  /// `strips`: where ranks share the image.
  public init(of map: any Map, _ strips: Strips? = nil) {
    guard let map = map as? any LinearMap else {
      self = .nonlinear
      return
    }
    switch map.normal {
    case .pixelwise(let diagonal):
      let hides = diagonal.elements.contains(0)
      self = strips?.any(hides) ?? hides ? .pixels : .whole
    case .dense(let matrix):
      guard matrix.rows >= matrix.columns,
        let values = try? matrix.transposedTimes(matrix).symmetricEigen().values,
        let least = values.first, let greatest = values.last
      else {
        self = .sums
        return
      }
      self = least > greatest * Self.leastRatio * Self.leastRatio ? .whole : .sums
    case .stationary(let spectrum):
      let extent = spectrum.extent
      self = extent.lowerBound > extent.upperBound * Self.leastRatio * Self.leastRatio ? .whole : .sums
    case .unknown: self = .sums
    }
  }
}
