import AIPOKernels

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A prior as a file: a flow, of what it is a prior, and everything that is needed to use it.
///
/// A safetensors file, or a training's checkpoint, which is the model that the training would give if it ended there.
/// Tensors: the flow's own as `flow.…`; the training images' statistics as
/// `images.mean` and `images.covariance` (lower triangle) or `images.lags` (`LagCovariance`), and as `images.levels` the
/// means and slopes of their `Requantization`.
/// Strings: `format`, `version`, `spec`, `image`, `prior` (`PriorKind`), `mirrored`, `dequantization`, `figures` (JSON), `recipe`
/// (YAML), `name`, `provenance`, `licence`. In version 1 the recipe alone says what `prior` and `mirrored` do.
public struct FlowModel: Sendable {
  public static let format = "aipo-flow"
  /// The version that is written; version 1 is read as well, others are refused.
  public static let version = "2"

  public var spec: FlowSpec
  public var imageShape: ImageShape
  public var kind = PriorKind.images
  /// Whether it was trained on mirror images, left and right, as well.
  public var seesMirrorImages = false
  public var dequantization: Dequantization
  /// The flow's tensors, all float32 or all float64 (but for integers).
  public var tensors: [NamedTensor]
  /// Of the training images; nil where they aren't known (an imported model).
  public var statistics: ImageStatistics?
  /// What the dequantised values stand for; nil where it isn't known, and for real-valued data.
  public var requantization: Requantization?
  /// The training's YAML; empty where there was none.
  public var recipe = ""
  public var figures = ModelFigures()
  public var name = ""
  public var provenance = ""
  public var licence = ""
  /// Where it was loaded from, for errors.
  public private(set) var path = "model"
  /// SHA-256 of the file that was loaded, 64 hexadecimal digits; nil for a model made in memory.
  public private(set) var checksum: String?

  public init(
    spec: FlowSpec, imageShape: ImageShape, dequantization: Dequantization, tensors: [NamedTensor],
    statistics: ImageStatistics? = nil
  ) {
    self.spec = spec
    self.imageShape = imageShape
    self.dequantization = dequantization
    self.tensors = tensors
    self.statistics = statistics
  }

  /// Trainable and other numbers of the flow.
  public var parameterCount: Int { tensors.reduce(0) { $0 + $1.count } }

  /// Whether it was trained on patches of pictures, which makes it a model of pictures of any size.
  public var isOfPatches: Bool { kind != .images }

  /// Pixels from one patch to the next where a picture of any size is seen in patches; nil where it is seen as a whole.
  public var patchStride: Int? {
    if case .patches(let stride) = kind { min(stride, imageShape.height, imageShape.width) } else { nil }
  }

  /// `F32` or `F64`.
  public var dtypeName: String {
    tensors.contains { $0.values.dtype == .float64 } ? Double.dtypeName : Float.dtypeName
  }

  /// Which image sizes the flow accepts, in words: more than the one that it was trained on where its layers have no size.
  public var acceptedSizes: String { spec.acceptedSizes(trainedOn: imageShape) }

  /// Whether the flow accepts images of this shape.
  public func accepts(_ image: ImageShape) -> Bool {
    (try? spec.check(image, trainedOn: imageShape)) != nil
  }

  /// Builds the flow. Throws `malformed`, naming the file, where the tensors don't fit the spec or aren't
  /// usable, and what building throws.
  public func makeFlow<Scalar: KernelScalar>(
    _: Scalar.Type = Scalar.self, threads: Int = ThreadPool.availableCores
  ) throws -> Flow<Scalar> {
    do {
      return try Flow(
        spec: spec, imageShape: imageShape, tensors: tensors, pool: ThreadPool(threads: threads))
    } catch let error as FlowError {
      throw FileError.malformed(
        path: path, what: "the flow", found: "unusable (\(error))", expected: "tensors that fit its spec")
    }
  }

  // MARK: Reading

  /// Reads and checks a model. Throws `missing`, or `malformed` for anything wrong in it: a truncated
  /// file, another format or version, a missing or unreadable part, a value that isn't finite.
  public static func load(path: String) throws(FileError) -> FlowModel {
    let source = try ByteSource(path: path, limit: Safetensors.sizeLimit)
    var digest = SHA256()
    var model = try FlowModel(Safetensors(source, digest: &digest), path: path)
    model.checksum = digest.hexDigest()
    return model
  }

