import AIPOKernels
import AIPOPriors

/// `f(x) = x`: denoising.
public struct IdentityMap: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { input }
  public let normal: NormalForm

  public init(_ shape: ImageShape) throws(ProblemError) {
    input = shape
    normal = .pixelwise(
      try memory { () throws(TensorError) in
        var ones = try Tensor(count: shape.count)
        ones.withMemory { $0.set(1) }
        return ones
      })
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) { y.set(x, scratch.pool) }
  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) { x.set(u, scratch.pool) }
}
