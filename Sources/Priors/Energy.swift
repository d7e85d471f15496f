import AIPOKernels

/// The negative logarithm of something, in nats, with all its constants: of a likelihood, of a prior density, of a penalty.
public protocol Energy: Sendable {
  /// Values of a point.
  var count: Int { get }

  /// E(x), and `gradient ← ∇E(x)` where a gradient is asked for. What isn't finite is given as it is: E where the density
  /// is 0 or overflows, and then any gradient. Throws where memory is short.
  func evaluate(_ x: Vector, gradient: Vector?, _ scratch: Scratch) throws -> Double
}

extension Energy {
  /// E(x) and ∇E(x) of a point that is given as an array: for looking at single points.
  public func evaluate(_ x: [Double], _ scratch: Scratch = Scratch()) throws -> (
    value: Double, gradient: [Double]
  ) {
    precondition(x.count == count)
    return try scratch.scope {
      let (point, gradient) = (try scratch.take(count), try scratch.take(count))
      point.copy(from: x)
      let value = try evaluate(point, gradient: gradient, scratch)
      return (value, gradient.elements)
    }
  }
}
