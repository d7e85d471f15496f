import AIPOKernels

/// Mean bits/dim over a set of images.
public struct Evaluation: Sendable, Hashable, Codable {
  public var bitsPerDim: Double
  /// The standard error of the mean over the images; nil of one image, which has none.
  public var standardError: Double?
  public var images: Int

  public init(bitsPerDim: Double, standardError: Double?, images: Int) {
    self.bitsPerDim = bitsPerDim
    self.standardError = standardError
    self.images = images
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    let images = try container.decode(Int.self, forKey: .images)
    let error = try container.decodeIfPresent(Double.self, forKey: .standardError)
    // Earlier versions wrote 0 for one image.
    self.init(
      bitsPerDim: try container.decode(Double.self, forKey: .bitsPerDim),
      standardError: images > 1 ? error : nil, images: images)
  }

  /// The mean over images with these bits/dim, one or more.
  public init(of bitsPerDim: [Double]) {
    guard let mean = Estimate(bitsPerDim) else { preconditionFailure("the mean of no image") }
    self.init(bitsPerDim: mean.mean, standardError: mean.standardError, images: mean.count)
  }

  /// Measures a density. Image i is dequantised once, with noise keyed by (seed, i) for its index i in
  /// the set: the same whatever batch it is in. The mean of `−log₂ p/d + b` over the images is given,
  /// with its standard error; of a density with a condition that of noisy images, at the given noise level or each at one
  /// of its own, drawn as for training. No averaging over several draws of the noise. Of pictures larger than the density's
  /// shape, fixed patches are measured, and their mean counts as the picture's value.
  ///
  /// With more `ranks` than one each measures a share of the images.
  ///
  /// Throws `imageShape`, `nonFiniteDensity`, `FileError` where images can't be read, and what the flow throws.
  public static func measure<Flow: TrainableFlow>(
    _ flow: Flow, on images: TrainingImages, dequantization: Dequantization, seed: UInt64 = 0,
    batch: Int = 64, noise: Double? = nil, ranks: any Ranks = OneRank(),
    isCancelled: () -> Bool = { false }
  ) throws -> Evaluation {
    guard images.shape == flow.imageShape else {
      throw TrainingError.imageShape(found: "\(images.shape)", expected: "\(flow.imageShape)")
    }
    guard images.count > 0 else {
      throw TrainingError.tooFewImages(found: 0, needed: 1, purpose: "measuring bits/dim")
    }
    precondition(batch > 0)
    let images = images.fixedPatches(atMost: mostPatches, seed: seed)
    let d = images.shape.count
    var values: [Double] = []
    values.reserveCapacity(images.count)
    let share = ranks.share(of: images.count)
    for start in stride(from: share.lowerBound, to: share.upperBound, by: batch) {
      if isCancelled() { throw CancellationError() }
      let end = min(start + batch, share.upperBound)
      var x = TrainingBatch<Flow.Scalar>(
        images: try images.dequantized(start..<end, dequantization, seed: seed))
      if let condition = flow.condition {
        x.smooth {
          Philox(seed: seed, index: UInt64(start + $0), purpose: .evaluationSmoothing)
        } level: { random in
          noise ?? condition.draw(&random)
        }
      }
      for (k, logProb) in try flow.density(of: x).logProb(x.images).enumerated() {
        guard logProb.isFinite else {
          throw TrainingError.nonFiniteDensity(image: start + k, value: logProb)
        }
        values.append(dequantization.bitsPerDim(logProb: logProb, dimensions: d))
      }
    }
    values = try ranks.gather(
      values, counts: (0..<ranks.count).map { ranks.share(of: images.count, rank: $0).count }, placeholder: 0,
      patience: nil)
    return Evaluation(of: means(values, images))
  }

  /// Patches that are measured of all pictures together.
  private static var mostPatches: Int { 2048 }

  /// The mean over the images of a picture, one a picture; patches of a picture are no independent samples.
  private static func means(_ values: [Double], _ images: TrainingImages) -> [Double] {
    var result: [Double] = []
    var start = 0
    for i in values.indices where i + 1 == values.count || images.picture(of: i) != images.picture(of: i + 1)
    {
      result.append(values[start...i].reduce(0, +) / Double(i + 1 - start))
      start = i + 1
    }
    return result
  }
}

extension TrainingImages {
  /// Images with their fixed noise, `[n, h, w, c]`. Throws `TensorError`, and `FileError` where they can't be read.
  func dequantized<Scalar: KernelScalar>(_ range: Range<Int>, _ dequantization: Dequantization, seed: UInt64)
    throws -> Tensor<Scalar>
  {
    let d = shape.count
    var result = try Tensor<Scalar>(shape: [range.count, shape.height, shape.width, shape.channels])
    try result.withUnsafeMutableBufferPointer { out in
      for (k, i) in range.enumerated() {
        var noise = Philox(seed: seed, index: UInt64(i), purpose: .evaluation)
        try fill(
          UnsafeMutableBufferPointer(rebasing: out[(k * d)..<((k + 1) * d)]), image: i,
          dequantization: dequantization, noise: &noise)
      }
    }
    return result
  }
}
