import AIPOKernels
import AIPOPriors

/// `f(x) = A(Bx)`: first B, then A.
public struct ComposedMap: LinearMap {
  public let outer: any LinearMap
  public let inner: any LinearMap
  public let nearNormal: Spectrum?

  public var input: ImageShape { inner.input }
  public var output: ImageShape { outer.output }

  /// Throws where A takes other images than B gives.
  public init(_ outer: any LinearMap, after inner: any LinearMap) throws {
    guard outer.input.count == inner.output.count else {
      throw ProblemError.shapeMismatch(
        what: "input of the map that comes second", found: [outer.input.count], expected: [inner.output.count]
      )
    }
    (self.outer, self.inner) = (outer, inner)
    if case .pixelwise(let seen) = outer.normal, inner.output == inner.input {
      // A counts by its mean.
      nearNormal = try inner.nearNormal?.scaled(by: seen.view.total() / Double(max(seen.count, 1)))
    } else {
      nearNormal = nil
    }
  }

  public func apply(_ x: Vector, into y: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let between = try scratch.take(inner.output.count)
      try inner.apply(x, into: between, scratch)
      try outer.apply(between, into: y, scratch)
    }
  }

  public func adjoint(_ u: Vector, into x: Vector, _ scratch: Scratch) throws {
    try scratch.scope {
      let between = try scratch.take(inner.output.count)
      try outer.adjoint(u, into: between, scratch)
      try inner.adjoint(between, into: x, scratch)
    }
  }
}
