import AIPOInverseProblems

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A Hessian-vector product by the central difference of two gradients,
///
///     ∇²L v ≈ (∇L(x + hv) − ∇L(x − hv)) / 2h
///
/// with h such that a coordinate moves by about the cube root of the arithmetic's resolution.
struct CentralDifference: Sendable {
  let ahead: [Double]
  let behind: [Double]
  private let length: Double

  init(at point: [Double], along direction: [Double], resolution: Double) {
    length = norm(direction)
    let scale = cbrt(resolution) * Double(point.count).squareRoot() / length
    ahead = adding(point, direction, scaledBy: scale)
    behind = adding(point, direction, scaledBy: -scale)
  }

  /// The product from the gradients at both points, and the points as they were evaluated, after rounding.
  func product(
    ahead: (point: [Double], gradient: [Double]), behind: (point: [Double], gradient: [Double])
  ) -> [Double] {
    let scale = length / norm(adding(ahead.point, behind.point, scaledBy: -1))
    return ahead.gradient.indices.map { scale * (ahead.gradient[$0] - behind.gradient[$0]) }
  }
}
