import AIPOKernels
import AIPOPlatform

/// Peak signal-to-noise ratio and structural similarity, after clipping both images to [0, 1], and the error without.
/// Sums are in double, and exact before they are rounded. Over ranks each has a strip of one image's rows, and all get the figures
/// of the whole.
public enum ImageMetrics {
  /// `10 log₁₀(1 / MSE)` in dB, one an image of `[n, h, w, c]`; nil where it isn't finite: for equal
  /// images, where a value is NaN, and for vectors, which needn't be on [0, 1]. Throws where the shapes differ.
  ///
  /// `strips`: where ranks share the image.
  public static func psnr<Scalar: KernelScalar>(
    _ images: Tensor<Scalar>, truth: Tensor<Scalar>, strips: Strips? = nil
  ) throws -> [Double?] {
    try perImage(images, truth, strips) { a, b, shape, strips in
      let value = -20 * log10(rootMeanSquare(a.map(clip), b.map(clip), shape, strips))
      return value.isFinite && !shape.isVector ? value : nil
    }
  }

  /// The root of the mean squared error, nothing clipped, one an image of `[n, h, w, c]`; nil where it isn't finite.
  /// Throws where the shapes differ.
  ///
  /// `strips`: where ranks share the image.
  public static func rmse<Scalar: KernelScalar>(
    _ images: Tensor<Scalar>, truth: Tensor<Scalar>, strips: Strips? = nil
  ) throws -> [Double?] {
    try perImage(images, truth, strips) { a, b, shape, strips in
      let value = rootMeanSquare(a, b, shape, strips)
      return value.isFinite ? value : nil
    }
  }

  private static func rootMeanSquare(_ a: [Double], _ b: [Double], _ shape: ImageShape, _ strips: Strips)
    -> Double
  {
    var sum = ExactSum()
    sum.add(a.indices) { (a[$0] - b[$0]) * (a[$0] - b[$0]) }
    return (strips.total(sum) / Double(shape.count)).squareRoot()
  }

  /// The mean structural similarity, one an image of `[n, h, w, c]`, as scikit-image's
  /// `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
  /// data_range=1)`: a Gaussian window of 11×11 pixels, K₁ = .01, K₂ = .03, averaged over the places
  /// where the window lies within the image, then over channels. Nil where a side is below 11 pixels
  /// (undefined) or a value is NaN. Throws where the shapes differ.
  ///
  /// Source: Wang, Bovik, Sheikh, Simoncelli, *Image quality assessment: from error visibility to
  /// structural similarity*, IEEE TIP 13 (2004).
  ///
  /// `strips`: where ranks share the image.
  public static func ssim<Scalar: KernelScalar>(
    _ images: Tensor<Scalar>, truth: Tensor<Scalar>, strips: Strips? = nil
  ) throws -> [Double?] {
    try perImage(images, truth, strips) { a, b, shape, strips in
      guard shape.height >= window, shape.width >= window else { return nil }
      let rowLength = shape.width * shape.channels
      let (a, b) = (
        try windowRows(a.map(clip), rowLength, strips), try windowRows(b.map(clip), rowLength, strips)
      )
      let seen = ImageShape(height: a.count / rowLength, width: shape.width, channels: shape.channels)
      let places = Double((shape.height - window + 1) * (shape.width - window + 1))
      var sum = 0.0
      for channel in 0..<shape.channels {
        sum += strips.total(similarity(plane(a, seen, channel), plane(b, seen, channel), seen)) / places
      }
      let value = sum / Double(shape.channels)
      return value.isFinite ? value : nil
    }
  }

  private static let window = 11

  private static let weights: [Double] = {
    let values = (-5...5).map { exp(-Double($0 * $0) / (2 * 1.5 * 1.5)) }
    let sum = values.reduce(0, +)
    return values.map { $0 / sum }
  }()

