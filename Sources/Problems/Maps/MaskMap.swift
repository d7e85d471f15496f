import AIPOKernels
import AIPOPriors

/// `f(x)` keeps the observed values of an image, in order: inpainting. m is their number, 0 included.
public struct MaskMap: LinearMap {
  public let input: ImageShape
  public var output: ImageShape { .vector(observed.count) }
  public let normal: NormalForm
  /// Positions of the observed values, ascending.
  public let observed: [Int]

  /// `mask[i]` says whether value i (h, w, c order) is observed. Throws where the mask is of another size.
  public init(_ shape: ImageShape, mask: [Bool]) throws(ProblemError) {
    guard mask.count == shape.count else {
      throw .shapeMismatch(what: "mask", found: [mask.count], expected: [shape.count])
    }
    input = shape
    observed = mask.indices.filter { mask[$0] }
    normal = .pixelwise(try memory { () throws(TensorError) in try Tensor(mask.map { $0 ? 1 : 0 }) })
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) {
    precondition(x.count == input.count && y.count == observed.count)
    for k in 0..<observed.count { y[k] = x[observed[k]] }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) {
    precondition(x.count == input.count && u.count == observed.count)
    x.set(0, scratch.pool)
    for k in 0..<observed.count { x[observed[k]] = u[k] }
  }
}
