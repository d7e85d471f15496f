import AIPOPlatform
import AIPOPriors

/// log p(y) with its standard error.
public struct EvidenceEstimate: Sendable, Hashable, Codable {
  public var logEvidence: Double
  /// Of `logEvidence`, in nats.
  public var error: Double

  /// Throws where a prior is no density of the whole image: it has no evidence.
  package static func requireDensity(_ prior: any Prior) throws(SolverError) {
    guard prior.isNormalized else {
      throw .unsupported(
        "this prior is an average over patches or a margin, no density of the whole image: it has no evidence"
      )
    }
  }

  /// The mean of independent estimates of p(y), each without bias, by their logarithms; the error is that of their spread, with
  /// the factor by which few estimates are unsure of their spread (Student's t over the normal's, at 95 %).
  public init?(logs: [Double]) {
    guard logs.count > 1, logs.allSatisfy(\.isFinite) else { return nil }
    let n = Double(logs.count)
    let greatest = logs.max()!
    let shares = logs.map { exp($0 - greatest) }
    let mean = shares.reduce(0, +) / n
    logEvidence = greatest + log(mean)
    // By the logs' spread: where it is large the shares' is led by one of them.
    error =
      (ChainDraws.variance(logs) / n).squareRoot() * StudentDistribution.quantile95(logs.count - 1) / 1.959964
  }
}

/// Student's t.
enum StudentDistribution {
  /// Its 97.5 % quantile: by the beta distribution, `t² = ν(1 − x)/x` with `I_x(ν/2, ½) = 0.05`.
  static func quantile95(_ degrees: Int) -> Double {
    let nu = Double(degrees)
    let x = BetaDistribution.quantile(0.05, nu / 2, 0.5)
    return (nu * (1 - x) / x).squareRoot()
  }
}
