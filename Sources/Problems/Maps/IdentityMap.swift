import AIPOKernels
import AIPOPriors

/// `f(x) = x`: denoising.
public struct IdentityMap: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { input }

  public init(_ shape: ImageShape) { input = shape }

  /// Made anew each time, since a large image's is large.
  public var normal: NormalForm {
    guard var ones = try? Tensor<Double>(count: input.count) else { return .unknown }
    ones.withMemory { $0.set(1) }
    return .pixelwise(ones)
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) { y.set(x, scratch.pool) }
  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) { x.set(u, scratch.pool) }
}
