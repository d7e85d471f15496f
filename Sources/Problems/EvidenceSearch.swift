import AIPOKernels
import AIPOPlatform

/// The σ for which `Σ log(e + σ²) + q/(e + σ²)` is least, e the eigenvalues of a covariance and q the squares of an offset
/// along its eigenvectors: the most probable deviation of white noise.
struct EvidenceSearch {
  let eigenvalues: [Double]
  let squares: Vector

  private func cost(_ logSigma: Double) -> Double {
    let variance = exp(2 * logSigma)
    return eigenvalues.indices.reduce(0.0) {
      let total = max(eigenvalues[$1], 0) + variance
      return $0 + log(total) + squares[$1] / total
    }
  }

  /// From `NoiseEstimate.floor` to `greatest`. There can be several minima: the lowest of a grid, and between its
  /// neighbours.
  func sigma(greatest: Double) -> Double {
    let least = log(NoiseEstimate.floor)
    let greatest = max(log(greatest + 1e-150), least)
    let count = 60
    let step = (greatest - least) / Double(count)
    let best = (0...count).map { least + Double($0) * step }.min { cost($0) < cost($1) } ?? least
    var (low, high) = (max(best - step, least), min(best + step, greatest))
    for _ in 0..<40 {
      let third = (high - low) / 3
      if cost(low + third) < cost(high - third) { high -= third } else { low += third }
    }
    return exp(0.5 * (low + high))
  }
}
