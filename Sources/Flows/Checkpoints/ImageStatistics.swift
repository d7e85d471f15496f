import AIPOKernels

/// Mean and covariance of the images that a model was trained on, with the variance of their
/// dequantisation noise: the Gaussian that solvers start from.
public struct ImageStatistics: Sendable, Equatable {
  /// On [0, 1], of each value, `[d]`; with a stationary covariance of each channel, `[c]`.
  public var mean: [Float]
  public var covariance: Covariance

  public enum Covariance: Sendable, Equatable {
    /// The lower triangle row by row, `[d(d+1)/2]`: `C[i][j]` is element `i(i+1)/2 + j`, j ≤ i.
    case full(lowerTriangle: [Float])
    /// Alike in all places, and so for images of any size.
    case stationary(LagCovariance)
  }

  /// Values of an image up to which a full covariance is stored.
  public static let fullLimit = 4096
  /// Channels up to which there is a stationary covariance. A vector is an image of one pixel, whose covariance has no lags.
  public static let stationaryLimit = 16

  public init(mean: [Float], covariance: Covariance) {
    self.mean = mean
    self.covariance = covariance
  }

  /// The full covariance, d × d; nil of a stationary one.
  public func matrix() throws(LinearAlgebraError) -> Matrix? {
    guard case .full(let triangle) = covariance else { return nil }
    return try Matrix(rows: mean.count, columns: mean.count) {
      Double(triangle[max($0, $1) * (max($0, $1) + 1) / 2 + min($0, $1)])
    }
  }

  /// Mean and variance of each of c channels over all pixels and images.
  func channelMoments(_ c: Int) -> [(mean: Double, variance: Double)] {
    switch covariance {
    case .stationary(let lags): zip(mean, lags.variances).map { (Double($0), $1) }
    case .full(let triangle):
      (0..<c).map { a in
        let values = stride(from: a, to: mean.count, by: c)
        let pixels = Double(mean.count / c)
        let center = values.reduce(0.0) { $0 + Double(mean[$1]) } / pixels
        let sum = values.reduce(0.0) {
          let shift = Double(mean[$1]) - center
          return $0 + Double(triangle[$1 * ($1 + 3) / 2]) + shift * shift
        }
        return (center, sum / pixels)
      }
    }
  }

  /// Mean and covariance of the values of a pixel behind squeezes, which is a block of an image of this shape: means over
  /// all blocks. The lags of a stationary covariance are rid of their bias.
  func blockMoments(_ pixel: SqueezedPixel, _ image: ImageShape) throws(LinearAlgebraError) -> (
    mean: [Double], covariance: Matrix
  ) {
    let (w, c, side) = (image.width, image.channels, pixel.side)
    let places = pixel.places
    switch covariance {
    case .stationary(let lags):
      let pairs = c * (c + 1) / 2
      func covariance(_ p: SqueezedPixel.Place, _ q: SqueezedPixel.Place) -> Double {
        if p.channel > q.channel { return covariance(q, p) }
        let (dy, dx) = (q.y - p.y, q.x - p.x)
        guard abs(dy) <= lags.lagY, abs(dx) <= lags.lagX else { return 0 }
        let pair = p.channel * c - p.channel * (p.channel - 1) / 2 + q.channel - p.channel
        let value = lags.values[((dy + lags.lagY) * (2 * lags.lagX + 1) + dx + lags.lagX) * pairs + pair]
        let share =
          (1 - Double(abs(dy)) / Double(lags.lagY + 1)) * (1 - Double(abs(dx)) / Double(lags.lagX + 1))
        return Double(value) / share
      }
      return (
        places.map { Double(mean[$0.channel]) },
        try Matrix(rows: places.count, columns: places.count) { covariance(places[$0], places[$1]) }
      )
    case .full(let triangle):
      precondition(mean.count == image.count, "statistics of \(mean.count) values of an image of \(image)")
      let starts = stride(from: 0, to: image.height, by: side).flatMap { y in
        stride(from: 0, to: w, by: side).map { (y * w + $0) * c }
      }
      let offsets = places.map { ($0.y * w + $0.x) * c + $0.channel }
      let centre = offsets.map { offset in
        starts.reduce(0.0) { $0 + Double(mean[$1 + offset]) } / Double(starts.count)
      }
      return (
        centre,
        try Matrix(rows: places.count, columns: places.count) { a, b in
          starts.reduce(0.0) { sum, start in
            let (i, j) = (start + offsets[a], start + offsets[b])
            let (row, column) = (max(i, j), min(i, j))
            return sum + Double(triangle[row * (row + 1) / 2 + column])
              + (Double(mean[i]) - centre[a]) * (Double(mean[j]) - centre[b])
          } / Double(starts.count)
        }
      )
    }
  }

  /// The same up to second order as far as it is alike in all places of images of this shape: each channel's mean over all
  /// pixels, and the mean over all pairs of pixels at a lag of the deviations' covariance, that of the pixels' means
  /// included. Sums are divided by the number of pixels, so that the spectrum is positive at any image size, and at this
  /// one it is the images' mean periodogram: the stationary Gaussian under which they are the most probable.
  ///
  /// Nil where there are more channels than `stationaryLimit`.
  public func stationary(_ shape: ImageShape) -> ImageStatistics? {
    guard case .full(let triangle) = covariance else { return self }
    precondition(mean.count == shape.count, "statistics of \(mean.count) values of an image of \(shape)")
    let (h, w, c) = (shape.height, shape.width, shape.channels)
    guard c <= Self.stationaryLimit else { return nil }
    let channelMean = channelMoments(c).map(\.mean)
    let deviations = mean.indices.map { Double(mean[$0]) - channelMean[$0 % c] }
    let pairs = LagCovariance.pairs(c)
    var sums = [Double](repeating: 0, count: (2 * h - 1) * (2 * w - 1) * pairs.count)
    // Of a pair of channels and of a pair of pixels, where in `sums`.
    var channels = [Int](repeating: 0, count: c * c)
    for (k, (a, b)) in pairs.enumerated() { channels[a * c + b] = k }
    let origin = (h - 1) * (2 * w - 1) + w - 1
    let places = (0..<h * w).map { $0 / w * (2 * w - 1) + $0 % w }
    var next = 0
    for i in mean.indices {
      let (p, a) = (places[i / c], i % c)
      for j in 0...i {
        let (q, b) = (places[j / c], j % c)
        let product = Double(triangle[next]) + deviations[i] * deviations[j]
        next += 1
        if a <= b { sums[(origin + q - p) * pairs.count + channels[a * c + b]] += product }
        if b <= a && i != j { sums[(origin + p - q) * pairs.count + channels[b * c + a]] += product }
      }
    }
    return ImageStatistics(
      mean: channelMean.map { Float($0) },
      covariance: .stationary(
        LagCovariance(channels: c, lagY: h - 1, lagX: w - 1, values: sums.map { Float($0 / Double(h * w)) })))
  }
}
