import AIPOFlows
import AIPOImaging
import AIPOKernels

/// Arrays of any rank from a file of any kind that is read: NPY and the like, or one tensor that `torch.save` wrote.
public enum ArrayFile {
  /// Reads a whole array. Nothing is scaled.
  ///
  /// Throws `FileError` where the file is missing or malformed, holds several tensors or a non-finite value that is
  /// refused; `TensorError` where memory is short.
  public static func read<Scalar: KernelScalar>(
    _ path: String, as type: Scalar.Type = Scalar.self, nonFinite: NonFinitePolicy = .refused
  ) throws -> Tensor<Scalar> {
    do {
      return try NPYFile.read(path, as: type, nonFinite: nonFinite)
    } catch let error as FileError {
      guard case .malformed = error, let object = try? torch(path) else { throw error }
      return try tensor(object(), nonFinite: nonFinite)
    }
  }

  /// How to read a file of torch.save; nil for any other.
  private static func torch(_ path: String) throws(FileError) -> (() throws(FileError) -> TorchObject)? {
    let source = try ByteSource(path: path, limit: StateDict.sizeLimit)
    if TorchLegacy.isLegacy(try source.bytes(0..<min(16, source.count))) {
      return { () throws(FileError) in try TorchLegacy.read(source) }
    }
    guard let archive = try? ZipArchive(source),
      archive.entries.contains(where: { $0.name.hasSuffix("data.pkl") })
    else { return nil }
    return { () throws(FileError) in try TorchObject.zip(source) }
  }

  private static func tensor<Scalar: KernelScalar>(
    _ object: TorchObject, nonFinite: NonFinitePolicy
  ) throws -> Tensor<Scalar> {
    let dict = try StateDict(arraysOf: object)
    let names = dict.names
    guard names.count == 1, let shape = dict.shape(names[0]) else {
      let list = names.prefix(4).joined(separator: ", ")
      let found = names.isEmpty ? "no tensor" : "\(names.count) tensors (\(list))"
      throw object.source.malformed(
        "torch file", "one with \(found)",
        "a single one: torch.save(y, \"y.pt\") or numpy.save(\"y.npy\", y.numpy())")
    }
    let values = try dict.read(names[0])
    guard nonFinite == .allowed || values.isFinite else {
      throw object.source.malformed("tensor \(names[0])", "not finite", "finite numbers")
    }
    return try Tensor(shape: shape, elements: values.scalars(as: Scalar.self))
  }
}
