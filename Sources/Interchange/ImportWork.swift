import AIPOFlows
import AIPOKernels
import AIPOPlatform

/// An import under way: from a state dict to a model, with every setting that was needed.
struct ImportWork {
  let dict: StateDict
  let dialect: Dialect
  let given: ImportOptions
  let images: TrainingImages?
  let isVector: Bool
  let seed: UInt64
  let pool: ThreadPool

  struct Result {
    var model: FlowModel
    var settings: [ModelImport.Setting]
    var warnings: [String]
    var statisticsSource: String
    var sizeIsOpen: Bool
  }

  func run<Scalar: KernelScalar>(_: Scalar.Type) throws -> Result {
    var search = try ImportSearch(self)
    // A first mapping tells what the file determines: classes, size.
    var mapping: FlowMapping<Scalar> = try map(search.choices)
    try dict.requireAllTaken(dialect.rawValue)
    let (size, sizeReason) = try imageSize(mapping)
    let shape = ImageShape(height: size.height, width: size.width, channels: mapping.channels)
    if let images {
      try requireShape(images, shape)
      try search.settle(images) { choices in
        let candidate: FlowMapping<Scalar> = try map(choices)
        return .init(used: used(candidate), classes: candidate.classes) { count in
          try meanLogProb(model(candidate, shape, choices), images, atMost: count, Scalar.self)
        }
      }
      mapping = try map(search.choices)
    }
    var settings = search.settings(used: used(mapping))
    if let sizeReason {
      settings.append(.init(option: "size", value: "\(size.height)x\(size.width)", reason: sizeReason))
    }
    var result = model(mapping, shape, search.choices)
    let source = try fitStatistics(&result, Scalar.self)
    result.provenance = provenance(settings)
    return Result(
      model: result, settings: settings,
      warnings: try images.map { try improbable(result, $0, settings, Scalar.self) } ?? [],
      statisticsSource: source, sizeIsOpen: mapping.size == nil && given[.size] == nil)
  }

  private func map<Scalar: KernelScalar>(
    _ choices: ImportChoices
  ) throws(FileError) -> FlowMapping<Scalar> {
    var mapping = FlowMapping<Scalar>(dict, choices)
    switch dialect {
    case .normflows where isVector: try mapping.mapNormflowsVectors()
    case .normflows: try mapping.mapNormflowsGlow()
    case .glowip: try mapping.mapGlowIP()
    case .glowPytorch: try mapping.mapGlowPytorch()
    }
    return mapping
  }

  /// What the model depends on: vectors aren't dequantised.
  private func used<Scalar>(_ mapping: FlowMapping<Scalar>) -> Set<ImportOption> {
    isVector ? mapping.used : mapping.used.union([.bits])
  }

  private func model<Scalar: KernelScalar>(
    _ mapping: FlowMapping<Scalar>, _ shape: ImageShape, _ choices: ImportChoices
  ) -> FlowModel {
    FlowModel(
      spec: FlowSpec(base: mapping.base, layers: mapping.layers), imageShape: shape,
      dequantization: Dequantization(bits: isVector ? 0 : Int(choices.number(.bits))),
      tensors: mapping.tensors)
  }

  private func provenance(_ settings: [ModelImport.Setting]) -> String {
    let list = settings.map { "\($0.option)=\($0.value) (\($0.reason))" }
    return "imported from a \(dialect.rawValue) checkpoint"
      + (list.isEmpty ? "" : "; " + list.joined(separator: ", "))
  }

  // MARK: Densities

  /// Mean log p in nats of evenly spaced images, their pixels in the middles of their bins.
  private func meanLogProb<Scalar: KernelScalar>(
    _ model: FlowModel, _ images: TrainingImages, atMost limit: Int = 64, _: Scalar.Type
  ) throws -> Double {
    let d = images.shape.count
    let count = min(images.count, limit, max(4, (1 << 18) / d))
    var x = try Tensor<Scalar>(shape: [count, images.shape.height, images.shape.width, images.shape.channels])
    let (pixels, reals) = (images.pixels, images.reals)
    x.withUnsafeMutableBufferPointer { out in
      for i in 0..<count {
        let image = i * images.count / count
        for k in image * d..<(image + 1) * d {
          out[i * d + k - image * d] = Scalar(
            reals.isEmpty ? model.dequantization.middle(pixels[k]) : reals[k])
        }
      }
    }
    return try evaluate(model, x).reduce(0, +) / Double(count)
  }

  private func evaluate<Scalar: KernelScalar>(_ model: FlowModel, _ x: Tensor<Scalar>) throws -> [Double] {
    do {
      return try LayerByLayer<Scalar>(model, pool: pool).evaluate(x)
    } catch let error as FlowError { throw unusable(error) }
  }

  private func unusable(_ error: FlowError) -> FileError {
    dict.source.malformed("the flow", "unusable (\(error))", "parameters of an invertible map")
  }

