import AIPOInverseProblems

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A way through the weights (λ, t) from an easy objective at s = 0 to the target at s = 1.
public protocol SolutionPath: Sendable {
  /// The name in results: `lambda`, `prior`, `fixed` …
  var name: String { get }
  func weights(at s: Double) -> ObjectiveWeights
}

/// λ from λ₀ to Λ at t = 1, geometrically: `λ(s) = λ₀^{1−s} Λ^s`.
///
/// λ = 0 itself is the start point where the operator is injective (A⁺y); where it isn't, argmin F is a
/// whole affine set, and the solution at a small λ₀ > 0 stands near its most probable point.
public struct LambdaPath: SolutionPath {
  public let start: Double
  public let target: Double
  public var name: String { "lambda" }

  public init(target: Double, start: Double? = nil) {
    self.target = target
    self.start = start ?? target / 64
  }

  public func weights(at s: Double) -> ObjectiveWeights {
    let lambda = s >= 1 ? target : s <= 0 ? start : start * pow(target / start, s)
    return ObjectiveWeights(lambda: lambda)
  }
}

/// t from 0 to 1 in `(1 − t) R_gauss + t R_flow` at λ = Λ. At t = 0 and for linear operators the solution
/// is a closed form, full rank or not.
public struct PriorPath: SolutionPath {
  public let lambda: Double
  public var name: String { "prior" }

  public init(lambda: Double) { self.lambda = lambda }

  public func weights(at s: Double) -> ObjectiveWeights { ObjectiveWeights(lambda: lambda, t: s) }
}

/// The target from the start: the baseline.
public struct FixedWeights: SolutionPath {
  public let target: ObjectiveWeights
  public var name: String { "fixed" }

  public init(_ target: ObjectiveWeights) { self.target = target }

  public func weights(at s: Double) -> ObjectiveWeights { target }
}
