import AIPO

/// Which file a prior came from.
struct ModelSource: Sendable {
  var path: String
  /// The file's name without its suffix.
  var name: String
  /// SHA-256 of the file.
  var checksum: String

  static func load(_ path: String) throws(FileError) -> (FlowModel, ModelSource) {
    let model = try FlowModel.load(path: path)
    return (model, ModelSource(path: path, name: stem(path), checksum: model.checksum ?? ""))
  }

  /// The file's name without its suffix.
  static func stem(_ path: String) -> String {
    let file = path.split(separator: "/").last.map(String.init) ?? path
    let suffix = ".safetensors"
    return file.hasSuffix(suffix) ? String(file.dropLast(suffix.count)) : file
  }
}

/// A model, loaded for work in one precision.
struct Prior<Scalar: KernelScalar> {
  let source: ModelSource
  let model: FlowModel
  let flow: Flow<Scalar>
  var shape: ImageShape { flow.imageShape }
  var dequantization: Dequantization { model.dequantization }

  init(options: ModelOptions, common: CommonOptions) throws {
    try WorkingMemory.require(common)
    (model, source) = try ModelSource.load(try options.path())
    flow = try model.makeFlow(threads: common.threadCount)
    common.remark("model \(source.path), \(shape), \(flow.parameterCount) parameters")
  }

  /// The flow for images of a size that a flag gives, or without one of the training's.
  func flow(for size: PixelSize?) throws -> Flow<Scalar> {
    guard let size else { return flow }
    do {
      return try flow.at(ImageShape(height: size.height, width: size.width, channels: shape.channels))
    } catch let error as FlowError {
      throw CommandFailure(.usage, "--size \(size.height)x\(size.width): \(error)")
    }
  }

  /// The Gaussian of the training images; nil where the model holds none.
  func gaussian() throws -> GaussianDensity? {
    do {
      return try GaussianDensity.ofTrainingImages(model)
    } catch {
      throw CommandFailure(
        .badData, "\(source.path): the covariance of the training images is unusable: \(error)")
    }
  }
}
