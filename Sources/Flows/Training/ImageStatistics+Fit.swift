import AIPOKernels

extension ImageStatistics {
  /// Fits mean and covariance to the images at `indices` of a set, as dequantisation makes them: the moments
  /// of the bins' middles, plus the noise's variance `2^(−2b)/12` on the diagonal (in closed form, nothing is
  /// drawn). Sums are of integers and exact, so the result depends on no order. The covariance divides by n.
  ///
  /// Real-valued data are summed in double precision, in order; the diagonal gets 10⁻⁶ of the mean variance, so that
  /// data on a plane have a covariance that can be inverted in single precision.
  ///
  /// Images of more than `fullLimit` values get a stationary covariance; nil where they have more channels than
  /// `stationaryLimit`. Throws where there is no memory, and where images can't be read.
  public static func fit(
    _ images: TrainingImages, indices: [Int], dequantization: Dequantization
  ) throws -> ImageStatistics? {
    precondition(!indices.isEmpty)
    if images.shape.count > fullLimit {
      return try fitStationary(images, indices: indices, dequantization: dequantization)
    }
    if dequantization.isNone { return try RealMoments(images, indices).statistics() }
    let moments = try BinMoments(images, indices, dequantization)
    let scale = 1 / Double(dequantization.binCount)
    return ImageStatistics(
      mean: moments.mean.map { Float(($0 + 0.5) * scale) },
      covariance: .full(lowerTriangle: try moments.covariance(scale: scale)))
  }

  /// The statistics of images of this shape together with their mirror images and turns, as an augmentation makes them; a
  /// stationary covariance as it is.
  func augmented(_ augmentation: Augmentation, _ shape: ImageShape) -> ImageStatistics {
    guard case .full(let triangle) = covariance, augmentation.flip || augmentation.turn else { return self }
    let orders = augmentation.orders(shape)
    let share = 1 / Double(orders.count)
    let center = mean.indices.map { i in orders.reduce(0.0) { $0 + share * Double(mean[$1[i]]) } }
    // Means that differ belong to the covariance of all together.
    let offsets = orders.map { order in mean.indices.map { Double(mean[order[$0]]) - center[$0] } }
    var result = [Float](repeating: 0, count: triangle.count)
    var next = 0
    for i in mean.indices {
      for j in 0...i {
        var sum = 0.0
        for (order, offset) in zip(orders, offsets) {
          let (a, b) = (max(order[i], order[j]), min(order[i], order[j]))
          sum += Double(triangle[a * (a + 1) / 2 + b]) + offset[i] * offset[j]
        }
        result[next] = Float(share * sum)
        next += 1
      }
    }
    return ImageStatistics(mean: center.map { Float($0) }, covariance: .full(lowerTriangle: result))
  }

  /// The stationary statistics of images from windows of at most `window`² pixels that cover them, evenly spaced among
  /// all where there are more than 4096: each channel's mean over all images, and the mean over windows of the products of
  /// deviations at every lag that fits into one, divided by the number of a window's pixels. Products are sums of
  /// periodograms of windows between zeros, in one order, so that the spectrum is positive and the bits are those of
  /// any order of `indices`.
  static func fitStationary(
    _ images: TrainingImages, indices: [Int], dequantization: Dequantization, window: Int = 64
  ) throws -> ImageStatistics? {
    let (h, w, c) = (images.shape.height, images.shape.width, images.shape.channels)
    guard c <= stationaryLimit else { return nil }
    let indices = indices.sorted()
    func values(_ index: Int) throws(FileError) -> [Double] {
      dequantization.isNone
        ? Array(try images.reals(at: index)) : try images.pixels(at: index).map { dequantization.middle($0) }
    }
    var mean = [Double](repeating: 0, count: c)
    for index in indices {
      var channel = 0
      for value in try values(index) {
        mean[channel] += value
        channel = channel + 1 == c ? 0 : channel + 1
      }
    }
    mean = mean.map { $0 / Double(indices.count * h * w) }

    var periodograms = try WindowPeriodograms(
      ImageShape(height: min(h, window), width: min(w, window), channels: c))
    let places = starts(of: periodograms.window.height, in: h).flatMap { y in
      starts(of: periodograms.window.width, in: w).map { (y, $0) }
    }
    let all = indices.count * places.count
    let count = min(all, 4096)
    var current: (index: Int, values: [Double]) = (-1, [])
    for k in 0..<count {
      let (image, place) = (k * all / count).quotientAndRemainder(dividingBy: places.count)
      if current.index != indices[image] { current = (indices[image], try values(indices[image])) }
      let (y, x) = places[place]
      try periodograms.add { row, column, channel in
        current.values[((y + row) * w + x + column) * c + channel] - mean[channel]
      }
    }
    return ImageStatistics(
      mean: mean.map { Float($0) },
      covariance: .stationary(
        try periodograms.covariance { dequantization.isNone ? 1e-6 * $0 : dequantization.noiseVariance }))
  }

