import AIPOPlatform
import AIPOProblems

/// A way through the weights (λ, t) from an easy objective at s = 0 to the target at s = 1.
public protocol SolutionPath: Sendable {
  /// The name in results: `lambda`, `prior`, `fixed` …
  var name: String { get }
  func weights(at s: Double) -> ObjectiveWeights
  /// A first step in s that suits it.
  var firstStep: Double { get }
  /// The next place after s < 1 where the path turns, or 1. No step goes beyond it, and from before it nothing
  /// is predicted for what lies behind.
  func corner(after s: Double) -> Double
}

extension SolutionPath {
  public var firstStep: Double { 0.05 }
  public func corner(after s: Double) -> Double { 1 }
}

/// λ from λ₀ to Λ at the target's t, geometrically: `λ(s) = λ₀^{1−s} Λ^s`.
///
/// λ = 0 itself is the start point where the operator is injective (A⁺y); where it isn't, argmin F is a
/// whole affine set, and the solution at a small λ₀ > 0 stands near its most probable point.
public struct LambdaPath: SolutionPath {
  public let start: Double
  public let target: ObjectiveWeights
  public var name: String { "lambda" }

  public init(target: ObjectiveWeights, start: Double? = nil) {
    self.target = target
    self.start = start ?? target.lambda / 64
  }

  public func weights(at s: Double) -> ObjectiveWeights {
    var weights = target
    if s < 1 { weights.lambda = s <= 0 ? start : start * pow(target.lambda / start, s) }
    return weights
  }
}

/// t from 0 to the target's in `(1 − t) R_gauss + t R_flow` at λ = Λ. At t = 0 and for linear operators the solution
/// is a closed form, full rank or not.
public struct PriorPath: SolutionPath {
  public let target: ObjectiveWeights
  public var name: String { "prior" }

  public init(target: ObjectiveWeights) { self.target = target }

  public func weights(at s: Double) -> ObjectiveWeights {
    ObjectiveWeights(lambda: target.lambda, t: s * target.t)
  }
}

/// Any way through (λ, t): straight between corners, in log λ and in t, each leg as long in s as the others.
/// By default it is walked a leg a step.
public struct CurvePath: SolutionPath {
  public let name: String
  public let corners: [ObjectiveWeights]

  /// Two corners at least, λ above 0, both as multiples of the target's.
  public init(
    name: String = "curve", corners: [ObjectiveWeights],
    target: ObjectiveWeights = ObjectiveWeights(lambda: 1)
  ) {
    precondition(corners.count > 1 && corners.allSatisfy { $0.lambda > 0 && (0...1).contains($0.t) })
    self.name = name
    self.corners = corners.map { ObjectiveWeights(lambda: target.lambda * $0.lambda, t: target.t * $0.t) }
  }

  /// The noise as the third thing to be amortized: as if its variance were `excess` times what it is, with
  /// the Gaussian prior first and then with the flow, and from there down to what it is. A solution depends
  /// on λσ² alone, so this is λ from `excess·Λ` to Λ.
  public static func noise(target: ObjectiveWeights, excess: Double = 3) -> CurvePath {
    CurvePath(
      name: "noise",
      corners: [
        ObjectiveWeights(lambda: excess, t: 0), ObjectiveWeights(lambda: excess), ObjectiveWeights(lambda: 1),
      ], target: target)
  }

  private var legs: Double { Double(corners.count - 1) }
  public var firstStep: Double { 1 / legs }

  public func weights(at s: Double) -> ObjectiveWeights {
    let place = min(max(s, 0), 1) * legs
    let nearest = place.rounded()
    // Steps of 1/legs must meet the corners, whatever their rounding.
    if (place - nearest).magnitude < 1e-9 { return corners[Int(nearest)] }
    let (a, b) = (corners[Int(place)], corners[Int(place) + 1])
    let u = place - place.rounded(.down)
    return ObjectiveWeights(lambda: a.lambda * pow(b.lambda / a.lambda, u), t: a.t + u * (b.t - a.t))
  }

  public func corner(after s: Double) -> Double { min(((s * legs + 1e-9).rounded(.down) + 1) / legs, 1) }
}

/// The target from the start: the baseline.
public struct FixedWeights: SolutionPath {
  public let target: ObjectiveWeights
  public var name: String { "fixed" }

  public init(_ target: ObjectiveWeights) { self.target = target }

  public func weights(at s: Double) -> ObjectiveWeights { target }
}
