import AIPOKernels
import AIPOPriors

/// Estimates the deviation σ of white Gaussian noise from one noisy image, without a model of the image.
///
/// Every channel is folded with Immerkær's mask, the difference of two Laplacians,
/// ```
///  1 −2  1
/// −2  4 −2
///  1 −2  1
/// ```
/// which takes away whatever varies linearly along rows or columns, and leaves noise of deviation 6σ; σ is the
/// median of the responses' magnitudes over 6 · 0.6745, which edges, being few, hardly move. Texture counts as
/// noise: on 28×28 pictures of clothes the estimate is high by 5 % at σ = 0.2, 10 % at 0.1, 25 % at 0.05, and
/// where an 8-bit file has clipped the noise of a black background it is low instead, by up to a quarter.
///
/// Sources: J. Immerkær, Fast noise variance estimation, 1996; D. Donoho, De-noising by soft-thresholding, 1995.
public enum NoiseEstimate {
  /// The least σ that is given: the deviation of rounding to 8 bits. Weaker noise can't be told from the image.
  public static let floor = 1 / (256 * 12.0.squareRoot())

  /// The least height and width.
  public static let leastExtent = 3

  /// Median of |x| for x of N(0, 1).
  private static let median = 0.674489750196082

  /// Of an estimate, whoever made it, at its floor.
  public static func advice(_ sigma: Double, name: String) -> Advice? {
    guard sigma <= 1.5 * floor else { return nil }
    return Advice(
      "noNoise", of: name,
      "no noise was found, as in a constant picture or one without noise, so that σ is that of rounding, "
        + "\(Advice.number(sigma)), and the result repeats the observation")
  }

  /// σ of the finite values of one image in h, w, c order, at least `floor`; over ranks of the whole of which each has a strip.
  /// Throws `shapeMismatch` where they aren't an image of this shape or it is too small.
  public static func sigma(_ pixels: Vector, shape: ImageShape, _ scratch: Scratch) throws -> Double {
    let strips = scratch.pool.strips ?? Strips(height: shape.height)
    let (height, width, channels) = (strips.height, shape.width, shape.channels)
    guard pixels.count == shape.count else {
      throw ProblemError.shapeMismatch(
        what: "the noisy image", found: [pixels.count], expected: [shape.count])
    }
    guard height >= leastExtent, width >= leastExtent else {
      throw ProblemError.shapeMismatch(
        what: "an image to estimate sigma from", found: [height, width],
        expected: [leastExtent, leastExtent])
    }
    /// Rows with a row above and one below.
    func inner(_ rank: Int) -> Range<Int> { strips.rows(rank: rank).clamped(to: 1..<height - 1) }
    return try scratch.scope {
      let seen = try SeenRows(
        { inner($0).isEmpty ? 0..<0 : inner($0).lowerBound - 1..<inner($0).upperBound + 1 }, of: pixels,
        rowLength: width * channels, strips, scratch)
      /// The second difference along a row, around a value.
      func difference(_ y: Int, _ i: Int) -> Double {
        let row = seen[y]
        return row[i - channels] - 2 * row[i] + row[i + channels]
      }
      let own = inner(strips.ranks.rank)
      let responses = try scratch.take(own.count * (width - 2) * channels)
      var k = 0
      for y in own {
        for i in channels..<(width - 1) * channels {
          responses[k] = difference(y - 1, i) - 2 * difference(y, i) + difference(y + 1, i)
          k += 1
        }
      }
      let (n, pool) = ((height - 2) * (width - 2) * channels, scratch.pool)
      let middle =
        responses.magnitude(ranked: (n - 1) / 2, pool) / 2 + responses.magnitude(ranked: n / 2, pool) / 2
      // A sum of values that overflow is NaN.
      return middle.isFinite ? max(middle / (6 * median), floor) : .greatestFiniteMagnitude
    }
  }
}