  /// Where windows begin that cover an extent, as few as can be, evenly spaced.
  private static func starts(of window: Int, in extent: Int) -> [Int] {
    let count = (extent + window - 1) / window
    return (0..<count).map { count == 1 ? 0 : $0 * (extent - window) / (count - 1) }
  }
}

/// Sums over images of their bins (integers from 0 to 2ᵇ − 1).
private struct BinMoments {
  let images: TrainingImages
  let indices: [Int]
  let dequantization: Dequantization
  let mean: [Double]
  private let sums: [Int]

  private var d: Int { images.shape.count }
  private var n: Double { Double(indices.count) }

  init(_ images: TrainingImages, _ indices: [Int], _ dequantization: Dequantization) throws {
    self.images = images
    self.indices = indices
    self.dequantization = dequantization
    let d = images.shape.count
    var sums = [Int](repeating: 0, count: d)
    try sums.withUnsafeMutableBufferPointer { sums in
      for index in indices {
        try images.pixels(at: index).withUnsafeBufferPointer { pixels in
          for i in 0..<d { sums[i] += dequantization.bin(pixels[i]) }
        }
      }
    }
    self.sums = sums
    mean = sums.map { Double($0) / Double(indices.count) }
  }

  /// The lower triangle, row by row, times scale²; the noise's variance is added to the diagonal.
  func covariance(scale: Double) throws -> [Float] {
    let products = try self.products()
    var result: [Float] = []
    result.reserveCapacity(products.count)
    for i in 0..<d {
      for j in 0...i {
        let value = (products[i * (i + 1) / 2 + j] - Double(sums[i]) * Double(sums[j]) / n) / n
        result.append(Float(value * scale * scale + (i == j ? dequantization.noiseVariance : 0)))
      }
    }
    return result
  }

  /// `Σ bᵢbⱼ`, lower triangle. Blocks of images are summed in float32, where the integers are exact below
  /// 2²⁴ (256·255² is), and added up in double.
  private func products() throws -> [Double] {
    let d = self.d
    let blockSize = 256
    let tile = 8
    var total = [Double](repeating: 0, count: d * (d + 1) / 2)
    var block = [Float](repeating: 0, count: blockSize * d)
    var rows = [Float](repeating: 0, count: tile * d)
    for start in stride(from: 0, to: indices.count, by: blockSize) {
      let count = min(blockSize, indices.count - start)
      for k in 0..<count { try fill(&block, at: k * d, image: indices[start + k]) }
      block.withUnsafeBufferPointer { block in
        rows.withUnsafeMutableBufferPointer { rows in
          total.withUnsafeMutableBufferPointer { total in
            for first in stride(from: 0, to: d, by: tile) {
              let last = min(first + tile, d)
              rows.update(repeating: 0)
              for k in 0..<count {
                let x = block.baseAddress! + k * d
                for i in first..<last where x[i] != 0 {
                  addProduct(x[i], x, to: rows.baseAddress! + (i - first) * d, count: i + 1)
                }
              }
              for i in first..<last {
                for j in 0...i { total[i * (i + 1) / 2 + j] += Double(rows[(i - first) * d + j]) }
              }
            }
          }
        }
      }
    }
    return total
  }

  private func fill(_ block: inout [Float], at offset: Int, image: Int) throws {
    let d = self.d
    let shift = UInt8(8 - dequantization.bits)
    try images.pixels(at: image).withUnsafeBufferPointer { pixels in
      block.withUnsafeMutableBufferPointer { block in
        for i in 0..<d { block[offset + i] = Float(pixels[i] >> shift) }
      }
    }
  }
}

/// Mean and deviations of real-valued data.
private struct RealMoments {
  let images: TrainingImages
  let indices: [Int]
  let mean: [Double]

  private var d: Int { images.shape.count }

  init(_ images: TrainingImages, _ indices: [Int]) throws {
    self.images = images
    self.indices = indices
    let d = images.shape.count
    var sums = [Double](repeating: 0, count: d)
    for index in indices {
      for (i, value) in try images.reals(at: index).enumerated() { sums[i] += value }
    }
    mean = sums.map { $0 / Double(indices.count) }
  }

  private func deviations(_ index: Int) throws -> [Double] {
    try images.reals(at: index).enumerated().map { $1 - mean[$0] }
  }

  func statistics() throws -> ImageStatistics {
    let n = Double(indices.count)
    var sums = [Double](repeating: 0, count: d * (d + 1) / 2)
    for index in indices {
      let deviations = try deviations(index)
      var next = 0
      for i in 0..<d {
        for j in 0...i {
          sums[next] += deviations[i] * deviations[j]
          next += 1
        }
      }
    }
    let trace = (0..<d).reduce(0.0) { $0 + sums[$1 * ($1 + 3) / 2] / n }
    for i in 0..<d { sums[i * (i + 3) / 2] += n * 1e-6 * trace / Double(d) }
    return ImageStatistics(
      mean: mean.map { Float($0) }, covariance: .full(lowerTriangle: sums.map { Float($0 / n) }))
  }
}

@inline(__always)
private func addProduct(
  _ a: Float, _ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int
) {
  for j in 0..<count { y[j] += a * x[j] }
}
