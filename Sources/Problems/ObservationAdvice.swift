import AIPOKernels
import AIPOPlatform
import AIPOPriors

/// What looks wrong with observations, their noise and what was made of them. Every check compares by
/// `NoiseModel.misfit`, whatever the law, against a bound that right use stays far below.
extension InverseProblem {
  /// Of values beyond [0, 1]: they are farther from it than from their noiseless ones, so the misfit of right use
  /// is at most about 0.7: of pixels that are black or white, half of the noise leads inside.
  static let rangeBound = 1.25
  /// Share of the measurements that are counts, below which they are taken for something else.
  static let countShare = 0.5
  /// Of a truth, which misses by the noise alone: noise may be called weaker than it is, not that much.
  static let truthBound = 5.0
  /// Of a solution: what follows the observation misses by about 1; a prior's weight, a descent that was cut short
  /// or weak noise make it more.
  static let solutionBound = 10.0
  /// Of a solution of a problem that isn't linear: the prior's weight explains less.
  static let minimumBound = 1.5
  /// Root mean square of what is beyond [0, 1] in a solution.
  static let beyondBound = 0.5

  /// Whether the measurements are pixels.
  private func isPicture(_ image: Int) -> Bool {
    guard !imageShape.isVector, case .pixelwise(let seen) = linearMap(image)?.normal else { return false }
    return seen.view.total { $0 == 0 || $0 == 1 ? 0 : 1 } == 0
  }

  /// Before anything is solved.
  ///
  /// - `name`: the image's.
  /// - `isEstimated`: nobody said what σ is.
  /// - `truth`: the true image as somebody gave it.
  public func advices(
    ofObservation image: Int, name: String, isEstimated: Bool = false, truth: Tensor<Double>? = nil,
    _ scratch: Scratch
  ) throws -> [Advice] {
    let y = observations[image].view
    guard y.wholeCount(scratch.pool) > 0 else { return [] }
    // What is on another scale misses the truth, too.
    let own =
      try rangeAdvice(y, image, name, scratch) ?? countAdvice(y, image, name)
      ?? truth.flatMap { try truthAdvice($0, image, name, scratch) }
    return [own, isEstimated ? nil : scaleAdvice(y, image, scratch.pool)].compactMap(\.self)
  }

  /// Of pixels outside [0, 1] by more than the noise explains.
  private func rangeAdvice(_ y: Vector, _ image: Int, _ name: String, _ scratch: Scratch) throws -> Advice? {
    guard isPicture(image) else { return nil }
    let (least, greatest) = y.extent(scratch.pool)
    let noise = noise(image)
    let misfit = try scratch.scope {
      let inside = try scratch.take(y.count)
      inside.setEach(scratch.pool, y) { min(max($0, 0), 1) }
      return try noise.misfit(y, prediction: inside, scratch)
    }
    guard misfit > Self.rangeBound else { return nil }
    let found =
      "the observation's values go from \(Advice.number(least)) to \(Advice.number(greatest)), by more beyond [0, 1] than "
    if noise is PoissonNoise {
      return Advice(
        "range", of: name, found + "counting explains: y is the count over the peak; --counts takes counts")
    }
    return Advice(
      "range", of: name,
      found + "the noise explains: another scale is told by --range "
        + "\(ValueRange.argument(scale(least, greatest))), stronger noise by --sigma")
  }

  /// The scale that values suggest which noise may have led beyond it.
  private func scale(_ least: Double, _ greatest: Double) -> ValueRange? {
    switch (least, greatest) {
    case (..<(-0.25), ...0.75): .centred
    case (..<(-0.25), ...2): .signed
    case (_, 400...): .words
    case (_, 10...): .bytes
    default: nil
    }
  }

