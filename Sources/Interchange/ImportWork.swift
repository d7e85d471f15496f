import AIPOFlows
import AIPOKernels

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
    var statisticsSource: String
    var sizeIsOpen: Bool
  }

  func run<Scalar: KernelScalar>(_: Scalar.Type) throws -> Result {
    var settings: [ModelImport.Setting] = []
    var choices = try givenChoices(&settings)
    if dialect == .normflows, given[.scaleMap] == nil { choices.scaleMap = isVector ? .exp : .sigmoid }
    // A first mapping tells what the file determines: classes, size.
    var mapping: FlowMapping<Scalar> = try map(choices)
    try dict.requireAllTaken(dialect.rawValue)
    let (size, sizeReason) = try imageSize(mapping)
    let shape = ImageShape(height: size.height, width: size.width, channels: mapping.channels)
    if let sizeReason {
      settings.append(.init(option: "size", value: "\(size.height)x\(size.width)", reason: sizeReason))
    }
    let bits = try isVector ? 0 : given.number(.bits, 1...8) ?? (dialect == .glowPytorch ? 5 : 8)
    if !isVector {
      settings.append(
        .init(option: "bits", value: "\(bits)", reason: given[.bits] == nil ? "assumed" : "given"))
    }
    let dequantization = Dequantization(bits: bits)
    func model(_ mapping: FlowMapping<Scalar>) -> FlowModel {
      FlowModel(
        spec: FlowSpec(base: mapping.base, layers: mapping.layers), imageShape: shape,
        dequantization: dequantization, tensors: mapping.tensors)
    }
    let open = openOptions(mapping)
    for group in open {
      guard let images else {
        for option in group { settings.append(setting(option, choices, reason: "assumed")) }
        continue
      }
      try requireShape(images, shape)
      let current = choices
      let (best, figures) = try settle(group, current, classes: mapping.classes) { candidate in
        let candidateModel =
          candidate == current ? model(mapping) : model(try map(candidate))
        return try bitsPerDim(candidateModel, images, Scalar.self)
      }
      if best != choices {
        choices = best
        mapping = try map(choices)
      }
      for option in group {
        settings.append(setting(option, choices, reason: "chosen by bits/dim: \(figures)"))
      }
    }
    var result = model(mapping)
    let source = try fitStatistics(&result, Scalar.self)
    result.provenance = provenance(settings)
    return Result(
      model: result, settings: settings, statisticsSource: source,
      sizeIsOpen: mapping.size == nil && given[.size] == nil)
  }

  private func map<Scalar: KernelScalar>(
    _ choices: ImportChoices
  ) throws(FileError) -> FlowMapping<Scalar> {
    var mapping = FlowMapping<Scalar>(dict)
    switch dialect {
    case .normflows where isVector: try mapping.mapNormflowsVectors(choices)
    case .normflows: try mapping.mapNormflowsGlow(choices)
    case .glowip: try mapping.mapGlowIP(choices)
    case .glowPytorch: try mapping.mapGlowPytorch(choices)
    }
    return mapping
  }

  private func provenance(_ settings: [ModelImport.Setting]) -> String {
    let list = settings.filter { !$0.value.isEmpty }.map { "\($0.option)=\($0.value) (\($0.reason))" }
    return "imported from a \(dialect.rawValue) checkpoint"
      + (list.isEmpty ? "" : "; " + list.joined(separator: ", "))
  }

  // MARK: Settings

  /// What the user gave, and the dialect's defaults for the rest.
  private func givenChoices(_ settings: inout [ModelImport.Setting]) throws(ImportError) -> ImportChoices {
    var choices = ImportChoices()
    if dialect != .normflows { choices.range = .centered }
    if let text = given[.range] { choices.range = .init(rawValue: text)! }
    if let text = given[.scaleMap] { choices.scaleMap = .init(rawValue: text)! }
    if let text = given[.squeeze] { choices.squeeze = .init(rawValue: text)! }
    choices.classIndex = try given.number(.class, 0...1_000_000) ?? 0
    choices.lastBias = try given.number(.lastBias, 0...1) ?? 0
    choices.couplingBias = try given.number(.couplingBias, 0...1000) ?? 0
    for option: ImportOption in [.range, .scaleMap, .squeeze, .class, .lastBias, .couplingBias]
    where given[option] != nil {
      settings.append(setting(option, choices, reason: "given"))
    }
    if dialect == .glowip, given[.couplingBias] == nil {
      settings.append(setting(.couplingBias, choices, reason: "assumed"))
    }
    if dialect != .normflows, given[.range] == nil {
      settings.append(setting(.range, choices, reason: "as the dialect has it"))
    }
    return choices
  }

  private func setting(_ option: ImportOption, _ choices: ImportChoices, reason: String)
    -> ModelImport.Setting
  {
    func text(_ value: Double) -> String { value == value.rounded() ? "\(Int(value))" : "\(value)" }
    let value =
      switch option {
      case .range: choices.range.rawValue
      case .scaleMap: choices.scaleMap.rawValue
      case .class: "\(choices.classIndex)"
      case .squeeze: choices.squeeze.rawValue
      case .lastBias: text(choices.lastBias)
      case .couplingBias: text(choices.couplingBias)
      case .stateDict, .size, .bits, .draws: ""
      }
    return ModelImport.Setting(option: option.rawValue, value: value, reason: reason)
  }

  /// Options that neither the user nor the file has settled, in groups that are tried together.
  private func openOptions<Scalar>(_ mapping: FlowMapping<Scalar>) -> [[ImportOption]] {
    func open(_ options: [ImportOption]) -> [ImportOption] { options.filter { given[$0] == nil } }
    let couplings = mapping.layers.contains { layer in
      switch layer {
      case .coupling(let coupling): coupling.transform != .additive
      case .maskedAffine(let masked):
        if case .joint = masked.nets { masked.transform != .additive } else { false }
      default: false
      }
    }
    var groups: [[ImportOption]] = []
    switch dialect {
    case .normflows where isVector: groups = [open(couplings ? [.scaleMap] : [])]
    case .normflows:
      groups = [
        open((couplings ? [.scaleMap] : []) + [.range]), open(mapping.classes == nil ? [] : [.class]),
      ]
    case .glowip: groups = [open(couplings ? [.squeeze, .lastBias] : [.squeeze])]
    case .glowPytorch: break
    }
    return groups.filter { !$0.isEmpty }
  }

  /// Tries all combinations of a group's values; gives the best and the figures of all.
  private func settle(
    _ group: [ImportOption], _ start: ImportChoices, classes: Int?,
    _ measure: (ImportChoices) throws -> Double
  ) throws -> (ImportChoices, String) {
    var candidates = [start]
    for option in group {
      candidates = candidates.flatMap { choices -> [ImportChoices] in
        var result: [ImportChoices] = []
        func add(_ change: (inout ImportChoices) -> Void) {
          var next = choices
          change(&next)
          result.append(next)
        }
        switch option {
        case .scaleMap:
          for map in [ImportChoices.ScaleMap.sigmoid, .exp, .inverse] { add { $0.scaleMap = map } }
        case .range:
          for range in [ImportChoices.PixelRange.unit, .centered, .symmetric] { add { $0.range = range } }
        case .squeeze:
          for squeeze in [ImportChoices.Squeezing.interleave, .contiguous, .contiguousExceptLast] {
            add { $0.squeeze = squeeze }
          }
        case .lastBias: for bias in [0.0, 1] { add { $0.lastBias = bias } }
        case .class: for index in 0..<min(classes ?? 1, 1000) { add { $0.classIndex = index } }
        default: result = [choices]
        }
        return result
      }
    }
    var best: (choices: ImportChoices, bits: Double)?
    var figures: [String] = []
    for candidate in candidates {
      let bits = try measure(candidate)
      let names = group.map { setting($0, candidate, reason: "").value }.joined(separator: " ")
      figures.append(bits.isFinite ? "\(names) \((bits * 1000).rounded() / 1000)" : "\(names) not finite")
      if bits.isFinite, bits < best?.bits ?? .infinity { best = (candidate, bits) }
    }
    guard let best else {
      throw dict.source.malformed(
        "bits/dim of the images", "not finite whatever \(group.map(\.rawValue).joined(separator: ", "))",
        "a density for one of them")
    }
    return (best.choices, figures.joined(separator: ", "))
  }

  /// Mean bits/dim of evenly spaced images, their pixels in the middles of their bins.
  private func bitsPerDim<Scalar: KernelScalar>(
    _ model: FlowModel, _ images: TrainingImages, _: Scalar.Type
  ) throws -> Double {
    let d = images.shape.count
    let count = min(images.count, max(4, min(64, (1 << 18) / d)))
    var x = try Tensor<Scalar>(shape: [count, images.shape.height, images.shape.width, images.shape.channels])
    x.withUnsafeMutableBufferPointer { out in
      for i in 0..<count {
        let image = i * images.count / count
        for k in image * d..<(image + 1) * d {
          out[i * d + k - image * d] = Scalar(
            images.reals.isEmpty ? model.dequantization.middle(images.pixels[k]) : images.reals[k])
        }
      }
    }
    let values = try evaluate(model, x)
    let mean = values.reduce(0, +) / Double(count)
    return model.dequantization.bitsPerDim(logProb: mean, dimensions: d)
  }

  private func evaluate<Scalar: KernelScalar>(_ model: FlowModel, _ x: Tensor<Scalar>) throws -> [Double] {
    do {
      return try LayerByLayer<Scalar>(model, pool: pool).evaluate(x)
    } catch let error as FlowError { throw unusable(error) }
  }

  private func unusable(_ error: FlowError) -> FileError {
    dict.source.malformed("the flow", "unusable (\(error))", "parameters of an invertible map")
  }

  // MARK: Size

  private func imageSize<Scalar>(
    _ mapping: FlowMapping<Scalar>
  ) throws -> (size: (height: Int, width: Int), reason: String?) {
    if isVector { return ((1, 1), nil) }
    let levels = mapping.layers.count { if case .squeeze = $0 { true } else { false } }
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
      _ = try bitsPerDim(model, images.subset(0..<1), Scalar.self)
      fitted = (images, "\(images.count) images")
      model.requantization = Requantization.fit(
        images, indices: Array(0..<images.count), dequantization: model.dequantization)
    } else {
      let draws = try Self.finite(
        try self.draws(model) as Tensor<Scalar>, model.imageShape, asReals: isVector)
      fitted = draws.map { ($0, "\($0.count) draws of the model") }
    }
    guard let (images, source) = fitted else { return "nothing: no draw of the model is finite" }
    model.statistics = try ImageStatistics.fit(
      images, indices: Array(0..<images.count), dequantization: model.dequantization, rank: 128)
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