  /// A warning where the simplest density explains the images better than the flow does: a uniform one pixels, a Gaussian
  /// of independent values vectors.
  private func improbable<Scalar: KernelScalar>(
    _ model: FlowModel, _ images: TrainingImages, _ settings: [ModelImport.Setting], _: Scalar.Type
  ) throws -> [String] {
    let found = try meanLogProb(model, images, Scalar.self)
    let simple = images.reals.isEmpty ? 0 : Self.gaussianLogProb(images)
    guard !(found >= simple) else { return [] }
    func text(_ value: Double) -> String { value.isFinite ? "\((value * 10).rounded() / 10)" : "not finite" }
    let (what, other) =
      images.reals.isEmpty ? ("images", "uniform noise") : ("points", "a Gaussian fitted to them")
    let names = settings.filter { $0.isOpen }.map(\.option)
    return [
      "the \(what) are improbable under the model: their mean log p is \(text(found)) nats, that of \(other) "
        + "\(text(simple)). Either they aren't like those it was trained on, or a setting is wrong"
        + (names.isEmpty ? "" : "; give what you know by --option (\(names.joined(separator: ", ")))")
    ]
  }

  /// The mean log-density of vectors under a Gaussian of their own means and deviations.
  private static func gaussianLogProb(_ images: TrainingImages) -> Double {
    let (n, d) = (images.count, images.shape.count)
    guard n > 1 else { return -.infinity }
    var sum = 0.0
    for j in 0..<d {
      let values = (0..<n).map { images.reals[$0 * d + j] }
      let mean = values.reduce(0, +) / Double(n)
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
      sum -= 0.5 * (log(2 * Double.pi * variance) + 1)
    }
    return sum
  }

  // MARK: Size

  private func imageSize<Scalar>(
    _ mapping: FlowMapping<Scalar>
  ) throws -> (size: (height: Int, width: Int), reason: String?) {
    if isVector { return ((1, 1), nil) }
    let levels = mapping.layers.count { ($0.kind?.divisor ?? 1) > 1 }
    let divisor = 1 << levels
    let asked = try given.size()
    if let size = mapping.size {
      if let asked, asked != size {
        throw ImportError(
          description:
            "option size is \(asked.height)x\(asked.width), but the file's base is of \(size.height)x\(size.width)"
        )
      }
      return (size, "told by the file")
    }
    if let asked {
      guard asked.height % divisor == 0, asked.width % divisor == 0 else {
        throw ImportError(
          description: "option size is \(asked.height)x\(asked.width), expected multiples of \(divisor)")
      }
      return (asked, "given")
    }
    if let images {
      guard images.shape.height % divisor == 0, images.shape.width % divisor == 0 else {
        throw dict.source.malformed("size of the images", "\(images.shape)", "multiples of \(divisor)")
      }
      return ((images.shape.height, images.shape.width), "as the images")
    }
    let side = max(divisor, 64 / divisor * divisor)
    return ((side, side), "assumed; any multiple of \(divisor) fits")
  }

  private func requireShape(_ images: TrainingImages, _ shape: ImageShape) throws(FileError) {
    guard images.shape == shape else {
      throw dict.source.malformed("shape of the images", "\(images.shape)", "\(shape) for this model")
    }
  }

  // MARK: The Gaussian

  /// Fits mean and covariance to the images, or to draws; says to which.
  private func fitStatistics<Scalar: KernelScalar>(
    _ model: inout FlowModel, _: Scalar.Type
  ) throws -> String {
    let fitted: (TrainingImages, String)?
    if let images {
      try requireShape(images, model.imageShape)
      // Settling has evaluated the flow; without it nothing has shown yet that it can be.
      _ = try meanLogProb(model, images, atMost: 1, Scalar.self)
      fitted = (images, "\(images.count) images")
      model.requantization = try Requantization.fit(
        images, indices: Array(0..<images.count), dequantization: model.dequantization)
    } else {
      let draws = try Self.finite(
        try self.draws(model) as Tensor<Scalar>, model.imageShape, asReals: isVector)
      fitted = draws.map { ($0, "\($0.count) draws of the model") }
    }
    guard let (images, source) = fitted else { return "nothing: no draw of the model is finite" }
    model.statistics = try ImageStatistics.fit(
      images, indices: Array(0..<images.count), dequantization: model.dequantization)
    return source
  }

  /// As many draws as a bound on the work allows, or as the user asks for.
  private func draws<Scalar: KernelScalar>(_ model: FlowModel) throws -> Tensor<Scalar> {
    let work = max(try model.spec.multiplyAdds(for: model.imageShape), 1)
    let count = try given.number(.draws, 2...100_000) ?? max(8, min(1024, 30_000_000_000 / work))
    do {
      return try LayerByLayer<Scalar>(model, pool: pool).sample(0..<count, seed: seed)
    } catch let error as FlowError { throw unusable(error) }
  }

  /// Finite draws as they are, or as 8-bit images, clipped; nil where there are fewer than two.
  private static func finite<Scalar: KernelScalar>(
    _ draws: Tensor<Scalar>, _ shape: ImageShape, asReals: Bool
  ) throws -> TrainingImages? {
    let d = shape.count
    var pixels: [UInt8] = []
    var reals: [Double] = []
    draws.withUnsafeBufferPointer { values in
      for i in 0..<draws.shape[0] {
        let image = values[i * d..<(i + 1) * d]
        guard image.allSatisfy(\.isFinite) else { continue }
        if asReals {
          reals += image.map { Double($0) }
        } else {
          pixels += image.map { UInt8(max(0, min(255, (Double($0) * 256).rounded(.down)))) }
        }
      }
    }
    guard pixels.count + reals.count >= 2 * d else { return nil }
    return asReals
      ? try TrainingImages(shape: shape, reals: reals) : try TrainingImages(shape: shape, pixels: pixels)
  }
}