  /// Of measurements that aren't counts over the peak, though nothing else than counting is said to make noise: over
  /// the peak they are multiples of 1/peak, and hardly all of them of 1.
  private func countAdvice(_ y: Vector, _ image: Int, _ name: String) -> Advice? {
    guard let noise = noise(image) as? PoissonNoise, noise.sigma == 0 else { return nil }
    func isWhole(_ value: Double) -> Bool { (value - value.rounded()).magnitude < 0.1 }
    // The darkest are near a count whatever they are.
    func count(_ condition: (Double) -> Bool) -> Double {
      y.total { $0 * noise.peak > 0.5 && condition($0) ? 1 : 0 }
    }
    let seen = count { _ in true }
    guard seen >= 20 else { return nil }
    let share = count { isWhole($0 * noise.peak) } / seen
    let isCount = noise.peak != 1 && count { $0 > 1.5 } > 0 && count { $0 == $0.rounded() } == seen
    // What was rounded to 8 bits can't be told from anything where the counts are many.
    guard isCount || share < Self.countShare && noise.peak <= 50 else { return nil }
    return Advice(
      "counts", of: name,
      "the observation isn't counts over the peak, which are multiples of 1/\(Advice.number(noise.peak)): --counts takes "
        + "counts as they are, and nothing else; --peak is the count of white")
  }

  /// Of a deviation that leaves nothing of an image.
  private func scaleAdvice(_ y: Vector, _ image: Int, _ pool: ThreadPool) -> Advice? {
    guard let sigma = noise(image).scale, sigma >= 1 else { return nil }
    if isPicture(image) {
      return Advice(
        "sigma",
        "σ = \(Advice.number(sigma)) on pixels in [0, 1]: "
          + (sigma <= 255
            ? "did you mean \(Advice.number(sigma))/255 = \(Advice.number(sigma / 255))?"
            : "such noise leaves nothing of an image"))
    }
    let size = (y.dot(y, pool) / Double(y.wholeCount(pool))).squareRoot()
    guard !imageShape.isVector, sigma > size else { return nil }
    return Advice(
      "sigma",
      "σ = \(Advice.number(sigma)) is more than the measurements themselves, whose root mean square is \(Advice.number(size)): it is "
        + "on their scale, with pixels in [0, 1]")
  }

  /// Of the true image as it was given, which should miss the observation by the noise alone.
  private func truthAdvice(_ pixels: Tensor<Double>, _ image: Int, _ name: String, _ scratch: Scratch) throws
    -> Advice?
  {
    let misfit = try dataTerm(image, encoding: nil).misfit(pixels: pixels.view, scratch)
    guard misfit > Self.truthBound else { return nil }
    return Advice(
      "truth", of: name,
      "the truth misses the observation by \(Advice.number(misfit)) σ: is it the same picture on the same scale, and the noise "
        + "as weak as it is said to be?")
  }

  /// Of the image that was found: it should follow the observation, and be on [0, 1].
  public func advice(ofSolution pixels: Tensor<Double>, image: Int, name: String, _ scratch: Scratch) throws
    -> Advice?
  {
    let misfit = try dataTerm(image, encoding: nil).misfit(pixels: pixels.view, scratch)
    if misfit > Self.solutionBound {
      return Advice(
        "residual", of: name,
        "the result misses the observation by \(Advice.number(misfit)) σ: is the observation on the [0, 1] scale, and "
          + "the noise as weak as it is said to be?")
    }
    if !(map(image) is any LinearMap), misfit > Self.minimumBound {
      return Advice(
        "minimum", of: name,
        "the result misses the observation by \(Advice.number(misfit)) σ, which the noise hardly explains: it is probably a "
          + "local minimum; --restarts tries more starts")
    }
    guard !imageShape.isVector, pixels.count > 0 else { return nil }
    let beyond =
      pixels.view.total(scratch.pool) { pow($0 - min(max($0, 0), 1), 2) }
      / Double(pixels.view.wholeCount(scratch.pool))
    guard beyond.squareRoot() > Self.beyondBound else { return nil }
    let (least, greatest) = pixels.view.extent(scratch.pool)
    return Advice(
      "residual", of: name,
      "the result's values go from \(Advice.number(least)) to \(Advice.number(greatest)): is the observation on the "
        + "[0, 1] scale?")
  }
}
