/// Where on a path the objective is taken: `L = L_recon + λ((1 − t) R_gauss + t R_flow)`.
public struct ObjectiveWeights: Sendable, Hashable, Codable {
  public var lambda: Double
  public var t: Double

  public init(lambda: Double, t: Double = 1) {
    self.lambda = lambda
    self.t = t
  }

  /// Weight of `R_flow`.
  public var flow: Double { lambda * t }
  /// Weight of `R_gauss`.
  public var gaussian: Double { lambda * (1 - t) }

  /// `R = (1 − t) R_gauss + t R_flow`; nil where a term that counts isn't known.
  public func regularizer(flow: Double?, gaussian: Double?) -> Double? {
    var sum = 0.0
    for (share, term) in [(t, flow), (1 - t, gaussian)] where share != 0 {
      guard let term else { return nil }
      sum += share * term
    }
    return sum
  }
}
