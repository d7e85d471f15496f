/// The covariances of a stationary random image at lags:
///
///     R_ab(δ) = E[u_a(x) u_b(x + δ)],   |δy| ≤ lagY, |δx| ≤ lagX
///
/// of the deviations u of its channels a ≤ b from their means. For b < a, `R_ba(δ) = R_ab(−δ)`; beyond the lags, zero.
/// Estimates that divide by the number of pixels of a window, not of the window's pairs at that lag (biased ones), have a
/// spectrum that is positive semidefinite at every frequency, so they make a covariance at every image size.
public struct LagCovariance: Sendable, Equatable {
  public let channels: Int
  public let lagY: Int
  public let lagX: Int
  /// `[2·lagY + 1, 2·lagX + 1, c(c + 1)/2]`, from −lagY, −lagX on; the pairs in the order of `pairs`.
  public let values: [Float]

  public init(channels: Int, lagY: Int, lagX: Int, values: [Float]) {
    precondition(
      values.count == (2 * lagY + 1) * (2 * lagX + 1) * channels * (channels + 1) / 2,
      "\(values.count) covariances at lags up to \(lagY), \(lagX) of \(channels) channels")
    self.channels = channels
    self.lagY = lagY
    self.lagX = lagX
    self.values = values
  }

  /// The pairs of its channels.
  public var pairs: [(a: Int, b: Int)] { Self.pairs(channels) }

  /// (0, 0), (0, 1), … (0, c − 1), (1, 1), …
  public static func pairs(_ channels: Int) -> [(a: Int, b: Int)] {
    (0..<channels).flatMap { a in (a..<channels).map { (a, $0) } }
  }

  /// `R_aa(0)`
  public var variances: [Double] {
    let origin = (lagY * (2 * lagX + 1) + lagX) * pairs.count
    return pairs.enumerated().filter { $1.a == $1.b }.map { Double(values[origin + $0.offset]) }
  }

  /// Writes the covariance of pixel (0, 0) and every other one of some rows on the torus of an image's size,
  /// `[rows, w, c(c + 1)/2]`: lags that meet there are added up, so that the spectrum is the same function at other frequencies.
  func wrap(height: Int, width: Int, rows: Range<Int>, into field: Vector) {
    let count = channels * (channels + 1) / 2
    field.set(0)
    for y in -lagY...lagY {
      let row = (y % height + height) % height
      guard rows.contains(row) else { continue }
      var next = (y + lagY) * (2 * lagX + 1) * count
      for x in -lagX...lagX {
        let place = ((row - rows.lowerBound) * width + (x % width + width) % width) * count
        for pair in 0..<count { field[place + pair] += Double(values[next + pair]) }
        next += count
      }
    }
  }
}
