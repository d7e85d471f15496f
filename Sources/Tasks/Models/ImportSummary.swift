import AIPOFlows
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
