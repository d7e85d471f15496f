import AIPOKernels

/// What looks like a mistake of somebody who trains, though the training can go on.
enum TrainingAdvice {
  /// Fewer images than these are learnt by heart.
  private static let fewest = 30

  /// `images` counts what is trained on: images, or patches side by side.
  static func few(_ images: Int) -> [Advice] {
    guard images < fewest else { return [] }
    return [
      Advice(
        "few-images",
        "\(images) image\(images == 1 ? " is" : "s are") little to train on: the flow learns them by heart and takes"
          + " others for improbable; give hundreds, or cut patches out of larger pictures (--patch 32x32)")
    ]
  }

  /// A density that is spread evenly spends all bits of the dequantisation.
  static func worseThanNoise(_ bitsPerDim: Double, _ dequantization: Dequantization) -> [Advice] {
    guard !dequantization.isNone, bitsPerDim > Double(dequantization.bits) else { return [] }
    return [
      Advice(
        "worse-than-noise",
        "the model takes its images for less probable than noise (\(JSONText.rounded(bitsPerDim)) bits/dim, noise has"
          + " \(dequantization.bits)): train on with more --steps, or begin anew with a lower --rate")
    ]
  }
}

extension FlowModel {
  /// What looks like a mistake in how the model was trained.
  public var trainingAdvice: [Advice] {
    figures.validation.map { TrainingAdvice.worseThanNoise($0.bitsPerDim, dequantization) } ?? []
  }
}

extension FlowTraining {
  /// Throws `size` where the flow can't take images of this shape, with a size that it can, and `notSquare`. To be asked
  /// before images are read, which may take long.
  public static func require(_ spec: FlowSpec, _ config: TrainingConfig, take shape: ImageShape) throws {
    if config.augmentation.turn, shape.height != shape.width { throw TrainingError.notSquare("\(shape)") }
    let isPatch = !config.patch.isEmpty
    do { _ = try spec.shapes(from: shape) } catch FlowError.unsupportedShape(let shape, let reason) {
      let divisor = spec.sideDivisor
      func up(_ side: Int) -> Int { (side + divisor - 1) / divisor * divisor }
      let fitting = ImageShape(height: up(shape.height), width: up(shape.width), channels: shape.channels)
      guard fitting != shape, (try? spec.shapes(from: fitting)) != nil else {
        throw FlowError.unsupportedShape(shape, reason: reason)
      }
      throw TrainingError.size(
        found: "\(shape)", accepted: reason,
        remedy: "--\(isPatch ? "patch" : "resize") \(fitting.height)x\(fitting.width)")
    }
  }
}
