import AIPOKernels

/// How well a flow describes images with noise of one level, beside the Gaussian of the training images' mean and covariance.
public struct NoiseFigure: Codable, Sendable, Hashable {
  /// s
  public var level: Double
  /// Bits/dim of the flow, and of the Gaussian N(μ, C + s²I), on the same images with the same noise; nil where there is no
  /// full covariance.
  public var flow: Evaluation
  public var gaussian: Evaluation?

  /// Levels that are measured, and the most images of a larger set, evenly spaced.
  static let levels = 5
  static let mostImages = 256

  /// Measures a flow with a condition. Throws what `Evaluation.measure` throws, and `CancellationError`.
  static func measure<Scalar: KernelScalar>(
    _ flow: Flow<Scalar>, _ condition: Condition, statistics: ImageStatistics?, on images: TrainingImages,
    dequantization: Dequantization, seed: UInt64, isCancelled: () -> Bool
  ) throws -> [NoiseFigure] {
    let count = min(images.count, mostImages)
    let images = images.subset((0..<count).map { $0 * images.count / count })
    var gaussian: Flow<Scalar>?
    if let statistics, case .full = statistics.covariance {
      gaussian = try Flow(
        spec: FlowSpec(layers: []).conditioned(condition, whitening: .dense), imageShape: images.shape,
        pool: flow.pool)
      try gaussian?.whiten(statistics)
    }
    return try (0..<levels).map { k in
      let s = condition.level(Double(k) / Double(levels - 1))
      func measure(_ flow: Flow<Scalar>) throws -> Evaluation {
        try Evaluation.measure(
          flow, on: images, dequantization: dequantization, seed: seed, noise: s, isCancelled: isCancelled)
      }
      return try NoiseFigure(level: s, flow: measure(flow), gaussian: gaussian.map(measure))
    }
  }
}
