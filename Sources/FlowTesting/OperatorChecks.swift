import AIPOInverseProblems
import AIPOKernels

/// Checks that a user's own operator can be put through.
public enum OperatorChecks {
  /// `|⟨Ax, u⟩ − ⟨x, Aᵀu⟩| / (‖Ax‖‖u‖ + ‖x‖‖Aᵀu‖)` at random x and u: at most about 1e-15 for a right
  /// adjoint (the dot test).
  public static func adjointMismatch(_ linearOperator: any LinearOperator, seed: UInt64 = 0) -> Double {
    var random = Philox(seed: seed, purpose: .test)
    let x = (0..<linearOperator.inputCount).map { _ in random.normal() }
    let u = (0..<linearOperator.outputCount).map { _ in random.normal() }
    let forward = linearOperator.apply(x)
    let back = linearOperator.adjoint(u)
    let scale = norm(forward) * norm(u) + norm(x) * norm(back)
    return scale == 0 ? 0 : (dot(forward, u) - dot(x, back)).magnitude / scale
  }

  /// `|⟨J(x)v, u⟩ − ⟨v, J(x)ᵀu⟩|` relative, with J(x)v by central differences of step `h`: about h² for a
  /// smooth operator.
  public static func vjpMismatch(
    _ forward: any ForwardOperator, at x: [Double], step h: Double = 1e-5, seed: UInt64 = 0
  ) -> Double {
    var random = Philox(seed: seed, purpose: .test)
    let v = x.map { _ in random.normal() }
    let u = (0..<forward.outputCount).map { _ in random.normal() }
    let plus = forward.apply(adding(x, v, scaledBy: h))
    let minus = forward.apply(adding(x, v, scaledBy: -h))
    let moved = adding(plus, minus, scaledBy: -1).map { $0 / (2 * h) }
    let back = forward.vjp(at: x, u)
    let scale = norm(moved) * norm(u) + norm(v) * norm(back)
    return scale == 0 ? 0 : (dot(moved, u) - dot(v, back)).magnitude / scale
  }

  /// The dot test of a linear operator, at most 1e-12.
  public static func measure(_ linearOperator: any LinearOperator, seed: UInt64 = 0) -> [CheckResult] {
    [
      CheckResult(
        property: "adjoint (dot test)", measured: adjointMismatch(linearOperator, seed: seed),
        bound: .atMost(1e-12))
    ]
  }

  /// The derivative of any operator against central differences at x, at most 1e-7.
  public static func measure(_ forward: any ForwardOperator, at x: [Double], seed: UInt64 = 0)
    -> [CheckResult]
  {
    [
      CheckResult(
        property: "transposed Jacobian against central differences",
        measured: vjpMismatch(forward, at: x, seed: seed), bound: .atMost(1e-7))
    ]
  }
}
