import AIPO

@testable import AIPOFlows
@testable import AIPOImaging
@testable import AIPOInterchange
@testable import AIPOStudies

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A reader, put to bytes of any kind: it either reads them or throws one of the errors that it says it throws.
struct FuzzTarget: Sendable {
  let name: String
  let read: @Sendable (_ bytes: [UInt8]) throws -> Void

  static let all: [FuzzTarget] = [
    // Header and tensors of a safetensors file.
    FuzzTarget(name: "safetensors") { bytes in
      let file = try Safetensors(bytes: bytes, path: "input")
      let again = try Safetensors(bytes: file.bytes, path: "again")
      guard again.metadata == file.metadata, again.bytes == file.bytes else {
        fatalError("not the same again")
      }
    },
    // A model: safetensors and the JSON in its metadata, up to a flow that can be used.
    FuzzTarget(name: "model") { bytes in
      let model = try FlowModel(Safetensors(bytes: bytes, path: "input"), path: "input")
      _ = try model.makeFlow(Float.self, threads: 1)
    },
    // The JSON of a model's metadata by itself.
    FuzzTarget(name: "json") { bytes in
      guard let kind = bytes.first else { return }
      let data = Data(bytes.dropFirst())
      let decoder = JSONDecoder()
      switch kind % 4 {
      case 0:
        let spec = try decoder.decode(FlowSpec.self, from: data)
        let shapes = try spec.shapes(from: ImageShape(height: 8, width: 8, channels: 2))
        let text = FlowModel.json(spec)
        guard try decoder.decode(FlowSpec.self, from: Data(text.utf8)) == spec, !shapes.isEmpty else {
          fatalError("not the same again")
        }
      case 1: _ = try decoder.decode(ImageShape.self, from: data)
      case 2: _ = try decoder.decode(Dequantization.self, from: data)
      default: _ = try decoder.decode(ModelFigures.self, from: data)
      }
    },
    // Any checkpoint of another program, told by content: zip, legacy stream, safetensors; every tensor read.
    FuzzTarget(name: "torch") { bytes in
      let dict = try StateDict(ByteSource(bytes: bytes, path: "input"))
      for name in dict.names {
        guard let shape = dict.shape(name) else { fatalError("\(name) has no shape") }
        // Not finite, perhaps.
        _ = try? dict.take(name, shape, as: Float.self)
      }
    },
    // The whole of an import, up to a model, for checkpoints that are one.
    FuzzTarget(name: "import") { bytes in
      _ = try ModelImport(ByteSource(bytes: bytes, path: "input"), options: ["draws": "64"], threads: 1)
    },
    FuzzTarget(name: "pickle") { bytes in
      var unpickler = Unpickler(bytes[...])
      while true { _ = try unpickler.load() }
    },
    FuzzTarget(name: "zip") { bytes in
      let archive = try ZipArchive(ByteSource(bytes: bytes, path: "input"))
      for entry in archive.entries {
        if entry.isStored { _ = try? archive.verify(entry) }
        _ = try? archive.bytes(entry, limit: 1 << 20)
      }
    },
    // Arrays: NPY, NPZ, IDX, and gzip of these.
    FuzzTarget(name: "array") { bytes in
      try ScratchFile.shared.with(bytes) { path in
        let array = try? NPYFile.read(path, as: Double.self, nonFinite: .allowed)
        if bytes.starts(with: [0x50, 0x4B]) {
          for (_, array) in try NPZFile.read(path, as: Float.self) { requireFinite(array) }
        } else {
          let finite = try NPYFile.read(path, as: Double.self)
          requireFinite(finite)
          guard array == finite else { fatalError("read differently the second time") }
        }
      }
    },
    // Images: PNG, JPEG, and arrays as images, channels first too.
    FuzzTarget(name: "image") { bytes in
      try ScratchFile.shared.with(bytes) { path in
        let scaled = ImageTransform(range: ValueRange(low: -1, high: 1), channels: .colour)
        if let first = try? ImageSet(path: path, layout: .nchw) {
          _ = try? first.advice([0], transform: scaled, clippedFor: "fuzzing")
          if let image = try? first.read([0], as: Float.self, transform: scaled) { requireFinite(image) }
        }
        let set = try ImageSet(path: path)
        let some = 0..<min(set.count, 3)
        requireFinite(try set.read(some, as: Float.self))
        _ = try set.bytes(
          some, transform: ImageTransform(resize: PixelSize(height: 3, width: 5), channels: .grey))
      }
    },
    // The pages of a TIFF, and what libtiff makes of the first few.
    FuzzTarget(name: "tiff") { bytes in
      let source = ByteSource(bytes: bytes, path: "input")
      for page in try TIFF.pages(source).prefix(3) {
        guard let (shape, pixels) = try? TIFF.decode(source, page: page.offset) else { continue }
        guard shape == page.shape, pixels.values.count == shape.count else { fatalError("another shape") }
      }
    },
    FuzzTarget(name: "webp") { bytes in
      let (shape, pixels) = try WebP.decode(bytes, path: "input")
      guard pixels.count == shape.count else { fatalError("another shape") }
    },
    // Every dataset of numbers in an HDF5 file.
    FuzzTarget(name: "hdf5") { bytes in
      for dataset in try HDF5(ByteSource(bytes: bytes, path: "input")).datasets().prefix(16) {
        if let array = try? dataset.array() { try readAll(array) }
      }
    },
    // Every variable of numbers in a MAT file, sparse ones too.
    FuzzTarget(name: "mat") { bytes in
      let file = try MAT(ByteSource(bytes: bytes, path: "input"))
      for variable in file.variables.prefix(16) {
        if let array = try? file.array(variable.name) { try readAll(array) }
        if let matrix = try? file.sparse(variable.name) { check(matrix) }
      }
    },
    FuzzTarget(name: "nifti") { bytes in
      if let volume = NIfTI(bytes, path: "input") {
        try readAll(try volume.array(ByteSource(bytes: bytes, path: "input")))
      }
    },
    // Matrix Market, gzip of it, scipy's NPZ.
    FuzzTarget(name: "sparse") { bytes in
      try ScratchFile.shared.with(bytes) { path in
        if let matrix = try SparseFile.read(path) { check(matrix) }
      }
    },
    // A training's YAML, and the flow in it; what is read is written and read again.
    FuzzTarget(name: "yaml") { bytes in
      let config = try TrainingConfig(yaml: String(decoding: bytes, as: UTF8.self), path: "input")
      let text = config.yaml(data: true)
      guard try TrainingConfig(yaml: text, path: "again").yaml(data: true) == text else {
        fatalError("not the same again")
      }
      _ = try config.flow?.shapes(from: ImageShape(height: 8, width: 8, channels: 2))
    },
    // A study's YAML, up to the tasks of its cells.
    FuzzTarget(name: "study") { bytes in
      let reader = try StudyReader(
        yaml: String(decoding: bytes, as: UTF8.self), path: "input",
        defaults: [StudyOption(name: "model", value: "m")], seed: 1)
      for cell in try reader.plan().cells {
        guard Set(cell.options.map(\.name)).count == cell.options.count,
          cell.task.model != nil
        else { fatalError("an option twice or not at all") }
      }
    },
  ]

  /// Reads `bytes`; ends the process where that throws what no reader says it throws.
  func run(_ bytes: [UInt8]) {
    do {
      try read(bytes)
    } catch {
      switch error {
      case is FileError, is TensorError, is FlowError, is ConfigError, is ImportError, is PickleFault,
        is DecodingError, is TrainingError:
        guard error is DecodingError || !"\(error)".contains(where: \.isNewline) else {
          fatalError("an error of several lines: \(error)")
        }
      default: fatalError("an error of another type: \(type(of: error)) \(error)")
      }
    }
  }

  private static func readAll(_ array: ArrayData) throws {
    let count = try array.header.byteCount(path: "input")
    var last = -1
    array.header.forEachValue(try array.bytes(0..<count)) { place, _ in last = place }
    guard last + 1 == count / array.header.type.size else { fatalError("not all values") }
  }

  private static func check(_ matrix: SparseMatrix) {
    let again = matrix.transposed.transposed
    guard again == matrix, matrix.values.allSatisfy(\.isFinite) else { fatalError("not the same again") }
  }

  private static func requireFinite<Scalar: KernelScalar>(_ array: Tensor<Scalar>) {
    guard array.elements.allSatisfy(\.isFinite) else { fatalError("a value that isn't finite") }
  }
}
