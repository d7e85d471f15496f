import AIPOKernels

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The whole state of a training between two steps, as one safetensors file.
///
/// Tensors: `flow.…` (the flow's own), `optimizer.{first,second,average}`, the last where one is kept, and the state of one update
/// earlier as `previous.{parameters,first,second,average}`, to which a failing step goes back. What a model file holds
/// beside its flow is there, too, so that `FlowModel` reads a checkpoint as the model that it would be.
struct TrainingCheckpoint<Scalar: KernelScalar>: Sendable {
  static var version: String { "1" }
  static var format: String { "aipo-training-checkpoint" }

  var progress: TrainingProgress
  /// What the run was started with; a resumed run must have the same.
  var settings: [String: String]
  var flow: [NamedTensor]
  var current: OptimizerState<Scalar>
  var previous: OptimizerState<Scalar>?
  /// What else makes it a model: strings, and the images' statistics.
  var model: Safetensors?

  private struct Counters: Codable {
    var progress: TrainingProgress
    var previousUpdates: Int?
  }

  func save(path: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    let counters = try encoder.encode(Counters(progress: progress, previousUpdates: previous?.updates))
    var metadata = model?.metadata ?? [:]
    metadata["format"] = Self.format
    metadata["version"] = Self.version
    metadata["progress"] = String(decoding: counters, as: UTF8.self)
    for (key, value) in settings { metadata["settings." + key] = value }
    var tensors = flow.map { tensor in
      var tensor = tensor
      tensor.name = "flow." + tensor.name
      return tensor
    }
    func add(_ name: String, _ values: [Scalar]) {
      tensors.append(NamedTensor(name: name, shape: [values.count], scalars: values))
    }
    add("optimizer.first", current.first)
    add("optimizer.second", current.second)
    if !current.average.isEmpty { add("optimizer.average", current.average) }
    if let previous {
      add("previous.parameters", previous.parameters)
      add("previous.first", previous.first)
      add("previous.second", previous.second)
      if !previous.average.isEmpty { add("previous.average", previous.average) }
    }
    tensors += model?.tensors ?? []
    try Safetensors(metadata: metadata, tensors: tensors).save(path: path)
  }

  private static func counters(_ file: Safetensors, path: String) throws(FileError) -> Counters {
    let counters: Counters
    do {
      counters = try JSONDecoder().decode(
        Counters.self, from: Data((file.metadata["progress"] ?? "").utf8))
    } catch {
      throw .malformed(
        path: path, what: "progress", found: "unreadable", expected: "the counters of a training")
    }
    guard counters.progress.isPlausible, (0...1 << 60).contains(counters.previousUpdates ?? 0) else {
      throw .malformed(
        path: path, what: "progress", found: "out of range", expected: "counts from 0 to 2^60")
    }
    return counters
  }

  /// Where the training was that wrote a checkpoint.
  static func progress(_ file: Safetensors, path: String) throws(FileError) -> TrainingProgress {
    try counters(file, path: path).progress
  }

  /// Loads a checkpoint's tensors into `flow` and gives the rest. Throws `malformed`, `resumed` where
  /// `settings` differ, and what the flow throws.
  static func load<Flow: TrainableFlow>(
    path: String, into flow: Flow, isAveraging: Bool, settings: [String: String]
  ) throws -> TrainingCheckpoint where Flow.Scalar == Scalar {
    let file = try Safetensors.load(path: path)
    func malformed(_ what: String, _ found: String, _ expected: String) -> FileError {
      .malformed(path: path, what: what, found: found, expected: expected)
    }
    guard file.metadata["format"] == format else {
      throw malformed("format", "\"\(file.metadata["format"] ?? "")\"", "\"\(format)\"")
    }
    guard file.metadata["version"] == version else {
      throw malformed("version", "\"\(file.metadata["version"] ?? "")\"", "\"\(version)\"")
    }
    // What the program that began the run didn't know yet, it did as the default does.
    let defaults = Dictionary(
      uniqueKeysWithValues: TrainingConfig().decisiveEntries.map { ($0.key, $0.value) })
    for (key, expected) in settings.sorted(by: { $0.key < $1.key }) {
      let stored = file.metadata["settings." + key] ?? defaults[key] ?? "none"
      guard stored == expected else {
        throw TrainingError.resumed(what: key, found: expected, expected: stored)
      }
    }
    let counters = try Self.counters(file, path: path)
    let count = flow.parameterCount
    func vector(_ name: String) throws -> [Scalar] {
      guard let tensor = file[name] else { throw malformed("tensor \(name)", "missing", "\(count) values") }
      guard tensor.shape == [count], tensor.values.dtype.rawValue == Scalar.dtypeName else {
        throw malformed(
          "tensor \(name)", "\(tensor.values.dtype.rawValue) \(tensor.shape)",
          "\(Scalar.dtypeName) [\(count)]")
      }
      return tensor.scalars(as: Scalar.self)
    }
    let own = file.tensors.filter { $0.name.hasPrefix("flow.") }.map { tensor in
      var tensor = tensor
      tensor.name.removeFirst("flow.".count)
      return tensor
    }
    try flow.load(own)
    let progress = counters.progress
    return TrainingCheckpoint(
      progress: progress, settings: settings, flow: own,
      current: OptimizerState(
        parameters: flow.parameters, first: try vector("optimizer.first"),
        second: try vector("optimizer.second"), average: isAveraging ? try vector("optimizer.average") : [],
        updates: progress.updates),
      previous: try counters.previousUpdates.map { updates in
        OptimizerState(
          parameters: try vector("previous.parameters"), first: try vector("previous.first"),
          second: try vector("previous.second"), average: isAveraging ? try vector("previous.average") : [],
          updates: updates)
      })
  }
}
