import AIPOKernels

/// The pixel that a dequantised value stands for: h(x), about `E[v | x]` for pixels v on [0, 1].
///
/// Dequantisation spreads what is in a bin evenly over it, and a density of x says no more than that. In most bins the
/// pixels are as even, and h(x) = x. The darkest is another matter: nearly all that is in it is black, the background
/// of a picture, and half a bin's width brighter once it is dequantised. Measurements y = f(v) + e are of v, so what a
/// prior over x is compared with them by is f(h(x)).
///
/// In bin k, with middle cₖ, h is `mₖ + wₖ (x − cₖ)`: mₖ the mean of the training images' pixels there, wₖ their
/// variance over that of the bin's uniform noise, the slope of the best linear estimate. Between the middles of
/// two bins it is joined at their edge, at the mean of both, each weighted with the other's w: there the narrower
/// one decides. h is continuous and increasing, and moves by x beyond the ends.
public struct Requantization: Sendable, Equatable {
  /// Where h is flatter, as it would be in black, the data tell a descent nothing, and it creeps.
  static let leastSlope = 0.2

  /// mₖ, ascending, each in its bin, and wₖ ∈ (0, 1].
  public let means: [Double]
  public let slopes: [Double]
  /// h at the bins' edges and middles, half a bin apart; ascending.
  private let knots: [Double]

  /// Slopes are taken between 0.2 and 1. Nil unless there is one a mean, all finite, and every mean inside of its bin.
  public init?(means: [Double], slopes: [Double]) {
    let bins = Double(means.count)
    guard !means.isEmpty, means.count == slopes.count, slopes.allSatisfy(\.isFinite),
      means.indices.allSatisfy({ means[$0] * bins > Double($0) && means[$0] * bins < Double($0 + 1) })
    else { return nil }
    let slopes = slopes.map { min(max($0, Self.leastSlope), 1) }
    self.means = means
    self.slopes = slopes
    let half = 0.5 / bins
    var knots = [means[0] - slopes[0] * half]
    for k in means.indices {
      knots.append(means[k])
      let here = means[k] + slopes[k] * half
      guard k + 1 < means.count else {
        knots.append(here)
        break
      }
      let there = means[k + 1] - slopes[k + 1] * half
      let joint = (slopes[k + 1] * here + slopes[k] * there) / (slopes[k] + slopes[k + 1])
      let margin = min(Self.leastSlope * half, (means[k + 1] - means[k]) / 4)
      knots.append(min(max(joint, means[k] + margin), means[k + 1] - margin))
    }
    self.knots = knots
  }

  /// The half bin that x is in, with the ends' beyond the ends.
  private func segment(_ x: Double) -> Int { min(max(Int(x * Double(knots.count - 1)), 0), knots.count - 2) }

  /// h(x)
  public func pixel(_ x: Double) -> Double {
    let scale = Double(knots.count - 1)
    if x < 0 { return knots[0] + x }
    if x > 1 { return knots[knots.count - 1] + x - 1 }
    let k = segment(x)
    return knots[k] + (knots[k + 1] - knots[k]) * (x * scale - Double(k))
  }

  /// h′(x), at a joint that of its right.
  public func slope(_ x: Double) -> Double {
    guard x >= 0, x <= 1 else { return 1 }
    let k = segment(x)
    return (knots[k + 1] - knots[k]) * Double(knots.count - 1)
  }

  /// h⁻¹(v)
  public func value(_ pixel: Double) -> Double {
    let last = knots.count - 1
    if pixel < knots[0] { return pixel - knots[0] }
    if pixel >= knots[last] { return 1 + pixel - knots[last] }
    let k = knots.lastIndex { $0 <= pixel }!
    return (Double(k) + (pixel - knots[k]) / (knots[k + 1] - knots[k])) / Double(last)
  }

  /// h of every value.
  public func pixels(_ values: [Double]) -> [Double] { values.map(pixel) }

  /// h⁻¹ of every pixel.
  public func values(_ pixels: [Double]) -> [Double] { pixels.map(value) }

  /// The means and variances of the pixels `(v + ½)/256` at `indices` of a set of 8-bit images; nil for real-valued
  /// data. A bin without a pixel has its middle and a slope of 1. Throws where images can't be read.
  public static func fit(
    _ images: TrainingImages, indices: [Int], dequantization: Dequantization
  ) throws(FileError) -> Requantization? {
    guard !dequantization.isNone else { return nil }
    var histogram = [Int](repeating: 0, count: 256)
    for index in indices {
      try images.pixels(at: index).withUnsafeBufferPointer { pixels in
        for pixel in pixels { histogram[Int(pixel)] += 1 }
      }
    }
    let bins = dequantization.binCount
    let width = 256 / bins
    var means: [Double] = []
    var slopes: [Double] = []
    for k in 0..<bins {
      let values = histogram[k * width..<(k + 1) * width]
      let count = Double(values.reduce(0, +))
      let middle = 0.5 * Double(width)
      let offsets = (0..<width).map { Double($0) + 0.5 - middle }
      guard count > 0 else {
        means.append((Double(k) + 0.5) / Double(bins))
        slopes.append(1)
        continue
      }
      let mean = zip(values, offsets).reduce(0) { $0 + Double($1.0) * $1.1 } / count
      let variance =
        zip(values, offsets).reduce(0) { $0 + Double($1.0) * ($1.1 - mean) * ($1.1 - mean) } / count
      means.append((Double(k * width) + middle + mean) / 256)
      slopes.append(variance / (Double(width * width) / 12))
    }
    return Requantization(means: means, slopes: slopes)
  }
}
