import AIPOKernels
import AIPOProblems

/// What is measured of a map: its norm, and how far it is from what solvers rely on, the worst of three random vectors, all
/// relative. Of a map that isn't linear adjoint and normal form are its derivative's.
public struct MapMeasures: Sendable {
  public let input: ImageShape
  public let output: ImageShape
  /// `‖A‖`; nil of a map that isn't linear.
  public let norm: Double?
  /// ⟨Ax, u⟩ against ⟨x, Aᵀu⟩.
  public private(set) var adjoint = 0.0
  /// What is known of AᵀA against products.
  public private(set) var normal = 0.0
  /// The derivative against central differences.
  public private(set) var pullback = 0.0

  public init(_ map: any Map) throws {
    (input, output) = (map.input, map.output)
    norm = try (map as? any LinearMap).map { try MapChecks.norm($0) }
    for seed in 0..<3 as Range<UInt64> {
      let point = try MapChecks.point(map, seed: seed)
      if let linear = try map.derivative(at: point.view, Scratch()) {
        adjoint = MapChecks.worse(adjoint, try MapChecks.adjointMismatch(linear, seed: seed))
        normal = MapChecks.worse(normal, try MapChecks.normalMismatch(linear, seed: seed))
      }
      pullback = MapChecks.worse(pullback, try MapChecks.pullbackMismatch(map, at: point, seed: seed))
    }
  }

  /// With the bounds of rounding.
  public var results: [CheckResult] {
    [("adjoint", adjoint, 1e-12), ("normal", normal, 1e-12), ("pullback", pullback, 1e-7)].map {
      CheckResult(property: "\($0.0) mismatch", measured: $0.1, bound: .atMost($0.2))
    }
  }

  /// A line for the map, and one for each measure.
  public var text: String {
    ([
      "\(input) to \(output), \(norm.map { "norm \($0)" } ?? "not linear: its derivative is measured")"
    ] + results.map { "\($0.property) \($0.measured)" }).joined(separator: "\n")
  }
}
