import AIPOKernels

/// Mean bits/dim over a set of images.
public struct Evaluation: Sendable, Hashable, Codable {
  public var bitsPerDim: Double
  /// The standard error of the mean over the images.
  public var standardError: Double
  public var images: Int

  public init(bitsPerDim: Double, standardError: Double, images: Int) {
    self.bitsPerDim = bitsPerDim
    self.standardError = standardError
    self.images = images
  }

  /// Measures a density. Image i is dequantised once, with noise keyed by (seed, i) for its index i in
  /// the set: the same whatever batch it is in. The mean of `−log₂ p/d + b` over the images is given,
  /// with its standard error. No averaging over several draws of the noise.
  ///
  /// Throws `imageShape`, `nonFiniteDensity`, and what the flow throws.
  public static func measure<Flow: TrainableFlow>(
    _ flow: Flow, on images: TrainingImages, dequantization: Dequantization, seed: UInt64 = 0,
    batch: Int = 64,
    isCancelled: () -> Bool = { false }
  ) throws -> Evaluation {
    guard images.shape == flow.imageShape else {
      throw TrainingError.imageShape(found: "\(images.shape)", expected: "\(flow.imageShape)")
    }
    guard images.count > 0 else {
      throw TrainingError.tooFewImages(found: 0, needed: 1, purpose: "measuring bits/dim")
    }
    precondition(batch > 0)
    let d = images.shape.count
    var values: [Double] = []
    values.reserveCapacity(images.count)
    for start in stride(from: 0, to: images.count, by: batch) {
      if isCancelled() { throw CancellationError() }
      let end = min(start + batch, images.count)
      let x: Tensor<Flow.Scalar> = try images.dequantized(start..<end, dequantization, seed: seed)
      for (k, logProb) in try flow.logProb(x).enumerated() {
        guard logProb.isFinite else {
          throw TrainingError.nonFiniteDensity(image: start + k, value: logProb)
        }
        values.append(dequantization.bitsPerDim(logProb: logProb, dimensions: d))
      }
    }
    let n = Double(values.count)
    let mean = values.reduce(0, +) / n
    let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    let error = values.count > 1 ? (squares / (n - 1) / n).squareRoot() : 0
    return Evaluation(bitsPerDim: mean, standardError: error, images: values.count)
  }
}

extension TrainingImages {
  /// Images with their fixed noise, `[n, h, w, c]`.
  func dequantized<Scalar: KernelScalar>(_ range: Range<Int>, _ dequantization: Dequantization, seed: UInt64)
    throws(TensorError) -> Tensor<Scalar>
  {
    let d = shape.count
    var result = try Tensor<Scalar>(shape: [range.count, shape.height, shape.width, shape.channels])
    result.withUnsafeMutableBufferPointer { out in
      for (k, i) in range.enumerated() {
        var noise = Philox(seed: seed, index: UInt64(i), purpose: .evaluation)
        var unused = noise
        fill(
          UnsafeMutableBufferPointer(rebasing: out[(k * d)..<((k + 1) * d)]), image: i,
          augmentation: Augmentation(), random: &unused, dequantization: dequantization, noise: &noise)
      }
    }
    return result
  }
}
