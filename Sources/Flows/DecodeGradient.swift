import AIPOKernels

/// What `Flow.decodeWithGradient` gives and asks for; made once and used again, it spares allocations.
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
