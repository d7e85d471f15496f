import AIPOFlows
import AIPOImaging
import AIPOInterchange
import AIPOKernels

/// What an import found, took from options and assumed, in words and as JSON.
package struct ImportSummary {
  private let result: ModelImport
  private let model: FlowModel
  private let path: String

  /// - Parameters:
  ///   - model: as it was written.
  ///   - path: where to.
  package init(_ result: ModelImport, _ model: FlowModel, path: String) {
    self.result = result
    self.model = model
    self.path = path
  }

  package var text: String {
    var rows = [("dialect", result.dialect.rawValue)]
    rows += result.notes.map { ("found", $0) }
    rows += result.settings.map { ($0.option, "\($0.value) (\($0.reason))") }
    rows.append(("images", "\(model.imageShape)"))
    rows.append(("parameters", "\(model.parameterCount) (\(model.dtypeName))"))
    rows.append(("mean and covariance", "fitted to \(result.statisticsSource)"))
    rows.append(("model", path))
    return aligned(rows).joined(separator: "\n")
  }

  package var json: JSONValue {
    let shape = model.imageShape
    let settings = result.settings.map { setting -> JSONValue in
      [
        "option": .string(setting.option), "value": .string("\(setting.value)"),
        "reason": .string("\(setting.reason)"),
      ]
    }
    return [
      "out": .string(path), "dialect": .string(result.dialect.rawValue), "settings": .array(settings),
      "notes": .array(result.notes.map { .string($0) }),
      "warnings": .array(result.warnings.map { .string($0) }),
      "imageShape": .array([shape.height, shape.width, shape.channels].map { .int($0) }),
      "parameters": .int(model.parameterCount), "dtype": .string(model.dtypeName),
      "statistics": .string(result.statisticsSource), "checksum": .string(model.checksum ?? ""),
    ]
  }
}

extension ModelImport {
  /// Options from their texts, `key=value`. Throws a usage error.
  package static func options(_ texts: [String]) throws(TaskError) -> [String: String] {
    var values: [String: String] = [:]
    for text in texts {
      guard let sign = text.firstIndex(of: "="), sign != text.startIndex else {
        throw TaskError(.usage, key: "option", "--option is '\(text)', expected key=value")
      }
      let key = String(text[..<sign])
      guard values.updateValue(String(text[text.index(after: sign)...]), forKey: key) == nil else {
        throw TaskError(.usage, key: "option", "--option \(key) is given twice")
      }
    }
    return values
  }

  /// Imports with images of a file or folder as the model was trained on; nil for none. `advise` is given what looks like a
  /// mistake about them.
  public init(
    path: String, dialect: Dialect? = nil, options: [String: String] = [:], sampling images: String?,
    _ reading: ImageReading = ImageReading(), seed: UInt64 = 0, threads: Int = ThreadPool.availableCores,
    advise: @escaping ([Advice]) -> Void = { _ in }
  ) throws {
    func read(_ path: String, areVectors: Bool) throws -> TrainingImages {
      let set = try ImageSet(path: path, plane: areVectors ? .vectors : .image, layout: reading.layout)
      advise(set.advice)
      return try TrainingImages(sampling: set, transform: reading.transform, areReal: areVectors)
    }
    try self.init(
      path: path, dialect: dialect, options: options,
      images: images.map { path in { try read(path, areVectors: $0) } }, seed: seed, threads: threads)
  }
}
