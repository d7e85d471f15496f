import AIPOFlows
import AIPOKernels
import AIPOPlatform
import AIPOPriors
import AIPOProblems

/// The densities that particles go through, from one that can be drawn to the posterior. All are normalised but for the
/// likelihood, so that what their integrals grow by is the evidence:
///
/// - along the data's weight, `p(y | x)^β p(x)`, β from 0 to 1;
/// - along the prior's noise level, `p(y | x)^β(s) p_s(x)`, s from the greatest that the prior knows to the least, which is
///   the prior itself. At the greatest β first grows from 0, then `β(s) = min(1, (w/s)²)`: the data count as if their noise
///   were at least as large as what the prior's noise level hides, w the deviation with which they show a pixel. Nearly all
///   modes are one at great s, and part as it falls.
///
/// Every p_s is an exact density, whether or not it is p with noise, so the end is exact wherever the way goes.
public struct AnnealingPath: Sendable {
  /// A density of the path.
  public struct Place: Sendable, Hashable {
    /// β.
    public var beta: Double
    /// s; 0 for the prior itself.
    public var level: Double

    public init(beta: Double, level: Double = 0) { (self.beta, self.level) = (beta, level) }
  }

  /// The posterior.
  private let end: SampledDensity
  private let noise: Noise?

  private struct Noise: Sendable {
    let levels: Condition
    let width: Double
    let density: @Sendable (_ level: Double) throws -> SampledDensity
  }

  /// Along the data's weight.
  public init(dataTo density: SampledDensity) { (end, noise) = (density, nil) }

  /// Along the prior's noise level.
  ///
  /// - Parameters:
  ///   - density: the posterior.
  ///   - levels: those that the prior knows.
  ///   - width: w, see above.
  ///   - smoothed: the same density under the prior at a noise level, in the same coordinates.
  public init(
    noiseTo density: SampledDensity, levels: Condition, width: Double,
    smoothed: @escaping @Sendable (_ level: Double) throws -> SampledDensity
  ) {
    precondition(width > 0)
    end = density
    noise = Noise(levels: levels, width: max(width, levels.least), density: smoothed)
  }

  public var start: Place { Place(beta: 0, level: noise?.levels.greatest ?? 0) }

  func isEnd(_ place: Place) -> Bool { place == Place(beta: 1) }

  public func density(at place: Place) throws -> SampledDensity {
    var density = place.level > 0 ? try noise!.density(place.level) : end
    density.beta = place.beta
    return density
  }

  /// The greatest β at a level.
  func beta(at level: Double) -> Double {
    guard let noise, level > 0 else { return 1 }
    let ratio = noise.width / level
    return min(1, ratio * ratio)
  }

  /// The place whose log s is less by `fall`; the end where that is below the least.
  func below(_ place: Place, by fall: Double) -> Place {
    let level = place.level * exp(-fall)
    guard let noise, level > noise.levels.least else { return Place(beta: 1) }
    return Place(beta: beta(at: level), level: level)
  }

  /// How far a place is, from 0 to 1.
  func progress(_ place: Place) -> Double {
    guard let noise else { return place.beta.squareRoot() }
    let raise = 0.1 * (place.beta / beta(at: place.level)).squareRoot()
    guard place.level > 0 else { return 1 }
    return raise + 0.9 * log(noise.levels.greatest / place.level)
      / log(noise.levels.greatest / noise.levels.least)
  }
}

extension DataTerm {
  /// The deviation with which the data show a pixel at best: the noise's, over the norm of the map where that is known and
  /// above 1.
  func pixelDeviation() throws -> Double {
    let noise = try noise.curvature(observation.view)
    let gain = (map as? any LinearMap)?.nearNormal?.extent.upperBound ?? 1
    return noise.sigma / max(gain, 1).squareRoot()
  }
}
