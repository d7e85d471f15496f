import AIPOKernels

extension ImageStatistics {
  /// Fits mean and covariance to the images at `indices` of a set, as dequantisation makes them: the moments
  /// of the bins' middles, plus the noise's variance `2^(−2b)/12` on the diagonal (in closed form, nothing is
  /// drawn). Sums are of integers and exact, so the result depends on no order. The covariance divides by n.
  ///
  /// Real-valued data are summed in double precision, in order; the diagonal gets 10⁻⁶ of the mean variance, so that
  /// data on a plane have a covariance that can be inverted in single precision.
  ///
  /// Images of more than `fullLimit` values get `rank` factors: the leading eigenvectors of the covariance of
  /// at most `max(1024, 4·rank)` evenly spaced images (fewer where those would take more than 256 MB), and a
  /// diagonal that restores every value's variance over all of them. Throws where LAPACK fails.
  public static func fit(
    _ images: TrainingImages, indices: [Int], dequantization: Dequantization, rank: Int
  ) throws(LinearAlgebraError) -> ImageStatistics {
    precondition(!indices.isEmpty && rank > 0)
    if dequantization.isNone { return try RealMoments(images, indices).statistics(rank: rank) }
    let moments = BinMoments(images, indices, dequantization)
    let scale = 1 / Double(dequantization.binCount)
    let mean = moments.mean.map { Float(($0 + 0.5) * scale) }
    if images.shape.count <= fullLimit {
      return ImageStatistics(mean: mean, covariance: .full(lowerTriangle: moments.covariance(scale: scale)))
    }
    return ImageStatistics(mean: mean, covariance: try moments.lowRank(rank: rank, scale: scale))
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

  init(_ images: TrainingImages, _ indices: [Int], _ dequantization: Dequantization) {
    self.images = images
    self.indices = indices
    self.dequantization = dequantization
    let d = images.shape.count
    var sums = [Int](repeating: 0, count: d)
    sums.withUnsafeMutableBufferPointer { sums in
      for index in indices {
        images.pixels(at: index).withUnsafeBufferPointer { pixels in
          for i in 0..<d { sums[i] += dequantization.bin(pixels[i]) }
        }
      }
    }
    self.sums = sums
    mean = sums.map { Double($0) / Double(indices.count) }
  }

  /// The lower triangle, row by row, times scale²; the noise's variance is added to the diagonal.
  func covariance(scale: Double) -> [Float] {
    let products = self.products()
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
  private func products() -> [Double] {
    let d = self.d
    let blockSize = 256
    let tile = 8
    var total = [Double](repeating: 0, count: d * (d + 1) / 2)
    var block = [Float](repeating: 0, count: blockSize * d)
    var rows = [Float](repeating: 0, count: tile * d)
    for start in stride(from: 0, to: indices.count, by: blockSize) {
      let count = min(blockSize, indices.count - start)
      for k in 0..<count { fill(&block, at: k * d, image: indices[start + k]) }
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

  private func fill(_ block: inout [Float], at offset: Int, image: Int) {
    let d = self.d
    let shift = UInt8(8 - dequantization.bits)
    images.pixels(at: image).withUnsafeBufferPointer { pixels in
      block.withUnsafeMutableBufferPointer { block in
        for i in 0..<d { block[offset + i] = Float(pixels[i] >> shift) }
      }
    }
  }

  func lowRank(rank: Int, scale: Double) throws(LinearAlgebraError) -> ImageStatistics.Covariance {
    var squares = [Double](repeating: 0, count: d)
    for index in indices {
      images.pixels(at: index).withUnsafeBufferPointer { pixels in
        for i in 0..<d {
          let bin = Double(dequantization.bin(pixels[i]))
          squares[i] += bin * bin
        }
      }
    }
    let variances = (0..<d).map { (i: Int) -> Double in
      let sum = Double(sums[i])
      return (squares[i] - sum * sum / n) / n * scale * scale
    }
    return try lowRankCovariance(
      indices, variances: variances, least: dequantization.noiseVariance, rank: rank
    ) { index in
      images.pixels(at: index).enumerated().map { (Double(dequantization.bin($1)) - mean[$0]) * scale }
    }
  }
}

/// Mean and deviations of real-valued data.
private struct RealMoments {
  let images: TrainingImages
  let indices: [Int]
  let mean: [Double]

  private var d: Int { images.shape.count }

  init(_ images: TrainingImages, _ indices: [Int]) {
    self.images = images
    self.indices = indices
    let d = images.shape.count
    var sums = [Double](repeating: 0, count: d)
    for index in indices {
      for (i, value) in images.reals(at: index).enumerated() { sums[i] += value }
    }
    mean = sums.map { $0 / Double(indices.count) }
  }

  private func deviations(_ index: Int) -> [Double] {
    images.reals(at: index).enumerated().map { $1 - mean[$0] }
  }

  func statistics(rank: Int) throws(LinearAlgebraError) -> ImageStatistics {
    let n = Double(indices.count)
    var squares = [Double](repeating: 0, count: d)
    for index in indices {
      for (i, value) in deviations(index).enumerated() { squares[i] += value * value }
    }
    let variances = squares.map { $0 / n }
    let least = 1e-6 * variances.reduce(0, +) / Double(d)
    let covariance: ImageStatistics.Covariance
    if d <= ImageStatistics.fullLimit {
      var sums = [Double](repeating: 0, count: d * (d + 1) / 2)
      for index in indices {
        let deviations = deviations(index)
        var next = 0
        for i in 0..<d {
          for j in 0...i {
            sums[next] += deviations[i] * deviations[j]
            next += 1
          }
        }
      }
      var triangle = sums.map { Float($0 / n) }
      for i in 0..<d { triangle[i * (i + 3) / 2] = Float(variances[i] + least) }
      covariance = .full(lowerTriangle: triangle)
    } else {
      covariance = try lowRankCovariance(
        indices, variances: variances, least: least, rank: rank, deviations: deviations)
    }
    return ImageStatistics(mean: mean.map { Float($0) }, covariance: covariance)
  }
}

/// The covariance of an evenly spaced part, by the eigenvectors of its Gram matrix, and the rest of every
/// value's variance as a diagonal, plus `least`.
private func lowRankCovariance(
  _ indices: [Int], variances: [Double], least: Double, rank: Int,
  deviations: (_ index: Int) -> [Double]
) throws(LinearAlgebraError) -> ImageStatistics.Covariance {
  let d = variances.count
  let count = min(indices.count, max(1024, 4 * rank), max(2, (1 << 25) / d))
  var centred = try Matrix(rows: d, columns: count)
  let unit = 1 / Double(count).squareRoot()
  centred.withMutableColumns { columns in
    for k in 0..<count {
      let index = indices[k * indices.count / count]
      for (i, deviation) in deviations(index).enumerated() { columns[k * d + i] = deviation * unit }
    }
  }
  let (_, vectors) = try centred.transposedTimes(centred).symmetricEigen()
  let kept = min(rank, count)
  // Eigenvalues ascend, so the leading vectors are the last columns.
  let leading = try Matrix(rows: count, columns: kept) { vectors[$0, count - 1 - $1] }
  let factors = try centred.times(leading).columnMajor.map { Float($0) }
  var diagonal: [Float] = []
  for i in 0..<d {
    var explained = 0.0
    for k in 0..<kept { explained += Double(factors[k * d + i]) * Double(factors[k * d + i]) }
    diagonal.append(Float(least + max(0, variances[i] - explained)))
  }
  return .lowRank(factors: factors, diagonal: diagonal)
}

@inline(__always)
private func addProduct(
  _ a: Float, _ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int
) {
  for j in 0..<count { y[j] += a * x[j] }
}
