import AIPOKernels

/// How bits/dim are distributed over images of one kind. A model file keeps that of its training images, so that an
/// image of another kind can be told.
public struct BitsDistribution: Sendable, Hashable, Codable {
  /// Images that were measured.
  public let images: Int
  /// The bits/dim that the shares `levels` of the images stay below, ascending.
  public let quantiles: [Double]

  public static let levels = [0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1]

  /// Images that are measured of a larger set, evenly spaced.
  public static let mostImages = 10_000

  /// Of one value at least; between two values quantiles are linear.
  public init(_ bitsPerDim: [Double]) {
    precondition(!bitsPerDim.isEmpty)
    let sorted = bitsPerDim.sorted()
    images = sorted.count
    quantiles = Self.levels.map { level in
      let place = level * Double(sorted.count - 1)
      let k = min(Int(place), sorted.count - 1)
      let next = min(k + 1, sorted.count - 1)
      return sorted[k] + (sorted[next] - sorted[k]) * (place - Double(k))
    }
  }

  private enum CodingKeys: CodingKey { case images, quantiles }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    images = try container.decode(Int.self, forKey: .images)
    quantiles = try container.decode([Double].self, forKey: .quantiles)
    guard images > 0, quantiles.count == Self.levels.count, quantiles == quantiles.sorted() else {
      throw DecodingError.dataCorruptedError(
        forKey: .quantiles, in: container,
        debugDescription: "expected \(Self.levels.count) ascending numbers, of one image or more")
    }
  }

  /// The quantile at one of `levels`.
  public subscript(level: Double) -> Double {
    guard let k = Self.levels.firstIndex(of: level) else { preconditionFailure("no level \(level)") }
    return quantiles[k]
  }

  /// The bits/dim that one image in a thousand exceeds. Fewer images than a thousand don't show it: then it is the
  /// greatest, and half as far again from the median.
  public var limit: Double { images >= 1000 ? self[0.999] : self[1] + (self[1] - self[0.5]) / 2 }

  /// Measures images, of larger pictures fixed patches, each dequantised once by noise that is keyed by its place. Those
  /// whose density isn't finite are left out; nil where none is left.
  ///
  /// Throws what the density throws, and `CancellationError`.
  static func measure<Scalar: KernelScalar>(
    _ flow: Flow<Scalar>, on images: TrainingImages, dequantization: Dequantization, batch: Int = 64,
    isCancelled: () -> Bool
  ) throws -> BitsDistribution? {
    let count = min(images.count, mostImages)
    let images = images.subset((0..<count).map { $0 * images.count / count }).fixedPatches(
      atMost: mostImages, seed: 0)
    var values: [Double] = []
    for start in stride(from: 0, to: images.count, by: batch) {
      if isCancelled() { throw CancellationError() }
      let x: Tensor<Scalar> = try images.dequantized(
        start..<min(start + batch, images.count), dequantization, seed: 0)
      values += try flow.evaluate(x).map {
        dequantization.bitsPerDim(logProb: $0, dimensions: images.shape.count)
      }
    }
    values = values.filter(\.isFinite)
    return values.isEmpty ? nil : BitsDistribution(values)
  }
}

extension FlowModel {
  /// Measures how bits/dim are distributed over the images that a model was trained on and over those that were kept back
  /// for validation, which its recipe tells apart; without a recipe all count as trained on. Puts it into `figures`.
  ///
  /// Throws where the images aren't such as the recipe was for, what the flow throws, and `CancellationError`.
  public mutating func measureDistributions(
    on images: TrainingImages, threads: Int = ThreadPool.availableCores, isCancelled: () -> Bool = { false }
  ) throws {
    guard images.shape == imageShape else {
      throw TrainingError.imageShape(found: "\(images.shape)", expected: "\(imageShape)")
    }
    guard images.isReal == dequantization.isNone else {
      throw TrainingError.dequantization(bits: dequantization.bits)
    }
    var (images, split) = (images, TrainingSplit(training: Array(0..<images.count), validation: []))
    if !recipe.isEmpty {
      let config = try TrainingConfig(yaml: recipe, path: "\(path), its recipe")
      images = images.divided(for: config)
      split = try TrainingSplit(images: images, config: config)
    }
    let flow = try makeFlow(Float.self, threads: threads)
    try figures.measureDistributions(
      of: flow, on: images, split, dequantization: dequantization, isCancelled: isCancelled)
  }
}

extension ModelFigures {
  mutating func measureDistributions<Scalar: KernelScalar>(
    of flow: Flow<Scalar>, on images: TrainingImages, _ split: TrainingSplit, dequantization: Dequantization,
    isCancelled: () -> Bool
  ) throws {
    func measure(_ indices: [Int]) throws -> BitsDistribution? {
      try BitsDistribution.measure(
        flow, on: images.subset(indices), dequantization: dequantization, isCancelled: isCancelled)
    }
    trainingBits = try measure(split.training)
    validationBits = try measure(split.validation)
  }

  /// The bits/dim that one image in a thousand of the training images' kind exceeds: the larger of what the images
  /// trained on and those kept back say. Nil where neither was measured.
  public var bitsLimit: Double? { [trainingBits, validationBits].compactMap { $0?.limit }.max() }

  /// What to say of an image with these bits/dim; nil where images of the training images' kind have as many, and where
  /// nothing is known of them.
  public func advice(bitsPerDim: Double, of subject: String) -> Advice? {
    guard let limit = bitsLimit, bitsPerDim > limit else { return nil }
    return Advice(
      "unlike the training images", of: subject,
      "\(JSONText.rounded(bitsPerDim, digits: 3)) bits/dim, where images of the kind that the model was trained on have "
        + "less than \(JSONText.rounded(limit, digits: 3)): it is unlike them, and this prior misleads; use one that was "
        + "trained on such images")
  }
}