  /// Calls `body` with this rank's rows of every image and of its truth, and with the shape of the whole image.
  private static func perImage<Scalar: KernelScalar>(
    _ images: Tensor<Scalar>, _ truth: Tensor<Scalar>, _ strips: Strips?,
    _ body: ([Double], [Double], ImageShape, Strips) throws -> Double?
  ) throws -> [Double?] {
    guard images.shape == truth.shape, images.shape.count == 4 else {
      throw TensorError.shapeMismatch(what: "image batch", found: images.shape, expected: truth.shape)
    }
    let strips = strips ?? Strips(height: truth.shape[1])
    let shape = ImageShape(height: strips.height, width: truth.shape[2], channels: truth.shape[3])
    let size = truth.shape[1...].reduce(1, *)
    let a = images.elements
    let b = truth.elements
    return try (0..<truth.shape[0]).map { n in
      let range = n * size..<(n + 1) * size
      return try body(a[range].map { Double($0) }, b[range].map { Double($0) }, shape, strips)
    }
  }

  /// This rank's rows with those below them that windows reach which begin in them.
  private static func windowRows(_ values: [Double], _ rowLength: Int, _ strips: Strips) throws -> [Double] {
    guard strips.ranks.count > 1 else { return values }
    func needed(_ rank: Int) -> Range<Int> {
      let own = strips.rows(rank: rank)
      return own.isEmpty ? own : own.lowerBound..<min(own.upperBound + window - 1, strips.height)
    }
    let own = try Tensor(values)
    let (above, mine) = (try Tensor<Double>(count: 0), needed(strips.ranks.rank))
    var below = try Tensor<Double>(count: (mine.count - strips.rows().count) * rowLength)
    try below.withMemory {
      try strips.neighbouringRows(needed, of: own.view, rowLength: rowLength, above: above.view, below: $0)
    }
    return values + below.elements
  }

  /// NaN stays NaN.
  private static func clip(_ value: Double) -> Double { value < 0 ? 0 : value > 1 ? 1 : value }

  private static func plane(_ values: [Double], _ shape: ImageShape, _ channel: Int) -> [Double] {
    stride(from: channel, to: shape.count, by: shape.channels).map { values[$0] }
  }

  /// The sum over the places where the window fits.
  private static func similarity(_ a: [Double], _ b: [Double], _ shape: ImageShape) -> ExactSum {
    let meanA = smooth(a, shape)
    let meanB = smooth(b, shape)
    let meanAA = smooth(zip(a, a).map { $0 * $1 }, shape)
    let meanBB = smooth(zip(b, b).map { $0 * $1 }, shape)
    let meanAB = smooth(zip(a, b).map { $0 * $1 }, shape)
    let c1 = 0.01 * 0.01
    let c2 = 0.03 * 0.03
    var sum = ExactSum()
    sum.add(meanA.indices) { i in
      let varianceA = meanAA[i] - meanA[i] * meanA[i]
      let varianceB = meanBB[i] - meanB[i] * meanB[i]
      let covariance = meanAB[i] - meanA[i] * meanB[i]
      return (2 * meanA[i] * meanB[i] + c1) * (2 * covariance + c2)
        / ((meanA[i] * meanA[i] + meanB[i] * meanB[i] + c1) * (varianceA + varianceB + c2))
    }
    return sum
  }

  /// Gaussian averages at the places where the window fits, `[h − 10, w − 10]`.
  private static func smooth(_ plane: [Double], _ shape: ImageShape) -> [Double] {
    let (height, width) = (shape.height, shape.width)
    let (rows, columns) = (max(height - window + 1, 0), width - window + 1)
    var vertical = [Double](repeating: 0, count: rows * width)
    for y in 0..<rows {
      for (k, weight) in weights.enumerated() {
        for x in 0..<width { vertical[y * width + x] += weight * plane[(y + k) * width + x] }
      }
    }
    var result = [Double](repeating: 0, count: rows * columns)
    for y in 0..<rows {
      for (k, weight) in weights.enumerated() {
        for x in 0..<columns { result[y * columns + x] += weight * vertical[y * width + x + k] }
      }
    }
    return result
  }
}
