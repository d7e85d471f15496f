import AIPOProblems

/// The path in the prior's own noise level s, from one at which nearly all is Gaussian to one that the data hide:
///
///     z = D_s(x + β(x − x⁻)),    x ← argmin L_recon(x) + λ‖x − z‖²/(2s²)
///
/// a state a step, D_s(x) the mean of the images that may lie behind x at s (`Prior.denoise`), x⁻ the x before, and s falling
/// from state to state. It is half-quadratic splitting with an exact density behind the denoiser, and a preconditioned
/// gradient step on `L_recon + λR_s`, with Nesterov's momentum where the data hide much. What it gives where the data see
/// every value is a mean, D_s(x). Where they see some values or sums of them, it brings the start, and a descent under the
/// sharp density the rest.
///
/// Sources: D. Geman & C. Yang, *Nonlinear image recovery with half-quadratic regularization*, IEEE Transactions on Image
/// Processing 4(7), 1995; B. Efron, *Tweedie's formula and selection bias*, JASA 106(496), 2011; Y. Nesterov, *A method for
/// solving the convex programming problem with convergence rate O(1/k²)*, 1983.
public struct SmoothPath: Sendable, Hashable {
  /// How s falls from state to state.
  public enum Steps: Sendable, Hashable {
    /// By one factor, in as many states as there are.
    case even
    /// To `factor` times the root mean square of what the data moved the values of the last z by, which tells how much noise x
    /// has again; but to no less than the share `least` of the s before, and no more than `most`. The path is over once D_s was
    /// taken at the end, perhaps before all states are used.
    case following(factor: Double, least: Double)

    /// The share of s that is left after a step at most.
    static let most = 0.9
  }

  /// How far D_s moves a value at most, in units of s: three deviations of the noise that it takes away. At a place that the
  /// flow doesn't know its gradient may be anything, and what one state throws there others throw farther.
  static let reach = 3.0

  /// States on the way, at most.
  public var states: Int
  /// s at the end over the noise's deviation σ, both of a value of the image: σ of a measurement over ‖A‖ where that is above
  /// 1. A prior that knows no level so low has its least one there.
  public var end: Double
  /// λ where it is chosen.
  public var lambda: Double
  /// Evaluations of the descent under the sharp density, at most.
  public var finish: Int
  /// β in state k is k/(k + 3), and this at most; from 0 to below 1.
  public var momentum: Double
  /// Whether the start is the Gaussian's closed form though every value is seen: an observation with outliers at
  /// any distance is no image with Gaussian noise, which D_s expects.
  public var startsAtGaussian: Bool
  public var steps: Steps

  /// Whether it asks for a Gaussian prior where every value is seen: for its start, or its share in what is minimised at the end.
  public var asksForGaussian: Bool { startsAtGaussian || finish > 0 }

  public init(
    states: Int, end: Double, lambda: Double, finish: Int, momentum: Double = 0,
    startsAtGaussian: Bool = false, steps: Steps = .even
  ) {
    precondition(states > 0 && end > 0 && lambda > 0 && finish >= 0 && (0..<1).contains(momentum))
    (self.states, self.end, self.lambda, self.finish) = (states, end, lambda, finish)
    (self.momentum, self.startsAtGaussian, self.steps) = (momentum, startsAtGaussian, steps)
  }

  /// What measured best on training images (docs/method.md), by what the data see. Where they are a blurred picture or some of
  /// its values the path alone does; from sums of values far apart it brings a start. Heavy tails want an earlier end, and
  /// values that were rounded or cut off more states. Under a density of the whole image steps that follow the data gain a tenth
  /// of a decibel in denoising; the average of patches' densities takes away too much with them, but gains by momentum elsewhere.
  ///
  /// - Parameter isNormalized: `Prior.isNormalized`.
  public static func usual(
    for map: any Map, _ coverage: Coverage, under noise: any NoiseModel, isNormalized: Bool
  ) -> SmoothPath {
    switch coverage {
    case .whole where noise is IntervalNoise: return SmoothPath(states: 18, end: 0.5, lambda: 0.4, finish: 20)
    case .whole where noise.hasBoundedScore:
      return SmoothPath(states: 9, end: 0.3, lambda: 0.7, finish: 0, startsAtGaussian: noise is StudentNoise)
    case .whole where isNormalized:
      return SmoothPath(
        states: 9, end: 0.07, lambda: 1.3, finish: 0, steps: .following(factor: 1.6, least: 0.65))
    case .whole: return SmoothPath(states: 9, end: 0.07, lambda: 0.7, finish: 0)
    case .pixels:
      return SmoothPath(
        states: 29, end: 0.2, lambda: 0.25, finish: 0, momentum: isNormalized ? 0 : 0.5)
    // What k-space hides lies all over the image, and comes slowly.
    case .sums where map is FourierSampling || map is TrajectorySampling:
      return SmoothPath(states: 60, end: 1, lambda: 0.25, finish: 0, momentum: 0.9)
    case .sums, .nonlinear:
      let isBlur = (map as? any LinearMap)?.nearNormal != nil
      guard isBlur else { return SmoothPath(states: 18, end: 1, lambda: 1, finish: 100) }
      return SmoothPath(
        states: 18, end: isNormalized ? 1 : 0.5, lambda: 0.25, finish: 0, momentum: isNormalized ? 0 : 0.5)
    }
  }
}