  init(_ file: Safetensors, path: String) throws(FileError) {
    let reader = ModelReader(file: file, path: path)
    let isCheckpoint = file.metadata["format"] == TrainingCheckpoint<Float>.format
    if !isCheckpoint { try reader.expect("format", [Self.format]) }
    try reader.expect("version", isCheckpoint ? [TrainingCheckpoint<Float>.version] : ["1", Self.version])
    self.init(
      spec: try reader.json("spec", FlowSpec.self), imageShape: try reader.imageShape(),
      dequantization: try reader.json("dequantization", Dequantization.self),
      tensors: try reader.flowTensors(), statistics: nil)
    statistics = try reader.statistics(imageShape)
    requantization = try reader.requantization(dequantization)
    figures = try reader.json("figures", ModelFigures.self)
    recipe = file.metadata["recipe"] ?? ""
    name = file.metadata["name"] ?? ""
    provenance = file.metadata["provenance"] ?? ""
    licence = file.metadata["licence"] ?? ""
    self.path = path
    try describe(file, reader)
    if isCheckpoint { try takeAverage(of: file) }
  }

  /// What it is a prior of.
  private mutating func describe(_ file: Safetensors, _ reader: ModelReader) throws(FileError) {
    if file.metadata["version"] == Self.version || file.metadata["prior"] != nil {
      kind = try reader.json("prior", PriorKind.self)
      seesMirrorImages = try reader.json("mirrored", Bool.self)
    } else if !recipe.isEmpty {
      // Only the recipe says whether the model is of whole images or of patches.
      do {
        let training = try TrainingConfig(yaml: recipe, path: "its recipe")
        kind = PriorKind(training, spec, imageShape)
        seesMirrorImages = training.augmentation.flip
      } catch {
        throw .malformed(
          path: path, what: "model of format 1", found: "with a recipe that can't be understood (\(error))",
          expected:
            "one that says whether it is of whole images or of patches; the aipo that made it reads it")
      }
    }
  }

  // MARK: Writing

  /// The file's content; the same bytes for the same model.
  public func safetensors() throws(FileError) -> Safetensors {
    if let bad = tensors.first(where: { !$0.values.isFinite }) {
      throw .malformed(
        path: path, what: "tensor \(bad.name)", found: "not finite", expected: "finite numbers only")
    }
    var metadata = [
      "format": Self.format, "version": Self.version, "spec": Self.json(spec), "image": Self.json(imageShape),
      "prior": Self.json(kind), "mirrored": Self.json(seesMirrorImages),
      "dequantization": Self.json(dequantization), "figures": Self.json(figures),
    ]
    for (key, value) in [
      ("recipe", recipe), ("name", name), ("provenance", provenance), ("licence", licence),
    ] where !value.isEmpty {
      metadata[key] = value
    }
    var all = tensors.map { tensor in
      var tensor = tensor
      tensor.name = "flow." + tensor.name
      return tensor
    }
    func add(_ name: String, _ shape: [Int], _ values: [Float]) {
      all.append(NamedTensor(name: "images." + name, shape: shape, values: .float32(values)))
    }
    if let requantization {
      add(
        "levels", [2, requantization.means.count],
        (requantization.means + requantization.slopes).map { Float($0) })
    }
    if let statistics {
      add("mean", [statistics.mean.count], statistics.mean)
      switch statistics.covariance {
      case .full(let triangle): add("covariance", [triangle.count], triangle)
      case .stationary(let lags):
        add("lags", [2 * lags.lagY + 1, 2 * lags.lagX + 1, lags.pairs.count], lags.values)
      }
    }
    return Safetensors(metadata: metadata, tensors: all)
  }

  /// Writes the file whole, by rename, and notes its checksum. Throws `unwritable`.
  public mutating func save(path: String) throws(FileError) {
    checksum = try safetensors().saved(path: path)
    self.path = path
  }

  /// Writes the file that the model was loaded from, with today's `figures` in place of its own. Nothing else changes, to
  /// the byte. Throws `missing` or `malformed` where the file has changed since, and `unwritable`.
  public mutating func saveFigures(path: String) throws(FileError) {
    precondition(checksum != nil, "the model was loaded from no file")
    var file = try Safetensors(ByteSource(path: self.path, limit: Safetensors.sizeLimit))
    file.metadata["figures"] = Self.json(figures)
    checksum = try file.saved(path: path)
    self.path = path
  }

  static func json(_ value: some Encodable) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    guard let data = try? encoder.encode(value) else {
      preconditionFailure("\(type(of: value)) can't be written as JSON")
    }
    return String(decoding: data, as: UTF8.self)
  }
}

/// Takes a model file's parts and says what is wrong with them.
private struct ModelReader {
  let file: Safetensors
  let path: String

