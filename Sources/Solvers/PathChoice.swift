import AIPOProblems

/// Which path `aipo` follows.
public enum PathChoice: Sendable, Hashable {
  /// λ: 0 → Λ with the flow as prior.
  case lambda
  /// t: 0 → the target's in (1 − t) R_gauss + t R_flow at λ = Λ.
  case prior
  /// λ: 3Λ → Λ from the closed form, as if the noise were first stronger than it is: the curve (3, 0), (3, 1),
  /// (1, 1).
  case noise
  /// λ: 0 → Λ by gradient descent, with the steps that the theorem asks for (`TheoremPlan`). Needs float64, a
  /// prior with smooth nets and an operator of full rank; λ is 1 where it isn't told.
  case theorem
  /// s: the prior's own noise level, from the Gaussian's to the data's (`SmoothPath`). Needs a prior that knows it.
  case smooth
  /// `smooth` where the prior knows its noise level, else `noise` where there is a Gaussian prior, else `lambda`. The result names the one taken.
  case auto
  /// Straight between corners, λ and t over the target's, in log λ and in t, a leg a step. It ends at the target, (1, 1).
  case curve([ObjectiveWeights])

  /// The λ/Λ that a corner may have.
  public static let factorRange = 1e-6...1e6

  var needsGaussian: Bool {
    switch self {
    case .prior, .noise: true
    case .curve(let corners): corners.contains { $0.t < 1 }
    case .lambda, .theorem, .smooth, .auto: false
    }
  }

  func check() throws(SolverError) {
    guard case .curve(let corners) = self else { return }
    func fail(_ expected: String) -> SolverError {
      .invalidOption(name: "path", found: description, expected: expected)
    }
    guard corners.count > 1 else { throw fail("two corners or more") }
    guard corners.allSatisfy({ Self.factorRange.contains($0.lambda) && (0...1).contains($0.t) }) else {
      throw fail(
        "corners λ,t with a multiple λ of the target from \(Self.factorRange.lowerBound) to "
          + "\(Self.factorRange.upperBound) and t from 0 to 1")
    }
    guard corners.last == ObjectiveWeights(lambda: 1) else { throw fail("the target 1,1 as its last corner") }
  }
}

extension PathChoice: CustomStringConvertible {
  /// Those without corners.
  public static let named: [(name: String, path: PathChoice)] = [
    ("lambda", .lambda), ("prior", .prior), ("noise", .noise), ("smooth", .smooth), ("theorem", .theorem),
    ("auto", .auto),
  ]

  /// Reads a name, or `curve:` with corners λ,t between slashes: `curve:3,0/3,1/1,1`. Throws `invalidOption`.
  public init(parsing text: String) throws(SolverError) {
    if let (_, path) = Self.named.first(where: { $0.name == text }) {
      self = path
      return
    }
    let names = Self.named.map(\.name).joined(separator: ", ")
    guard text.hasPrefix("curve:") else {
      throw .invalidOption(name: "path", found: text, expected: "\(names) or curve:λ,t/λ,t/…/1,1")
    }
    var corners: [ObjectiveWeights] = []
    for corner in text.dropFirst("curve:".count).split(separator: "/", omittingEmptySubsequences: false) {
      let numbers = corner.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) }
      guard numbers.count == 2, let lambda = numbers[0], let t = numbers[1] else {
        throw .invalidOption(
          name: "path", found: text, expected: "corners λ,t between slashes, as curve:3,0/3,1/1,1")
      }
      corners.append(ObjectiveWeights(lambda: lambda, t: t))
    }
    self = .curve(corners)
    try check()
  }

  public var description: String {
    guard case .curve(let corners) = self else { return Self.named.first { $0.path == self }?.name ?? "" }
    func number(_ value: Double) -> String {
      value == value.rounded() && value.magnitude < 1e6 ? "\(Int(value))" : "\(value)"
    }
    return "curve:" + corners.map { "\(number($0.lambda)),\(number($0.t))" }.joined(separator: "/")
  }
}
