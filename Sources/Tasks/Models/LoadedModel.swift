import AIPOFlows
import AIPOImaging
import AIPOKernels
import AIPOPriors
import AIPOProblems

/// Which file a model came from.
public struct ModelSource: Sendable {
  public var path: String
  /// The file's name without its suffix.
  public var name: String
  /// SHA-256 of the file.
  public var checksum: String

  /// Loads a model. Throws what `FlowModel.load` throws.
  public static func load(_ path: String) throws(FileError) -> (FlowModel, ModelSource) {
    let model = try FlowModel.load(path: path)
    return (model, ModelSource(path: path, name: stem(path), checksum: model.checksum ?? ""))
  }

  /// The file's name without its suffix.
  package static func stem(_ path: String) -> String {
    let file = path.split(separator: "/").last.map(String.init) ?? path
    let suffix = ".safetensors"
    return file.hasSuffix(suffix) ? String(file.dropLast(suffix.count)) : file
  }
}

/// A model, loaded for work in one precision.
public struct LoadedModel<Scalar: KernelScalar> {
  public let source: ModelSource
  public let model: FlowModel
  public let flow: Flow<Scalar>
  public var shape: ImageShape { flow.imageShape }
  public var dequantization: Dequantization { model.dequantization }

  /// `path`: of the model file; nil for the one that ``ModelLocator`` finds.
  public init(_ path: String? = nil, threads: Int = ThreadPool.availableCores) throws {
    try WorkingMemory.require(threads: threads)
    (model, source) = try ModelSource.load(try ModelLocator.path(named: path))
    flow = try model.makeFlow(threads: threads)
  }

  /// The flow for images of another height and width; nil for those of the training.
  public func flow(for size: PixelSize?) throws -> Flow<Scalar> {
    guard let size else { return flow }
    do {
      return try flow.at(ImageShape(height: size.height, width: size.width, channels: shape.channels))
    } catch let error as FlowError {
      throw TaskError(.usage, key: "size", "--size \(size): \(error)")
    }
  }
}