  func malformed(_ what: String, _ found: String, _ expected: String) -> FileError {
    .malformed(path: path, what: what, found: found, expected: expected)
  }

  func expect(_ key: String, _ expected: [String]) throws(FileError) {
    let found = file.metadata[key]
    guard expected.contains(where: { $0 == found }) else {
      throw malformed(
        key, found.map { "\"\($0.prefix(60))\"" } ?? "missing",
        expected.map { "\"\($0)\"" }.joined(separator: " or "))
    }
  }

  func json<Value: Decodable>(_ key: String, _: Value.Type) throws(FileError) -> Value {
    guard let text = file.metadata[key] else { throw malformed(key, "missing", "JSON") }
    do { return try JSONDecoder().decode(Value.self, from: Data(text.utf8)) } catch {
      throw malformed(key, "unreadable (\(explain(error)))", "a \(Value.self) as JSON")
    }
  }

  private func explain(_ error: any Error) -> String {
    func path(_ context: DecodingError.Context, _ key: (any CodingKey)? = nil) -> String {
      (context.codingPath + (key.map { [$0] } ?? [])).map { $0.intValue.map(String.init) ?? $0.stringValue }
        .joined(separator: ".")
    }
    return switch error {
    case DecodingError.keyNotFound(let key, let context): "no \(path(context, key))"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
      DecodingError.dataCorrupted(let context):
      "\(path(context)): \(context.debugDescription)"
    default: "\(error)"
    }
  }

  func imageShape() throws(FileError) -> ImageShape {
    let shape = try json("image", ImageShape.self)
    guard [shape.height, shape.width, shape.channels].allSatisfy({ (1...65536).contains($0) }) else {
      throw malformed("image", "\(shape)", "extents from 1 to 65536")
    }
    return shape
  }

  func flowTensors() throws(FileError) -> [NamedTensor] {
    var result: [NamedTensor] = []
    for tensor in file.tensors where tensor.name.hasPrefix("flow.") {
      var own = tensor
      own.name.removeFirst("flow.".count)
      guard own.values.isFinite else {
        throw malformed("tensor \(tensor.name)", "not finite", "finite numbers")
      }
      result.append(own)
    }
    return result
  }

  func statistics(_ image: ImageShape) throws(FileError) -> ImageStatistics? {
    guard file["images.mean"] != nil else { return nil }
    if file["images.factors"] != nil {
      throw malformed(
        "tensor images.factors", "a covariance of low rank, as version 0.1 fitted it to large images",
        "images.lags: train the model again")
    }
    guard let lags = file["images.lags"] else {
      let d = image.count
      return ImageStatistics(
        mean: try floats("images.mean", [d]),
        covariance: .full(lowerTriangle: try floats("images.covariance", [d * (d + 1) / 2])))
    }
    let c = image.channels
    let extents = Array(lags.shape.prefix(2))
    guard c <= ImageStatistics.stationaryLimit, extents.count == 2, extents.allSatisfy({ $0 % 2 == 1 }) else {
      throw malformed("tensor images.lags", "\(lags.shape.prefix(8))", "odd numbers of lags of few channels")
    }
    return ImageStatistics(
      mean: try floats("images.mean", [c]),
      covariance: .stationary(
        LagCovariance(
          channels: c, lagY: extents[0] / 2, lagX: extents[1] / 2,
          values: try floats("images.lags", extents + [c * (c + 1) / 2]))))
  }

  func requantization(_ dequantization: Dequantization) throws(FileError) -> Requantization? {
    guard file["images.levels"] != nil else { return nil }
    let bins = dequantization.binCount
    let levels = try floats("images.levels", [2, bins]).map { Double($0) }
    guard !dequantization.isNone,
      let result = Requantization(means: Array(levels[..<bins]), slopes: Array(levels[bins...]))
    else {
      throw malformed(
        "tensor images.levels", "unusable", "a mean inside of every bin of the dequantisation, then slopes")
    }
    return result
  }

  private func floats(_ name: String, _ shape: [Int]) throws(FileError) -> [Float] {
    guard let tensor = file[name] else { throw malformed("tensor \(name)", "missing", "shape \(shape)") }
    guard tensor.shape == shape, case .float32(let values) = tensor.values else {
      throw malformed(
        "tensor \(name)", "\(tensor.values.dtype.rawValue) \(tensor.shape.prefix(8))", "F32 \(shape)")
    }
    guard tensor.values.isFinite else { throw malformed("tensor \(name)", "not finite", "finite numbers") }
    return values
  }
}
